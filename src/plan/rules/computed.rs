//! Rules for computed values and versions.

use crate::change::{Change, OnExisting};
use crate::item::Path;
use crate::plan::changes::WrittenChange;
use crate::plan::diagnostic::{Diagnostic, Problems};
use crate::plan::select::WrittenSelection;

/// Refuses a change if its target is one of its own inputs. Allows such a change if the selection or the change's own
/// `where` also reads the target. In this case, the run checks for each item that the written item is no longer
/// selected.
pub(super) fn check_own_inputs(written: &WrittenChange, selection: Option<&WrittenSelection>, problems: &mut Problems) {
    // A `where` with errors might read the target.
    if written.options.is_where_unreadable() {
        return;
    }
    // `check_elements` checks the inputs of changes of elements.
    if written.change.each().is_some() {
        return;
    }
    let paths = written.change.paths();
    // If a replaced attribute overlaps the target, another rule reports it.
    if written.replaced.is_some() && paths.removes.iter().any(|old| paths.writes.iter().any(|to| to.overlaps(old))) {
        return;
    }
    let selects_by = |target: &Path| {
        let selected = selection.map(|written| &written.selection.condition);
        let own = written.options.applies_to.as_ref().map(|written| &written.expr);
        let conditions = selected.into_iter().chain(own);
        conditions.into_iter().any(|condition| condition.inputs().iter().any(|input| input.overlaps(target)))
    };
    for to in paths.writes {
        let Some(input) = paths.inputs.iter().find(|input| input.overlaps(to)) else { continue };
        if selects_by(to) {
            if written.change.on_existing() != Some(OnExisting::Overwrite) {
                problems.add(
                    Diagnostic::new(
                        format!("`{to}` is computed from its own value, but this change does not overwrite it"),
                        written.to.clone(),
                        "the existing value would stay",
                    )
                    .help("add on_existing = \"overwrite\" to this change; the journal keeps the old value"),
                );
            }
            continue;
        }
        problems.add(
            Diagnostic::new(
                format!("`{to}` is computed from itself"),
                written.value.clone(),
                format!("reads `{input}`"),
            )
            .also(written.to.clone(), "the target")
            .help("a write can be sent twice, and the second one would compute the value again from the new value")
            .help("write to another attribute, or add a `where` to this change or to [select] that is false for the written item"),
        );
    }
}

/// Refuses a second `bump`, and a plan that contains only a `bump`.
pub(super) fn check_bumps(changes: &[WrittenChange], problems: &mut Problems) {
    let is_bump = |written: &&WrittenChange| matches!(written.change, Change::Bump { .. });
    let mut bumps = changes.iter().filter(is_bump);
    let Some(first) = bumps.next() else { return };
    for other in bumps {
        problems.add(
            Diagnostic::new("a plan can have only one `bump`", other.first.clone(), "a second `bump`")
                .also(first.first.clone(), "the first `bump`")
                .help("keep one of them"),
        );
    }
    if changes.iter().all(|written| is_bump(&written)) {
        problems.add(
            Diagnostic::new("the plan contains only a `bump`", first.first.clone(), "no other change")
                .help("a `bump` raises the version in the writes of other changes, and causes no writes of its own")
                .help("to write every item, set a constant that no item has yet: set = \"touched\" with value = \"2026-01\""),
        );
    }
}
