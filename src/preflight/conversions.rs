//! Finds values that change in one step although readers and writers use them. Two kinds of changes do this:
//! conversions that keep the attribute's name, and changes in the elements of a list or map. During the run, some items
//! have the old form and other items have the new form. So every reader must accept both forms, and every writer must
//! write the new form. The operator confirms both facts. This module is pure.

use std::sync::Arc;

use super::finding::Severity::Refusal;
use super::finding::{Acceptance, Finding};
use crate::change::{Change, Each, ElementEdit, Strategy};
use crate::plan::Plan;

/// The parts of the findings' texts that depend on the plan's changes.
struct Wording {
    what: String,
    readers: &'static str,
    readers_why: &'static str,
    writers: &'static str,
    writers_why: &'static str,
    form: &'static str,
}

/// If the plan has such changes, returns one finding for readers and one finding for writers.
pub(super) fn conversion_findings(plan: &Plan) -> Vec<Finding> {
    let converted: Vec<String> = plan.changes.iter().filter_map(converted_path).collect();
    let elements: Vec<String> =
        plan.changes.iter().filter_map(|change| changed_elements(change, plan.strategy)).collect();
    if converted.is_empty() && elements.is_empty() {
        return Vec::new();
    }
    let wording = match elements.is_empty() {
        true => Wording {
            what: format!("converts {} under the same name", converted.join(", ")),
            readers: "every reader must accept both types",
            readers_why: "During the run, and after a rollback, some items have the old type and others the new type. A \
                          reader that accepts only one type fails on the others",
            writers: "every writer must write the new type",
            writers_why: "A writer that still writes the old type can write behind the scan position, and the run does \
                          not convert these values. `verify --all` counts them",
            form: "type",
        },
        false => Wording {
            what: format!(
                "changes {} in one step",
                converted.iter().chain(&elements).cloned().collect::<Vec<_>>().join(", ")
            ),
            readers: "every reader must accept the old and the new form",
            readers_why: "During the run, and after a rollback, some items have the old form and others the new form. A \
                          reader that accepts only one form fails on the others",
            writers: "every writer must write the new form",
            writers_why: "A writer that still writes the old form can write behind the scan position, and the run does \
                          not change these values. `verify --all` counts them",
            form: "form",
        },
    };
    wording.findings()
}

impl Wording {
    fn findings(&self) -> Vec<Finding> {
        let Wording { what, readers, readers_why, writers, writers_why, form } = self;
        let both = format!("both {form}s");
        let finding = |id, needed: &str, why: &str, action: String, accept| Finding {
            accept: Some(accept),
            ..Finding::new(Refusal, id, format!("This plan {what}, so {needed}")).with_reason(why).with_action(action)
        };
        vec![
            finding(
                "readers-accept-both",
                readers,
                readers_why,
                format!("Deploy readers that accept {both}, then use --accept readers-accept-both"),
                Acceptance::ReadersAcceptBoth,
            ),
            finding(
                "writers-write-new",
                writers,
                writers_why,
                format!("Deploy writers that write the new {form}, then use --accept writers-write-new"),
                Acceptance::WritersWriteNew,
            ),
        ]
    }
}

fn converted_path(change: &Change) -> Option<String> {
    match change {
        Change::Convert { path, conversion } => Some(format!("`{path}` to {}", conversion.target_type())),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => None,
    }
}

/// Returns the changed container if a value in its elements moves, disappears or changes its type. In an in-place plan,
/// only conversions count. The operator of such a plan has already accepted that values move and disappear in one step.
fn changed_elements(change: &Change, strategy: Strategy) -> Option<String> {
    let is_changed = |edit: &ElementEdit| match edit {
        ElementEdit::Convert { .. } => true,
        ElementEdit::Move { .. } | ElementEdit::Remove { .. } => strategy == Strategy::ExpandContract,
        ElementEdit::Set { .. } | ElementEdit::Compute { .. } | ElementEdit::ConvertInto { .. } => false,
    };
    let changes = |each: &&Arc<Each>| each.edits().iter().any(is_changed);
    change.each().filter(changes).map(|each| format!("the elements of `{}`", each.container()))
}
