//! Calculates when a daily window is open. This module is pure. The caller passes the time.

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use crate::plan::Window;

/// Number of following days that are searched for the next opening or closing. Each day has one opening and one
/// closing, with two exceptions. A clock change can skip the whole window, and one time zone once skipped a whole day
/// (Samoa, 2011-12-30).
const DAYS_AHEAD: usize = 4;

/// Number of previous days that are searched for an opening. Previous days are necessary because a window can include
/// midnight, and some days are longer than others.
const DAYS_BACK: usize = 2;

impl Window {
    /// Returns whether the window is open at this moment. The window is already open at its opening time, and already
    /// closed at its closing time.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.days_around(at).any(|(opens, closes)| opens <= at && at < closes)
    }

    /// If the window is closed, returns the next time at which it opens. If it is open, returns the next time at which
    /// it closes. Returns `None` if the state of the window never changes.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let open = self.is_open(after);
        let mut changes: Vec<Timestamp> = self.days_around(after).flat_map(|(opens, closes)| [opens, closes]).collect();
        changes.sort();
        // The windows of two days can touch, or overlap if a day is skipped. In this case, the window stays open when
        // the first one ends.
        changes.into_iter().find(|change| *change > after && self.is_open(*change) != open)
    }

    /// Returns the opening and closing times of the current day and of some days before and after it.
    fn days_around(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        let today = self.zone.to_datetime(at).date();
        let first = (0..DAYS_BACK).fold(today, |day, _| day.yesterday().unwrap_or(day));
        first.series(jiff::Span::new().days(1)).take(DAYS_BACK + 1 + DAYS_AHEAD).filter_map(|day| {
            let last = if self.closes <= self.opens { day.tomorrow().ok()? } else { day };
            Some((self.moment(day, self.opens)?, self.moment(last, self.closes)?))
        })
    }

    /// Converts a local time to a moment. If a clock change skips the local time, the time is converted as if the
    /// clocks had not yet changed. If the local time occurs twice, it is converted to the first occurrence.
    fn moment(&self, day: Date, time: Time) -> Option<Timestamp> {
        self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;
    use jiff::{SignedDuration, ToSpan};
    use proptest::prelude::*;

    use super::*;

    fn window(opens: &str, closes: &str, zone: &str) -> Window {
        Window {
            opens: opens.parse().unwrap(),
            closes: closes.parse().unwrap(),
            zone: TimeZoneDatabase::bundled().get(zone).unwrap(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_crosses_midnight() {
        let night = window("22:00", "06:00", "Europe/Paris");
        for (time, open, next) in [
            ("2026-01-10T20:59:59Z", false, "2026-01-10T21:00:00Z"),
            ("2026-01-10T21:00:00Z", true, "2026-01-11T05:00:00Z"),
            ("2026-01-11T03:00:00Z", true, "2026-01-11T05:00:00Z"),
            ("2026-01-11T05:00:00Z", false, "2026-01-11T21:00:00Z"),
            // In summer, the time zone is two hours ahead of UTC.
            ("2026-07-10T19:59:59Z", false, "2026-07-10T20:00:00Z"),
        ] {
            assert_eq!((night.is_open(at(time)), night.next_change(at(time))), (open, Some(at(next))), "{time}");
        }
    }

    /// In Paris, 02:00 becomes 03:00 on 2026-03-29, and 03:00 becomes 02:00 on 2026-10-25.
    #[test]
    fn the_clocks_change_within_a_window() {
        let night = window("22:00", "06:00", "Europe/Paris");
        let length = |evening: &str| night.next_change(at(evening)).unwrap().duration_since(at(evening));
        assert_eq!(length("2026-03-28T21:00:00Z"), SignedDuration::from_hours(7));
        assert_eq!(length("2026-10-24T20:00:00Z"), SignedDuration::from_hours(9));
        // The opening time does not exist on this day. It is converted as if the clocks had not yet changed.
        let early = window("02:30", "05:00", "Europe/Paris");
        assert_eq!(early.next_change(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
        // The opening time occurs twice on this day. The window opens at the first occurrence and does not close in
        // between.
        assert_eq!(early.next_change(at("2026-10-25T00:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(early.next_change(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T04:00:00Z")));
        // If the clock change skips the whole window, the window opens a day later.
        let brief = window("02:50", "03:20", "Europe/Paris");
        assert_eq!(brief.next_change(at("2026-03-28T12:00:00Z")), Some(at("2026-03-30T00:50:00Z")));
    }

    #[test]
    fn a_skipped_day_is_ignored() {
        let noon = window("11:00", "13:00", "Pacific/Apia");
        let mut now = at("2011-12-29T12:00:00Z");
        for _ in 0..6 {
            let next = noon.next_change(now).unwrap();
            assert!(next > now && noon.is_open(next) != noon.is_open(now));
            now = next;
        }
    }

    #[test]
    fn a_window_that_closes_when_it_opens_is_always_open() {
        let always = window("09:00", "09:00", "UTC");
        assert!(always.is_open(at("2026-01-01T08:59:59Z")) && always.is_open(at("2026-01-01T09:00:00Z")));
        assert_eq!(always.next_change(at("2026-01-01T08:59:59Z")), None);
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let zones = [
            "UTC",
            "Europe/Paris",
            "America/New_York",
            "America/Santiago",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Africa/Casablanca",
            "Pacific/Apia",
        ];
        let time = || (0_i8..24, 0_i8..60).prop_map(|(hour, minute)| Time::new(hour, minute, 0, 0).unwrap());
        (time(), time(), prop::sample::select(zones.to_vec()))
            .prop_filter("a window has a length", |(opens, closes, _)| opens != closes)
            .prop_map(|(opens, closes, zone)| Window {
                opens,
                closes,
                zone: TimeZoneDatabase::bundled().get(zone).unwrap(),
            })
    }

    /// Returns a random second from 2009 to 2027. All seconds are equally likely. Some of them are on days with a clock
    /// change.
    fn any_moment() -> impl Strategy<Value = Timestamp> {
        (1_230_768_000_i64..1_798_761_600).prop_map(|second| Timestamp::from_second(second).unwrap())
    }

    proptest! {
        /// Until its next change, a window keeps its state. At this change, it changes to the opposite state.
        #[test]
        fn a_window_does_not_change_before_its_next_change(
            window in any_window(), now in any_moment(), part in 0.0_f64..1.0,
        ) {
            let next = window.next_change(now).unwrap();
            prop_assert!(next > now);
            let between = now + (next.duration_since(now)).mul_f64_floor(part);
            prop_assert_eq!(window.is_open(between), window.is_open(now), "{} of {}..{}", between, now, next);
            prop_assert_eq!(window.is_open(next), !window.is_open(now));
            prop_assert_eq!(window.is_open(next - 1.second()), window.is_open(now));
        }

        /// If no clock change occurs within two days before and after a moment, only the local time determines whether
        /// the window is open.
        #[test]
        fn without_a_clock_change_the_local_time_decides(window in any_window(), now in any_moment()) {
            let offset = |time: Timestamp| window.zone.to_offset(time);
            let around = [now - 48.hours(), now + 48.hours()];
            prop_assume!(around.iter().all(|time| offset(*time) == offset(now)));
            let time = window.zone.to_datetime(now).time();
            let open = if window.opens < window.closes {
                window.opens <= time && time < window.closes
            } else {
                window.opens <= time || time < window.closes
            };
            prop_assert_eq!(window.is_open(now), open);
        }
    }

    trait DurationFraction {
        fn mul_f64_floor(self, by: f64) -> SignedDuration;
    }

    impl DurationFraction for SignedDuration {
        /// Returns the fraction `by` of a duration, in whole seconds.
        fn mul_f64_floor(self, by: f64) -> SignedDuration {
            SignedDuration::from_secs((self.as_secs_f64() * by) as i64)
        }
    }
}
