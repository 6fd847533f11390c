//! Makes the finding that an item can get several writes. This module is pure.

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::figure::count;
use crate::plan::Plan;

/// Returns the finding if the plan's changes do not fit in one write.
pub(super) fn split_finding(plan: &Plan) -> Option<Finding> {
    let writes = plan.max_writes();
    (writes > 1).then(|| {
        let writes = count(writes as u64, "write", "writes");
        let what = format!("Even without other writers, an item can get up to {writes} in sequence (split = true)");
        Finding::new(Warning, "split", what)
            .with_reason(
                "Readers may see an item with only some of the changes. DynamoDB charges each write for the item's full \
                 size. If a write fails, the earlier ones stay, and the item becomes a failure that lists the written \
                 attributes",
            )
            .with_action(
                "Make sure that applications accept such items, or use two plans that each fit in one write",
            )
    })
}
