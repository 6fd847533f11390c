//! `cutover --back` while both are written: it asks nobody.

use std::path::Path;

use super::conduct::actor;
use super::output;
use backfill::internals::clock::wall;
use backfill::internals::cutover::{Flag, FlagMeta, FlagStore};
use backfill::internals::migration::{ConductError, Seen, Wait, Watched, record_seen};
use backfill::internals::plan::Plan;
use backfill::internals::playbook::{BackTo, Step, step_back};
use backfill::internals::state;

/// One step back: no gate, no lock, whatever else is running. The state file, if it exists, only tells which waits are over.
pub(super) async fn back(
    flags: &dyn FlagStore,
    plan: &Plan,
    mut flag: Flag,
    state: &Path,
) -> Result<Flag, ConductError> {
    let clock = wall();
    let seen = match state::read(state) {
        Ok(file) => Seen::of(file.as_ref()).await,
        Err(_) => None,
    };
    let mut watched = seen.map(|seen| seen.watched(&flag)).unwrap_or_default();
    let left = watched.look(&flag, flags.lead());
    let to = BackTo::of(&flag, clock(), left);
    let meta = FlagMeta { plan: plan.fingerprint().as_str().into(), report: None, actor: actor().into(), reason: None };
    let mut changed = false;
    loop {
        match step_back(&flag, to, clock(), watched.left())? {
            Step::Change(change) => {
                let next = flag.next(change, clock(), watched.left())?;
                flag = flags.change(Some(&flag), &next, &meta).await?;
                watched.made(&flag);
                changed = true;
                output::stderr(&format!("flag     {flag}"));
                record(state, plan, (&flag, &meta), &watched).await;
            }
            Step::Wait(left) => {
                output::waiting(&Wait::of(left, Some(&flag), clock()));
                tokio::time::sleep(left).await;
            }
            Step::Preflight | Step::Record(_) | Step::Confirm | Step::Renew(_) | Step::Sweep(_) | Step::Done => {
                if changed {
                    record(state, plan, (&flag, &meta), &watched).await;
                }
                return Ok(flag);
            }
        }
    }
}

/// Records the flag for `status`. If that fails, the way back goes on all the same.
async fn record(state: &Path, plan: &Plan, flag: (&Flag, &FlagMeta), watched: &Watched) {
    if let Err(error) = record_seen(state, plan, flag, watched).await {
        output::stderr(&format!("note     this change of the flag could not be recorded in the state file: {error}"));
    }
}
