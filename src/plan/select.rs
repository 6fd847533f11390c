//! Reads `[select]`, and checks the expressions of a plan.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::attribute_list::{WrittenName, attribute_list};
use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::{Fields, check};
use super::index::WrittenIndex;
use super::keys::SelectedKeys;
use super::names::index_name;
use super::section::section;
use crate::change::Selection;
use crate::expr::{Expected, Expr, ExprError, KnownTypes};
use crate::keys_file::KeysFormat;

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

/// The file of keys in a plan, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenKeys {
    pub(super) keys: SelectedKeys,
    /// Position of `keys`.
    pub(super) at: TextSpan,
}

/// The parts of `[select]`. A part is `None` if it is missing or invalid.
#[derive(Debug, Default)]
pub(super) struct SelectSection {
    /// The selection of items for all changes. `None` means every item.
    pub(super) selection: Option<WrittenSelection>,
    /// The attributes that never change. They also apply to a change's own `where`.
    pub(super) stable: Vec<WrittenName>,
    pub(super) keys: Option<WrittenKeys>,
    pub(super) index: Option<WrittenIndex>,
    /// Whether the plan has a `where` that has errors.
    pub(super) is_unreadable: bool,
}

/// Reads `[select]`. A plan without this table selects every item. `where` can be missing in two cases: `[select]` has
/// `keys` or `index`, or it has `stable` and a change has its own `where`. `changes_select` is true if at least one
/// change has its own `where`, even if that `where` has errors.
pub(super) fn read(root: &Fields<'_, '_>, changes_select: bool, problems: &mut Problems) -> SelectSection {
    const NAMES: [&str; 4] = ["where", "stable", "keys", "index"];
    let Some(fields) = section(root, "select", "[select]", &NAMES, None, problems) else {
        return SelectSection::default();
    };
    let keys = read_keys(&fields, problems);
    let index = read_index(&fields, problems);
    if let (Some((keys, _)), Some((index, _))) = (fields.get("keys"), fields.get("index")) {
        problems.add(
            Diagnostic::new("[select] has `keys` and `index`", index, "a second source of items")
                .also(keys, "the first one")
                .help("keep one of them, because a plan reads its items either from a file of keys or from an index"),
        );
    }
    let stable = read_stable(&fields, problems);
    let names = stable.as_ref().map(|stable| stable.iter().map(|written| written.name.clone()).collect::<Vec<_>>());
    let selection = read_where(&fields, names.as_deref(), changes_select, problems);
    let is_unreadable = selection.is_none() && fields.get("where").is_some();
    SelectSection { selection, stable: stable.unwrap_or_default(), keys, index, is_unreadable }
}

/// Reads `where`. `stable` contains the attributes that never change. It is `None` if that list is invalid.
fn read_where(
    fields: &Fields<'_, '_>,
    stable: Option<&[String]>,
    changes_select: bool,
    problems: &mut Problems,
) -> Option<WrittenSelection> {
    let has_source = fields.get("keys").is_some() || fields.get("index").is_some();
    let Some((_, value)) = fields.get("where") else {
        if let Some((at, _)) = fields.get("stable").filter(|_| has_source && !changes_select) {
            problems.add(
                Diagnostic::new("`stable` has no effect without `where`", at, "nothing reads these attributes")
                    .help("remove `stable`, or add `where`"),
            );
        }
        let is_optional = has_source || (changes_select && fields.get("stable").is_some());
        if !is_optional && !fields.has_misspelt(&["where", "keys", "index"]) {
            problems.add_missing(
                Diagnostic::new(
                    "`[select]` has no `where`",
                    fields.at.clone(),
                    "`where` must say which items to change",
                )
                .help("add `where = 'has(item.email)'`, or remove [select] to change every item")
                .help("to change only the items in a list, add `keys = \"keys.csv\"`"),
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

fn read_index(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<WrittenIndex> {
    let text = fields.text("index", "\"by-status\"", problems)?;
    let at = text.span();
    let name = check(&text, problems, index_name)?;
    Some(WrittenIndex { name, at })
}

/// Reads `keys`. [`super::LoadedPlan::open_keys`] reads the file itself.
fn read_keys(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<WrittenKeys> {
    let text = fields.text("keys", "\"keys.csv\"", problems)?;
    let at = text.span();
    let path = Path::new(*text.get_ref());
    if let Some(format) = KeysFormat::from_name(path) {
        return Some(WrittenKeys { keys: SelectedKeys::new(PathBuf::from(path), format), at });
    }
    let (title, label) = match *text.get_ref() {
        "" => ("`keys` in [select] is empty", "expected the path of a file"),
        _ => ("the file name does not show the format", "does not end in .csv, .ndjson or .jsonl"),
    };
    problems.add(
        Diagnostic::new(title, at, label)
            .help("the first line of a .csv file contains the names of the key attributes; each further line contains one key")
            .help("a .ndjson or .jsonl file has one key per line as JSON: {\"pk\": \"a\", \"sk\": 1}"),
    );
    None
}

/// Reads and compiles the expression in a TOML string. Reports every error of the expression at its position.
pub(super) fn read_expression(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    expected: Expected,
    problems: &mut Problems,
) -> Option<WrittenExpr> {
    read_compiled(field, value, |text| Expr::compile(text, expected), problems)
}

/// Reads and compiles the `where` of a change with `each`. It selects whole items, so it cannot read an element.
pub(super) fn read_where_of_each(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<WrittenExpr> {
    let text = value.get_ref().as_str().unwrap_or_default();
    let of_item = Expr::compile(text, Expected::Bool).err();
    let of_element = Expr::compile_in_element(text, Expected::Bool).err();
    if of_item == of_element {
        return read_expression("where", value, Expected::Bool, problems);
    }
    of_element.iter().flatten().for_each(|error| report(error, text, value.span(), problems));
    let title = "the `where` of a change with `each` selects whole items";
    problems.add(
        Diagnostic::new(title, value.span(), "reads an element")
            .help("`where` says to which items the change applies, so it can read only the item")
            .help(
                "to decide about each element, put the condition into the `as` of a `compute`: as = 'element.qty > 2 ? \
                 \"bulk\" : \"single\"'",
            ),
    );
    None
}

/// Reads and compiles an expression over an element of a list or map.
pub(super) fn read_element_expression(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<WrittenExpr> {
    read_compiled(field, value, |text| Expr::compile_in_element(text, Expected::Value), problems)
}

fn read_compiled(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    compile: impl Fn(&str) -> Result<Expr, Vec<ExprError>>,
    problems: &mut Problems,
) -> Option<WrittenExpr> {
    let DeValue::String(text) = value.get_ref() else {
        let found = value.get_ref().type_str();
        problems.add(
            Diagnostic::new(
                format!("`{field}` must be an expression"),
                value.span(),
                format!("expected a quoted string, found {found}"),
            )
            .help("write the expression in single quotes: 'item.status == \"active\"'"),
        );
        return None;
    };
    match compile(text) {
        Ok(expr) => Some(WrittenExpr { expr, at: value.span() }),
        Err(errors) => {
            errors.iter().for_each(|error| report(error, text, value.span(), problems));
            None
        }
    }
}

/// Reports each part of these expressions that might have no result for some items. `known` describes the attributes that
/// every item has. The expressions are evaluated only for items for which each of the `guards` is true.
pub(super) fn check_faults(expressions: &[WrittenExpr], known: &KnownTypes, guards: &[&Expr], problems: &mut Problems) {
    for written in expressions {
        for fault in written.expr.faults_where(known, guards) {
            report(&fault, written.expr.source(), written.at.clone(), problems);
        }
    }
}

/// Like [`check_faults`], for expressions that are also evaluated for items for which the `guards` are false. If a
/// guard excludes a fault, the error says why it does not count.
pub(super) fn check_unguarded_faults(
    expressions: &[WrittenExpr],
    known: &KnownTypes,
    guards: &[&Expr],
    problems: &mut Problems,
) {
    const NO_GUARD: &str = "a `where` does not count as a guard here: with `replaces`, applications and `cutover --back` compute \
                            this value too";
    for written in expressions {
        let guarded = written.expr.faults_where(known, guards);
        for mut fault in written.expr.faults(known) {
            if !guarded.contains(&fault) {
                fault.help.push(NO_GUARD.to_owned());
            }
            report(&fault, written.expr.source(), written.at.clone(), problems);
        }
    }
}

fn read_stable(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Vec<WrittenName>> {
    let Some((_, value)) = fields.get("stable") else { return Some(Vec::new()) };
    let report = |at: TextSpan, label: String| {
        problems.add(
            Diagnostic::new("`stable` in [select] must be a list of attribute names", at, label)
                .help("list the attributes that no writer ever changes: stable = [\"type\"]"),
        );
    };
    attribute_list(value, report)
}

fn report(error: &ExprError, source: &str, string: TextSpan, problems: &mut Problems) {
    let at = problems.span_in_string(string, source, error.span.clone());
    let diagnostic = Diagnostic::new(error.title.clone(), at, error.label.clone());
    problems.add(error.help.iter().fold(diagnostic, |diagnostic, help| diagnostic.help(help.clone())));
}
