//! Tracks how long applications may still obey an earlier state of the flag. The processes of a host share this
//! information through the state file.
//!
//! The wait begins when this host first sees the flag's current state, and a monotonic clock measures it. The state
//! file records either that the wait is over, or the time at which it ends. This time is measured from the machine's
//! boot, so that a later process can continue the wait after a kill. The recorded time is useless on another machine,
//! after a reboot, or if the machine cannot measure the time since boot. In these cases, the wait starts over. The wait
//! is never longer than the cache time plus the propagation delay of hooks.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::clock::BootTime;
use crate::cutover::{CacheExpiry, Flag, WriteTo, time_ahead};
use crate::playbook::{CutoverTarget, Goal};

/// A wait until all applications obey the current state of the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The remaining time of the wait, on the monotonic clock.
    pub left: Duration,
    /// The difference by which the recorded time of the flag's last change is ahead of this host's clock. `None` if it
    /// is not ahead. If the time is ahead, the clocks of the hosts differ, or somebody is making the change right now.
    pub ahead: Option<Duration>,
    /// The current time on this host's clock.
    pub now: Timestamp,
    /// Whether the command changes the flag after this wait. If not, the wait follows the last change of the flag.
    pub is_before_change: bool,
}

impl Wait {
    /// Creates a wait of this length for the flag.
    pub fn new(left: Duration, flag: Option<&Flag>, now: Timestamp) -> Wait {
        Wait { left, ahead: flag.and_then(|flag| time_ahead(flag, now)), now, is_before_change: false }
    }

    /// Marks the wait as a wait before a change of the flag, if a command with this goal still has to change it.
    #[must_use]
    pub(super) fn before_goal(self, goal: Goal, flag: Option<&Flag>) -> Wait {
        let is_before_change = flag.is_some_and(|flag| match goal {
            Goal::CutoverTo(CutoverTarget::DualWrite) => flag.write == WriteTo::Old,
            Goal::CutoverTo(CutoverTarget::ReadNew(percent)) => flag.read_percent != percent,
            Goal::CutoverTo(CutoverTarget::WriteNew) => flag.write != WriteTo::New,
            Goal::Contract => !flag.contracting,
            Goal::Run { .. } | Goal::FailuresRetry | Goal::Verify { .. } | Goal::Back { .. } | Goal::Rollback => false,
        });
        Wait { is_before_change, ..self }
    }
}

/// Tracks how long applications may still obey an earlier state of the flag. Uses the monotonic clock of this process.
#[derive(Debug, Clone)]
pub struct FlagTracker {
    cache_expiry: CacheExpiry,
    began: Instant,
}

impl Default for FlagTracker {
    fn default() -> FlagTracker {
        FlagTracker { cache_expiry: CacheExpiry::default(), began: Instant::now() }
    }
}

impl FlagTracker {
    /// Call this method after every read of the flag. Returns the remaining time for which applications may still obey
    /// an earlier state of the flag.
    pub fn observe(&mut self, flag: &Flag, propagation_delay: Duration) -> Duration {
        self.cache_expiry.observe(flag, propagation_delay, self.began.elapsed())
    }

    /// Call this method after this process has changed the flag to this state.
    pub fn record_change(&mut self, flag: &Flag) {
        self.cache_expiry.record_change(flag, self.began.elapsed());
    }

    /// Call this method if a read shows that the flag does not exist.
    pub fn forget(&mut self) {
        self.cache_expiry.forget();
    }

    /// Returns the remaining time for which applications may still obey an earlier state of the flag.
    pub fn left(&self) -> Duration {
        self.cache_expiry.left(self.began.elapsed())
    }

    /// Continues the wait that an earlier process recorded for this flag, if this is possible. `now` is the time since
    /// this machine booted.
    pub fn restore(&mut self, flag: &Flag, wait_record: &Json, now: Option<BootTime>) {
        if let Some(left) = remaining_wait(wait_record, now) {
            self.cache_expiry.restore(flag, left, self.began.elapsed());
        }
    }

    /// Returns a record that allows a later process on this host to continue the wait. `now` is the time since this
    /// machine booted.
    pub fn to_json(&self, now: Option<BootTime>) -> Json {
        wait_record(self.left(), now)
    }
}

fn wait_record(left: Duration, boot: Option<BootTime>) -> Json {
    match boot {
        _ if left.is_zero() => json!({ "settled": true }),
        Some(BootTime { boot, since }) => json!({ "boot": boot, "settles_ms": millis(since + left) }),
        None => Json::Null,
    }
}

fn remaining_wait(wait_record: &Json, boot: Option<BootTime>) -> Option<Duration> {
    if wait_record["settled"] == true {
        return Some(Duration::ZERO);
    }
    let now = boot.filter(|now| wait_record["boot"] == now.boot.as_str())?;
    Some(Duration::from_millis(wait_record["settles_ms"].as_u64()?).saturating_sub(now.since))
}

/// Converts to milliseconds. Rounds up, so that the stored wait is never shorter than the real wait.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::clock::boot_time;

    fn boot(boot: &str, seconds: u64) -> Option<BootTime> {
        Some(BootTime { boot: boot.to_owned(), since: Duration::from_secs(seconds) })
    }

    /// An interrupted wait continues on the same machine. On another machine, the wait starts over.
    #[test]
    fn a_wait_survives_its_process() {
        let second = Duration::from_secs;
        let half = wait_record(second(30), boot("a", 100));
        assert_eq!(remaining_wait(&half, boot("a", 110)), Some(second(20)));
        assert_eq!(remaining_wait(&half, boot("a", 500)), Some(Duration::ZERO));
        assert_eq!(
            remaining_wait(&half, boot("b", 110)),
            None,
            "the wait must start over after a reboot, or on another machine"
        );
        assert_eq!(remaining_wait(&half, None), None);
        assert_eq!(remaining_wait(&wait_record(second(30), None), boot("a", 110)), None);
        assert_eq!(
            remaining_wait(&wait_record(Duration::ZERO, None), boot("b", 1)),
            Some(Duration::ZERO),
            "a finished wait must stay finished"
        );
        assert_eq!(remaining_wait(&Json::Null, boot("a", 1)), None, "an older version stored nothing");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_knows_its_uptime() {
        let one = boot_time().unwrap();
        let other = boot_time().unwrap();
        assert!(
            one.boot == other.boot && !one.boot.is_empty() && one.since > Duration::ZERO && one.since <= other.since
        );
    }
}
