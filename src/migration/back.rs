//! Carries out `cutover --back` while applications write both attributes. The command asks for confirmation only before
//! the end of dual writes, and only if `Observer::asks_before_dual_writes_end` returns true.

use std::path::Path;

use super::{
    Answer, DriverError, FlagRecord, FlagTracker, MigrationError, Notice, Observer, Question, Wait, record_flag,
};
use crate::clock::wall_clock;
use crate::command_line::CommandLine;
use crate::cutover::{Flag, FlagChange, FlagMeta, FlagStore};
use crate::hooks::{Announcement, Hooks};
use crate::plan::Plan;
use crate::playbook::{BackTarget, Step, step_back};
use crate::state;

/// The inputs of a step back, except the flag itself.
pub(super) struct StepBack<'a> {
    pub(super) plan: &'a Plan,
    pub(super) commands: &'a CommandLine,
    pub(super) state: &'a Path,
    pub(super) actor: &'a str,
    pub(super) observer: &'a dyn Observer,
    pub(super) hooks: Hooks,
}

impl StepBack<'_> {
    /// Moves the flag one step back. The step needs no gate and no lock, so it works while other commands run. The
    /// state file is optional. This function uses the file only to find out which waits are over, and to record the
    /// flag for `status`.
    pub(super) async fn run(&self, flags: &dyn FlagStore, mut flag: Flag) -> Result<Flag, MigrationError> {
        let StepBack { plan, state, actor, observer, hooks, commands: _ } = self;
        let clock = wall_clock();
        let flag_record = match state::read(state) {
            Ok(file) => FlagRecord::from_file(file.as_ref()).await,
            Err(_) => None,
        };
        let mut tracker = flag_record.map(|flag_record| flag_record.tracker(&flag)).unwrap_or_default();
        let left = tracker.observe(&flag, flags.propagation_delay());
        let to = BackTarget::new(&flag, clock(), left);
        let meta =
            FlagMeta { plan: plan.fingerprint().as_str().into(), report: None, actor: (*actor).into(), reason: None };
        let mut changed = false;
        loop {
            let step = step_back(&flag, to, clock(), tracker.left());
            match step.map_err(|refused| MigrationError::from_driver(refused.into(), self.commands))? {
                Step::Change(change) => {
                    let next = flag.next(change, clock(), tracker.left()).map_err(DriverError::Change)?;
                    self.ask(change, &flag, &next)?;
                    flag = flags.change(Some(&flag), &next, &meta).await?;
                    tracker.record_change(&flag);
                    changed = true;
                    let announcement = Announcement::FlagChange { flag: Box::new(flag.clone()), meta: meta.clone() };
                    hooks.announce(&announcement, None);
                    observer.notice(&Notice::FlagChanged(&flag));
                    self.record((&flag, &meta), &tracker).await;
                }
                Step::Wait(left) => {
                    observer.notice(&Notice::Waiting(&Wait::new(left, Some(&flag), clock())));
                    tokio::time::sleep(left).await;
                }
                Step::Preflight
                | Step::Record(_)
                | Step::Confirm
                | Step::Backup(_)
                | Step::RecreateFlag(_)
                | Step::RunPass(_)
                | Step::Done => {
                    if changed {
                        self.record((&flag, &meta), &tracker).await;
                    }
                    return Ok(flag);
                }
            }
        }
    }

    /// Asks for confirmation before dual writes end, because items that applications write afterwards get no new
    /// attribute. Does not ask if [`Observer::asks_before_dual_writes_end`] returns false, so that nothing delays the
    /// step back.
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

    /// Records the flag in the state file, for `status`. A failure does not stop the step back.
    async fn record(&self, flag: (&Flag, &FlagMeta), tracker: &FlagTracker) {
        if let Err(error) = record_flag(self.state, self.plan, flag, tracker).await {
            self.observer.notice(&Notice::FlagNotRecorded(&error));
        }
    }
}
