//! Wall-clock timestamps for what is stored and shown. Waiting is always `tokio::time`.

use jiff::Timestamp;

/// The time now, to the second, as it is stored: RFC 3339 in UTC.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
