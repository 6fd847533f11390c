//! Distinguishes a wrong clock from bad credentials. DynamoDB refuses a signature if the signature's time differs too
//! much from DynamoDB's clock.

use std::time::SystemTime;

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};

/// Two clocks that differ by less than this number of seconds are treated as equal. DynamoDB accepts a difference of at
/// least five minutes. So if the clocks are equal but DynamoDB reports an expired signature, the request was sent long
/// after it was signed. For example, the machine may have slept in between.
const TOLERATED_SKEW_SECS: i64 = 180;

/// The cause of a refused signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skew {
    /// The clocks differ, according to the time in the reply or to DynamoDB's error message. The text describes the
    /// difference.
    Differs(String),
    /// The clocks are equal, so the request was sent too long after it was signed.
    Late,
}

/// Determines why a signature was refused. Returns `None` if the error is not about the signature's time. `date` is the
/// reply's `Date` header, and `now` is this host's time.
pub(super) fn skew(code: &str, message: &str, date: Option<&str>, now: SystemTime) -> Option<Skew> {
    let is_about_time = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"].contains(&code)
        || ["Signature expired", "Signature not yet current"].iter().any(|text| message.contains(text));
    if !is_about_time {
        return None;
    }
    let server_time = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
    let Some(server_time) = server_time else {
        return Some(Skew::Differs("DynamoDB says that the clock of this host differs from its own".to_owned()));
    };
    let host_time = DateTime::from(now);
    let ahead = host_time.secs() - server_time.secs();
    if ahead.abs() < TOLERATED_SKEW_SECS {
        return Some(Skew::Late);
    }
    let minutes = ahead.abs() / 60;
    let seconds = ahead.abs() % 60;
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    let text = |time: DateTime| DateTime::from_secs(time.secs()).fmt(DateTimeFormat::DateTime).unwrap_or_default();
    let host_time = text(host_time);
    let server_time = text(server_time);
    Some(Skew::Differs(format!(
        "the clock of this host is {minutes} min {seconds} s {direction} DynamoDB's: here it is {host_time}, there {server_time}"
    )))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

    fn at(seconds: i64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs((1_767_225_600 + seconds) as u64)
    }

    #[test]
    fn a_wrong_clock_a_late_request_and_a_bad_signature_are_distinguished() {
        let expired = |seconds| skew("InvalidSignatureException", "Signature expired: 2026…", Some(DATE), at(seconds));
        let Some(Skew::Differs(behind)) = expired(-3_600) else { panic!("an hour behind") };
        assert!(behind.contains("60 min 0 s behind DynamoDB's: here it is 2025-12-31T23:00:00Z"), "{behind}");
        let Some(Skew::Differs(ahead)) = expired(600) else { panic!("ten minutes ahead") };
        assert!(ahead.contains("ahead of DynamoDB's") && ahead.contains("there 2026-01-01T00:00:00Z"), "{ahead}");
        assert_eq!(expired(TOLERATED_SKEW_SECS - 1), Some(Skew::Late));
        assert_eq!(expired(1 - TOLERATED_SKEW_SECS), Some(Skew::Late));
        let undated = skew("RequestTimeTooSkewed", "", None, at(0));
        assert!(matches!(undated, Some(Skew::Differs(text)) if text.contains("differs from its own")));
        assert_eq!(skew("InvalidSignatureException", "The signature does not match", Some(DATE), at(900)), None);
        assert_eq!(skew("ExpiredTokenException", "The security token is expired", Some(DATE), at(900)), None);
    }
}
