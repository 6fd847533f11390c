//! Points in time, with a precision of nanoseconds.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// The epoch, from which seconds are counted: 1970-01-01 00:00 in UTC.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time in the years -9999 to 9999 (UTC). It holds the number of nanoseconds since 1970.
///
/// `jiff::Timestamp` ends about a day before the end of the year 9999. This type includes that day, because the last
/// second of the year 9999 often means "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(i128);

impl Moment {
    /// Returns the moment that is this number of nanoseconds after the epoch, or `None` if it is out of range.
    pub(super) fn from_nanoseconds(nanoseconds: i128) -> Option<Moment> {
        utc(nanoseconds).map(|_| Moment(nanoseconds))
    }

    /// Returns the moment of a local time at an offset from UTC, or `None` if it is out of range.
    pub(super) fn from_local(local: DateTime, offset: Offset) -> Option<Moment> {
        let nanoseconds = local.duration_since(EPOCH).as_nanos() - i128::from(offset.seconds()) * 1_000_000_000;
        Moment::from_nanoseconds(nanoseconds)
    }

    pub(super) fn nanoseconds(self) -> i128 {
        self.0
    }

    /// Returns the local time in a time zone, and the zone's offset from UTC at that moment. Returns `None` if the
    /// local time is not in the years -9999 to 9999.
    pub(super) fn local(self, zone: &TimeZone) -> Option<(DateTime, Offset)> {
        // `Timestamp` lacks about a day at each end of the range. No zone changes its offset on these days.
        let (min, max) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let offset = zone.to_offset(Timestamp::from_nanosecond(self.0.clamp(min, max)).ok()?);
        let local = utc(self.0)?.checked_add(SignedDuration::from_secs(offset.seconds().into())).ok()?;
        Some((local, offset))
    }
}

fn utc(nanoseconds: i128) -> Option<DateTime> {
    EPOCH.checked_add(SignedDuration::try_from_nanos_i128(nanoseconds)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_until_the_year_9999_ends_is_in_range() {
        let last = 253_402_300_799_i128 * 1_000_000_000;
        let moment = Moment::from_nanoseconds(last).unwrap();
        let (local, _) = moment.local(&TimeZone::UTC).unwrap();
        assert_eq!(local.to_string(), "9999-12-31T23:59:59");
        assert_eq!(Moment::from_local(local, Offset::UTC), Some(moment));
        assert_eq!(moment.local(&TimeZone::fixed(Offset::constant(1))), None);
        assert_eq!(Moment::from_local(local, Offset::constant(-1)), None);
        assert_eq!(Moment::from_nanoseconds(last + 1_000_000_000), None);
        assert_eq!(Moment::from_nanoseconds(i128::MAX), None);
        assert_eq!(Moment::from_nanoseconds(i128::MIN), None);
        let first = Moment::from_local(DateTime::MIN, Offset::UTC).unwrap();
        assert_eq!(first.local(&TimeZone::UTC).unwrap().0, DateTime::MIN);
        assert_eq!(Moment::from_nanoseconds(first.nanoseconds() - 1), None);
    }

    #[test]
    fn moments_agree_with_timestamps() {
        for text in [
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "2024-02-29T12:00:00.5Z",
            "-000001-03-01T00:00:00Z",
        ] {
            let time: Timestamp = text.parse().unwrap();
            let moment = Moment::from_nanoseconds(time.as_nanosecond()).unwrap();
            assert_eq!(moment.local(&TimeZone::UTC).unwrap().0, Offset::UTC.to_datetime(time), "{text}");
            assert_eq!(Moment::from_local(Offset::UTC.to_datetime(time), Offset::UTC), Some(moment), "{text}");
        }
    }
}
