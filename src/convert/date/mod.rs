//! Dates as texts, and times as numbers of seconds or milliseconds since 1970.

mod directives;
mod moment;
mod pattern;
mod read;
mod write;

#[cfg(test)]
mod tests;

use jiff::tz::{AmbiguousOffset, TimeZone};

use self::moment::Moment;
use self::read::Reading;
use super::number;
use crate::item::{NotComputable, Num, Value};

pub use pattern::{Pattern, PatternError};

/// The unit of a time as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochUnit {
    /// Seconds since 1970-01-01 00:00 UTC.
    Seconds,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    Milliseconds,
}

/// The format of a date as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateFormat {
    /// RFC 3339, such as `2026-11-30T06:30:00Z`.
    Rfc3339,
    /// A pattern of `strftime`.
    Pattern(Pattern),
}

/// Converts dates to numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochReader {
    unit: EpochUnit,
    formats: Vec<DateFormat>,
    zone: Option<TimeZone>,
    drop_fraction: bool,
}

/// Converts numbers to dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateWriter {
    format: DateFormat,
    unit: EpochUnit,
    zone: TimeZone,
}

impl EpochUnit {
    /// Returns the unit as a plan names it.
    pub fn name(self) -> &'static str {
        match self {
            EpochUnit::Seconds => "seconds",
            EpochUnit::Milliseconds => "milliseconds",
        }
    }

    fn nanoseconds(self) -> i128 {
        match self {
            EpochUnit::Seconds => 1_000_000_000,
            EpochUnit::Milliseconds => 1_000_000,
        }
    }

    /// Returns the power of ten of [`EpochUnit::nanoseconds`].
    fn power(self) -> i64 {
        match self {
            EpochUnit::Seconds => 9,
            EpochUnit::Milliseconds => 6,
        }
    }
}

impl DateFormat {
    /// Returns the format as a plan names it.
    pub fn name(&self) -> &str {
        match self {
            DateFormat::Rfc3339 => "rfc3339",
            DateFormat::Pattern(pattern) => pattern.source(),
        }
    }

    /// Returns whether every text of this format contains its offset from UTC. Such a text needs no time zone.
    pub fn names_offset(&self) -> bool {
        match self {
            DateFormat::Rfc3339 => true,
            DateFormat::Pattern(pattern) => pattern.names_offset(),
        }
    }

    /// Reads a text. Returns `None` if the text does not have this format, or if there is no such date.
    fn read(&self, text: &str) -> Option<Reading> {
        match self {
            DateFormat::Rfc3339 => read::rfc3339(text),
            DateFormat::Pattern(pattern) => read::pattern(pattern, text)?.reading(),
        }
    }
}

impl EpochReader {
    /// Creates the conversion. `zone` is the time zone of texts that do not name their offset from UTC. A time with a
    /// fraction of the unit is not computable, unless `drop_fraction` is set.
    pub fn new(unit: EpochUnit, formats: Vec<DateFormat>, zone: Option<TimeZone>, drop_fraction: bool) -> EpochReader {
        EpochReader { unit, formats, zone, drop_fraction }
    }

    /// Converts a text. All formats that fit the text must give the same time.
    pub(super) fn read(&self, text: &str) -> Result<Value, NotComputable> {
        let mut found = None;
        for format in &self.formats {
            let Some(reading) = format.read(text) else { continue };
            let moment = self.moment(reading)?;
            if found.is_some_and(|found| found != moment) {
                return Err(NotComputable::new("the text is ambiguous: two of the formats give different times"));
            }
            found = Some(moment);
        }
        let moment = found.ok_or_else(|| NotComputable::new("the text matches none of the formats in the plan"))?;
        self.number(moment).map(Value::N)
    }

    /// Returns whether a number is a time in this unit: a whole number within the years -9999 to 9999.
    pub(super) fn is_converted(&self, number: &Num) -> bool {
        let nanoseconds = number::whole(number, 0).and_then(|units| units.checked_mul(self.unit.nanoseconds()));
        nanoseconds.and_then(Moment::from_nanoseconds).is_some()
    }

    pub(super) fn name(&self) -> &'static str {
        match self.unit {
            EpochUnit::Seconds => "epoch-seconds",
            EpochUnit::Milliseconds => "epoch-milliseconds",
        }
    }

    pub(super) fn form(&self) -> &'static str {
        match self.unit {
            EpochUnit::Seconds => "a whole number of seconds between the years -9999 and 9999",
            EpochUnit::Milliseconds => "a whole number of milliseconds between the years -9999 and 9999",
        }
    }

    pub(super) fn options(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut formats: Vec<String> = self.formats.iter().map(|format| format.name().to_owned()).collect();
        formats.sort();
        let mut options = vec![("formats", formats)];
        options.extend(self.zone.as_ref().map(|zone| ("zone", vec![zone_name(zone).to_owned()])));
        if self.drop_fraction {
            options.push(("fraction", vec!["drop".to_owned()]));
        }
        options
    }

    fn moment(&self, reading: Reading) -> Result<Moment, NotComputable> {
        let local = match reading {
            Reading::Moment(moment) => return Ok(moment),
            Reading::Local(local) => local,
        };
        let Some(zone) = &self.zone else {
            return Err(NotComputable::new("the text does not name its offset from UTC, and the plan has no `zone`"));
        };
        let name = zone_name(zone);
        match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Moment::from_local(local, offset)
                .ok_or_else(|| NotComputable::new("the time is outside the years -9999 to 9999")),
            AmbiguousOffset::Gap { .. } => Err(NotComputable::new(format!(
                "the local time does not exist in {name}, because the clocks went forward over it"
            ))),
            AmbiguousOffset::Fold { .. } => Err(NotComputable::new(format!(
                "the local time exists twice in {name}, because the clocks went back over it"
            ))),
        }
    }

    fn number(&self, moment: Moment) -> Result<Num, NotComputable> {
        let nanoseconds = moment.nanoseconds();
        let unit = self.unit.nanoseconds();
        if nanoseconds.rem_euclid(unit) != 0 && !self.drop_fraction {
            let why = format!(
                "the time is not a whole number of {}. `fraction = \"drop\"` in the plan drops the fraction",
                self.unit.name()
            );
            return Err(NotComputable::new(why));
        }
        Ok(Num::from_wire(nanoseconds.div_euclid(unit).to_string()))
    }
}

impl DateWriter {
    /// Creates the conversion. Times are written in `zone`.
    pub fn new(format: DateFormat, unit: EpochUnit, zone: TimeZone) -> DateWriter {
        DateWriter { format, unit, zone }
    }

    /// Converts a number. A pattern can omit parts of the time. The text is exact except for these parts.
    pub(super) fn write(&self, number: &Num) -> Result<Value, NotComputable> {
        let nanoseconds = number::whole(number, self.unit.power())
            .ok_or_else(|| NotComputable::new("the number is not a time, or is more precise than nanoseconds"))?;
        let moment = Moment::from_nanoseconds(nanoseconds).ok_or_else(|| {
            let unit = self.unit.name();
            NotComputable::new(format!("the number is not a time in {unit}: it is outside the years -9999 to 9999"))
        })?;
        let text = match &self.format {
            DateFormat::Rfc3339 => write::rfc3339(moment, self.unit, &self.zone),
            DateFormat::Pattern(pattern) => write::pattern(pattern, moment, &self.zone),
        };
        text.map(Value::S)
    }

    /// Returns whether a text has the format of this conversion.
    pub(super) fn is_converted(&self, text: &str) -> bool {
        match &self.format {
            DateFormat::Rfc3339 => read::rfc3339(text).is_some(),
            DateFormat::Pattern(pattern) => read::pattern(pattern, text).is_some(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match &self.format {
            DateFormat::Rfc3339 => "rfc3339",
            DateFormat::Pattern(_) => "text",
        }
    }

    pub(super) fn form(&self) -> &'static str {
        match &self.format {
            DateFormat::Rfc3339 => "a date in the format of RFC 3339",
            DateFormat::Pattern(_) => "a date in the format in the plan",
        }
    }

    pub(super) fn options(&self) -> Vec<(&'static str, Vec<String>)> {
        let format = match &self.format {
            DateFormat::Rfc3339 => None,
            DateFormat::Pattern(pattern) => Some(("format", vec![pattern.source().to_owned()])),
        };
        let unit = ("unit", vec![self.unit.name().to_owned()]);
        let zone = ("zone", vec![zone_name(&self.zone).to_owned()]);
        format.into_iter().chain([unit, zone]).collect()
    }
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}
