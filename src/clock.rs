//! Clocks. The wall clock gives timestamps for storage and display, and the time of day for deadlines and windows.
//! Values that outlive a process use the time since the machine started. Nobody can set this time, and it continues
//! while the machine sleeps. Waiting always uses `tokio::time`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A function that returns the current time. Code takes it as an argument, so that a test can use its own clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's wall clock. It may jump, and it continues while the machine sleeps.
pub fn wall() -> Clock {
    Arc::new(Timestamp::now)
}

/// One moment, measured by both clocks of this process.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time of the monotonic clock. Nobody can set this clock, and it may stop while the machine sleeps.
    pub monotonic: Instant,
    /// The time of the wall clock. This clock continues while the machine sleeps, and it can be set.
    pub wall: Timestamp,
}

/// A function that returns the current moment. Code takes it as an argument, so that a test can use its own clocks.
pub type Moments = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Returns moments from the machine's own clocks.
pub fn moments() -> Moments {
    Arc::new(|| Moment { monotonic: Instant::now(), wall: Timestamp::now() })
}

impl Moment {
    /// The time since an earlier moment, by the clock that measured more time. A sleep of the machine is therefore
    /// never missed. If somebody sets the wall clock forward, that looks like a sleep and only causes an unnecessary
    /// check.
    pub fn since(self, earlier: Moment) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

/// A time since the machine started. All processes of the machine can compare such times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// Identifies one start of one machine.
    pub boot: String,
    /// The time since the machine started.
    pub since: Duration,
}

/// The time since this machine started; `None` on systems that do not report it (only Linux does).
pub fn boot_time() -> Option<BootTime> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let since = Duration::try_from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?).ok()?;
    Some(BootTime { boot, since })
}

/// The current time as it is stored: RFC 3339 in UTC, to the second.
pub fn now() -> String {
    to_text(Timestamp::now())
}

/// A time as it is stored and shown: RFC 3339 in UTC, to the second.
pub fn to_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
