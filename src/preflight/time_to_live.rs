//! Checks whether a plan touches the time-to-live attribute, and determines the unit of the attribute's values. This
//! module is pure.

use super::facts::Fact;
use super::finding::Finding;
use super::finding::Severity::{Note, Warning};
use super::known::Known;
use super::touched::Touched;
use crate::change::Change;
use crate::figure::number;
use crate::item::{Expiry, Path, Times};
use crate::plan::Plan;

const SECONDS: &str = "a time to live in milliseconds, or as a string, expires nothing";

pub(super) fn time_to_live(known: &Known<'_>, touched: &Touched) -> Option<Finding> {
    let attribute = match &known.facts.time_to_live {
        Fact::Known(attribute) => attribute.as_deref()?,
        unknown @ (Fact::Denied(_) | Fact::NotSupported | Fact::Failed(_)) => {
            let why = unknown.unknown().unwrap_or_default();
            let severity = if known.facts.loopback { Note } else { Warning };
            return Some(
                Finding::new(severity, "ttl", format!("It is unknown which attribute expires items: {why}"))
                    .because("If the plan writes or removes that attribute, items vanish or never expire")
                    .so("Look up the table's time to live, and compare it with the plan"),
            );
        }
    };
    let is_it = |paths: &[Path]| paths.iter().any(|path| path.root() == attribute);
    let written = is_it(&touched.written);
    let removed = is_it(&touched.removed);
    let copied = copies_of(known.plan, attribute);
    if !(written || removed || is_it(&touched.removed_later) || !copied.is_empty()) {
        let what = format!("Items expire by `{attribute}`, which this plan does not touch");
        return Some(Finding::new(Note, "ttl", what).because("An item that expires during the run counts as gone"));
    }
    let what = format!("This plan touches `{attribute}`, which expires items");
    let why = match (written, removed, is_it(&touched.removed_later)) {
        (true, ..) => {
            "DynamoDB deletes items whose value is a time (in seconds) that has passed, up to five years back"
        }
        (_, true, _) => "An item without it never expires",
        (.., true) => "After `contract`, items no longer have it and never expire",
        _ => "Its value is copied, and items still expire by the attribute that it is copied from",
    };
    let why = [why.to_owned()].into_iter().chain(constant(known, attribute)).chain(units(known, attribute, &copied));
    let act = match copied.as_slice() {
        [] => {
            "Change the table's time to live to the replacement attribute at the right step, or remove the attribute \
               from the plan"
                .to_owned()
        }
        targets => {
            let names = targets.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
            format!(
                "Its value is copied to {names}. If items should expire by that, change the table's time to live once \
                 every item has it and before the old attribute is removed. DynamoDB needs up to an hour for the change"
            )
        }
    };
    Some(Finding::new(Warning, "ttl", what).because(why.collect::<Vec<_>>().join(". ")).so(act))
}

/// The paths to which the plan moves or copies the value of this attribute.
fn copies_of<'p>(plan: &'p Plan, attribute: &str) -> Vec<&'p Path> {
    let pairs = plan.changes.iter().flat_map(|change| change.effect().pairs());
    pairs.filter(|(from, _)| from.root() == attribute).map(|(_, to)| to).collect()
}

/// Describes what happens to items if the plan sets this attribute to a constant.
fn constant(known: &Known<'_>, attribute: &str) -> Option<String> {
    known.plan.changes.iter().find_map(|change| match change {
        Change::Set { to, value, .. } if to.root() == attribute => Some(match Expiry::of(value, known.now) {
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
                "The constant is a time that has passed: DynamoDB deletes every item that gets it, within days"
                    .to_owned()
            }
            Expiry::Future => "Every item that gets the constant expires at that one time".to_owned(),
        }),
        Change::Set { .. } | Change::Move { .. } | Change::Copy { .. } | Change::Remove { .. } => None,
    })
}

/// Describes the units of the values that the plan moves or copies to or from this attribute, in the items that were
/// read.
fn units(known: &Known<'_>, attribute: &str, copied: &[&Path]) -> Option<String> {
    let pairs = known.plan.changes.iter().flat_map(|change| change.effect().pairs());
    let moved_here = pairs.filter(|(_, to)| to.root() == attribute).map(|(_, to)| to);
    let paths: Vec<&Path> = moved_here.chain(copied.iter().copied()).collect();
    if paths.is_empty() {
        return None;
    }
    let mut times = Times::default();
    paths.iter().filter_map(|path| known.times.get(*path)).for_each(|seen| times.merge(*seen));
    let of = |count: u64| format!("{} of {}", number(count), number(times.values));
    Some(match times {
        Times { values: 0, .. } => {
            format!("The unit of the values is unknown (`check --sample` reads some): {SECONDS}")
        }
        Times { milliseconds: 0, not_numbers: 0, .. } => {
            format!(
                "All of the {} values that were read are times in seconds, judging by their size",
                number(times.values)
            )
        }
        Times { milliseconds, not_numbers, .. } => format!(
            "{} values that were read look like milliseconds, and {} are not numbers: {SECONDS}",
            of(milliseconds),
            of(not_numbers)
        ),
    })
}
