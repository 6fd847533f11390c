//! Formats the summary of a run as text. Every figure was either counted or is labelled as an estimate.

use std::io::{Result, Write};

use serde_json::Value as Json;

use crate::change::Outcome;
use crate::figure::{number, units};
use crate::state::Counts;

/// Writes a run's items by outcome, and the capacity that these items consumed. If `lower_bound` is true, some applied
/// items might have been counted as already applied. This happens if the reply to an item's write was lost, or if the
/// process ended between the write and its checkpoint.
pub fn write_counts(out: &mut impl Write, counts: &Counts, lower_bound: bool) -> Result<()> {
    writeln!(out, "  {:<16} {:>14}", "items scanned", number(counts.scanned))?;
    for outcome in Outcome::ALL {
        let label = outcome.name().replace('_', " ");
        let note = outcome_note(outcome, counts, lower_bound);
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        writeln!(out, "    {label:<16} {:>12}{note}", number(counts.of(outcome)))?;
    }
    let write = units(counts.write_units);
    let read = units(counts.read_units);
    writeln!(out, "  consumed, according to DynamoDB's replies for these items: {write} WCU, {read} RCU")?;
    if counts.estimated_write_units > 0.0 {
        writeln!(out, "  {}", estimate_comparison(counts))?;
    }
    if counts.assumed_write_units > 0.0 {
        let assumed = units(counts.assumed_write_units);
        writeln!(out, "  assumed, if a reply states no units (failed conditions, lost replies): {assumed} WCU")?;
    }
    Ok(())
}

/// Returns the remark about an outcome's number of items; empty if there is nothing to add.
pub fn outcome_note(outcome: Outcome, counts: &Counts, lower_bound: bool) -> &'static str {
    match outcome {
        Outcome::Applied if lower_bound => {
            "at least: a write whose reply was lost, or that was sent just before an interruption, counts as already \
             applied"
        }
        Outcome::Skipped if counts.of(outcome) > 0 => {
            "the plan says `skip`: a target has another value, or the item is not computable"
        }
        Outcome::Diverged if counts.of(outcome) > 0 => {
            "the values differ from what the plan implies; they stay as they are"
        }
        Outcome::Conflict | Outcome::Rejected | Outcome::NotComputable if counts.of(outcome) > 0 => "failures",
        Outcome::Applied
        | Outcome::AlreadyApplied
        | Outcome::NothingToDo
        | Outcome::Skipped
        | Outcome::Gone
        | Outcome::Diverged
        | Outcome::Conflict
        | Outcome::Rejected
        | Outcome::NotComputable => "",
    }
}

/// Returns a comparison of the estimated units with the consumed units. The comparison includes only writes whose
/// replies report the consumed units.
fn estimate_comparison(counts: &Counts) -> String {
    let estimated = counts.estimated_write_units;
    let consumed = counts.write_units;
    let percent = consumed / estimated * 100.0;
    format!("estimated for them before they were sent: {} WCU ({percent:.1} % of it was consumed)", units(estimated))
}

/// Returns the number of items for each outcome, and the consumed units, as JSON.
pub fn counts_json(counts: &Counts) -> Json {
    let mut map: serde_json::Map<String, Json> =
        Outcome::ALL.into_iter().map(|o| (o.name().to_owned(), counts.of(o).into())).collect();
    map.insert("scanned".into(), counts.scanned.into());
    map.insert("write_units".into(), counts.write_units.into());
    map.insert("read_units".into(), counts.read_units.into());
    map.insert("assumed_write_units".into(), counts.assumed_write_units.into());
    map.insert("estimated_write_units".into(), counts.estimated_write_units.into());
    Json::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_compared_with_consumed_units() {
        let written = |write_units, assumed_write_units, estimated_write_units| {
            let counts = Counts { write_units, assumed_write_units, estimated_write_units, ..Counts::default() };
            let mut text = Vec::new();
            write_counts(&mut text, &counts, false).unwrap();
            String::from_utf8(text).unwrap()
        };
        let exact = written(20_934.0, 0.0, 20_911.0);
        assert!(exact.contains("before they were sent: 20,911 WCU (100.1 % of it was consumed)"), "{exact}");
        assert!(!exact.contains("assumed"), "{exact}");
        // Assumed units do not count towards the percentage.
        let lost = written(90.0, 4.5, 100.0);
        assert!(lost.contains("for these items: 90 WCU") && lost.contains("lost replies): 4.5 WCU"), "{lost}");
        assert!(lost.contains("before they were sent: 100 WCU (90.0 % of it was consumed)"), "{lost}");
        assert!(!written(0.0, 0.0, 0.0).contains("estimate"), "without any write, no estimate may be shown");
    }

    #[test]
    fn outcomes_add_up_to_the_scanned_items() {
        let mut counts = Counts::default();
        Outcome::ALL.into_iter().for_each(|o| counts.count(o));
        let mut text = Vec::new();
        write_counts(&mut text, &counts, true).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
