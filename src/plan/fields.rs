//! Reads the fields of one TOML table of a plan. Reports every wrong or unknown field, so that the operator sees all
//! errors together.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::expr::edit_distance;

/// A TOML table of the plan. Provides access to the table's fields.
pub(super) struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    /// The unknown fields of this table.
    unknown: Vec<&'t str>,
    /// The name of the table in messages, such as `[scan]`.
    title: &'static str,
    /// The position of the table's header in the plan.
    pub(super) at: TextSpan,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// Opens a table and reports its unknown fields.
    pub(super) fn open(
        table: &'t DeTable<'i>,
        title: &'static str,
        names: &[&str],
        at: TextSpan,
        problems: &mut Problems,
    ) -> Fields<'t, 'i> {
        let mut unknown = Vec::new();
        for key in table.keys().filter(|key| !names.contains(&key.get_ref().as_ref())) {
            problems.add(unknown_field(key.get_ref(), key.span(), title, names));
            unknown.push(key.get_ref().as_ref());
        }
        Fields { table, unknown, title, at }
    }

    /// Returns the position of the field's name, and the field's value. Returns `None` if the table does not contain
    /// the field. Also returns `None` if the value stands for unreadable text.
    pub(super) fn get(&self, name: &str) -> Option<(TextSpan, &'t Spanned<DeValue<'i>>)> {
        let (key, value) = self.table.get_key_value(name)?;
        (value.span() != (0..0)).then(|| (key.span(), value))
    }

    /// Returns the fields in `names` that the table contains.
    pub(super) fn present_fields<'n>(&self, names: &[&'n str]) -> Vec<(&'n str, TextSpan, &'t Spanned<DeValue<'i>>)> {
        names.iter().filter_map(|name| self.get(name).map(|(key, value)| (*name, key, value))).collect()
    }

    /// Returns whether the table has an unknown field with a name similar to one of these names.
    pub(super) fn has_misspelt(&self, names: &[&str]) -> bool {
        self.unknown.iter().any(|key| closest_name(key, names).is_some())
    }

    /// Reads a string.
    pub(super) fn text(&self, name: &str, example: &str, problems: &mut Problems) -> Option<Spanned<&'t str>> {
        let (_, value) = self.get(name)?;
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            other => plain_text(other).filter(|text| problems.is_typed(&value.span(), text)),
        };
        if text.is_none() {
            problems.add(self.wrong_type(name, value, "a quoted string", example));
        }
        Some(Spanned::new(value.span(), text?))
    }

    /// Reads a required string.
    pub(super) fn required_text(&self, name: &str, example: &str, problems: &mut Problems) -> Option<Spanned<&'t str>> {
        if self.table.get(name).is_none() && !self.has_misspelt(&[name]) {
            let missing = format!("{} has no `{name}`", self.title);
            problems.add_missing(
                Diagnostic::new(missing, self.at.clone(), format!("`{name}` is missing"))
                    .help(format!("write `{name} = {example}`")),
            );
        }
        self.text(name, example, problems)
    }

    /// Reads a string and checks it with a rule. If the string is invalid, the rule returns the error and a remedy.
    pub(super) fn checked_text(
        &self,
        name: &str,
        example: &str,
        problems: &mut Problems,
        rule: impl Fn(&str) -> Result<(), (String, String)>,
    ) -> Option<String> {
        let text = self.text(name, example, problems)?;
        check(&text, problems, rule)
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let (_, value) = self.get(name)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            let example = quoted(value, |text| matches!(text, "true" | "false")).unwrap_or("true");
            problems.add(self.wrong_type(name, value, "true or false, without quotes", example));
        }
        flag
    }

    /// Reads a field whose value must be one of these words.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&'static str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.text(name, &format!("{:?}", words[0]), problems)?;
        let found = choices.iter().find(|(word, _)| word == text.get_ref()).map(|(_, choice)| *choice);
        if found.is_none() {
            let title = format!("`{name}` cannot be {:?}", text.get_ref());
            let mut problem = Diagnostic::new(title, text.span(), "not a valid value");
            if let Some(word) = closest_name(text.get_ref(), &words) {
                problem = problem.help(format!("did you mean {word:?}?"));
            }
            problems
                .add(problem.help(format!("valid values: {}", join_with_or(words.iter().map(|w| format!("{w:?}"))))));
        }
        found
    }

    /// Reads a whole number within a range.
    pub(super) fn whole_number(
        &self,
        name: &str,
        example: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<u64> {
        let (_, value) = self.get(name)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            let is_valid = |text: &str| text.parse().is_ok_and(|number: u64| range.contains(&number));
            let example = quoted(value, is_valid).unwrap_or(example);
            problems.add(self.wrong_type(name, value, "a whole number, without quotes", example));
            return None;
        };
        let number = parse_integer(integer).and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            problems.add(self.out_of_range(name, value.span(), &range.start().to_string(), &range.end().to_string()));
        }
        number
    }

    /// Reads a whole number from 1 to `max`, or `"auto"`. Returns `None` for `"auto"`.
    pub(super) fn whole_number_or_auto(&self, name: &str, max: u32, problems: &mut Problems) -> Option<u32> {
        let (_, value) = self.get(name)?;
        match value.get_ref() {
            DeValue::String(text) if text == "auto" => None,
            DeValue::Integer(_) => {
                self.whole_number(name, "8", 1..=max.into(), problems).and_then(|n| u32::try_from(n).ok())
            }
            _ => {
                problems.add(self.wrong_type(name, value, "\"auto\" or a whole number without quotes", "\"auto\""));
                None
            }
        }
    }

    /// Reads a number above zero, with or without decimals. `range_help` is the help text if the number is out of
    /// range. It explains the meaning of the number, and the default of the field.
    pub(super) fn number(
        &self,
        name: &str,
        example: &str,
        max: f64,
        range_help: &str,
        problems: &mut Problems,
    ) -> Option<f64> {
        let (_, value) = self.get(name)?;
        let number = parse_number(value.get_ref());
        if number.is_none() {
            let is_valid = |text: &str| {
                let has_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                has_digits && text.parse().is_ok_and(|number: f64| number > 0.0 && number <= max)
            };
            let example = quoted(value, is_valid).unwrap_or(example);
            problems.add(self.wrong_type(name, value, "a number, without quotes", example));
        }
        above_zero(name, number?, max, value.span(), range_help, problems)
    }

    /// Reads a duration in words, such as `"1m 30s"`, within a range.
    pub(super) fn duration(
        &self,
        name: &str,
        example: &str,
        range: RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Option<Spanned<Duration>> {
        let parse = |text: &str| SpanParser::new().parse_unsigned_duration(text.as_bytes()).ok();
        self.read_duration(parse, "ms, s, m and h", (name, example), range, problems)
    }

    /// Reads a duration that can also contain days (24 hours) and weeks (7 days).
    pub(super) fn long_duration(
        &self,
        name: &str,
        example: &str,
        range: RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Option<Spanned<Duration>> {
        self.read_duration(parse_duration, "ms, s, m, h, d and w", (name, example), range, problems)
    }

    fn read_duration(
        &self,
        parse: impl Fn(&str) -> Option<Duration>,
        units: &str,
        (name, example): (&str, &str),
        range: RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Option<Spanned<Duration>> {
        let (_, value) = self.get(name)?;
        let DeValue::String(text) = value.get_ref() else {
            problems.add(self.wrong_type(name, value, "a quoted duration with its unit", example));
            return None;
        };
        let Some(duration) = parse(text) else {
            problems.add(
                Diagnostic::new(format!("`{name}` is not a duration"), value.span(), "not a number with a unit")
                    .help(format!("write a value such as {example}; units are {units}")),
            );
            return None;
        };
        if !range.contains(&duration) {
            problems.add(self.out_of_range(
                name,
                value.span(),
                &format_duration(*range.start()),
                &format_duration(*range.end()),
            ));
            return None;
        }
        Some(Spanned::new(value.span(), duration))
    }

    fn out_of_range(&self, name: &str, at: TextSpan, min: &str, max: &str) -> Diagnostic {
        Diagnostic::new(format!("`{name}` is out of range"), at, format!("must be from {min} to {max}"))
            .help(format!("remove `{name}` from {} to use the default", self.title))
    }

    pub(super) fn wrong_type(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        example: &str,
    ) -> Diagnostic {
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        Diagnostic::new(
            format!("`{name}` in {} has the wrong type", self.title),
            value.span(),
            format!("expected {expected}, found {article} {found}"),
        )
        .help(format!("write `{name} = {example}`"))
    }
}

/// Returns the text of a quoted value if the text would be valid without the quotes.
fn quoted<'t>(value: &'t Spanned<DeValue<'_>>, is_valid: impl Fn(&str) -> bool) -> Option<&'t str> {
    value.get_ref().as_str().filter(|text| is_valid(text))
}

/// Checks a string with a rule.
pub(super) fn check(
    text: &Spanned<&str>,
    problems: &mut Problems,
    rule: impl Fn(&str) -> Result<(), (String, String)>,
) -> Option<String> {
    match rule(text.get_ref()) {
        Ok(()) => Some((*text.get_ref()).to_owned()),
        Err((what, help)) => {
            problems.add(Diagnostic::new(what, text.span(), "not valid here").help(help));
            None
        }
    }
}

/// Returns the text of a number or a boolean. In a `--set` argument, text needs no quotes even if it looks like a
/// number or a boolean, for example `--set table.account=123456789012`.
fn plain_text<'t>(value: &'t DeValue<'_>) -> Option<&'t str> {
    match value {
        DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
        DeValue::Float(float) => Some(float.as_str()),
        DeValue::Boolean(true) => Some("true"),
        DeValue::Boolean(false) => Some("false"),
        _ => None,
    }
}

/// Checks that a number is above zero and at most `max`.
pub(super) fn above_zero(
    name: &str,
    number: f64,
    max: f64,
    at: TextSpan,
    range_help: &str,
    problems: &mut Problems,
) -> Option<f64> {
    // NaN and infinity fail this test.
    if number > 0.0 && number <= max {
        return Some(number);
    }
    let title = format!("`{name}` is out of range");
    problems.add(Diagnostic::new(title, at, format!("must be above 0 and at most {max}")).help(range_help));
    None
}

/// Returns the value as a number, or `None` if it is not a number. If an integer does not fit into 64 bits, returns
/// NaN, which no field accepts.
pub(super) fn parse_number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => Some(parse_integer(integer).map_or(f64::NAN, |n| n as f64)),
        DeValue::Float(float) => Some(float.as_str().parse().unwrap_or(f64::NAN)),
        _ => None,
    }
}

/// Returns the integer if it fits into 64 bits, as TOML requires.
pub(super) fn parse_integer(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Joins names for people, such as `a, b or c`.
pub(super) fn join_with_or(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

/// Parses a duration in words, such as `2h` or `1 day 6h`. Days have 24 hours and weeks 7 days.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text.as_bytes()).ok().filter(|span| !span.is_negative())?;
    // Months and years have no fixed length.
    Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?).ok()
}

/// Formats a duration as a plan writes it.
pub(super) fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// Returns the error for an unknown field or table. It suggests the name that the operator probably meant.
fn unknown_field(name: &str, at: TextSpan, title: &str, names: &[&str]) -> Diagnostic {
    let mut problem = Diagnostic::new(format!("unknown field `{name}` in {title}"), at, "unknown field");
    match (unsupported(name), closest_name(name, names)) {
        (Some(answer), _) => problem = problem.help(answer),
        (None, Some(suggestion)) => problem = problem.help(format!("did you mean `{suggestion}`?")),
        (None, None) => {}
    }
    problem.help(format!("valid here: {}", names.join(", ")))
}

/// Returns the help text for a field that other tools have and `backfill` does not have.
fn unsupported(name: &str) -> Option<&'static str> {
    Some(match name {
        "filter" | "where" | "condition" | "if" | "when" => {
            "to change only some items, write `where = 'item.status == \"active\"'` in a [select] table for all changes of \
             the plan, or in a [[change]] for that change only"
        }
        "expression" | "transform" | "script" | "function" | "template" => {
            "to compute a value, write `compute = \"full_name\"` and `as = 'item.first + \" \" + item.last'`"
        }
        "type" | "cast" => "to convert a value to another type, write `convert = \"price\"` and `to = \"N\"`",
        "rename" => "to rename an attribute, write `move = \"old\"` and `to = \"new\"`",
        "delete" | "delete_items" => {
            "to delete the selected items, write `delete = true` in a [[change]]. To remove an attribute from every item, \
             write `remove = \"attribute\"`"
        }
        "default" => {
            "to set an attribute only in items that lack it, use `set` and `value` with `on_existing = \"skip\"`"
        }
        "export" | "s3" | "stream" | "query" | "sql" => {
            "a plan scans its table, or selects items with `index` or `keys` in [select]; it cannot read an export, a stream or a query"
        }
        "batch" | "batch_size" | "transport" => {
            "to send up to 25 writes in one request, write `transport = \"batch\"` in a [write] table. [capacity] sets the rate"
        }
        "workers" | "threads" | "parallelism" | "concurrency" => {
            "only one process works on a migration. `active` in [scan] sets the number of segments that it works on at the same time"
        }
        _ => return None,
    })
}

/// Returns the valid name that the operator probably meant, or `None` if no valid name is similar enough.
pub(super) fn closest_name<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    if written.len() > 40 || names.contains(&written) {
        return None;
    }
    let close = |name: &str| edit_distance(&written.to_lowercase().replace('-', "_"), name);
    names.iter().map(|name| (close(name), *name)).min().filter(|(d, name)| *d <= name.len().div_ceil(3)).map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_recognised() {
        let names = ["name", "strategy", "on_existing"];
        for (written, suggestion) in [
            ("nam", Some("name")),
            ("Name", Some("name")),
            ("startegy", Some("strategy")),
            ("on-existing", Some("on_existing")),
            ("colour", None),
            ("name", None),
        ] {
            assert_eq!(closest_name(written, &names), suggestion, "{written}");
        }
        assert_eq!(closest_name("changes", &["migration", "table", "change"]), Some("change"));
    }

    #[test]
    fn durations_are_spelt_as_a_plan_writes_them() {
        for (ms, text) in [(50, "50ms"), (20_000, "20s"), (900_000, "15m"), (86_400_000, "24h"), (1500, "1500ms")] {
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
    }
}
