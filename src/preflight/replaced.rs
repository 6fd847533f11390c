//! Finds computed values that replace an old attribute and have no inverse. After writers have begun to write only the
//! new attribute, the old value can no longer be computed. This module is pure.

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::change::Change;
use crate::plan::Plan;

/// Returns a finding about replaced attributes without an inverse, or `None` if the plan has no such attributes.
pub(super) fn no_inverse(plan: &Plan) -> Option<Finding> {
    let names: Vec<String> = plan.changes.iter().filter_map(without_inverse).collect();
    if names.is_empty() {
        return None;
    }
    let what = format!("This plan is irreversible after write-new: it has no `inverse` for {}", names.join(", "));
    let why = "Once applications write only the new attribute, no old value can be computed for what they write. A \
               rollback then leaves such items unchanged, and readers of the old attribute find an outdated \
               value or none";
    let action = "Add an `inverse`. Without one, the step to write-new needs `--force REASON`. You can go back freely \
                  until that step";
    Some(Finding::new(Warning, "no-inverse", what).with_reason(why).with_action(action))
}

fn without_inverse(change: &Change) -> Option<String> {
    let (to, path) = change.without_inverse()?;
    Some(format!("`{to}`, which replaces `{path}`"))
}
