//! Tests of dates against jiff's own functions, and against the transitions of time zones.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, Zoned};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::Index;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// Returns one of the time zones of the database.
fn any_zone(index: Index) -> TimeZone {
    let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    zone(index.get(names.as_slice()).as_str())
}

fn formats(patterns: &[&str]) -> Vec<DateFormat> {
    let format = |pattern: &&str| match *pattern {
        "rfc3339" => DateFormat::Rfc3339,
        pattern => DateFormat::Pattern(Pattern::for_reading(pattern).unwrap()),
    };
    patterns.iter().map(format).collect()
}

fn read(patterns: &[&str], zone: Option<TimeZone>, text: &str) -> Result<String, NotComputable> {
    match EpochReader::new(EpochUnit::Seconds, formats(patterns), zone, false).read(text)? {
        Value::N(number) => Ok(number.as_str().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn write(format: &str, unit: EpochUnit, zone: TimeZone, number: &str) -> Result<String, NotComputable> {
    let format = match format {
        "rfc3339" => DateFormat::Rfc3339,
        pattern => DateFormat::Pattern(Pattern::for_writing(pattern).unwrap()),
    };
    match DateWriter::new(format, unit, zone).write(&Num::parse(number).unwrap())? {
        Value::S(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_of_a_listed_format_becomes_seconds() {
    let utc = || Some(TimeZone::UTC);
    for (format, text, seconds) in [
        ("%Y-%m-%d", "1970-01-01", "0"),
        ("%Y-%m-%d", "1969-12-31", "-86400"),
        ("%F", "2024-02-29", "1709164800"),
        ("%F", "9999-12-31", "253402214400"),
        ("%FT%T%z", "9999-12-31T23:59:59Z", "253402300799"),
        ("%d/%m/%Y", "29/02/2024", "1709164800"),
        ("%D", "02/29/24", "1709164800"),
        ("%D", "12/31/68", "3124137600"),
        ("%D", "01/01/69", "-31536000"),
        ("%Y-%j", "2024-060", "1709164800"),
        ("%Y%m%d%H%M%S", "20240229123456", "1709210096"),
        ("%-d %B %Y", "5 March 2024", "1709596800"),
        ("%-d %B %Y", "15 MARCH 2024", "1710460800"),
        ("%a %b %e %H:%M:%S %Y", "Thu Jan  1 00:00:01 1970", "1"),
        ("%a %b %e %H:%M:%S %Y", "sun dec 13 00:00:01 1970", "29894401"),
        ("%F %I:%M %p", "2024-02-29 12:00 AM", "1709164800"),
        ("%F %I:%M %p", "2024-02-29 12:00 pm", "1709208000"),
        ("%F %-I%P", "2024-02-29 1pm", "1709211600"),
        ("%F %T.%f", "2024-02-29 00:00:00.000", "1709164800"),
        ("%F %T%.f", "2024-02-29 00:00:00", "1709164800"),
        ("%FT%T%z", "2024-02-29T01:00:00+0100", "1709164800"),
        ("%FT%T%z", "2024-02-29T00:00:00Z", "1709164800"),
        ("%FT%T%:z", "2024-02-28T18:30:00-05:30", "1709164800"),
        ("%s", "1709164800", "1709164800"),
        ("%s", "-1", "-1"),
        ("100%% %F", "100% 2024-02-29", "1709164800"),
        ("rfc3339", "2024-02-29T00:00:00Z", "1709164800"),
        ("rfc3339", "2024-02-29t00:00:00.000000000z", "1709164800"),
        ("rfc3339", "2024-02-29T05:30:00+05:30", "1709164800"),
        ("rfc3339", "2024-02-29T00:00:00-00:00", "1709164800"),
    ] {
        assert_eq!(read(&[format], utc(), text).as_deref(), Ok(seconds), "{format} {text}");
    }
}

#[test]
fn a_text_of_another_form_is_refused() {
    for (format, texts) in [
        (
            "%Y-%m-%d",
            &[
                "",
                " 2024-02-29",
                "2024-02-29 ",
                "2024-02-29T00:00",
                "2024-2-29",
                "24-02-29",
                "2024-02-30",
                "2024-13-01",
                "2024-00-10",
                "02024-02-29",
                "+2024-02-29",
                "2024/02/29",
                "2024 -02-29",
                "2024-02",
                "２024-02-29",
                "2024-02-29\n",
            ][..],
        ),
        ("%-d/%-m/%Y", &["01/2/2024", "1/02/2024", "1/13/2024", "0/1/2024", "/1/2024", "1//2024"]),
        (
            "%F %H:%M",
            &[
                "2024-02-29 24:00",
                "2024-02-29 12:60",
                "2024-02-29  12:00",
                "2024-02-29T12:00",
                "2024-02-29 1:00",
                "2024-02-2912:00",
            ],
        ),
        (
            "%F %I:%M%p",
            &[
                "2024-02-29 00:00AM",
                "2024-02-29 13:00PM",
                "2024-02-29 12:00",
                "2024-02-29 12:00XM",
                "2024-02-29 12:00A",
            ],
        ),
        ("%a %F", &["Wed 2024-02-29", "Thursday 2024-02-29", "xyz 2024-02-29"]),
        ("%b %d %Y", &["February 29 2024", "Fe 29 2024", "29 02 2024", "Fév 29 2024"]),
        ("%e %b %Y", &["05 Mar 2024", "5 Mar 2024", "  5 Mar 2024", " 15 Mar 2024"]),
        ("%F %T.%3f", &["2024-02-29 00:00:00.00", "2024-02-29 00:00:00.0000", "2024-02-29 00:00:00"]),
        ("%F %T%.f", &["2024-02-29 00:00:00.", "2024-02-29 00:00:00.0000000000"]),
        ("%Y %j", &["2023 366", "2024 000", "2024 367", "2024 60"]),
        (
            "%F%z",
            &[
                "2024-02-29+2400",
                "2024-02-29+0060",
                "2024-02-29+01",
                "2024-02-29+01:00",
                "2024-02-29z",
                "2024-02-29 0100",
            ],
        ),
        ("%s", &["", "-", "+1", "01", "1.5", "1e3", "9999999999999", "999999999999"]),
        (
            "rfc3339",
            &[
                "2024-02-29",
                "2024-02-29 00:00:00Z",
                "2024-02-29T00:00:00",
                "2024-02-29T00:00Z",
                "2024-02-29T24:00:00Z",
                // A leap second has no number of its own.
                "2016-12-31T23:59:60Z",
                "2024-02-29T00:00:00.Z",
                "2024-02-29T00:00:00,5Z",
                "2024-02-29T00:00:00+0100",
                "2024-02-29T00:00:00+24:00",
                "2024-02-29T00:00:00Z[Europe/Paris]",
                "20240229T000000Z",
                "+002024-02-29T00:00:00Z",
                "2024-02-29T00:00:00+01:60",
            ],
        ),
    ] {
        for text in texts {
            let why = read(&[format], Some(TimeZone::UTC), text).unwrap_err();
            assert_eq!(why.reason(), "the text matches none of the formats in the plan", "{format} {text}");
        }
    }
}

#[test]
fn an_ambiguous_text_is_refused() {
    let days = ["%d/%m/%Y", "%m/%d/%Y"];
    for (text, seconds) in [
        ("13/04/2024", Some("1712966400")),
        ("04/13/2024", Some("1712966400")),
        ("04/04/2024", Some("1712188800")),
        ("03/04/2024", None),
    ] {
        let read = read(&days, Some(TimeZone::UTC), text);
        assert_eq!(read.as_deref().ok(), seconds, "{text}");
        assert!(read.is_ok() || read.unwrap_err().reason().starts_with("the text is ambiguous"));
    }
}

#[test]
fn a_local_time_that_exists_twice_or_never_is_refused() {
    let at = |zone_name: &str, text: &str| read(&["%F %H:%M", "%F"], Some(zone(zone_name)), text);
    for (zone, text, seconds) in [
        ("Europe/Paris", "2024-03-31 01:59", "1711846740"),
        ("Europe/Paris", "2024-03-31 03:00", "1711846800"),
        ("Europe/Paris", "2024-10-27 01:59", "1729987140"),
        ("Europe/Paris", "2024-10-27 03:00", "1729994400"),
        ("America/New_York", "2024-07-01", "1719806400"),
    ] {
        assert_eq!(at(zone, text).as_deref(), Ok(seconds), "{zone} {text}");
    }
    for (zone, text, why) in [
        (
            "Europe/Paris",
            "2024-03-31 02:00",
            "the local time does not exist in Europe/Paris, because the clocks went forward over it",
        ),
        (
            "Europe/Paris",
            "2024-03-31 02:59",
            "the local time does not exist in Europe/Paris, because the clocks went forward over it",
        ),
        (
            "Europe/Paris",
            "2024-10-27 02:00",
            "the local time exists twice in Europe/Paris, because the clocks went back over it",
        ),
        (
            "Europe/Paris",
            "2024-10-27 02:59",
            "the local time exists twice in Europe/Paris, because the clocks went back over it",
        ),
        // This day began at 01:00.
        (
            "America/Sao_Paulo",
            "2018-11-04",
            "the local time does not exist in America/Sao_Paulo, because the clocks went forward over it",
        ),
        // This day did not exist at all.
        (
            "Pacific/Apia",
            "2011-12-30",
            "the local time does not exist in Pacific/Apia, because the clocks went forward over it",
        ),
    ] {
        assert_eq!(at(zone, text).unwrap_err().reason(), why, "{zone} {text}");
    }
    let no_zone = read(&["%F"], None, "2024-01-01").unwrap_err();
    assert!(no_zone.reason().contains("no `zone`"), "{no_zone}");
}

#[test]
fn a_fraction_of_the_unit_is_refused_or_dropped() {
    let read = |unit, drop, text: &str| match EpochReader::new(unit, formats(&["rfc3339"]), None, drop).read(text) {
        Ok(Value::N(number)) => Some(number.as_str().to_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(why) => {
            assert!(why.reason().contains("`fraction = \"drop\"`"), "{why}");
            None
        }
    };
    let (seconds, milliseconds) = (EpochUnit::Seconds, EpochUnit::Milliseconds);
    for (text, exact_s, dropped_s, exact_ms, dropped_ms) in [
        ("1970-01-01T00:00:01Z", Some("1"), "1", Some("1000"), "1000"),
        ("1970-01-01T00:00:01.500Z", None, "1", Some("1500"), "1500"),
        ("1970-01-01T00:00:01.9999Z", None, "1", None, "1999"),
        ("1969-12-31T23:59:59.9999Z", None, "-1", None, "-1"),
    ] {
        assert_eq!(read(seconds, false, text).as_deref(), exact_s, "{text}");
        assert_eq!(read(seconds, true, text).as_deref(), Some(dropped_s), "{text}");
        assert_eq!(read(milliseconds, false, text).as_deref(), exact_ms, "{text}");
        assert_eq!(read(milliseconds, true, text).as_deref(), Some(dropped_ms), "{text}");
    }
}

#[test]
fn numbers_become_dates() {
    let (s, ms) = (EpochUnit::Seconds, EpochUnit::Milliseconds);
    for (format, unit, zone_name, number, text) in [
        ("rfc3339", s, "UTC", "0", "1970-01-01T00:00:00Z"),
        ("rfc3339", s, "UTC", "1E9", "2001-09-09T01:46:40Z"),
        ("rfc3339", s, "UTC", "-0.5", "1969-12-31T23:59:59.500Z"),
        ("rfc3339", s, "UTC", "1.0000001", "1970-01-01T00:00:01.000000100Z"),
        ("rfc3339", ms, "UTC", "0", "1970-01-01T00:00:00.000Z"),
        ("rfc3339", ms, "UTC", "1709164800123", "2024-02-29T00:00:00.123Z"),
        ("rfc3339", ms, "UTC", "1709164800123.25", "2024-02-29T00:00:00.123250Z"),
        ("rfc3339", s, "Europe/London", "0", "1970-01-01T01:00:00+01:00"),
        ("rfc3339", s, "Europe/London", "1709164800", "2024-02-29T00:00:00+00:00"),
        ("rfc3339", s, "UTC", "253402300799", "9999-12-31T23:59:59Z"),
        ("rfc3339", s, "UTC", "-62167219200", "0000-01-01T00:00:00Z"),
        ("%Y-%m-%d", s, "America/New_York", "1709164800", "2024-02-28"),
        ("%A, %-d %B %Y, %I:%M %p %z", s, "Asia/Kolkata", "1709164800", "Thursday, 29 February 2024, 05:30 AM +0530"),
        ("%e|%j|%y|%-H|%s", s, "UTC", "86400", " 2|002|70|0|86400"),
        ("%T.%3f %6f%.9f%.f|%f", ms, "UTC", "1.25", "00:00:00.001 001250.001250000.00125|00125"),
        ("%S%.f|%f", s, "UTC", "5", "05|0"),
        ("%s", s, "UTC", "-0.5", "-1"),
    ] {
        assert_eq!(write(format, unit, zone(zone_name), number).as_deref(), Ok(text), "{format} {number}");
    }
    for (format, unit, zone_name, number, why) in [
        ("rfc3339", s, "UTC", "253402300800", "outside the years"),
        // A time in milliseconds is not a time in seconds.
        ("rfc3339", s, "UTC", "1709164800123", "not a time in seconds"),
        ("rfc3339", s, "UTC", "1e120", "not a time"),
        ("rfc3339", s, "UTC", "0.0000000001", "more precise than nanoseconds"),
        ("rfc3339", s, "UTC", "-62167219201", "negative"),
        ("%Y", s, "UTC", "-62167219201", "negative"),
        ("%y", s, "UTC", "-31536001", "1969 and 2068"),
        ("%F", s, "Asia/Tokyo", "253402300799", "local time"),
        // Until 1911, the clocks of Paris were 9 minutes and 21 seconds ahead of UTC.
        ("rfc3339", s, "Europe/Paris", "-2208988800", "had seconds"),
        ("%F %z", s, "Europe/Paris", "-2208988800", "had seconds"),
    ] {
        let error = write(format, unit, zone(zone_name), number).unwrap_err();
        assert!(error.reason().contains(why), "{format} {number}: {error}");
    }
}

/// Together, these patterns contain every directive that has the same meaning in jiff.
const PATTERNS: &[&str] = &[
    "%Y-%m-%d %H:%M:%S",
    "%FT%T%.f%:z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%A %-d %B %Y %-I:%M:%S%.9f %p",
    "%e.%-m.%Y %I:%-M:%-S.%f %P",
    "%Y/%j %-H:%M:%S.%6f",
    "%h %d, %Y %R:%S.%3f",
    "%D %T%.3f",
    "%s",
];

/// Returns the offsets from UTC that a zone has within two days of a local time.
fn nearby_offsets(zone: &TimeZone, local: DateTime) -> Vec<i32> {
    let as_utc = TimeZone::UTC.to_timestamp(local).unwrap();
    let start = as_utc - SignedDuration::from_hours(48);
    let later =
        zone.following(start).map(|t| t.timestamp()).take_while(|t| *t < as_utc + SignedDuration::from_hours(48));
    let mut offsets: Vec<i32> = [start].into_iter().chain(later).map(|t| zone.to_offset(t).seconds()).collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The oracle tries every offset that the zone has around this time, and counts the valid offsets.
    #[test]
    fn local_times_around_transitions_are_read_exactly_or_refused(
        index in any::<Index>(),
        start in -2_000_000_000_i64..4_000_000_000,
        minutes in -300_i64..300,
    ) {
        let zone = any_zone(index);
        let start = Timestamp::from_second(start).unwrap();
        let transition = zone.following(start).next().map_or(start, |transition| transition.timestamp());
        let local = zone.to_datetime(transition) + SignedDuration::from_mins(minutes);
        let seconds = TimeZone::UTC.to_timestamp(local).unwrap().as_second();
        let possible: Vec<i64> = nearby_offsets(&zone, local)
            .into_iter()
            .filter(|offset| {
                let time = Timestamp::from_second(seconds - i64::from(*offset)).unwrap();
                zone.to_offset(time).seconds() == *offset
            })
            .map(|offset| seconds - i64::from(offset))
            .collect();
        let text = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
        match (read(&["%Y-%m-%d %H:%M:%S"], Some(zone.clone()), &text), possible.as_slice()) {
            (Ok(read), [only]) => prop_assert_eq!(read, only.to_string(), "{:?} {}", zone, text),
            (Err(why), []) => prop_assert!(why.reason().contains("does not exist"), "{zone:?} {text} {why}"),
            (Err(why), [_, _, ..]) => prop_assert!(why.reason().contains("exists twice"), "{zone:?} {text} {why}"),
            (read, possible) => prop_assert!(false, "{zone:?} {text}: {read:?}, but {possible:?}"),
        }
    }

    /// A date with its offset from UTC means exactly one time, even while the clocks change.
    #[test]
    fn times_survive_rfc3339_in_every_zone(index in any::<Index>(), start in -2_000_000_000_i64..4_000_000_000, ms in -9_000_000_i64..9_000_000) {
        let zone = any_zone(index);
        let transition = zone.following(Timestamp::from_second(start).unwrap()).next();
        let near = transition.map_or(start, |transition| transition.timestamp().as_second());
        let number = (near * 1_000 + ms).to_string();
        let time = Timestamp::from_millisecond(near * 1_000 + ms).unwrap();
        match write("rfc3339", EpochUnit::Milliseconds, zone.clone(), &number) {
            Ok(text) => {
                let reader = EpochReader::new(EpochUnit::Milliseconds, formats(&["rfc3339"]), None, false);
                prop_assert_eq!(reader.read(&text), Ok(Value::N(Num::from_wire(number))), "{:?} {}", zone, text);
                prop_assert_eq!(text.parse::<Timestamp>().unwrap(), time);
                prop_assert!(DateWriter::new(DateFormat::Rfc3339, EpochUnit::Seconds, zone).is_converted(&text));
            }
            Err(why) => prop_assert!(zone.to_offset(time).seconds() % 60 != 0, "{zone:?} {number} {why}"),
        }
    }

    /// For these patterns, jiff writes the same texts.
    #[test]
    fn texts_are_those_of_strftime(
        index in any::<Index>(),
        seconds in -31_000_000_i64..3_100_000_000,
        nanoseconds in prop_oneof![Just(0), 0_i32..1_000_000_000, (0_i32..1000).prop_map(|ms| ms * 1_000_000)],
    ) {
        let zone = any_zone(index);
        let time = Timestamp::new(seconds, if seconds < 0 { 0 } else { nanoseconds }).unwrap();
        let zoned = Zoned::new(time, zone.clone());
        let number = format!("{}e-9", time.as_nanosecond());
        for pattern in PATTERNS {
            let Ok(text) = write(pattern, EpochUnit::Seconds, zone.clone(), &number) else {
                prop_assert!(zoned.offset().seconds() % 60 != 0, "{pattern}");
                continue;
            };
            prop_assert_eq!(&text, &zoned.strftime(pattern).to_string(), "{}", pattern);
            // The reader returns the local time that was written, and jiff reads the same time.
            let format = DateFormat::Pattern(Pattern::for_reading(pattern).unwrap());
            let jiff = jiff::fmt::strtime::parse(pattern, &text).unwrap();
            match format.read(&text).unwrap() {
                Reading::Local(local) => {
                    prop_assert_eq!(local, jiff.to_datetime().unwrap(), "{} {}", pattern, text);
                    prop_assert_eq!(local.date(), zoned.date());
                }
                Reading::Moment(moment) => {
                    prop_assert_eq!(moment.nanoseconds(), jiff.to_timestamp().unwrap().as_nanosecond(), "{} {}", pattern, text);
                }
            }
        }
    }

    /// If this reader accepts a text, jiff accepts it too and reads it as the same time. Jiff accepts more.
    #[test]
    fn the_reader_is_stricter_than_strptime(index in any::<Index>(), text in "[0-9]{2,4}[-/ ][0-9]{1,2}[-/ ][0-9]{1,4}( [0-9]{1,2}:[0-9]{2}(:[0-6][0-9])?)?") {
        let patterns = ["%Y-%m-%d", "%d/%m/%Y", "%Y-%-m-%-d", "%Y-%m-%d %H:%M", "%Y-%m-%d %-H:%M:%S", "%y/%m/%d", "%D", "%d %m %Y %R"];
        let pattern = index.get(&patterns);
        let format = DateFormat::Pattern(Pattern::for_reading(pattern).unwrap());
        if let Some(reading) = format.read(&text) {
            let jiff = jiff::fmt::strtime::parse(pattern, &text).unwrap().to_datetime().unwrap();
            prop_assert_eq!(reading, Reading::Local(jiff), "{} {}", pattern, text);
        }
    }
}
