//! Checks whether a plan touches the time-to-live attribute, and determines the unit of the attribute's values. This
//! module is pure.

use super::facts::FactLookup;
use super::finding::Finding;
use super::finding::Severity::{Note, Warning};
use super::finding_input::FindingInput;
use super::touched::TouchedPaths;
use crate::change::Change;
use crate::figure::number;
use crate::item::{Expiry, ExpiryCounts, Path};
use crate::plan::Plan;

const SECONDS: &str = "if a time to live is in milliseconds or a string, the item never expires";

pub(super) fn time_to_live(input: &FindingInput<'_>, touched: &TouchedPaths) -> Option<Finding> {
    let attribute = match &input.facts.time_to_live {
        FactLookup::Known(attribute) => attribute.as_deref()?,
        unknown @ (FactLookup::Denied(_) | FactLookup::NotSupported | FactLookup::Failed(_)) => {
            let why = unknown.unknown_reason().unwrap_or_default();
            let severity = if input.facts.loopback { Note } else { Warning };
            return Some(
                Finding::new(severity, "ttl", format!("It is unknown which attribute expires items: {why}"))
                    .with_reason("If the plan writes or removes that attribute, items vanish or never expire")
                    .with_action("Look up the table's time to live, and compare it with the plan"),
            );
        }
    };
    let touches_attribute = |paths: &[Path]| paths.iter().any(|path| path.root() == attribute);
    let is_derived =
        input.plan.derived().is_some_and(|derived| derived.expressions().any(|(name, _)| name == attribute));
    let written = touches_attribute(&touched.written) || is_derived;
    let removed = touches_attribute(&touched.removed);
    let copied = copies_of(input.plan, attribute);
    if !(written || removed || touches_attribute(&touched.removed_later) || !copied.is_empty()) {
        let what = format!("Items expire by `{attribute}`, which this plan does not touch");
        return Some(Finding::new(Note, "ttl", what).with_reason("An item that expires during the run counts as gone"));
    }
    let what = format!("This plan touches `{attribute}`, which expires items");
    let why = match (written, removed, touches_attribute(&touched.removed_later)) {
        (true, ..) => "DynamoDB deletes items whose value is a time (in seconds) in the past, up to five years ago",
        (_, true, _) => "An item without it never expires",
        (.., true) => "After `contract`, items no longer have it and never expire",
        _ => "Its value is copied to another attribute, but items still expire by the original attribute",
    };
    let why = [why.to_owned()].into_iter().chain(constant(input, attribute)).chain(units(input, attribute, &copied));
    let action = match copied.as_slice() {
        [] => {
            "Change the table's time to live to the replacement attribute at the right step, or remove the attribute \
               from the plan"
                .to_owned()
        }
        targets => {
            let names = targets.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
            format!(
                "Its value is copied to {names}. If items should expire by the copy, change the table's time to live once \
                 every item has the copy and before the old attribute is removed. DynamoDB needs up to an hour for the change"
            )
        }
    };
    Some(Finding::new(Warning, "ttl", what).with_reason(why.collect::<Vec<_>>().join(". ")).with_action(action))
}

/// Returns the paths to which the plan moves or copies the value of this attribute.
fn copies_of<'p>(plan: &'p Plan, attribute: &str) -> Vec<&'p Path> {
    let pairs = plan.changes.iter().flat_map(|change| change.paths().pairs());
    pairs.filter(|(from, _)| from.root() == attribute).map(|(_, to)| to).collect()
}

/// Describes the effect on items if the plan sets this attribute to a constant.
fn constant(input: &FindingInput<'_>, attribute: &str) -> Option<String> {
    input.plan.changes.iter().find_map(|change| match change {
        Change::Set { to, value, .. } if to.root() == attribute => Some(match Expiry::from_value(value, input.now) {
            Expiry::NotANumber => {
                format!(
                    "The constant is of type {}, but only numbers are times: items with it never expire",
                    value.type_name()
                )
            }
            Expiry::Milliseconds => {
                "The constant looks like milliseconds, but times are in seconds: items with it never expire".to_owned()
            }
            Expiry::LongPast => {
                "The constant is a time more than five years in the past: items with it never expire".to_owned()
            }
            Expiry::Past => {
                "The constant is a time in the past, so DynamoDB deletes every item that gets it, within days"
                    .to_owned()
            }
            Expiry::Future => "All items that get the constant expire at that one time".to_owned(),
        }),
        Change::Set { .. }
        | Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Convert { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => None,
    })
}

/// Describes the units of the values that the plan moves or copies to or from this attribute. Considers only the items
/// that were read.
fn units(input: &FindingInput<'_>, attribute: &str, copied: &[&Path]) -> Option<String> {
    let pairs = input.plan.changes.iter().flat_map(|change| change.paths().pairs());
    let moved_here = pairs.filter(|(_, to)| to.root() == attribute).map(|(_, to)| to);
    let paths: Vec<&Path> = moved_here.chain(copied.iter().copied()).collect();
    if paths.is_empty() {
        return None;
    }
    let mut times = ExpiryCounts::default();
    paths.iter().filter_map(|path| input.times.get(*path)).for_each(|seen| times.merge(*seen));
    let of = |count: u64| format!("{} of {}", number(count), number(times.values));
    Some(match times {
        ExpiryCounts { values: 0, .. } => {
            format!("The unit of the values is unknown (`check --sample` reads some): {SECONDS}")
        }
        ExpiryCounts { milliseconds: 0, not_numbers: 0, .. } => {
            format!(
                "All of the {} values that were read are times in seconds, judging by their size",
                number(times.values)
            )
        }
        ExpiryCounts { milliseconds, not_numbers, .. } => format!(
            "{} values that were read look like milliseconds, and {} are not numbers: {SECONDS}",
            of(milliseconds),
            of(not_numbers)
        ),
    })
}
