//! Parses arbitrary text as a date with an arbitrary pattern, and formats times with this pattern.

#![no_main]

use backfill::internals::convert::{Conversion, DateFormat, DateWriter, EpochReader, EpochUnit, Pattern};
use backfill::internals::item::{Num, Value};
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, i64, bool)| {
    let (pattern, text, time, is_seconds) = input;
    let unit = if is_seconds { EpochUnit::Seconds } else { EpochUnit::Milliseconds };
    let mut formats = vec![DateFormat::Rfc3339];
    if let Ok(pattern) = Pattern::for_reading(pattern) {
        formats.push(DateFormat::Pattern(pattern));
    }
    let read = Conversion::epoch(EpochReader::new(unit, formats, Some(TimeZone::UTC), false));
    if let Ok(found) = read.apply(&Value::S(text.to_owned())) {
        assert!(read.is_converted(&found), "{found:?}");
    }

    let Ok(number) = Num::parse(&time.to_string()) else { return };
    let number = Value::N(number);
    // RFC 3339 loses no part of the time, so parsing the text returns the same time.
    let write = Conversion::date(DateWriter::new(DateFormat::Rfc3339, unit, TimeZone::UTC));
    if let Ok(text) = write.apply(&number) {
        assert_eq!(read_rfc3339(unit).apply(&text).ok(), Some(number.clone()), "{text:?}");
    }
    if let Ok(pattern) = Pattern::for_writing(pattern) {
        let write = Conversion::date(DateWriter::new(DateFormat::Pattern(pattern), unit, TimeZone::UTC));
        let _ = write.apply(&number);
    }
});

fn read_rfc3339(unit: EpochUnit) -> Conversion {
    Conversion::epoch(EpochReader::new(unit, vec![DateFormat::Rfc3339], None, false))
}
