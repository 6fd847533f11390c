//! Date patterns: a strict subset of `strftime`. Each directive has exactly one reading, so a text fits a pattern in
//! one way or not at all. A number has all its digits unless the directive contains `-`. A space stands for exactly one
//! space.

use std::ops::Range;

use super::directives::{Component, DIRECTIVES, Part};

/// A valid pattern, such as `%Y-%m-%d %H:%M`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    parts: Vec<Part>,
}

/// An error in a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The wrong part of the pattern, as a byte range.
    pub span: Range<usize>,
    /// What is wrong.
    pub title: String,
    /// The text that the error shows at these bytes.
    pub label: String,
    /// The remedy.
    pub help: String,
}

impl Pattern {
    /// Parses a pattern for reading texts. It must name everything that determines a time, except for the offset from
    /// UTC.
    pub fn for_reading(source: &str) -> Result<Pattern, PatternError> {
        let parts = parse(source)?;
        check_single(&parts)?;
        check_complete(source, &parts)?;
        if let Some((_, span)) = literal_utc(&parts) {
            return Err(error(
                span.clone(),
                "`Z` after a time means UTC, but here it is only a character",
                "the text would be read in `zone`".to_owned(),
                "use %z instead, which reads `Z` as UTC",
            ));
        }
        Ok(Pattern::new(source, parts))
    }

    /// Parses a pattern for writing texts. It can leave out parts of the time.
    pub fn for_writing(source: &str) -> Result<Pattern, PatternError> {
        let parts = parse(source)?;
        if parts.iter().all(|(part, _)| part.component().is_none()) {
            let label = "no directive such as %Y".to_owned();
            return Err(error(0..source.len(), "the format names no part of a time", label, EXAMPLE));
        }
        Ok(Pattern::new(source, parts))
    }

    /// Returns the text of the pattern.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether every text of this pattern determines a time without a time zone.
    pub fn names_offset(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.component(), Some(Component::Offset | Component::Seconds)))
    }

    /// Returns whether the texts of this pattern appear to be in UTC, because the pattern has a `Z` after the time.
    pub fn claims_utc(&self) -> bool {
        let parts: Vec<(Part, Range<usize>)> = self.parts.iter().map(|part| (part.clone(), 0..0)).collect();
        literal_utc(&parts).is_some()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn new(source: &str, parts: Vec<(Part, Range<usize>)>) -> Pattern {
        Pattern { source: source.to_owned(), parts: parts.into_iter().map(|(part, _)| part).collect() }
    }
}

const EXAMPLE: &str = "write it like \"%Y-%m-%d %H:%M:%S\"";

/// Parses a pattern. Returns each element with its position.
fn parse(source: &str) -> Result<Vec<(Part, Range<usize>)>, PatternError> {
    let mut parts: Vec<(Part, Range<usize>)> = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let found = DIRECTIVES.iter().find(|(directive, _)| source[at..].starts_with(directive));
        let (len, expanded) = match found {
            Some((directive, expanded)) => (directive.len(), expanded.to_vec()),
            None if c == '%' => return Err(unknown_directive(source, at)),
            None => (c.len_utf8(), vec![Part::Char(c)]),
        };
        parts.extend(expanded.into_iter().map(|part| (part, at..at + len)));
        at += len;
    }
    check_adjacent(&parts)?;
    Ok(parts)
}

fn unknown_directive(source: &str, at: usize) -> PatternError {
    let flags = source[at + 1..].find(|c: char| !"-_0123456789^#:.".contains(c));
    let letter = flags.and_then(|flags| source[at + 1 + flags..].chars().next());
    let end = flags.map_or(source.len(), |flags| at + 1 + flags + letter.map_or(0, char::len_utf8));
    let directive = &source[at..end];
    let help = match letter {
        None => "to write a percent sign, write %%".to_owned(),
        Some('Z') => "an abbreviation such as CST names several time zones: use %z for an offset, or `zone`".to_owned(),
        Some('Q') => "use %z for an offset, or `zone` for the time zone of all texts".to_owned(),
        Some('c' | 'x' | 'X' | 'r' | '+') => "its text depends on the system: name each part".to_owned(),
        Some('n' | 't') => "write each character between the parts as it is in the text".to_owned(),
        Some('k') => "use %H, or %-H for hours without a leading zero".to_owned(),
        Some('l') => "use %I, or %-I for hours without a leading zero".to_owned(),
        Some('N' | 'f' | 'L') => "use %f, %3f, %6f or %9f; or %.f, %.3f, %.6f or %.9f with the point".to_owned(),
        Some(_) => {
            format!("valid directives: {}", DIRECTIVES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "))
        }
    };
    error(
        at..end,
        format!("`{directive}` is not a directive of a date format"),
        "not a valid directive".to_owned(),
        help,
    )
}

/// Refuses a number without a fixed width before another number. For example, `111` could be 1 and 11, or 11 and 1.
fn check_adjacent(parts: &[(Part, Range<usize>)]) -> Result<(), PatternError> {
    for pair in parts.windows(2) {
        let [(before, first), (after, second)] = pair else { continue };
        if before.has_variable_width() && after.continues(before) {
            return Err(error(
                first.start..second.end,
                "the format can be read in two ways",
                "the end of the first part is unclear".to_owned(),
                "use a fixed width, such as %m or %3f, or put a character between the parts",
            ));
        }
    }
    Ok(())
}

/// Refuses a part of a date that is named twice.
fn check_single(parts: &[(Part, Range<usize>)]) -> Result<(), PatternError> {
    for (i, (part, span)) in parts.iter().enumerate() {
        let Some(component) = part.component() else { continue };
        if parts[..i].iter().any(|(earlier, _)| earlier.component().is_some_and(|earlier| excludes(earlier, component)))
        {
            return Err(error(
                span.clone(),
                "the format names a part of the date twice",
                "another directive already determines this".to_owned(),
                "remove one of them: they could contradict each other",
            ));
        }
    }
    Ok(())
}

/// Returns the character `Z` after a time of day, if the pattern has one.
fn literal_utc(parts: &[(Part, Range<usize>)]) -> Option<&(Part, Range<usize>)> {
    use Component::{Fraction, Hour, Minute, Second};
    let is_time = |part: &Part| matches!(part.component(), Some(Hour | Minute | Second | Fraction));
    let pair = parts.windows(2).find(|pair| is_time(&pair[0].0) && matches!(pair[1].0, Part::Char('Z' | 'z')))?;
    pair.last()
}

/// Returns whether the two parts exclude each other.
fn excludes(a: Component, b: Component) -> bool {
    use Component::{Day, DayOfYear, HalfDay, Hour, Hour12, Month, Seconds};
    let is_pair = |x, y| (a == x && b == y) || (a == y && b == x);
    a == b
        || a == Seconds
        || b == Seconds
        || is_pair(Month, DayOfYear)
        || is_pair(Day, DayOfYear)
        || is_pair(Hour, Hour12)
        || is_pair(Hour, HalfDay)
}

/// Refuses a pattern that does not determine a time.
fn check_complete(source: &str, parts: &[(Part, Range<usize>)]) -> Result<(), PatternError> {
    use Component::{Day, DayOfYear, Fraction, HalfDay, Hour, Hour12, Minute, Month, Second, Seconds, Year};
    let has = |component| parts.iter().any(|(part, _)| part.component() == Some(component));
    if has(Seconds) {
        return Ok(());
    }
    let has_hour = has(Hour) || has(Hour12);
    let missing = [
        (!has(Year), "year", "%Y"),
        (!has(Month) && !has(DayOfYear), "month", "%m"),
        (!has(Day) && !has(DayOfYear), "day", "%d"),
        (!has_hour && (has(Minute) || has(HalfDay)), "hour", if has(HalfDay) { "%I" } else { "%H" }),
        (has(Hour12) && !has(HalfDay), "AM or PM", "%p"),
        (has(Second) && !has(Minute), "minute", "%M"),
        (has(Fraction) && !has(Second), "second", "%S"),
    ];
    match missing.into_iter().find(|(is_missing, ..)| *is_missing) {
        None => Ok(()),
        Some((_, part, directive)) => Err(error(
            0..source.len(),
            format!("the format has no {part}"),
            format!("{directive} is missing"),
            format!("add {directive}: a text of this format does not determine a time"),
        )),
    }
}

fn error(span: Range<usize>, title: impl Into<String>, label: String, help: impl Into<String>) -> PatternError {
    PatternError { span, title: title.into(), label, help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_determine_a_time_can_be_read() {
        for (source, names_offset) in [
            ("%Y-%m-%d", false),
            ("%F", false),
            ("%FT%T%.f%:z", true),
            ("%d.%m.%y", false),
            ("%D %R", false),
            ("%a, %d %b %Y %H:%M:%S %z", true),
            ("%A %-d %B %Y at %-I:%M %p", false),
            ("%a %b %e %H:%M:%S %Y", false),
            ("%Y%m%d%H%M%S%3f", false),
            ("%Y/%j", false),
            ("%Y-%m-%dT%H", false),
            ("100%% %F", false),
            ("%s", true),
            ("é%Fü", false),
        ] {
            let pattern = Pattern::for_reading(source).unwrap();
            assert_eq!((pattern.source(), pattern.names_offset()), (source, names_offset));
            assert!(Pattern::for_writing(source).is_ok());
        }
        for source in ["%Y", "%H:%M", "%Y %Y", "%I", "%B", "%s %F"] {
            assert!(Pattern::for_writing(source).is_ok() && Pattern::for_reading(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_marked_where_it_is_wrong() {
        for (source, marked, title) in [
            ("", "", "has no year"),
            ("no date", "no date", "has no year"),
            ("%Y", "%Y", "has no month"),
            ("%Y-%m", "%Y-%m", "has no day"),
            ("%m-%d", "%m-%d", "has no year"),
            ("%H:%M", "%H:%M", "has no year"),
            ("%F %M", "%F %M", "has no hour"),
            ("%F %p", "%F %p", "has no hour"),
            ("%F %H:%S", "%F %H:%S", "has no minute"),
            ("%F %H:%M.%f", "%F %H:%M.%f", "has no second"),
            ("%F %I:%M", "%F %I:%M", "has no AM or PM"),
            ("%F %K", "%K", "not a directive"),
            ("%F %Z", "%Z", "not a directive"),
            ("%F %Q", "%Q", "not a directive"),
            ("%F %é", "%é", "not a directive"),
            ("%F %_H", "%_H", "not a directive"),
            ("%F %12f", "%12f", "not a directive"),
            ("%F %::z", "%::z", "not a directive"),
            ("%F %", "%", "not a directive"),
            ("%F %-", "%-", "not a directive"),
            ("%F %.", "%.", "not a directive"),
            ("%F %c", "%c", "not a directive"),
            ("%F%n%T", "%n", "not a directive"),
            ("%F %Y", "%Y", "twice"),
            ("%F %y", "%y", "twice"),
            ("%F %b", "%b", "twice"),
            ("%F %j", "%j", "twice"),
            ("%F %H %p", "%p", "twice"),
            ("%F %H %I", "%I", "twice"),
            ("%F %s", "%s", "twice"),
            ("%Y%-m%-d", "%-m%-d", "two ways"),
            ("%Y-%m-%-d1", "%-d1", "two ways"),
            ("%F %T.%f0", "%f0", "two ways"),
            ("%F %T%.f.", "%.f.", "two ways"),
            ("%-d%e", "%-d%e", "two ways"),
            ("%FT%TZ", "Z", "means UTC"),
            ("%FT%T.%3fZ", "Z", "means UTC"),
        ] {
            let error = Pattern::for_reading(source).unwrap_err();
            assert_eq!(&source[error.span.clone()], marked, "{source}: {error:?}");
            assert!(error.title.contains(title), "{source}: {error:?}");
            assert!(!error.help.is_empty() && !error.label.is_empty());
        }
        for source in ["", "no date", "%%", "%-m%-d", "%q"] {
            assert!(Pattern::for_writing(source).is_err(), "{source}");
        }
        for (source, claims_utc) in
            [("%FT%TZ", true), ("%FT%T%.fZ", true), ("%T", false), ("Z%F", false), ("%T%z", false)]
        {
            assert_eq!(Pattern::for_writing(source).unwrap().claims_utc(), claims_utc, "{source}");
        }
    }

    #[test]
    fn no_directive_is_the_start_of_another() {
        for (i, (directive, parts)) in DIRECTIVES.iter().enumerate() {
            assert!(!parts.is_empty());
            for (other, _) in &DIRECTIVES[i + 1..] {
                assert!(!other.starts_with(directive) && !directive.starts_with(other), "{directive} {other}");
            }
        }
    }
}
