//! Makes the findings about a plan that puts derived items. This module is pure.

use super::estimate::format_range;
use super::facts::FactLookup;
use super::finding::Finding;
use super::finding::Severity::Warning;
use super::finding_input::FindingInput;
use crate::figure::number;

/// Returns the findings about derived items. After the run, the application must keep derived items up to date. If a
/// derived item lacks the expiry attribute, it does not expire together with its source.
pub(super) fn derived_findings(input: &FindingInput<'_>) -> Vec<Finding> {
    if !input.plan.puts_items() {
        return Vec::new();
    }
    let items = format_range(input.estimate.changed, |items| number(items.round() as u64));
    let expiry = expiry(input);
    let what = format!("This plan puts a derived item for each selected item: {items}");
    let right = Finding::new(Warning, "derived-items", what)
        .with_reason(
            "A run sees each source only once. If a writer later changes or deletes a source, its derived item stays as \
             it is. An item inserted behind the scan position gets no derived item. Only the application can keep derived \
             items up to date",
        )
        .with_action(
            "Before the run, make every writer put, change and delete the derived item together with its source, in one \
             transaction. `verify --all` finds derived items that are missing or differ. It finds a derived item without \
             a source only if this migration put it, nobody has changed it since, and the journal was not purged",
        );
    [right].into_iter().chain(expiry).collect()
}

/// Returns the finding that source items expire but their derived items do not.
fn expiry(input: &FindingInput<'_>) -> Option<Finding> {
    let FactLookup::Known(Some(attribute)) = &input.facts.time_to_live else { return None };
    let derived = input.plan.derived()?;
    if derived.expressions().any(|(name, _)| name == attribute) {
        return None;
    }
    let what = format!("Items expire by `{attribute}`, which the derived items do not have");
    Some(
        Finding::new(Warning, "derived-items-expiry", what)
            .with_reason("If a source expires, its derived item stays without a source")
            .with_action(format!("If sources expire, compute `{attribute}` in the `attributes` of `put`")),
    )
}
