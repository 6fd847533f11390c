//! How long an earlier state of the flag may still be obeyed, also across processes of one host.
//!
//! It is measured by the monotonic clock, from when this host first saw what the flag says. A process that was killed in such
//! a wait leaves what it knew in the state file: that nobody obeys an earlier state any more, or by when, in time since the
//! machine was started. Where that cannot be told (another machine, another start, no such clock), the wait begins anew:
//! it is never longer than the cache, and the lead of hooks.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::clock::BootTime;
use crate::cutover::{Flag, Sights, dated_ahead};

/// A wait until applications obey what the flag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// For how long, by the monotonic clock.
    pub left: Duration,
    /// By how much the change is dated ahead of this host's clock: the clocks of the hosts differ, or it is being made now.
    pub ahead: Option<Duration>,
    /// The time of this host's clock.
    pub now: Timestamp,
}

impl Wait {
    /// For so long, under this flag.
    pub fn of(left: Duration, flag: Option<&Flag>, now: Timestamp) -> Wait {
        Wait { left, ahead: flag.and_then(|flag| dated_ahead(flag, now)), now }
    }
}

/// How long an earlier state may still be obeyed, by this process's monotonic clock.
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
    /// The flag was read, and says this now.
    pub fn look(&mut self, flag: &Flag, lead: Duration) -> Duration {
        self.sights.look(flag, lead, self.began.elapsed())
    }

    /// This process made the flag say this.
    pub fn made(&mut self, flag: &Flag) {
        self.sights.made(flag, self.began.elapsed());
    }

    /// There is no flag.
    pub fn forget(&mut self) {
        self.sights.forget();
    }

    /// For how long an earlier state may still be obeyed.
    pub fn left(&self) -> Duration {
        self.sights.left(self.began.elapsed())
    }

    /// Goes on with what an earlier process knew of this flag, if that can be told.
    /// `now` is the time since this machine started.
    pub fn restore(&mut self, flag: &Flag, kept: &Json, now: Option<BootTime>) {
        if let Some(left) = left_by(kept, now) {
            self.sights.restore(flag, left, self.began.elapsed());
        }
    }

    /// What a later process of this host goes on with.
    /// `now` is the time since this machine started.
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

/// Rounded up, so that no wait gets shorter by being kept.
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

    /// A wait that was killed goes on where it was, on the same machine, and begins anew anywhere else.
    #[test]
    fn a_wait_survives_its_process() {
        let second = Duration::from_secs;
        let half = kept(second(30), boot("a", 100));
        assert_eq!(left_by(&half, boot("a", 110)), Some(second(20)));
        assert_eq!(left_by(&half, boot("a", 500)), Some(Duration::ZERO));
        assert_eq!(left_by(&half, boot("b", 110)), None, "the machine was started anew, or is another one");
        assert_eq!(left_by(&half, None), None);
        assert_eq!(left_by(&kept(second(30), None), boot("a", 110)), None);
        assert_eq!(left_by(&kept(Duration::ZERO, None), boot("b", 1)), Some(Duration::ZERO), "what is over stays so");
        assert_eq!(left_by(&Json::Null, boot("a", 1)), None, "an older version kept none of it");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_tells_how_long_it_has_been_up() {
        let (one, other) = (boot_time().unwrap(), boot_time().unwrap());
        assert!(
            one.boot == other.boot && !one.boot.is_empty() && one.since > Duration::ZERO && one.since <= other.since
        );
    }
}
