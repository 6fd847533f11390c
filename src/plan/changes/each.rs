//! Reads the changes with `each`, which change the elements of a list or map.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::{WrittenChange, WrittenOptions, options, own_on_existing, read_kind, read_path, refuse_foreign_fields};
use crate::change::{Change, Each, ElementEdit, OnExisting};
use crate::item::{Path, PathStep};
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::WrittenExpr;

/// The kinds of change that `each` supports.
const KINDS: [&str; 5] = ["move", "set", "remove", "compute", "convert"];

/// The maximum number of changes with the same container. The limit is necessary because the rules compare every pair
/// of these changes.
const MAX_EDITS: usize = 100;

/// The suffix of the value of `each`, after the path of the container.
const ALL_ELEMENTS: &str = "[*]";

/// One change of the elements of a container, and the positions of its parts in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct WrittenElement {
    pub(in crate::plan) edit: ElementEdit,
    /// Position of the path that follows the word for the kind.
    pub(in crate::plan) first: TextSpan,
    /// Position of the target's path.
    pub(in crate::plan) to: TextSpan,
    /// Position of the constant or the expression.
    pub(in crate::plan) value: TextSpan,
    /// The expression of a `compute`.
    pub(in crate::plan) expression: Option<WrittenExpr>,
    /// Position of `null_is_missing`, if it is true.
    pub(in crate::plan) null_is_missing: Option<TextSpan>,
}

/// Reads a change with `each`. `each` contains the position of the word `each` and its value. The next argument
/// contains the word for the kind of change, with its position and its value.
pub(super) fn read(
    fields: &Fields<'_, '_>,
    each: (&TextSpan, &Spanned<DeValue<'_>>),
    (kind, key, value): (&str, &TextSpan, &Spanned<DeValue<'_>>),
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    if !KINDS.contains(&kind) {
        problems.add(
            Diagnostic::new(format!("`{kind}` is not possible in elements"), key.clone(), "not with `each`")
                .also(each.0.clone(), "changes every element")
                .help("with `each`, use `move`, `set`, `remove`, `compute` or `convert`"),
        );
        return None;
    }
    let container = read_container(each.1, problems);
    let path = read_path(kind, value, problems);
    let on_existing = own_on_existing(fields, kind, key, problems).unwrap_or(on_existing);
    refuse_foreign_fields(fields, kind, key, problems);
    let has_replaces = refuse_replaces(fields, each.0, problems);
    let options = options::read(fields, kind, key, problems);
    if has_replaces {
        return None;
    }
    let written = read_kind(fields, kind, (key, path), value.span(), on_existing, problems)?;
    let edit = ElementEdit::from_change(written.change, options.null_is_missing.is_some())?;
    let element = WrittenElement {
        edit: edit.clone(),
        first: written.first,
        to: written.to,
        value: written.value,
        expression: written.expression,
        null_is_missing: options.null_is_missing,
    };
    let change = Change::Each { each: Arc::new(Each::new(container?, vec![edit])) };
    let options = WrittenOptions { null_is_missing: None, ..options };
    Some(WrittenChange { options, elements: vec![element], ..WrittenChange::new(change, each.1.span()) })
}

/// Merges all changes with the same container into one change, at the position of the first of these changes. One write
/// replaces the whole container, so all of these changes need the same `where`.
pub(super) fn merge(changes: Vec<WrittenChange>, problems: &mut Problems) -> Vec<WrittenChange> {
    let mut merged: Vec<WrittenChange> = Vec::new();
    for written in changes {
        let container = written.change.each().map(|each| each.container().clone());
        let is_same = |other: &&mut WrittenChange| {
            container.is_some() && other.change.each().map(|each| each.container()) == container.as_ref()
        };
        let Some(first) = merged.iter_mut().find(is_same) else {
            merged.push(written);
            continue;
        };
        check_where(first, &written, problems);
        if first.elements.len() == MAX_EDITS {
            let title = format!("at most {MAX_EDITS} changes can have the same `each`");
            problems.add(
                Diagnostic::new(title, written.first, "one too many")
                    .also(first.first.clone(), "the first one")
                    .help("split the plan into two plans, and run one after the other"),
            );
            return merged;
        }
        first.elements.extend(written.elements);
    }
    for written in &mut merged {
        if let Some(each) = written.change.each().cloned() {
            let edits = written.elements.iter().map(|element| element.edit.clone()).collect();
            written.change = Change::Each { each: Arc::new(Each::new(each.container().clone(), edits)) };
        }
    }
    merged
}

/// Refuses changes that have the same container but different conditions.
fn check_where(first: &WrittenChange, second: &WrittenChange, problems: &mut Problems) {
    if first.options.where_text() == second.options.where_text() {
        return;
    }
    let at = |written: &WrittenChange| {
        written.options.written_where.as_ref().map_or(written.first.clone(), |(_, at)| at.clone())
    };
    problems.add(
        Diagnostic::new("changes with the same `each` need the same `where`", at(second), "another condition")
            .also(at(first), "the first one")
            .help("one write replaces the list or map, so all its changes need the same `where`")
            .help("or use two plans, one after the other"),
    );
}

/// Returns the number of document levels that enclose an element of the container in `each`. Returns 0 if the change
/// has no `each`.
pub(super) fn depth(fields: &Fields<'_, '_>) -> usize {
    let text = fields.get("each").and_then(|(_, value)| value.get_ref().as_str()?.strip_suffix(ALL_ELEMENTS));
    text.map_or(0, |list| list.parse::<Path>().map_or(1, |path| path.steps().len() + 1))
}

/// Reads the path of the container.
fn read_container(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Path> {
    const EXAMPLE: &str = "write the path of a list or map, followed by [*]: each = \"lines[*]\"";
    let DeValue::String(text) = value.get_ref() else {
        let label = format!("expected a quoted string, found {}", value.get_ref().type_str());
        problems.add(Diagnostic::new("`each` must be a path", value.span(), label).help(EXAMPLE));
        return None;
    };
    let Some(list) = text.strip_suffix(ALL_ELEMENTS) else {
        let problem = Diagnostic::new("`each` does not end in [*]", value.span(), "no elements");
        problems.add(match list_in(text) {
            Some((list, rest)) => problem.help(format!(
                "write each = \"{list}[*]\", and write the path inside the element in the change: \"{rest}\""
            )),
            None => problem.help(EXAMPLE),
        });
        return None;
    };
    match list.parse::<Path>() {
        Ok(path) if path.steps().iter().any(|step| matches!(step, PathStep::Index(_))) => {
            let (title, label) = match path.ends_in_index() {
                true => ("the container of `each` cannot be a list element", "ends in a list index"),
                false => ("the container of `each` cannot be inside a list element", "contains a list index"),
            };
            problems.add(
                Diagnostic::new(title, value.span(), label)
                    .help("a different element can be at this position when the write arrives")
                    .help("use an attribute, or a member of a document"),
            );
            None
        }
        Ok(path) => Some(path),
        Err(_) if list.contains(ALL_ELEMENTS) => {
            problems.add(
                Diagnostic::new("`each` has more than one [*]", value.span(), "a list inside a list")
                    .help("only the elements of one list or map can be changed")
                    .help("for lists inside lists, use `exec`: a program computes a new attribute"),
            );
            None
        }
        Err(error) => {
            let at = problems.char_span_in_string(value.span(), text, error.at);
            problems.add(Diagnostic::new("`each` is not a path", at, error.message).help(EXAMPLE));
            None
        }
    }
}

/// Splits a path such as `lines[*].sku` into the path of the list and the path inside an element.
fn list_in(text: &str) -> Option<(&str, &str)> {
    let (list, rest) = text.split_once("[*].")?;
    (!list.is_empty() && !rest.is_empty()).then_some((list, rest))
}

/// Refuses `replaces` and `inverse`. Returns whether the change has at least one of them.
fn refuse_replaces(fields: &Fields<'_, '_>, each: &TextSpan, problems: &mut Problems) -> bool {
    let present = fields.present_fields(&["replaces", "inverse"]);
    for (name, key, _) in &present {
        problems.add(
            Diagnostic::new(format!("`{name}` is not possible in elements"), key.clone(), "not with `each`")
                .also(each.clone(), "changes every element")
                .help("a step-by-step cutover to a new member of an element is not possible")
                .help(format!("remove `{name}`, and remove the old member with a later plan")),
        );
    }
    !present.is_empty()
}
