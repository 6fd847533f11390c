//! Reads the conversion of a change. It consists of the target after `to`, and the options that this target has.

mod options;

#[cfg(test)]
mod tests;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Problems};
use super::fields::{Fields, closest_name, join_with_or};
use crate::convert::{BooleanWords, Conversion, DateFormat, DateWriter, EpochReader, EpochUnit, PlainTarget};

/// The options of a conversion. Other kinds of change do not have these options.
pub(super) const OPTIONS: [&str; 7] = ["formats", "format", "zone", "unit", "fraction", "true_values", "false_values"];

/// What a conversion writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Plain(PlainTarget),
    Boolean,
    Epoch(EpochUnit),
    Rfc3339,
    Text,
}

const TARGETS: [(&str, Target); 15] = [
    ("N", Target::Plain(PlainTarget::Number)),
    ("S", Target::Plain(PlainTarget::Text)),
    ("BOOL", Target::Boolean),
    ("epoch-seconds", Target::Epoch(EpochUnit::Seconds)),
    ("epoch-milliseconds", Target::Epoch(EpochUnit::Milliseconds)),
    ("rfc3339", Target::Rfc3339),
    ("text", Target::Text),
    ("M", Target::Plain(PlainTarget::Map)),
    ("L", Target::Plain(PlainTarget::List)),
    ("JSON", Target::Plain(PlainTarget::JsonText)),
    ("SS", Target::Plain(PlainTarget::StringSet)),
    ("NS", Target::Plain(PlainTarget::NumberSet)),
    ("BS", Target::Plain(PlainTarget::BinarySet)),
    ("B", Target::Plain(PlainTarget::Binary)),
    ("BASE64", Target::Plain(PlainTarget::Base64Text)),
];

impl Target {
    fn name(self) -> &'static str {
        TARGETS.iter().find(|(_, target)| *target == self).map_or("", |(name, _)| name)
    }

    /// Returns the options that this target has.
    fn options(self) -> &'static [&'static str] {
        match self {
            Target::Plain(_) => &[],
            Target::Boolean => &["true_values", "false_values"],
            Target::Epoch(_) => &["formats", "zone", "fraction"],
            Target::Rfc3339 => &["unit", "zone"],
            Target::Text => &["format", "unit", "zone"],
        }
    }
}

/// Reads the conversion of a `convert` or an `inverse`. Reports every error.
pub(super) fn read(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Conversion> {
    let target = read_target(fields, problems);
    let known = target.as_ref().map(|target| *target.get_ref());
    let fits = |name: &str| known.is_none_or(|target| target.options().contains(&name));
    if let Some(target) = &target {
        report_misfits(fields, target, problems);
    }
    // Even if `to` is wrong, read every option that fits the target, so that all errors are reported together.
    let has = |name: &str| fits(name) && fields.get(name).is_some();
    let formats = has("formats").then(|| options::formats(fields, problems));
    let format = has("format").then(|| options::format(fields, problems));
    let zone = has("zone").then(|| options::zone(fields, problems));
    let unit = has("unit").then(|| options::unit(fields, problems));
    let drop_fraction = has("fraction").then(|| options::fraction(fields, problems));
    let words = (has("true_values") || has("false_values")).then(|| options::words(fields, problems));

    let target = target?;
    let mut require = |name, found, example| require(fields, &target, name, found, example, problems);
    match *target.get_ref() {
        Target::Plain(plain) => Some(Conversion::plain(plain)),
        Target::Boolean => Some(Conversion::boolean(words.unwrap_or_else(|| Some(BooleanWords::default()))?)),
        Target::Epoch(unit) => {
            require("formats", formats.is_some(), "formats = [\"%Y-%m-%d\", \"rfc3339\"]");
            let formats = formats??;
            let has_zone = zone.is_some() || fields.has_misspelt(&["zone"]);
            require_zone_of_formats(&formats, has_zone, problems);
            let zone = optional(zone)?;
            if zone.is_none() && formats.iter().any(|format| !format.get_ref().names_offset()) {
                return None;
            }
            let formats = formats.into_iter().map(Spanned::into_inner).collect();
            let drop_fraction = optional(drop_fraction)?.is_some();
            Some(Conversion::epoch(EpochReader::new(unit, formats, zone, drop_fraction)))
        }
        Target::Rfc3339 => {
            require("unit", unit.is_some(), "unit = \"seconds\"");
            let zone = optional(zone)?.unwrap_or(jiff::tz::TimeZone::UTC);
            Some(Conversion::date(DateWriter::new(DateFormat::Rfc3339, unit??, zone)))
        }
        Target::Text => {
            require("format", format.is_some(), "format = \"%Y-%m-%d %H:%M:%S\"");
            require("unit", unit.is_some(), "unit = \"seconds\"");
            require("zone", zone.is_some(), "zone = \"UTC\"");
            let (pattern, unit, zone) = (format?, unit?, zone?);
            let pattern = options::in_zone(pattern?, zone.as_ref(), fields, problems)?;
            Some(Conversion::date(DateWriter::new(DateFormat::Pattern(pattern), unit?, zone?)))
        }
    }
}

/// Returns the value of an option. The outer `None` means that the option is present but wrong.
fn optional<T>(option: Option<Option<T>>) -> Option<Option<T>> {
    match option {
        None => Some(None),
        Some(found) => found.map(Some),
    }
}

fn read_target(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Spanned<Target>> {
    let Some((_, value)) = fields.get("to") else {
        if !fields.has_misspelt(&["to"]) {
            let at = fields.get("convert").map_or_else(|| fields.at.clone(), |(key, _)| key);
            problems.add_missing(
                Diagnostic::new(format!("`{}` has no `to`", kind(fields)), at, "`to` must be the new type or format")
                    .help(format!("add `to = \"N\"` to {}", place(fields)))
                    .help(valid_targets()),
            );
        }
        return None;
    };
    let text = fields.text("to", "\"N\"", problems)?;
    let written = *text.get_ref();
    if let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == written) {
        return Some(Spanned::new(value.span(), *target));
    }
    let title = format!("`{}` cannot write {written:?}", kind(fields));
    let mut problem = Diagnostic::new(title, text.span(), "not a type or form");
    if let Some(suggestion) = suggested_target(written) {
        problem = problem.help(suggestion);
    }
    problems.add(problem.help(valid_targets()));
    None
}

/// Returns the field that contains the conversion: `convert` or `inverse`.
fn kind(fields: &Fields<'_, '_>) -> &'static str {
    if fields.get("convert").is_some() { "convert" } else { "inverse" }
}

/// Returns the TOML table that contains the options of the conversion.
fn place(fields: &Fields<'_, '_>) -> &'static str {
    if fields.get("convert").is_some() { "this change" } else { "`inverse`" }
}

fn valid_targets() -> String {
    format!("valid values: {}", join_with_or(TARGETS.iter().map(|(name, _)| format!("{name:?}"))))
}

/// Returns the help text with the target that the operator probably meant.
fn suggested_target(written: &str) -> Option<String> {
    let lower = written.to_lowercase();
    let synonym = match lower.as_str() {
        "number" | "int" | "integer" | "float" | "decimal" => Some("N"),
        "string" | "str" => Some("S"),
        "boolean" => Some("BOOL"),
        "map" | "object" | "document" => Some("M"),
        "list" | "array" => Some("L"),
        "binary" | "bytes" => Some("B"),
        "iso8601" | "iso-8601" | "iso" => Some("rfc3339"),
        "seconds" => Some("epoch-seconds"),
        "milliseconds" | "millis" | "ms" => Some("epoch-milliseconds"),
        "epoch" | "unix" | "timestamp" | "date" | "datetime" => {
            return Some("for a time as a number, write \"epoch-seconds\" or \"epoch-milliseconds\"; for a text, write \"rfc3339\" or \"text\"".into());
        }
        "set" => return Some("write \"SS\", \"NS\" or \"BS\", for texts, numbers or binary values".into()),
        "null" => return Some("NULL has only one value: use `set` with `value = { NULL = true }`".into()),
        _ => None,
    };
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let same = names.iter().find(|name| name.eq_ignore_ascii_case(&lower)).copied();
    let found = synonym.or(same).or_else(|| closest_name(written, &names).filter(|name| name.len() > 3))?;
    Some(format!("did you mean {found:?}?"))
}

/// Reports each option that the target does not have.
fn report_misfits(fields: &Fields<'_, '_>, target: &Spanned<Target>, problems: &mut Problems) {
    let (at, target) = (target.span(), *target.get_ref());
    for (name, key, _) in fields.present_fields(&OPTIONS) {
        if target.options().contains(&name) {
            continue;
        }
        let takers = TARGETS.iter().filter(|(_, target)| target.options().contains(&name));
        let takers = join_with_or(takers.map(|(target, _)| format!("{target:?}")));
        let problem = Diagnostic::new(
            format!("`{name}` is not allowed with `to = {:?}`", target.name()),
            key,
            format!("only with `to = {takers}`"),
        )
        .also(at.clone(), format!("this conversion writes {:?}", target.name()));
        problems.add(problem.help(match other_option(name, target) {
            Some(other) => format!("use `{other}` instead"),
            None => format!("remove `{name}`"),
        }));
    }
}

/// Returns the option that the operator probably meant.
fn other_option(name: &str, target: Target) -> Option<&'static str> {
    let other = match name {
        "format" => "formats",
        "formats" => "format",
        _ => return None,
    };
    target.options().contains(&other).then_some(other)
}

/// Reports a missing option, unless the plan contains a misspelt name of this option.
fn require(
    fields: &Fields<'_, '_>,
    target: &Spanned<Target>,
    name: &str,
    found: bool,
    example: &str,
    problems: &mut Problems,
) {
    // The plan contains an option with a similar name. The error for that option is already reported.
    let similar = match name {
        "formats" => Some("format"),
        "format" => Some("formats"),
        _ => None,
    };
    if found || fields.has_misspelt(&[name]) || similar.is_some_and(|similar| fields.get(similar).is_some()) {
        return;
    }
    let why = match name {
        "formats" => "`formats` must list the formats of the texts",
        "format" => "`format` must be the format of the new text",
        "unit" => "`unit` must be the unit of the numbers",
        _ => "`zone` must be the time zone of the new text",
    };
    problems.add_missing(
        Diagnostic::new(format!("`to = {:?}` needs `{name}`", target.get_ref().name()), target.span(), why)
            .help(format!("add `{example}` to {}", place(fields))),
    );
}

/// Reports each format that needs a time zone, if the plan has no time zone.
fn require_zone_of_formats(formats: &[Spanned<DateFormat>], has_zone: bool, problems: &mut Problems) {
    for format in formats.iter().filter(|format| !has_zone && !format.get_ref().names_offset()) {
        problems.add_missing(
            Diagnostic::new("this format needs `zone`", format.span(), "a text of this format has no offset from UTC")
                .help("add the time zone of the texts, such as `zone = \"UTC\"` or `zone = \"Europe/Paris\"`"),
        );
    }
}

/// Returns the text for the type of a value in messages, with its article.
fn type_with_article(value: &DeValue<'_>) -> String {
    let found = value.type_str();
    format!("{} {found}", if found.starts_with(['a', 'i']) { "an" } else { "a" })
}
