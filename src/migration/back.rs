//! `cutover --back` while both attributes are written. The command asks for confirmation only before it ends dual
//! writes, and only if somebody can answer.

use std::path::Path;

use super::{Answer, DriverError, MigrationError, Notice, Observer, Question, Seen, Wait, Watched, record_seen};
use crate::clock::wall;
use crate::command_line::CommandLine;
use crate::cutover::{Flag, FlagChange, FlagMeta, FlagStore};
use crate::plan::Plan;
use crate::playbook::{BackTo, Step, step_back};
use crate::state;

/// The inputs of a step back.
pub(super) struct StepBack<'a> {
    pub(super) plan: &'a Plan,
    pub(super) commands: &'a CommandLine,
    pub(super) state: &'a Path,
    pub(super) actor: &'a str,
    pub(super) observer: &'a dyn Observer,
}

impl StepBack<'_> {
    /// Moves the flag one step back. This needs no gate and no lock, so it works while other commands run. If a state
    /// file exists, this function only reads from it which waits are over.
    pub(super) async fn take(&self, flags: &dyn FlagStore, mut flag: Flag) -> Result<Flag, MigrationError> {
        let StepBack { plan, state, actor, observer, commands: _ } = self;
        let clock = wall();
        let seen = match state::read(state) {
            Ok(file) => Seen::of(file.as_ref()).await,
            Err(_) => None,
        };
        let mut watched = seen.map(|seen| seen.watched(&flag)).unwrap_or_default();
        let left = watched.look(&flag, flags.lead());
        let to = BackTo::of(&flag, clock(), left);
        let meta =
            FlagMeta { plan: plan.fingerprint().as_str().into(), report: None, actor: (*actor).into(), reason: None };
        let mut changed = false;
        loop {
            let step = step_back(&flag, to, clock(), watched.left());
            match step.map_err(|refused| MigrationError::of_driver(refused.into(), self.commands))? {
                Step::Change(change) => {
                    let next = flag.next(change, clock(), watched.left()).map_err(DriverError::Change)?;
                    self.ask(change, &flag, &next)?;
                    flag = flags.change(Some(&flag), &next, &meta).await?;
                    watched.made(&flag);
                    changed = true;
                    observer.notice(&Notice::FlagChanged(&flag));
                    self.record((&flag, &meta), &watched).await;
                }
                Step::Wait(left) => {
                    observer.notice(&Notice::Waiting(&Wait::of(left, Some(&flag), clock())));
                    tokio::time::sleep(left).await;
                }
                Step::Preflight | Step::Record(_) | Step::Confirm | Step::Renew(_) | Step::Sweep(_) | Step::Done => {
                    if changed {
                        self.record((&flag, &meta), &watched).await;
                    }
                    return Ok(flag);
                }
            }
        }
    }

    /// Asks before dual writes end, because items written after that get no new attribute. If nobody can answer, the
    /// command does not ask, because nothing may delay the way back.
    fn ask(&self, change: FlagChange, from: &Flag, to: &Flag) -> Result<(), MigrationError> {
        if change != FlagChange::WriteOld || !self.observer.asks_before_dual_writes_end() {
            return Ok(());
        }
        let text = format!(
            "End dual writes of table {} (migration {}; the flag goes from {from} → {to})? Items written after that get \
             no new attribute, so the next cutover needs another pass.",
            self.plan.table.name, self.plan.name
        );
        match self.observer.confirm(&Question { text: &text }) {
            Answer::Yes => Ok(()),
            Answer::No => Err(MigrationError::NotConfirmed),
        }
    }

    /// Records the flag in the state file, for `status`. If this fails, the step back continues anyway.
    async fn record(&self, flag: (&Flag, &FlagMeta), watched: &Watched) {
        if let Err(error) = record_seen(self.state, self.plan, flag, watched).await {
            self.observer.notice(&Notice::FlagNotRecorded(&error));
        }
    }
}
