//! Rules for changes of the elements of a list or map.

use super::{PathRole, PathUse, check_paths, conflict};
use crate::change::{Change, ElementEdit};
use crate::item::Value;
use crate::plan::changes::{WrittenChange, WrittenElement};
use crate::plan::diagnostic::{Diagnostic, Problems};

/// Reports changes of elements that cannot be replayed, and changes with a result that depends on their order.
pub(super) fn check_elements(written: &WrittenChange, problems: &mut Problems) {
    let Some(each) = written.change.each() else { return };
    for element in &written.elements {
        check_paths(&element_uses(element), problems);
        check_element(element, problems);
        let expression = element.expression.as_ref().map(|written| &written.expr);
        let inputs = expression.into_iter().flat_map(|expression| expression.inputs());
        if let Some(input) = inputs.clone().find(|input| input.overlaps(each.container())) {
            problems.add(
                Diagnostic::new(
                    format!("`as` reads `{input}`, whose elements this change writes"),
                    element.value.clone(),
                    format!("reads `{input}`"),
                )
                .also(written.first.clone(), "changes every element")
                .help("a write can be sent twice, and the second one would compute other values from the new elements")
                .help("read the element itself: element.qty"),
            );
        }
    }
    for (i, first) in written.elements.iter().enumerate() {
        for second in &written.elements[i + 1..] {
            for a in element_uses(first) {
                let others = element_uses(second).into_iter().filter(|b| a.path.overlaps(b.path));
                others.filter_map(|b| conflict_in_element(&a, &b)).for_each(|problem| problems.add(problem));
            }
        }
    }
}

/// Refuses changes of elements if the plan has a cutover.
pub(in crate::plan) fn check_each(changes: &[WrittenChange], has_cutover: bool, problems: &mut Problems) {
    if !has_cutover {
        return;
    }
    let other = changes.iter().find(|written| !written.change.only_writes_values());
    for written in changes.iter().filter(|written| written.change.each().is_some()) {
        let problem = Diagnostic::new(
            "a plan with a cutover cannot change elements",
            written.first.clone(),
            "changes every element in one step",
        );
        let problem = other.iter().fold(problem, |problem, other| problem.also(other.first.clone(), "needs a cutover"));
        problems.add(
            problem
                .help(
                    "the old and the new form of an element are in the same value, so readers cannot move step by step",
                )
                .help("use a separate plan for the changes with `each`, or strategy = \"in-place\" for all changes"),
        );
    }
}

/// Returns the error for two changes that use overlapping paths inside the element.
fn conflict_in_element(a: &PathUse<'_>, b: &PathUse<'_>) -> Option<Diagnostic> {
    if (a.role, b.role) == (PathRole::MovedFrom, PathRole::MovedFrom) && a.path == b.path {
        let title = format!("`{}` is moved twice", a.path);
        return Some(
            Diagnostic::new(title, b.at.clone(), "moved away by this change")
                .also(a.at.clone(), "moved away by this change")
                .help("keep one of them; if you need a copy of the value, `compute` the second member with an earlier plan"),
        );
    }
    conflict(a, b)
}

/// Checks one change of elements, independently of other changes.
fn check_element(element: &WrittenElement, problems: &mut Problems) {
    let paths = element.edit.paths();
    let Some(to) = paths.target else { return };
    if let Some(from) = paths.moved.filter(|from| from.overlaps(to)) {
        let title = match from == to {
            true => format!("`{from}` is its own target"),
            false => format!("one of `{from}` and `{to}` contains the other"),
        };
        problems.add(
            Diagnostic::new(title, element.to.clone(), "the target")
                .also(element.first.clone(), "the source")
                .help("choose a target that is neither inside the source nor contains it"),
        );
    }
    if let Some(input) = paths.inputs.iter().find(|input| input.overlaps(to)) {
        problems.add(
            Diagnostic::new(
                format!("`{to}` is computed from itself"),
                element.value.clone(),
                format!("reads `{input}`"),
            )
            .also(element.to.clone(), "the target")
            .help("a write can be sent twice, and the second one would compute the value again from the new value")
            .help("write to another member of the element"),
        );
    }
    if let (ElementEdit::Set { value: Value::Null, .. }, Some(at)) = (&element.edit, &element.null_is_missing) {
        problems.add(
            Diagnostic::new("this change writes a NULL, which would count as missing", at.clone(), "a NULL is missing")
                .also(element.value.clone(), "the constant")
                .help("remove `null_is_missing`, or write another constant"),
        );
    }
}

/// Returns the paths of a change of elements. The paths are relative to the element.
fn element_uses(element: &WrittenElement) -> Vec<PathUse<'_>> {
    let paths = element.edit.paths();
    let moved = paths.moved.map(|path| PathUse { role: PathRole::MovedFrom, path, at: &element.first });
    let at = if element.expression.is_some() { &element.value } else { &element.first };
    let inputs = paths.inputs.into_iter().map(|path| PathUse { role: PathRole::Input, path, at });
    let target = paths.target.map(|path| PathUse { role: PathRole::Target, path, at: &element.to });
    let removed = paths.removed.map(|path| PathUse { role: PathRole::Removed, path, at: &element.first });
    moved.into_iter().chain(inputs).chain(target).chain(removed).collect()
}

/// Returns the constants that a change writes, each with the name of its attribute or member.
pub(super) fn constants(change: &Change) -> Vec<(&str, &Value)> {
    match change {
        Change::Set { to, value, .. } => vec![(to.root(), value)],
        Change::Append { to, addition } => vec![(to.root(), addition.value())],
        Change::Each { each } => each.edits().iter().filter_map(constant_of_edit).collect(),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Convert { .. }
        | Change::Exec { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Put { .. } => Vec::new(),
    }
}

/// Returns the constant that a change of an element writes.
fn constant_of_edit(edit: &ElementEdit) -> Option<(&str, &Value)> {
    match edit {
        ElementEdit::Set { to, value, .. } => Some((to.root(), value)),
        ElementEdit::Move { .. }
        | ElementEdit::Remove { .. }
        | ElementEdit::Compute { .. }
        | ElementEdit::Convert { .. }
        | ElementEdit::ConvertInto { .. } => None,
    }
}
