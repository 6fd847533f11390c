//! The wall clock: timestamps for what is stored and shown, and the time of the day for deadlines and windows. Waiting is
//! always `tokio::time`.

use std::sync::Arc;

use jiff::Timestamp;

/// Gives the time now. It is an argument, so that a test has its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock. It may jump, and it goes on while the machine sleeps.
pub fn wall() -> Clock {
    Arc::new(Timestamp::now)
}

/// The time now, to the second, as it is stored: RFC 3339 in UTC.
pub fn now() -> String {
    to_text(Timestamp::now())
}

/// A time as it is stored and shown: RFC 3339 in UTC, to the second.
pub fn to_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
