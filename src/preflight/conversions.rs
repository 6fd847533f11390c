//! Finds conversions under the same name. During the run, the attribute has values of both types, so every reader must
//! accept both types, and every writer must write the new type. The operator confirms both facts. This module is pure.

use super::finding::Severity::Refusal;
use super::finding::{Acceptance, Finding};
use crate::change::Change;
use crate::convert::Conversion;
use crate::item::Path;
use crate::plan::Plan;

/// Returns two findings for the conversions under the same name, if the plan has any: one for readers, one for writers.
pub(super) fn conversion_findings(plan: &Plan) -> Vec<Finding> {
    let converted: Vec<(&Path, &Conversion)> = plan.changes.iter().filter_map(converted_path).collect();
    if converted.is_empty() {
        return Vec::new();
    }
    let names = converted.iter().map(|(path, conversion)| format!("`{path}` to {}", conversion.target_type()));
    let names = names.collect::<Vec<_>>().join(", ");
    let finding = |id, what: &str, why: &str, action: &str, accept| Finding {
        accept: Some(accept),
        ..Finding::new(Refusal, id, format!("This plan converts {names} under the same name, so {what}"))
            .with_reason(why)
            .with_action(action)
    };
    vec![
        finding(
            "readers-accept-both",
            "every reader must accept both types",
            "During the run, and after a rollback, some items have the old type and others the new type. A reader that \
             accepts only one type fails on the others",
            "Deploy readers that accept both types, then use --accept readers-accept-both",
            Acceptance::ReadersAcceptBoth,
        ),
        finding(
            "writers-write-new",
            "every writer must write the new type",
            "A writer that still writes the old type can write behind the scan position, and the run does not convert \
             these values. `verify --all` counts them",
            "Deploy writers that write the new type, then use --accept writers-write-new",
            Acceptance::WritersWriteNew,
        ),
    ]
}

fn converted_path(change: &Change) -> Option<(&Path, &Conversion)> {
    match change {
        Change::Convert { path, conversion } => Some((path, conversion)),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. } => None,
    }
}
