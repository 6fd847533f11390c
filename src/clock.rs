//! Clocks. The wall clock provides timestamps for storage and display, and the time of day for deadlines and work
//! windows. The boot clock measures durations that span a restart of the process. It counts the time since the machine
//! started, so nobody can set it, and it continues while the machine sleeps. All code that waits uses `tokio::time`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A function that returns the current time. Code takes this function as an argument, so that a test can use its own
/// clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Returns the machine's wall clock. This clock may jump, and it continues while the machine sleeps.
pub fn wall_clock() -> Clock {
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

/// A function that returns the current moment. Code takes this function as an argument, so that a test can use its own
/// clocks.
pub type MomentClock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Returns moments from the machine's own clocks.
pub fn moments() -> MomentClock {
    Arc::new(|| Moment { monotonic: Instant::now(), wall: Timestamp::now() })
}

impl Moment {
    /// Returns the time since an earlier moment. Each clock measures this time, and the function returns the longer
    /// measurement. The result therefore includes the time during which the machine slept. If somebody sets the wall
    /// clock forward, the result is too long. This only causes an unnecessary check.
    pub fn since(self, earlier: Moment) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

/// A point in time, measured since the machine started. All processes on the machine can compare such points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// The boot ID, which is different after each start of the machine.
    pub boot: String,
    /// The time since the machine started.
    pub since: Duration,
}

/// Returns the time since this machine started, from files in `/proc`. Returns `None` if these files do not exist. Only
/// Linux has them.
pub fn boot_time() -> Option<BootTime> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let since = Duration::try_from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?).ok()?;
    Some(BootTime { boot, since })
}

/// Returns the current time as text for storage: RFC 3339 in UTC, with a precision of one second.
pub fn now() -> String {
    to_text(Timestamp::now())
}

/// Formats a time for storage and display: RFC 3339 in UTC, with a precision of one second.
pub fn to_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
