//! The clocks. The wall clock: timestamps for what is stored and shown, and the time of the day for deadlines and windows.
//! The time since the machine was started, which nobody sets, and which goes on while it sleeps: for what outlives a
//! process. Waiting is always `tokio::time`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Gives the time now. It is an argument, so that a test has its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock. It may jump, and it goes on while the machine sleeps.
pub fn wall() -> Clock {
    Arc::new(Timestamp::now)
}

/// A moment, by both clocks of this process.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the monotonic clock: nobody sets it, and it may stand still while the machine sleeps.
    pub monotonic: Instant,
    /// By the wall clock: it goes on while the machine sleeps, and may be set.
    pub wall: Timestamp,
}

/// Gives the moment now. It is an argument, so that a test has its own.
pub type Moments = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The machine's own clocks.
pub fn moments() -> Moments {
    Arc::new(|| Moment { monotonic: Instant::now(), wall: Timestamp::now() })
}

impl Moment {
    /// The time since an earlier moment, by the clock that shows more of it. So a sleep of the machine is never missed; a wall
    /// clock that is set forward looks like one, which costs no more than to make sure again.
    pub fn since(self, earlier: Moment) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

/// A moment of a machine's life, comparable across its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// Identifies one start of one machine.
    pub boot: String,
    /// The time since.
    pub since: Duration,
}

/// The time since this machine started; `None` on systems that do not report it (only Linux does).
pub fn boot_time() -> Option<BootTime> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let since = Duration::try_from_secs_f64(uptime.split_whitespace().next()?.parse().ok()?).ok()?;
    Some(BootTime { boot, since })
}

/// The time now, to the second, as it is stored: RFC 3339 in UTC.
pub fn now() -> String {
    to_text(Timestamp::now())
}

/// A time as it is stored and shown: RFC 3339 in UTC, to the second.
pub fn to_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
