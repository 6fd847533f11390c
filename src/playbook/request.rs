//! The arguments of a step, and the time checks that several commands share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Goal, Mark, MigrationState, StepContext, VerifyScope};
use crate::cutover::Flag;

/// The arguments of [`step`](super::step()).
pub(super) struct StepRequest<'a> {
    pub(super) state: &'a MigrationState,
    pub(super) context: &'a StepContext<'a>,
    pub(super) goal: Goal,
    pub(super) now: Timestamp,
}

/// The goal of the command that repairs mismatches.
pub(super) const REPAIR: Goal = Goal::Verify { scope: VerifyScope::Full, repair: true };

/// Returns whether a phase began during the current, unbroken period of dual writes. The phase began at the time
/// `began`, when the flag had the state `flag_mark`.
pub(super) fn began_in_dual_writes(began: Timestamp, flag_mark: Option<Mark>, flag: &Flag, now: Timestamp) -> bool {
    let Some(since) = flag.dual_since else { return false };
    // An event has no mark if it comes from an earlier version, or if the plan has no flag and the operator states the
    // times.
    flag_mark.map_or(began >= caches_expired_at(since, flag).min(now), |mark| mark.dual_since == Some(since))
}

/// Returns whether a phase began after every application obeyed the flag's last change. The phase began at the time
/// `began`, when the flag had the state `flag_mark`.
pub(super) fn began_under(began: Timestamp, flag_mark: Option<Mark>, flag: &Flag) -> bool {
    flag_mark.map_or(began >= flag.settled_at(), |mark| mark.version == flag.version)
}

/// Returns the time by which every application obeys a change that was made at `made`. Both times come from the clock
/// of the host that made the change.
fn caches_expired_at(made: Timestamp, flag: &Flag) -> Timestamp {
    add_saturating(made, Duration::from_secs(u64::from(flag.max_cache_seconds)))
}

/// Rounds a time up to a whole second. People and scripts see whole seconds, and the command must be allowed at the
/// displayed time.
pub(super) fn round_up(time: Timestamp) -> Timestamp {
    let later = add_saturating(time, Duration::from_nanos(999_999_999));
    Timestamp::from_second(later.as_second()).unwrap_or(later)
}

pub(super) fn add_saturating(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rounded_time_is_a_whole_second_and_never_earlier(seconds in 0_i64..4_000_000_000, nanos in 0_i32..1_000_000_000) {
            let time = Timestamp::new(seconds, nanos).unwrap();
            let rounded = round_up(time);
            prop_assert!(rounded >= time && rounded.as_second() - seconds <= 1);
            prop_assert_eq!(rounded.subsec_nanosecond(), 0);
        }
    }
}
