//! Reads `[capacity]`, which contains the budgets for the table, its key ranges, its partition keys and its indexes.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::{Fields, above_zero, parse_number};
use super::section::section;
use super::{Access, Capacity, CapacityRate, ScopeCapacity};

/// The maximum budget in a plan, in capacity units per second. An account's default quota is 40,000 units per second
/// and table, so a much larger number is a mistake.
const MAX_RATE: f64 = 1_000_000.0;

/// The help text of the error for a budget that is out of range.
const BUDGET_HELP: &str =
    "a budget is a number of capacity units per second; remove this field to use the careful default";

/// A field of `[capacity]`. With it, an error about a budget can show the field in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityField {
    /// The field `write` or `read`, which sets the table's budget.
    Table(Access),
    /// A field of `per_key_range`.
    KeyRange(Access),
    /// A field of `per_partition_key`.
    PartitionKey(Access),
    /// The name of an index. The number is the position of the index in [`Capacity::indexes`].
    IndexName(usize),
    /// The budget of an index. The number is the position of the index in [`Capacity::indexes`].
    Index(usize),
}

/// An error about a budget that does not fit the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetError {
    /// The field that contains the budget.
    pub field: CapacityField,
    /// The error message.
    pub title: String,
    /// The text that is shown below the field.
    pub label: String,
    /// The remedies.
    pub help: Vec<String>,
}

/// The fields of `[capacity]`, each with its position in the plan's text.
type FieldSpans = Vec<(CapacityField, TextSpan)>;

/// Reads `[capacity]`.
pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> (Capacity, FieldSpans) {
    const NAMES: [&str; 5] = ["write", "read", "per_key_range", "per_partition_key", "index"];
    let mut spans = FieldSpans::new();
    let Some(fields) = section(root, "capacity", "[capacity]", &NAMES, None, problems) else {
        return (Capacity::default(), spans);
    };
    let mut table = |name, access| {
        let (_, value) = fields.get(name)?;
        spans.push((CapacityField::Table(access), value.span()));
        rate(&fields, name, value, problems)
    };
    let write = table("write", Access::Write);
    let read = table("read", Access::Read);
    let key_range = ("per_key_range", "[capacity.per_key_range]");
    let per_key_range = scope(&fields, key_range, CapacityField::KeyRange, &mut spans, problems);
    let partition_key = ("per_partition_key", "[capacity.per_partition_key]");
    let per_partition_key = scope(&fields, partition_key, CapacityField::PartitionKey, &mut spans, problems);
    let indexes = indexes(&fields, &mut spans, problems);
    (Capacity { write, read, per_key_range, per_partition_key, indexes }, spans)
}

/// Reads the budget for a key range or a partition key. This budget cannot be a percentage, because DynamoDB does not
/// report the capacity of a partition.
fn scope(
    capacity: &Fields<'_, '_>,
    (name, title): (&str, &'static str),
    field: fn(Access) -> CapacityField,
    spans: &mut FieldSpans,
    problems: &mut Problems,
) -> ScopeCapacity {
    let Some((_, value)) = capacity.get(name) else { return ScopeCapacity::default() };
    let DeValue::Table(table) = value.get_ref() else {
        problems.add(capacity.wrong_type(
            name,
            value,
            "a table with `write` and `read`",
            "{ write = 250, read = 750 }",
        ));
        return ScopeCapacity::default();
    };
    let fields = Fields::open(table, title, &["write", "read"], value.span(), problems);
    let mut units = |name, example, access| {
        let (_, value) = fields.get(name)?;
        spans.push((field(access), value.span()));
        if let DeValue::String(_) = value.get_ref() {
            let problem = fields.wrong_type(name, value, "a number, without quotes", example);
            problems.add(problem.help(
                "a percentage is not possible here, because DynamoDB does not report the capacity of a partition",
            ));
            return None;
        }
        fields.number(name, example, MAX_RATE, BUDGET_HELP, problems)
    };
    ScopeCapacity { write: units("write", "250", Access::Write), read: units("read", "750", Access::Read) }
}

/// Reads `[capacity.index]`, which contains the write budget of each index. Each key of this TOML table is the name of
/// an index.
fn indexes(capacity: &Fields<'_, '_>, spans: &mut FieldSpans, problems: &mut Problems) -> Vec<(String, CapacityRate)> {
    let Some((_, value)) = capacity.get("index") else { return Vec::new() };
    let DeValue::Table(table) = value.get_ref() else {
        let expected = "a table of index names and their write budgets";
        problems.add(capacity.wrong_type("index", value, expected, "{ \"my-index\" = 200 }"));
        return Vec::new();
    };
    let names: Vec<&str> = table.keys().map(|name| name.get_ref().as_ref()).collect();
    let fields = Fields::open(table, "[capacity.index]", &names, value.span(), problems);
    let mut indexes = Vec::new();
    for (name, at, value) in fields.present_fields(&names) {
        let shown = format!("{name:?}");
        if let DeValue::Table(inner) = value.get_ref() {
            problems.add(index_table(name, inner, value.span()));
        } else if !is_index_name(name) {
            problems.add(
                Diagnostic::new("a DynamoDB index cannot have this name", at, "not the name of an index").help(
                    "use 3 to 255 letters (a-z, A-Z), digits, `_`, `-` and `.`; write only the name, not the ARN",
                ),
            );
        } else if let Some(rate) = rate(&fields, &shown, value, problems) {
            let position = indexes.len();
            spans.push((CapacityField::IndexName(position), at));
            spans.push((CapacityField::Index(position), value.span()));
            indexes.push((name.to_owned(), rate));
        }
    }
    indexes
}

/// Returns the error for an index whose budget is a TOML table. The likely cause is a missing pair of quotes around an
/// index name that contains dots.
fn index_table(name: &str, inner: &DeTable<'_>, at: TextSpan) -> Diagnostic {
    let problem = Diagnostic::new(format!("{name:?} in [capacity.index] is a table"), at, "expected a budget");
    match inner.keys().next().map(|key| key.get_ref().as_ref()) {
        None | Some("write" | "read") => problem.help(format!("an index has only a write budget: `{name:?} = 200`")),
        Some(rest) => {
            let full = format!("{name}.{rest}");
            problem.help(format!("quote an index name that contains dots: `{full:?} = 200`"))
        }
    }
}

/// Returns whether DynamoDB accepts this name for an index (developer guide, "Naming rules").
fn is_index_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (3..=255).contains(&name.len()) && name.chars().all(valid)
}

/// Reads a budget, which is a number of capacity units per second or a quoted percentage.
fn rate(
    fields: &Fields<'_, '_>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<CapacityRate> {
    if let DeValue::String(text) = value.get_ref() {
        let report = |(title, label, help)| problems.add(Diagnostic::new(title, value.span(), label).help(help));
        return percent(name, text).map_err(report).ok();
    }
    let Some(units) = parse_number(value.get_ref()) else {
        problems.add(fields.wrong_type(name, value, "a number or a quoted percentage", "500"));
        return None;
    };
    above_zero(name, units, MAX_RATE, value.span(), BUDGET_HELP, problems).map(CapacityRate::Units)
}

/// Reads a percentage. If the text is not a valid percentage, returns the title, label and help text of an error.
fn percent(name: &str, text: &str) -> Result<CapacityRate, (String, &'static str, String)> {
    let is_plain = |number: &&str| number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
    let number = text.strip_suffix('%').map(str::trim_end).filter(is_plain).and_then(|number| number.parse().ok());
    match number {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(CapacityRate::Percent(percent)),
        Some(_) => Err((
            format!("`{name}` is out of range"),
            "must be above 0% and at most 100%",
            "a percentage refers to the provisioned capacity, the on-demand maximum or the warm throughput".into(),
        )),
        None => Err((
            format!("`{name}` is not a budget"),
            "neither a number nor a percentage",
            format!(
                "write capacity units per second without quotes, `{name} = 500`, or a quoted percentage with its sign, \
                 `{name} = \"40%\"`"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn capacity(text: &str) -> Capacity {
        let plan = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nremove = \"a\"\n[capacity]\n{text}"
        );
        load("p", &plan).unwrap_or_else(|errors| panic!("{errors}")).plan.capacity
    }

    #[test]
    fn tables_and_inline_tables_are_the_same() {
        let inline = "write = 2000\nread = \"12.5 %\"\nper_key_range = { write = 1.5, read = 7 }\n\
                      per_partition_key = { read = 9 }\nindex = { \"by.mail\" = \"25%\", by_date = 200 }\n";
        let tables = "read = '12.5%'\nwrite = 2_000.0\n[capacity.index]\nby_date = 200\n'by.mail' = \"25%\"\n\
                      [capacity.per_partition_key]\nread = 9\n[capacity.per_key_range]\nread = 7\nwrite = 1.5\n";
        let expected = Capacity {
            write: Some(CapacityRate::Units(2_000.0)),
            read: Some(CapacityRate::Percent(12.5)),
            per_key_range: ScopeCapacity { write: Some(1.5), read: Some(7.0) },
            per_partition_key: ScopeCapacity { write: None, read: Some(9.0) },
            indexes: vec![
                ("by.mail".into(), CapacityRate::Percent(25.0)),
                ("by_date".into(), CapacityRate::Units(200.0)),
            ],
        };
        assert_eq!((capacity(inline), capacity(tables)), (expected.clone(), expected));
        assert_eq!(capacity(""), Capacity::default());
    }

    #[test]
    fn only_percentages_above_zero_are_read() {
        let read = |text: &str| percent("write", text).ok();
        for (text, value) in [("40%", 40.0), ("0.5%", 0.5), ("100 %", 100.0), ("+7%", 7.0)] {
            assert_eq!(read(text), Some(CapacityRate::Percent(value)), "{text}");
        }
        for text in ["0%", "-1%", "100.1%", "40", "%", "inf%", "nan%", "1e1%", "40%%", "", "4 0%", "٤%", "0.0%"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
