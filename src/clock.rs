//! The clocks. The wall clock: timestamps for what is stored and shown, and the time of the day for deadlines and windows.
//! The time since the machine was started, which nobody sets, and which goes on while it sleeps: for what outlives a
//! process. Waiting is always `tokio::time`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Gives the time now. It is an argument, so that a test has its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock. It may jump, and it goes on while the machine sleeps.
pub fn wall() -> Clock {
    Arc::new(Timestamp::now)
}

/// A moment of a machine's life, comparable across its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// Which start of which machine.
    pub boot: String,
    /// The time since.
    pub since: Duration,
}

/// The time since this machine was started; none where the system does not tell (it is Linux that does).
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
