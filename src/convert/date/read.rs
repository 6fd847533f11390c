//! Reads the text of a date. A text must have exactly the form of its pattern.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::directives::{Field, MONTHS, Pad, Part, RFC3339, WEEKDAYS};
use super::moment::Moment;
use super::pattern::Pattern;

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A point in time.
    Moment(Moment),
    /// A date and a time of day in a time zone that the text does not name.
    Local(DateTime),
}

/// The parts of a date that a text names.
#[derive(Debug, Default)]
pub(super) struct Parts {
    year: Option<i16>,
    month: Option<i16>,
    day: Option<i16>,
    day_of_year: Option<i16>,
    hour: Option<i16>,
    hour12: Option<i16>,
    is_pm: Option<bool>,
    minute: Option<i16>,
    second: Option<i16>,
    nanosecond: Option<i32>,
    /// The index of the weekday. Monday is 0.
    weekday: Option<usize>,
    offset: Option<Offset>,
    seconds: Option<i64>,
}

/// Reads a text in the format of RFC 3339. The letters `T` and `Z` can be lower case.
pub(super) fn rfc3339(text: &str) -> Option<Reading> {
    parts(RFC3339, text, true)?.reading()
}

/// Reads the parts that a text names. Returns `None` if the text does not have the form of the pattern.
pub(super) fn pattern(pattern: &Pattern, text: &str) -> Option<Parts> {
    parts(pattern.parts(), text, false)
}

fn parts(pattern: &[Part], text: &str, ignore_case: bool) -> Option<Parts> {
    let mut cursor = Cursor { text, ignore_case };
    let mut parts = Parts::default();
    for part in pattern {
        cursor.part(part, &mut parts)?;
    }
    cursor.text.is_empty().then_some(parts)
}

impl Parts {
    /// Returns the date and time, or `None` if there is no such date or time.
    pub(super) fn reading(&self) -> Option<Reading> {
        if let Some(seconds) = self.seconds {
            return Moment::from_nanoseconds(i128::from(seconds) * 1_000_000_000).map(Reading::Moment);
        }
        let local = self.date()?.to_datetime(self.time()?);
        match self.offset {
            Some(offset) => Moment::from_local(local, offset).map(Reading::Moment),
            None => Some(Reading::Local(local)),
        }
    }

    fn date(&self) -> Option<Date> {
        let date = match self.day_of_year {
            Some(day) => Date::new(self.year?, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
            None => Date::new(self.year?, small(self.month?)?, small(self.day?)?).ok()?,
        };
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).ok()?;
        (self.weekday.is_none_or(|stated| stated == weekday)).then_some(date)
    }

    /// Returns the time of day. A part that the pattern leaves out is 0.
    fn time(&self) -> Option<Time> {
        let hour = match (self.hour12, self.is_pm) {
            (Some(hour), Some(is_pm)) if (1..=12).contains(&hour) => hour % 12 + if is_pm { 12 } else { 0 },
            (Some(_), _) => return None,
            (None, _) => self.hour.unwrap_or(0),
        };
        let part = |part: Option<i16>| small(part.unwrap_or(0));
        // A leap second is not a valid second here, because a number of seconds since 1970 cannot express it.
        Time::new(small(hour)?, part(self.minute)?, part(self.second)?, self.nanosecond.unwrap_or(0)).ok()
    }

    fn set(&mut self, field: Field, number: i16) {
        let part = match field {
            Field::Year | Field::ShortYear => &mut self.year,
            Field::Month => &mut self.month,
            Field::Day => &mut self.day,
            Field::DayOfYear => &mut self.day_of_year,
            Field::Hour => &mut self.hour,
            Field::Hour12 => &mut self.hour12,
            Field::Minute => &mut self.minute,
            Field::Second => &mut self.second,
        };
        *part = Some(match field {
            Field::ShortYear if number < 69 => 2000 + number,
            Field::ShortYear => 1900 + number,
            Field::Year
            | Field::Month
            | Field::Day
            | Field::DayOfYear
            | Field::Hour
            | Field::Hour12
            | Field::Minute
            | Field::Second => number,
        });
    }
}

fn small(number: i16) -> Option<i8> {
    i8::try_from(number).ok()
}

/// The unread rest of a text. The methods return `None` if the text does not continue as expected.
struct Cursor<'t> {
    text: &'t str,
    ignore_case: bool,
}

impl<'t> Cursor<'t> {
    fn part(&mut self, part: &Part, parts: &mut Parts) -> Option<()> {
        match part {
            Part::Char(c) => self.character(*c)?,
            Part::Number(field, pad) => parts.set(*field, self.number(field.width(), *pad)?),
            Part::Month { full } => parts.month = Some(i16::try_from(self.name(&MONTHS, *full)?).ok()? + 1),
            Part::Weekday { full } => parts.weekday = Some(self.name(&WEEKDAYS, *full)?),
            Part::HalfDay { .. } => parts.is_pm = Some(self.name(&["AM", "PM"], true)? == 1),
            Part::Fraction { point, digits } => parts.nanosecond = Some(self.fraction(*point, *digits)?),
            Part::Offset { colon } => parts.offset = Some(self.offset(*colon)?),
            Part::Seconds => parts.seconds = Some(self.seconds()?),
        }
        Some(())
    }

    fn character(&mut self, c: char) -> Option<()> {
        let next = self.text.chars().next()?;
        let fits = next == c || (self.ignore_case && next.eq_ignore_ascii_case(&c));
        self.take(next.len_utf8()).filter(|_| fits).map(|_| ())
    }

    fn number(&mut self, width: usize, pad: Pad) -> Option<i16> {
        match pad {
            Pad::Zeros => self.digits(width, width)?.parse().ok(),
            Pad::None => without_zeros(self.digits(1, width)?)?.parse().ok(),
            Pad::Spaces => {
                let spaces = usize::from(self.text.starts_with(' '));
                self.take(spaces)?;
                without_zeros(self.digits(width - spaces, width - spaces)?)?.parse().ok()
            }
        }
    }

    /// Reads one of the names, or its first three letters. Returns its index.
    fn name(&mut self, names: &[&'static str], full: bool) -> Option<usize> {
        let expected = |name: &'static str| if full { name } else { name.get(..3).unwrap_or(name) };
        let mut expected_names = names.iter().map(|name| expected(name));
        let index = expected_names
            .position(|name| self.text.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name)))?;
        self.take(expected(names[index]).len())?;
        Some(index)
    }

    /// Reads a fraction of a second. Returns the number of nanoseconds.
    fn fraction(&mut self, point: bool, digits: Option<usize>) -> Option<i32> {
        if point && digits.is_none() && !self.text.starts_with('.') {
            return Some(0);
        }
        if point {
            self.character('.')?;
        }
        let digits = match digits {
            Some(digits) => self.digits(digits, digits)?,
            None => self.digits(1, 9)?,
        };
        format!("{digits:0<9}").parse().ok()
    }

    fn offset(&mut self, colon: bool) -> Option<Offset> {
        if self.text.starts_with('Z') || (self.ignore_case && self.text.starts_with('z')) {
            self.take(1)?;
            return Some(Offset::UTC);
        }
        let sign = match self.take(1)? {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let hours: i32 = self.digits(2, 2)?.parse().ok()?;
        if colon {
            self.character(':')?;
        }
        let minutes: i32 = self.digits(2, 2)?.parse().ok()?;
        let valid = hours <= 23 && minutes <= 59;
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok().filter(|_| valid)
    }

    fn seconds(&mut self) -> Option<i64> {
        let sign = if self.text.starts_with('-') { -1 } else { 1 };
        self.take(usize::from(sign < 0))?;
        // 12 digits are enough for the year 9999.
        let digits: i64 = without_zeros(self.digits(1, 12)?)?.parse().ok()?;
        Some(sign * digits)
    }

    /// Reads from `min` to `max` digits, and stops at the first other character.
    fn digits(&mut self, min: usize, max: usize) -> Option<&'t str> {
        let count = self.text.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if count < min { None } else { self.take(count) }
    }

    fn take(&mut self, len: usize) -> Option<&'t str> {
        let (taken, remaining) = self.text.split_at_checked(len)?;
        self.text = remaining;
        Some(taken)
    }
}

/// Returns the digits, or `None` if they have a leading zero.
fn without_zeros(digits: &str) -> Option<&str> {
    (digits == "0" || !digits.starts_with('0')).then_some(digits)
}
