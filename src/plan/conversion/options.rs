//! Reads the options of a conversion. Call a function only if the change has the option.

use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::DeValue;

use super::type_with_article;
use crate::convert::{BooleanWords, DateFormat, EpochUnit, Pattern, PatternError};
use crate::plan::diagnostic::{Diagnostic, Problems};
use crate::plan::fields::Fields;
use crate::plan::window;

const FORMATS_EXAMPLE: &str = "[\"%Y-%m-%d\", \"rfc3339\"]";

/// Reads the formats in which the conversion reads dates.
pub(super) fn formats(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Vec<Spanned<DateFormat>>> {
    let texts = texts(fields, "formats", FORMATS_EXAMPLE, problems)?;
    report_repeated(&texts, "formats", problems);
    let formats: Vec<Option<Spanned<DateFormat>>> = texts
        .iter()
        .map(|text| {
            let format = match *text.get_ref() {
                "rfc3339" => DateFormat::Rfc3339,
                pattern => DateFormat::Pattern(valid(Pattern::for_reading(pattern), text, problems)?),
            };
            Some(Spanned::new(text.span(), format))
        })
        .collect();
    formats.into_iter().collect()
}

/// Reads the format in which the conversion writes dates.
pub(super) fn format(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Pattern> {
    let text = fields.text("format", "\"%Y-%m-%d %H:%M:%S\"", problems)?;
    if *text.get_ref() == "rfc3339" {
        problems.add(
            Diagnostic::new("`format` is not a pattern", text.span(), "not a pattern")
                .help("for RFC 3339 dates, write `to = \"rfc3339\"` without `format`"),
        );
        return None;
    }
    valid(Pattern::for_writing(text.get_ref()), &text, problems)
}

/// Reports a format that states UTC although the zone is not UTC.
pub(super) fn in_zone(
    pattern: Pattern,
    zone: Option<&TimeZone>,
    fields: &Fields<'_, '_>,
    problems: &mut Problems,
) -> Option<Pattern> {
    let (_, value) = fields.get("format")?;
    if !pattern.claims_utc() || zone.is_none_or(|zone| *zone == TimeZone::UTC) {
        return Some(pattern);
    }
    let label = "the `Z` after the time means UTC";
    problems.add(
        Diagnostic::new("`format` and `zone` contradict each other", value.span(), label)
            .help("write `zone = \"UTC\"`, or replace `Z` by %z, which writes the zone's offset"),
    );
    None
}

/// Reads a time zone. Time zones come from the bundled database, so a plan has the same meaning on every machine.
pub(super) fn zone(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<TimeZone> {
    let text = fields.text("zone", "\"Europe/Paris\"", problems)?;
    let add = |help: Vec<String>| {
        let problem = Diagnostic::new("there is no such time zone", text.span(), "not in the IANA database");
        problems.add(help.into_iter().fold(problem, Diagnostic::help));
    };
    window::find_zone(text.get_ref()).map_err(add).ok()
}

/// Reads the unit of times as numbers.
pub(super) fn unit(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<EpochUnit> {
    let units = [EpochUnit::Seconds, EpochUnit::Milliseconds].map(|unit| (unit.name(), unit));
    fields.choice("unit", &units, problems)
}

/// Reads the option for fractions of the unit. It has only one value.
pub(super) fn fraction(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<()> {
    fields.choice("fraction", &[("drop", ())], problems)
}

/// Reads the words that mean true and false. A plan must contain both lists or neither.
pub(super) fn words(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<BooleanWords> {
    let mut read = |name: &str, other: &str, example: &str| {
        // Do not look for a misspelt name here, because the names of the two lists are similar.
        if let Some((at, _)) = fields.get(other).filter(|_| fields.get(name).is_none()) {
            problems.add_missing(
                Diagnostic::new(format!("`{other}` needs `{name}`"), at, format!("`{name}` is missing"))
                    .help(format!("add `{name} = {example}`; the two lists replace the texts \"true\" and \"false\"")),
            );
        }
        let words = texts(fields, name, example, problems)?;
        report_repeated(&words, name, problems);
        Some(words)
    };
    let true_values = read("true_values", "false_values", "[\"yes\"]");
    let false_values = read("false_values", "true_values", "[\"no\"]");
    let (true_values, false_values) = (true_values?, false_values?);
    for word in &false_values {
        if let Some(same) = true_values.iter().find(|same| same.get_ref() == word.get_ref()) {
            problems.add(
                Diagnostic::new("a text cannot mean both true and false", word.span(), "this text means false")
                    .also(same.span(), "the same text means true")
                    .help("remove the text from one of the lists"),
            );
        }
    }
    let owned = |words: Vec<Spanned<&str>>| words.into_iter().map(|word| (*word.get_ref()).to_owned()).collect();
    Some(BooleanWords::new(owned(true_values), owned(false_values)))
}

/// Returns the pattern if it is valid. Otherwise, reports the error at its position in the plan.
fn valid(pattern: Result<Pattern, PatternError>, text: &Spanned<&str>, problems: &mut Problems) -> Option<Pattern> {
    let add = |error: PatternError| {
        let at = problems.span_in_string(text.span(), text.get_ref(), error.span);
        problems.add(Diagnostic::new(error.title, at, error.label).help(error.help));
    };
    pattern.map_err(add).ok()
}

/// Reads an array of at least one string.
fn texts<'t>(
    fields: &Fields<'t, '_>,
    name: &str,
    example: &str,
    problems: &mut Problems,
) -> Option<Vec<Spanned<&'t str>>> {
    let (_, value) = fields.get(name)?;
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(fields.wrong_type(name, value, "an array of strings", example));
        return None;
    };
    if array.is_empty() {
        let problem = Diagnostic::new(format!("`{name}` is empty"), value.span(), "no strings");
        problems.add(problem.help(format!("write `{name} = {example}`")));
        return None;
    }
    let mut texts = Some(Vec::new());
    for member in array.iter() {
        match member.get_ref() {
            DeValue::String(text) => {
                if let Some(texts) = &mut texts {
                    texts.push(Spanned::new(member.span(), text.as_ref()));
                }
            }
            other => {
                let label = format!("expected a quoted string, found {}", type_with_article(other));
                let problem = Diagnostic::new(format!("`{name}` must be an array of strings"), member.span(), label);
                problems.add(problem.help(format!("write `{name} = {example}`")));
                texts = None;
            }
        }
    }
    texts
}

fn report_repeated(texts: &[Spanned<&str>], name: &str, problems: &mut Problems) {
    for (i, text) in texts.iter().enumerate() {
        if let Some(first) = texts[..i].iter().find(|first| first.get_ref() == text.get_ref()) {
            problems.add(
                Diagnostic::new(format!("`{name}` has the same string twice"), text.span(), "the second time")
                    .also(first.span(), "the first time")
                    .help("remove one of them"),
            );
        }
    }
}
