//! Finds attributes that the plan reads and no item has, and changes that would change nothing. A misspelt name is not
//! an error: the change then finds nothing to do. This module is pure.

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::change::{Change, Strategy};
use crate::figure::count;
use crate::item::Path;
use crate::passes::Prediction;
use crate::plan::Plan;

/// The action for a name that no item has.
const CHECK_NAME: &str =
    "Check the name, and capital letters in it: `backfill stats` lists the names of the attributes";

/// Returns a warning for each attribute that the plan reads and that no read item has, and for each change that applies
/// to no item. Also returns a warning if the plan still contains the example of `init`. `read` has the counts of the
/// items that were read.
pub(super) fn unseen_findings(plan: &Plan, read: Option<&Prediction>) -> Vec<Finding> {
    let mut found: Vec<Finding> = plan.changes.iter().filter(|change| is_example(change)).map(example).collect();
    let Some(read) = read.filter(|read| read.scanned > 0 && !read.by_change.is_empty()) else { return found };
    let is_unseen = |path: &Path| !read.sources.contains_key(path);
    for (change, counted) in plan.changes.iter().zip(&read.by_change) {
        let unseen: Vec<&Path> = change.sources().into_iter().filter(|path| is_unseen(path)).collect();
        if !unseen.is_empty() {
            found.push(unseen_source(plan, change, &unseen, read));
        } else if counted.concerned == 0 && selects(plan, change) {
            found.push(unselected(change, read));
        }
    }
    let conditions = plan.select.iter().chain(plan.options.selections());
    let mut inputs: Vec<&Path> = conditions.flat_map(|selection| selection.condition.inputs()).collect();
    inputs.sort();
    inputs.dedup();
    // A `where` can test a marker that the plan itself writes.
    found.extend(inputs.into_iter().filter(|path| is_unseen(path) && !is_changed(plan, path)).map(|path| {
        Finding::new(
            Warning,
            "unseen-attribute",
            format!("No item that was read has `{path}`, which a `where` reads ({})", items_read(read)),
        )
        .with_reason("If the name is wrong, the `where` selects too many items or none")
        .with_action(format!("{CHECK_NAME}. If only a few items have the attribute, change nothing"))
    }));
    found
}

/// Returns whether this is the change that `init` writes as an example. If the table has attributes with these names,
/// `init` appends underscores to them.
fn is_example(change: &Change) -> bool {
    let has_name = |path: &Path, name: &str| path.is_top_level() && path.root().trim_end_matches('_') == name;
    matches!(change, Change::Move { from, to, .. } if has_name(from, "old_name") && has_name(to, "new_name"))
}

fn example(change: &Change) -> Finding {
    Finding::new(Warning, "example-change", format!("The plan has the example change of `init`: {change}"))
        .with_action("Replace it with your own change")
}

fn unseen_source(plan: &Plan, change: &Change, unseen: &[&Path], read: &Prediction) -> Finding {
    let names = unseen.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ");
    let is_only = unseen.len() == change.sources().len();
    let why = match is_only {
        true => format!("This change would change no item: {change}"),
        false => format!("This change reads it: {change}"),
    };
    let removes = plan.strategy == Strategy::InPlace && !change.paths().removes.is_empty();
    let action = match removes {
        true => format!("{CHECK_NAME}. If this migration has already removed the attribute, change nothing"),
        false => CHECK_NAME.to_owned(),
    };
    Finding::new(Warning, "unseen-attribute", format!("No item that was read has {names} ({})", items_read(read)))
        .with_reason(why)
        .with_action(action)
}

/// Makes the warning for a change whose attributes exist only in items that it does not select.
fn unselected(change: &Change, read: &Prediction) -> Finding {
    Finding::new(
        Warning,
        "unselected-change",
        format!("No item that was read is selected for this change ({}): {change}", items_read(read)),
    )
    .with_reason(
        "The change would change no item. Some items have the attributes that it reads, but its `where` or the \
             selection leaves them out",
    )
    .with_action("Check the `where`. If only a few items match it, change nothing")
}

/// Returns whether the plan or the change selects items by a condition that the plan's own writes cannot change.
fn selects(plan: &Plan, change: &Change) -> bool {
    let own = plan.options.of_change(change).applies_to.as_ref();
    let conditions: Vec<_> = plan.select.iter().chain(own).collect();
    let reads_own =
        conditions.iter().flat_map(|selection| selection.condition.inputs()).any(|path| is_changed(plan, path));
    !conditions.is_empty() && !reads_own
}

/// Returns whether a change of the plan writes or removes this path, or a part of it.
fn is_changed(plan: &Plan, path: &Path) -> bool {
    plan.changes.iter().any(|change| {
        let paths = change.paths();
        paths.writes.into_iter().chain(paths.removes).any(|changed| changed.overlaps(path))
    })
}

fn items_read(read: &Prediction) -> String {
    count(read.scanned, "item", "items")
}

#[cfg(test)]
mod tests;
