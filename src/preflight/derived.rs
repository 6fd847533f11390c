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
    // In another table, items expire by the attribute of that table.
    let of_derived = match input.facts.derived.as_deref().map(|other| &other.time_to_live) {
        None => attribute,
        Some(FactLookup::Known(Some(attribute))) => attribute,
        Some(FactLookup::Known(None)) => return Some(never_expires(attribute)),
        Some(FactLookup::Denied(_) | FactLookup::NotSupported | FactLookup::Failed(_)) => return None,
    };
    if derived.expressions().any(|(name, _)| name == of_derived) {
        return None;
    }
    if of_derived != attribute {
        let what = format!(
            "Sources expire by `{attribute}`, but the derived items do not have `{of_derived}`, by which items of their table expire"
        );
        return Some(
            Finding::new(Warning, "derived-items-expiry", what)
                .with_reason("If a source expires, its derived item stays without a source")
                .with_action(format!("If sources expire, compute `{of_derived}` in the `attributes` of `put`")),
        );
    }
    let what = format!("Items expire by `{attribute}`, which the derived items do not have");
    Some(
        Finding::new(Warning, "derived-items-expiry", what)
            .with_reason("If a source expires, its derived item stays without a source")
            .with_action(format!("If sources expire, compute `{attribute}` in the `attributes` of `put`")),
    )
}

/// Returns the finding that sources expire by this attribute, but nothing in the other table expires.
fn never_expires(attribute: &str) -> Finding {
    let what = format!("Sources expire by `{attribute}`, but the table of the derived items has no time to live");
    Finding::new(Warning, "derived-items-expiry", what)
        .with_reason("If a source expires, its derived item stays without a source")
        .with_action("If sources expire, set a time to live for that table too, and compute its attribute in `put`")
}
