//! Findings of a plan that puts derived items. This module is pure.

use super::estimate::format_range;
use super::finding::Finding;
use super::finding::Severity::Warning;
use super::finding_input::FindingInput;
use crate::figure::number;

/// Returns the finding that the application must keep the derived items right after the run.
pub(super) fn derived_findings(input: &FindingInput<'_>) -> Vec<Finding> {
    if !input.plan.puts_items() {
        return Vec::new();
    }
    let items = format_range(input.estimate.changed, |items| number(items.round() as u64));
    let what = format!("This plan puts a derived item for each selected item: {items}");
    vec![
        Finding::new(Warning, "derived-items", what)
            .with_reason(
                "A run sees each source only once. If a writer later changes or deletes a source, its derived item stays as \
                 it is, and an item that is inserted behind the scan gets none. Only the application can keep them right",
            )
            .with_action(
                "Before the run, make every writer put, change and delete the derived item together with its source, in one \
                 transaction. `verify --all` finds derived items that are missing, differ, or have no source",
            ),
    ]
}
