//! The directives of a date pattern, such as `%Y`, and the part of a date that each directive stands for.

use self::Part::{Char, Fraction, HalfDay, Month, Number, Offset, Seconds, Weekday};

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// This character.
    Char(char),
    /// A number of at most [`Field::width`] digits.
    Number(Field, Pad),
    /// The English name of the month, or its first three letters.
    Month { full: bool },
    /// The English name of the weekday, or its first three letters.
    Weekday { full: bool },
    /// `AM` or `PM`.
    HalfDay { upper: bool },
    /// A fraction of a second. It follows a point if `point` is set. `digits` fixes the number of digits. Without a
    /// fixed number, a text can omit the fraction and its point.
    Fraction { point: bool, digits: Option<usize> },
    /// The offset from UTC, as hours and minutes. A text can have `Z` for UTC.
    Offset { colon: bool },
    /// The number of seconds since 1970.
    Seconds,
}

/// A part of a date that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    /// The last two digits of a year from 1969 to 2068.
    ShortYear,
    Month,
    Day,
    DayOfYear,
    Hour,
    /// The hour of a half day, from 1 to 12.
    Hour12,
    Minute,
    Second,
}

/// How a number fills its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pad {
    Zeros,
    Spaces,
    /// The number has no leading zeros, and can have fewer digits than its width.
    None,
}

/// A part of a date. A text must not name the same part twice, because the two values could contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    Hour12,
    HalfDay,
    Minute,
    Second,
    Fraction,
    Weekday,
    Offset,
    Seconds,
}

/// The directives and their parts. No directive is a prefix of another.
pub(super) const DIRECTIVES: &[(&str, &[Part])] = &[
    ("%%", &[Char('%')]),
    ("%Y", &[YEAR]),
    ("%y", &[SHORT_YEAR]),
    ("%m", &[MONTH]),
    ("%-m", &[Number(Field::Month, Pad::None)]),
    ("%b", &[Month { full: false }]),
    ("%h", &[Month { full: false }]),
    ("%B", &[Month { full: true }]),
    ("%d", &[DAY]),
    ("%-d", &[Number(Field::Day, Pad::None)]),
    ("%e", &[Number(Field::Day, Pad::Spaces)]),
    ("%j", &[Number(Field::DayOfYear, Pad::Zeros)]),
    ("%a", &[Weekday { full: false }]),
    ("%A", &[Weekday { full: true }]),
    ("%H", &[HOUR]),
    ("%-H", &[Number(Field::Hour, Pad::None)]),
    ("%I", &[Number(Field::Hour12, Pad::Zeros)]),
    ("%-I", &[Number(Field::Hour12, Pad::None)]),
    ("%p", &[HalfDay { upper: true }]),
    ("%P", &[HalfDay { upper: false }]),
    ("%M", &[MINUTE]),
    ("%-M", &[Number(Field::Minute, Pad::None)]),
    ("%S", &[SECOND]),
    ("%-S", &[Number(Field::Second, Pad::None)]),
    ("%f", &[Fraction { point: false, digits: None }]),
    ("%3f", &[Fraction { point: false, digits: Some(3) }]),
    ("%6f", &[Fraction { point: false, digits: Some(6) }]),
    ("%9f", &[Fraction { point: false, digits: Some(9) }]),
    ("%.f", &[Fraction { point: true, digits: None }]),
    ("%.3f", &[Fraction { point: true, digits: Some(3) }]),
    ("%.6f", &[Fraction { point: true, digits: Some(6) }]),
    ("%.9f", &[Fraction { point: true, digits: Some(9) }]),
    ("%z", &[Offset { colon: false }]),
    ("%:z", &[Offset { colon: true }]),
    ("%s", &[Seconds]),
    ("%F", &[YEAR, Char('-'), MONTH, Char('-'), DAY]),
    ("%D", &[MONTH, Char('/'), DAY, Char('/'), SHORT_YEAR]),
    ("%T", &[HOUR, Char(':'), MINUTE, Char(':'), SECOND]),
    ("%R", &[HOUR, Char(':'), MINUTE]),
];

/// The parts of a date in the format of RFC 3339.
pub(super) const RFC3339: &[Part] = &[
    YEAR,
    Char('-'),
    MONTH,
    Char('-'),
    DAY,
    Char('T'),
    HOUR,
    Char(':'),
    MINUTE,
    Char(':'),
    SECOND,
    Fraction { point: true, digits: None },
    Offset { colon: true },
];

const YEAR: Part = Number(Field::Year, Pad::Zeros);
const SHORT_YEAR: Part = Number(Field::ShortYear, Pad::Zeros);
const MONTH: Part = Number(Field::Month, Pad::Zeros);
const DAY: Part = Number(Field::Day, Pad::Zeros);
const HOUR: Part = Number(Field::Hour, Pad::Zeros);
const MINUTE: Part = Number(Field::Minute, Pad::Zeros);
const SECOND: Part = Number(Field::Second, Pad::Zeros);

/// The names of the months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The names of the weekdays.
pub(super) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Field {
    /// Returns the maximum number of digits.
    pub(super) fn width(self) -> usize {
        match self {
            Field::Year => 4,
            Field::DayOfYear => 3,
            Field::ShortYear
            | Field::Month
            | Field::Day
            | Field::Hour
            | Field::Hour12
            | Field::Minute
            | Field::Second => 2,
        }
    }

    fn component(self) -> Component {
        match self {
            Field::Year | Field::ShortYear => Component::Year,
            Field::Month => Component::Month,
            Field::Day => Component::Day,
            Field::DayOfYear => Component::DayOfYear,
            Field::Hour => Component::Hour,
            Field::Hour12 => Component::Hour12,
            Field::Minute => Component::Minute,
            Field::Second => Component::Second,
        }
    }
}

impl Part {
    /// Returns the part of a date that this element names, or `None` for a literal character.
    pub(super) fn component(&self) -> Option<Component> {
        Some(match self {
            Char(_) => return None,
            Number(field, _) => field.component(),
            Month { .. } => Component::Month,
            Weekday { .. } => Component::Weekday,
            HalfDay { .. } => Component::HalfDay,
            Fraction { .. } => Component::Fraction,
            Offset { .. } => Component::Offset,
            Seconds => Component::Seconds,
        })
    }

    /// Returns whether the element can have different numbers of digits.
    pub(super) fn has_variable_width(&self) -> bool {
        match self {
            Number(_, Pad::None) | Fraction { digits: None, .. } | Seconds => true,
            Char(_)
            | Number(_, Pad::Zeros | Pad::Spaces)
            | Month { .. }
            | Weekday { .. }
            | HalfDay { .. }
            | Fraction { digits: Some(_), .. }
            | Offset { .. } => false,
        }
    }

    /// Returns whether the start of this element's text could also belong to `before`, which has a variable width.
    pub(super) fn continues(&self, before: &Part) -> bool {
        match self {
            Char(c) => c.is_ascii_digit() || (*c == '.' && matches!(before, Fraction { point: true, .. })),
            Number(..) | Fraction { point: false, .. } | Seconds => true,
            Fraction { point: true, .. } | Month { .. } | Weekday { .. } | HalfDay { .. } | Offset { .. } => false,
        }
    }
}
