//! The arguments of a step, and questions about times that several commands ask.

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

/// What makes items equal that differ.
pub(super) const REPAIR: Goal = Goal::Verify { scope: Scope::Full, repair: true };

/// Whether what began then, under this flag, began while every writer wrote both, without a break until now.
pub(super) fn began_in_dual_writes(began: Timestamp, under: Option<Mark>, flag: &Flag, now: Timestamp) -> bool {
    let Some(since) = flag.dual_since else { return false };
    // Without a mark the history is of before there were marks, or of a plan whose operator states the times.
    under.map_or(began >= settled(since, flag).min(now), |mark| mark.dual_since == Some(since))
}

/// Whether what began then, under this flag, began after the flag's last change was obeyed by all.
pub(super) fn began_under(began: Timestamp, under: Option<Mark>, flag: &Flag) -> bool {
    under.map_or(began >= flag.settled_at(), |mark| mark.version == flag.version)
}

/// When a change that was made then is obeyed by all, by the clock of the host that made it.
fn settled(made: Timestamp, flag: &Flag) -> Timestamp {
    later(made, Duration::from_secs(u64::from(flag.max_cache_seconds)))
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
