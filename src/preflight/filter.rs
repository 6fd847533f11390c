//! Makes the finding about the scan filter of the first pass of `run`. This module is pure.

use super::finding::Finding;
use super::finding::Severity::Note;
use super::finding_input::FindingInput;
use crate::engine::scan_filter;
use crate::passes::expand;

/// Returns the finding about the filter that makes DynamoDB omit unselected items. Returns `None` if there is no
/// filter.
pub(super) fn filter(input: &FindingInput<'_>) -> Option<Finding> {
    let changes = expand::changes(input.plan, &input.facts.table);
    let filter = scan_filter(input.plan, &changes)?;
    let part = match filter.terms {
        (1, 1) => "`where`".to_owned(),
        (some, all) if some == all => format!("all {all} terms of `where`"),
        (1, all) => format!("the first of {all} terms of `where`"),
        (some, all) => format!("the first {some} of {all} terms of `where`"),
    };
    let what = format!("DynamoDB filters the scan of the first pass by {part}: {}", filter.text());
    let why = "A filter saves transfer and CPU. It saves no read capacity: DynamoDB reads and charges every item, so the \
               forecast is the same. The run counts the items that DynamoDB leaves out as scanned, with nothing to do";
    Some(Finding::new(Note, "filter", what).with_reason(why).with_action("Nothing"))
}
