//! `cutover --back` while both attributes are written: it asks nobody.

use std::path::Path;

use super::{DriverError, Notice, Observer, Seen, Wait, Watched, record_seen};
use crate::clock::wall;
use crate::cutover::{Flag, FlagMeta, FlagStore};
use crate::plan::Plan;
use crate::playbook::{BackTo, Step, step_back};
use crate::state;

/// Where a step back is recorded, by whom, and who hears of it.
pub(super) struct StepBack<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: &'a Path,
    pub(super) actor: &'a str,
    pub(super) observer: &'a dyn Observer,
}

impl StepBack<'_> {
    /// Takes one step back without a gate or a lock, even while other commands run. The state file, if it exists, only
    /// shows which waits are over.
    pub(super) async fn take(&self, flags: &dyn FlagStore, mut flag: Flag) -> Result<Flag, DriverError> {
        let StepBack { plan, state, actor, observer } = self;
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
            match step_back(&flag, to, clock(), watched.left())? {
                Step::Change(change) => {
                    let next = flag.next(change, clock(), watched.left())?;
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

    /// Records the flag for `status`. If that fails, the way back goes on all the same.
    async fn record(&self, flag: (&Flag, &FlagMeta), watched: &Watched) {
        if let Err(error) = record_seen(self.state, self.plan, flag, watched).await {
            self.observer.notice(&Notice::FlagNotRecorded(&error));
        }
    }
}
