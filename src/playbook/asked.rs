//! The arguments of a step, and time checks that several commands share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Goal, Mark, Scope, State, World};
use crate::cutover::Flag;

/// The arguments of [`step`](super::step()).
pub(super) struct Asked<'a> {
    pub(super) state: &'a State,
    pub(super) world: &'a World<'a>,
    pub(super) goal: Goal,
    pub(super) now: Timestamp,
}

/// The goal that resolves mismatches.
pub(super) const REPAIR: Goal = Goal::Verify { scope: Scope::Full, repair: true };

/// Whether something that began at `began`, under the flag state `under`, began during today's unbroken dual writes.
pub(super) fn began_in_dual_writes(began: Timestamp, under: Option<Mark>, flag: &Flag, now: Timestamp) -> bool {
    let Some(since) = flag.dual_since else { return false };
    // Without a mark, the history is older than marks, or the plan has no flag and its operator states the times.
    under.map_or(began >= settled(since, flag).min(now), |mark| mark.dual_since == Some(since))
}

/// Whether something that began at `began`, under the flag state `under`, began after everybody obeyed the flag's last
/// change.
pub(super) fn began_under(began: Timestamp, under: Option<Mark>, flag: &Flag) -> bool {
    under.map_or(began >= flag.settled_at(), |mark| mark.version == flag.version)
}

/// When everybody obeys a change made at `made`, by the clock of the host that made it.
fn settled(made: Timestamp, flag: &Flag) -> Timestamp {
    later(made, Duration::from_secs(u64::from(flag.max_cache_seconds)))
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
