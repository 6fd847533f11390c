//! Writes times as dates. If the text would mean a different time, the time is not computable.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::EpochUnit;
use super::directives::{Field, MONTHS, Pad, Part, WEEKDAYS};
use super::moment::Moment;
use super::pattern::Pattern;
use crate::item::NotComputable;

/// Writes a time in the format of RFC 3339. In UTC the offset is `Z`. A fraction of a second has 3, 6 or 9 digits. If
/// the unit is milliseconds, the text always has a fraction.
pub(super) fn rfc3339(moment: Moment, unit: EpochUnit, zone: &TimeZone) -> Result<String, NotComputable> {
    let (local, offset) = local(moment, zone)?;
    let mut text = String::new();
    append_number(&mut text, positive_year(local)?.into(), 4, Pad::Zeros);
    let (month, day) = (local.month(), local.day());
    text.push_str(&format!("-{month:02}-{day:02}T{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second()));
    let min_digits = match unit {
        EpochUnit::Seconds => 0,
        EpochUnit::Milliseconds => 3,
    };
    let nanoseconds = format!("{:09}", local.subsec_nanosecond());
    let digits = nanoseconds.trim_end_matches('0').len().next_multiple_of(3).max(min_digits);
    if digits > 0 {
        text.push('.');
        text.push_str(&nanoseconds[..digits]);
    }
    match *zone == TimeZone::UTC {
        true => text.push('Z'),
        false => append_offset(&mut text, offset, true)?,
    }
    Ok(text)
}

/// Writes the parts of a time that a pattern names.
pub(super) fn pattern(pattern: &Pattern, moment: Moment, zone: &TimeZone) -> Result<String, NotComputable> {
    let (local, offset) = local(moment, zone)?;
    let mut text = String::new();
    for part in pattern.parts() {
        match part {
            Part::Char(c) => text.push(*c),
            Part::Number(field, pad) => append_number(&mut text, number(*field, local)?, field.width(), *pad),
            Part::Month { full } => append_name(&mut text, &MONTHS, i32::from(local.month()) - 1, *full),
            Part::Weekday { full } => {
                append_name(&mut text, &WEEKDAYS, i32::from(local.weekday().to_monday_zero_offset()), *full);
            }
            Part::HalfDay { upper: true } => text.push_str(if local.hour() < 12 { "AM" } else { "PM" }),
            Part::HalfDay { upper: false } => text.push_str(if local.hour() < 12 { "am" } else { "pm" }),
            Part::Fraction { point, digits } => append_fraction(&mut text, local.subsec_nanosecond(), *point, *digits),
            Part::Offset { colon } => append_offset(&mut text, offset, *colon)?,
            Part::Seconds => text.push_str(&moment.nanoseconds().div_euclid(1_000_000_000).to_string()),
        }
    }
    Ok(text)
}

fn local(moment: Moment, zone: &TimeZone) -> Result<(DateTime, Offset), NotComputable> {
    moment.local(zone).ok_or_else(|| NotComputable::new("the local time is outside the years -9999 to 9999"))
}

fn number(field: Field, local: DateTime) -> Result<i32, NotComputable> {
    Ok(match field {
        Field::Year => positive_year(local)?.into(),
        Field::ShortYear => match local.year() {
            year @ 1969..=2068 => i32::from(year) % 100,
            _ => {
                return Err(NotComputable::new(
                    "the year is not between 1969 and 2068, the years that `%y` can express",
                ));
            }
        },
        Field::Month => local.month().into(),
        Field::Day => local.day().into(),
        Field::DayOfYear => local.day_of_year().into(),
        Field::Hour => local.hour().into(),
        Field::Hour12 => match local.hour() % 12 {
            0 => 12,
            hour => hour.into(),
        },
        Field::Minute => local.minute().into(),
        Field::Second => local.second().into(),
    })
}

fn positive_year(local: DateTime) -> Result<i16, NotComputable> {
    let year = local.year();
    if year < 0 {
        Err(NotComputable::new("the year is negative, and a text has only the years 0000 to 9999"))
    } else {
        Ok(year)
    }
}

fn append_number(text: &mut String, number: i32, width: usize, pad: Pad) {
    text.push_str(&match pad {
        Pad::Zeros => format!("{number:0width$}"),
        Pad::Spaces => format!("{number:width$}"),
        Pad::None => number.to_string(),
    });
}

fn append_name(text: &mut String, names: &[&str], index: i32, full: bool) {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default();
    text.push_str(if full { name } else { name.get(..3).unwrap_or_default() });
}

/// Appends a fraction. If the number of digits is fixed, further digits are left out. Otherwise, zeros at the end are
/// left out.
fn append_fraction(text: &mut String, nanoseconds: i32, point: bool, digits: Option<usize>) {
    let all = format!("{nanoseconds:09}");
    let shown = match digits {
        Some(digits) => &all[..digits.min(9)],
        None if nanoseconds == 0 && point => return,
        None if nanoseconds == 0 => "0",
        None => all.trim_end_matches('0'),
    };
    if point {
        text.push('.');
    }
    text.push_str(shown);
}

/// Appends an offset from UTC in hours and minutes. Some time zones had offsets with seconds, usually before 1930.
/// Without the seconds, the text would mean another time.
fn append_offset(text: &mut String, offset: Offset, colon: bool) -> Result<(), NotComputable> {
    let seconds = offset.seconds();
    if seconds % 60 != 0 {
        return Err(NotComputable::new(
            "at that time, the zone's offset from UTC had seconds, which the text cannot contain",
        ));
    }
    let minutes = seconds.abs() / 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    let colon = if colon { ":" } else { "" };
    text.push_str(&format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60));
    Ok(())
}
