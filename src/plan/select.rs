//! Reads `[select]`, and checks the expressions of a plan.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::Fields;
use super::section::section;
use crate::change::Selection;
use crate::expr::{Expected, Expr, ExprError, KnownTypes};

/// An expression, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenExpr {
    pub(super) expr: Expr,
    /// Position of the TOML string that contains the expression.
    pub(super) at: TextSpan,
}

/// A valid selection, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenSelection {
    pub(super) selection: Selection,
    /// Position of `where`.
    pub(super) at: TextSpan,
}

/// `[select]`
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SelectSection {
    /// The selection of items for all changes. `None` means every item.
    pub(super) selection: Option<WrittenSelection>,
    /// The attributes that never change. They also apply to the `where` of a single change.
    pub(super) stable: Vec<String>,
}

/// Reads `[select]`. A plan without this table selects every item. `where` may be missing if there is a list of stable
/// attributes for the changes' own `where`; `changes_select` is true if a change has one.
pub(super) fn read(root: &Fields<'_, '_>, changes_select: bool, problems: &mut Problems) -> SelectSection {
    let fields = section(root, "select", "[select]", &["where", "stable"], None, problems);
    let Some(fields) = fields else { return SelectSection::default() };
    let stable = read_stable(&fields, problems);
    let is_optional = changes_select && fields.get("stable").is_some();
    let selection = read_where(&fields, stable.as_deref(), is_optional, problems);
    SelectSection { selection, stable: stable.unwrap_or_default() }
}

fn read_where(
    fields: &Fields<'_, '_>,
    stable: Option<&[String]>,
    is_optional: bool,
    problems: &mut Problems,
) -> Option<WrittenSelection> {
    let Some((_, value)) = fields.get("where") else {
        if !is_optional && !fields.has_misspelt(&["where"]) {
            problems.add_missing(
                Diagnostic::new(
                    "`[select]` has no `where`",
                    fields.at.clone(),
                    "`where` must say which items to change",
                )
                .help("add `where = 'has(item.email)'`, or remove [select] to change every item"),
            );
        }
        return None;
    };
    let written = read_expression("where", value, Expected::Bool, problems)?;
    Some(WrittenSelection {
        selection: Selection { condition: written.expr, stable: stable?.to_vec() },
        at: written.at,
    })
}

/// Reads and compiles the expression in a TOML string. Reports every error of the expression at its position.
pub(super) fn read_expression(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    expected: Expected,
    problems: &mut Problems,
) -> Option<WrittenExpr> {
    let DeValue::String(text) = value.get_ref() else {
        let found = value.get_ref().type_str();
        problems.add(
            Diagnostic::new(
                format!("`{field}` must be an expression"),
                value.span(),
                format!("expected a string in quotes, found {found}"),
            )
            .help("write the expression in single quotes: 'item.status == \"active\"'"),
        );
        return None;
    };
    match Expr::compile(text, expected) {
        Ok(expr) => Some(WrittenExpr { expr, at: value.span() }),
        Err(errors) => {
            errors.iter().for_each(|error| report(error, text, value.span(), problems));
            None
        }
    }
}

/// Reports each part of these expressions that has no result for some items. `known` describes the attributes that
/// every item has.
pub(super) fn check_faults(expressions: &[WrittenExpr], known: &KnownTypes, problems: &mut Problems) {
    for written in expressions {
        for fault in written.expr.faults(known) {
            report(&fault, written.expr.source(), written.at.clone(), problems);
        }
    }
}

fn read_stable(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Vec<String>> {
    let Some((_, value)) = fields.get("stable") else { return Some(Vec::new()) };
    let mut report = |at: TextSpan, label: String| {
        problems.add(
            Diagnostic::new("`stable` in [select] must be a list of attribute names", at, label)
                .help("list the attributes that no writer ever changes: stable = [\"type\"]"),
        );
        None
    };
    let DeValue::Array(array) = value.get_ref() else {
        return report(value.span(), format!("found {}", value.get_ref().type_str()));
    };
    let mut names: Vec<String> = Vec::new();
    for name in array.iter() {
        match name.get_ref().as_str() {
            Some("") => return report(name.span(), "an attribute name has at least one character".to_owned()),
            Some(text) if names.iter().any(|known| known == text) => {
                return report(name.span(), "this name appears twice".to_owned());
            }
            Some(text) => names.push(text.to_owned()),
            None => return report(name.span(), format!("found {}", name.get_ref().type_str())),
        }
    }
    Some(names)
}

fn report(error: &ExprError, source: &str, string: TextSpan, problems: &mut Problems) {
    let at = problems.span_in_string(string, source, error.span.clone());
    let diagnostic = Diagnostic::new(error.title.clone(), at, error.label.clone());
    problems.add(error.help.iter().fold(diagnostic, |diagnostic, help| diagnostic.help(help.clone())));
}
