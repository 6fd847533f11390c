//! How long applications may still obey an earlier state of the flag. Processes on the same host share this knowledge.
//!
//! A monotonic clock measures the wait, from the moment when this host first saw the flag's current state. The state
//! file records either that the wait is over, or when it ends, as a time since the machine started. So a later process
//! can continue the wait after a kill. If the record cannot be used (another machine, a reboot, or no such clock), the
//! wait begins anew. The wait is never longer than the cache time plus the lead of hooks.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::clock::BootTime;
use crate::cutover::{Flag, Sights, dated_ahead};

/// A wait until applications obey the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The remaining time of the wait, by the monotonic clock.
    pub left: Duration,
    /// How far the flag's last change is dated ahead of this host's clock, if it is. Either the clocks of the hosts
    /// differ, or somebody is making the change now.
    pub ahead: Option<Duration>,
    /// The current time of this host's clock.
    pub now: Timestamp,
}

impl Wait {
    /// A wait of this length, under this flag.
    pub fn of(left: Duration, flag: Option<&Flag>, now: Timestamp) -> Wait {
        Wait { left, ahead: flag.and_then(|flag| dated_ahead(flag, now)), now }
    }
}

/// Tracks how long applications may still obey an earlier state of the flag, by this process's monotonic clock.
#[derive(Debug, Clone)]
pub struct Watched {
    sights: Sights,
    began: Instant,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched { sights: Sights::default(), began: Instant::now() }
    }
}

impl Watched {
    /// Notes that the flag was read and has this state. Returns how long applications may still obey an earlier state.
    pub fn look(&mut self, flag: &Flag, lead: Duration) -> Duration {
        self.sights.look(flag, lead, self.began.elapsed())
    }

    /// Notes that this process changed the flag to this state.
    pub fn made(&mut self, flag: &Flag) {
        self.sights.made(flag, self.began.elapsed());
    }

    /// Notes that the flag does not exist.
    pub fn forget(&mut self) {
        self.sights.forget();
    }

    /// How long applications may still obey an earlier state of the flag.
    pub fn left(&self) -> Duration {
        self.sights.left(self.began.elapsed())
    }

    /// Continues the wait that an earlier process recorded for this flag, if that is possible. `now` is the time since
    /// this machine started.
    pub fn restore(&mut self, flag: &Flag, kept: &Json, now: Option<BootTime>) {
        if let Some(left) = left_by(kept, now) {
            self.sights.restore(flag, left, self.began.elapsed());
        }
    }

    /// The knowledge that a later process of this host needs to continue the wait. `now` is the time since this machine
    /// started.
    pub fn to_json(&self, now: Option<BootTime>) -> Json {
        kept(self.left(), now)
    }
}

fn kept(left: Duration, boot: Option<BootTime>) -> Json {
    match boot {
        _ if left.is_zero() => json!({ "settled": true }),
        Some(BootTime { boot, since }) => json!({ "boot": boot, "settles_ms": millis(since + left) }),
        None => Json::Null,
    }
}

fn left_by(kept: &Json, boot: Option<BootTime>) -> Option<Duration> {
    if kept["settled"] == true {
        return Some(Duration::ZERO);
    }
    let now = boot.filter(|now| kept["boot"] == now.boot.as_str())?;
    Some(Duration::from_millis(kept["settles_ms"].as_u64()?).saturating_sub(now.since))
}

/// Rounds up, so that storing a wait never shortens it.
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

    /// An interrupted wait continues on the same machine, and begins anew anywhere else.
    #[test]
    fn a_wait_survives_its_process() {
        let second = Duration::from_secs;
        let half = kept(second(30), boot("a", 100));
        assert_eq!(left_by(&half, boot("a", 110)), Some(second(20)));
        assert_eq!(left_by(&half, boot("a", 500)), Some(Duration::ZERO));
        assert_eq!(left_by(&half, boot("b", 110)), None, "the wait begins anew after a reboot, or on another machine");
        assert_eq!(left_by(&half, None), None);
        assert_eq!(left_by(&kept(second(30), None), boot("a", 110)), None);
        assert_eq!(
            left_by(&kept(Duration::ZERO, None), boot("b", 1)),
            Some(Duration::ZERO),
            "a finished wait stays finished"
        );
        assert_eq!(left_by(&Json::Null, boot("a", 1)), None, "an older version stored nothing");
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
