//! Reads a `put`.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::WrittenChange;
use crate::change::{Change, DerivedItem};
use crate::expr::{Expected, Expr};
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::{Fields, check};
use crate::plan::names::table_name;
use crate::plan::select::{WrittenExpr, read_expression};

const EXAMPLE: &str = "put = { key = { pk = '\"EMAIL#\" + item.email' }, attributes = { user = \"item.pk\" } }";

/// The attributes of a derived item. Each entry contains the name, the position of the name, and the expression.
type WrittenAttributes = Vec<(String, TextSpan, WrittenExpr)>;

/// Reads a `put`. `key` is the position of the word `put`, and `value` is its value.
pub(super) fn read_put(key: &TextSpan, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<WrittenChange> {
    let DeValue::Table(table) = value.get_ref() else {
        problems.add(
            Diagnostic::new(
                "`put` must say which item to put",
                value.span(),
                format!("expected a table, found {}", value.get_ref().type_str()),
            )
            .help(format!("write {EXAMPLE}")),
        );
        return None;
    };
    let fields = Fields::open(table, "`put`", &["key", "attributes", "table"], value.span(), problems);
    let table = fields.text("table", "\"lookup\"", problems);
    let table_at = table.as_ref().map(Spanned::span);
    let has_table = fields.get("table").is_some();
    let table = table.and_then(|name| check(&name, problems, table_name));
    if fields.get("key").is_none() && !fields.has_misspelt(&["key"]) {
        problems.add_missing(
            Diagnostic::new(
                "`put` has no `key`",
                value.span(),
                "`key` must list the key attributes of the derived item",
            )
            .help(format!("write {EXAMPLE}")),
        );
    }
    let parts = fields.get("key").map(|(at, value)| (at, read_attributes("key", value, problems)));
    let attributes = match fields.get("attributes") {
        Some((_, value)) => read_attributes("attributes", value, problems),
        None => Some(Vec::new()),
    };
    let (key_at, parts) = parts?;
    let (parts, attributes) = (parts?, attributes?);
    if parts.is_empty() {
        problems.add(
            Diagnostic::new("`key` has no attributes", key_at, "the derived item needs a key")
                .help("write the key attributes of the table, each with an expression"),
        );
        return None;
    }
    for (name, at, _) in attributes.iter().filter(|(name, ..)| parts.iter().any(|(part, ..)| part == name)) {
        problems.add(
            Diagnostic::new(format!("`{name}` is in `key` and in `attributes`"), at.clone(), "the second one")
                .help("keep it in `key` only"),
        );
    }
    if (has_table && table.is_none()) || attributes.iter().any(|(name, ..)| parts.iter().any(|(part, ..)| part == name))
    {
        return None;
    }
    let plain = |all: &WrittenAttributes| -> Vec<(String, Expr)> {
        all.iter().map(|(name, _, written)| (name.clone(), written.expr.clone())).collect()
    };
    let table = table.map(|name| name.as_str().into());
    let derived = DerivedItem { table, key: plain(&parts), attributes: plain(&attributes) };
    let change = Change::Put { derived: Arc::new(derived) };
    let expressions = parts.into_iter().chain(attributes).map(|(_, _, written)| written).collect();
    Some(WrittenChange {
        derived: expressions,
        derived_table: table_at,
        value: key_at,
        ..WrittenChange::new(change, key.clone())
    })
}

/// Reads a table of attributes, each with an expression. Returns `None` if at least one of them is invalid.
fn read_attributes(
    field: &'static str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<WrittenAttributes> {
    let DeValue::Table(table) = value.get_ref() else {
        problems.add(
            Diagnostic::new(
                format!("`{field}` must be a table of attributes"),
                value.span(),
                format!("expected a table, found {}", value.get_ref().type_str()),
            )
            .help("write the name of each attribute with its expression: { user = \"item.pk\" }"),
        );
        return None;
    };
    let mut read = Vec::new();
    let mut is_valid = true;
    for (name, expression) in table.iter() {
        let at = name.span();
        let name = name.get_ref().to_string();
        if name.is_empty() {
            problems.add(
                Diagnostic::new("an attribute has no name", at, "an empty name")
                    .help("write the name of the attribute before the `=`"),
            );
            is_valid = false;
            continue;
        }
        match read_expression(&name, expression, Expected::Value, problems) {
            Some(written) => read.push((name, at, written)),
            None => is_valid = false,
        }
    }
    // Sort the attributes by their order in the text, because the parser's order can differ.
    read.sort_by_key(|(_, at, _)| at.start);
    is_valid.then_some(read)
}
