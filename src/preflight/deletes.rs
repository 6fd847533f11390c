//! Findings of a plan that deletes items. The operator confirms the deletes by name, because `--yes` also answers
//! harmless questions. This module is pure.

use super::estimate::format_range;
use super::finding::Severity::Refusal;
use super::finding::{Acceptance, Finding};
use super::finding_input::FindingInput;
use crate::change::{Change, GapRule};
use crate::figure::number;

/// Returns the finding that the plan deletes items, and the finding that it keeps no journal of them.
pub(super) fn delete_findings(input: &FindingInput<'_>) -> Vec<Finding> {
    input.plan.changes.iter().flat_map(|change| findings_of(input, change)).collect()
}

fn findings_of(input: &FindingInput<'_>, change: &Change) -> Vec<Finding> {
    let Some((gap, keeps_image)) = change.deletion() else { return Vec::new() };
    let table = &input.facts.table.name;
    let items = format_range(input.estimate.changed, |items| number(items.round() as u64));
    let promise = match gap {
        GapRule::Version(path) => format!("every writer raises `{path}` in every write of these items"),
        GapRule::Attributes(names) => {
            format!(
                "no item has an attribute other than its key and the {} in `attributes`",
                number(names.len() as u64)
            )
        }
        GapRule::WritersStopped => "nobody writes these items during the run".to_owned(),
    };
    let deletes = Finding {
        accept: Some(Acceptance::DeletesItems),
        ..Finding::new(Refusal, "deletes-items", format!("This plan deletes items of the table `{table}`: {items}"))
            .with_reason(format!(
                "A delete is safe only because {promise}. If this is wrong, a value that a writer adds just before the \
                 delete is removed too"
            ))
            .with_action("Look at the items that `run --dry-run` names, then use --accept deletes-items")
    };
    let no_way_back = (!keeps_image).then(|| Finding {
        accept: Some(Acceptance::NoWayBack),
        ..Finding::new(Refusal, "no-way-back", "The journal keeps no copy of the deleted items (journal = \"none\")")
            .with_reason("A rollback cannot put these items back")
            .with_action("Remove `journal = \"none\"` from the plan, or use --accept no-way-back")
    });
    std::iter::once(deletes).chain(no_way_back).collect()
}
