//! Finds constants that look like templates or expressions. The plan's author may expect the tool to evaluate such
//! constants. This module is pure.

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::change::{Change, ElementEdit};
use crate::item::{Path, Value};
use crate::plan::{Plan, excerpt};

/// Returns a warning for each constant that looks like a template or an expression. A run writes such a constant
/// literally.
pub(super) fn template_findings(plan: &Plan) -> Vec<Finding> {
    let found = plan.changes.iter().flat_map(|change| match change {
        Change::Set { to, value, .. } => template(to, value).into_iter().collect(),
        Change::Each { each } => each.edits().iter().filter_map(element_template).collect(),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Convert { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Put { .. } => Vec::new(),
    });
    found.collect()
}

fn template(to: &Path, value: &Value) -> Option<Finding> {
    first_template(value).map(|(text, kind)| finding(to, text, kind))
}

fn element_template(edit: &ElementEdit) -> Option<Finding> {
    match edit {
        ElementEdit::Set { to, value, .. } => template(to, value),
        ElementEdit::Move { .. }
        | ElementEdit::Remove { .. }
        | ElementEdit::Compute { .. }
        | ElementEdit::Convert { .. }
        | ElementEdit::ConvertInto { .. } => None,
    }
}

fn finding(to: &Path, text: &str, kind: &str) -> Finding {
    let what = format!("The constant of `{to}` looks like {kind}: {}", excerpt(&Value::S(text.to_owned())));
    Finding::new(Warning, "constant-template", what)
        .with_reason("A constant is not evaluated: every item gets exactly this text")
        .with_action(
            "If this text is intended, change nothing. To take the value of another attribute, use `copy` or `move`; \
                      to compute a value, use `compute`",
        )
}

/// Finds the first text in a constant that looks like a template or an expression. Returns the text, and the kind that
/// it resembles.
fn first_template(value: &Value) -> Option<(&str, &'static str)> {
    match value {
        Value::S(text) => template_kind(text).map(|kind| (text.as_str(), kind)),
        Value::Ss(set) => set.iter().find_map(|text| template_kind(text).map(|kind| (text.as_str(), kind))),
        Value::L(list) => list.iter().find_map(first_template),
        Value::M(map) => map.values().find_map(first_template),
        Value::N(_) | Value::B(_) | Value::Bool(_) | Value::Null | Value::Ns(_) | Value::Bs(_) => None,
    }
}

fn template_kind(text: &str) -> Option<&'static str> {
    let between = |open: &str, close: &str| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    if between("${", "}") || between("{{", "}}") {
        return Some("a template");
    }
    let is_operand = |word: Option<&str>| {
        word.is_some_and(|word| word.chars().any(|c| c.is_alphanumeric() || matches!(c, '"' | '\'' | '_')))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let sum = words.iter().enumerate().any(|(place, word)| {
        *word == "+" && is_operand(place.checked_sub(1).map(|n| words[n])) && is_operand(words.get(place + 1).copied())
    });
    (sum || text.contains("||")).then_some("an expression")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_expressions_are_recognised() {
        for text in ["${id}", "a-${name}-b", "{{ user }}", "first + last", "'a' + b", "a || b", "a||b", "x + 1"] {
            assert!(template_kind(text).is_some(), "{text}");
        }
        for text in
            ["", "plain", "$5", "{}", "{a}", "$name", "}${", "}}{{", "C++", "+49 30 1234", "a+b", "+", "1 +", "|"]
        {
            assert_eq!(template_kind(text), None, "{text}");
        }
    }
}
