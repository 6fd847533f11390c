//! Figures for people: every one was counted, or says what it is an estimate of.

use std::io::{Result, Write};

use serde_json::Value as Json;

use crate::change::Outcome;
use crate::figure::{number, units};
use crate::state::Counts;

/// The items of a run by outcome, and what they consumed. With `lower_bound` some applied items may have been counted as
/// already applied: the reply to their write was lost, or the process ended between the write and its checkpoint.
pub fn write_counts(out: &mut impl Write, counts: &Counts, lower_bound: bool) -> Result<()> {
    writeln!(out, "  {:<16} {:>14}", "items scanned", number(counts.scanned))?;
    for outcome in Outcome::ALL {
        let label = outcome.name().replace('_', " ");
        let note = match outcome {
            Outcome::Applied if lower_bound => {
                "  at least: a write whose reply was lost, or that was sent just before an interruption, counts as \
                 already applied"
            }
            Outcome::Skipped if counts.of(outcome) > 0 => {
                "  a target holds something else; it is kept and counts as done"
            }
            Outcome::Diverged if counts.of(outcome) > 0 => "  the target holds something else; kept as it is",
            Outcome::Conflict | Outcome::Rejected if counts.of(outcome) > 0 => "  failures",
            Outcome::Applied
            | Outcome::AlreadyApplied
            | Outcome::NothingToDo
            | Outcome::Skipped
            | Outcome::Gone
            | Outcome::Diverged
            | Outcome::Conflict
            | Outcome::Rejected => "",
        };
        writeln!(out, "    {label:<16} {:>12}{note}", number(counts.of(outcome)))?;
    }
    let (write, read) = (units(counts.write_units), units(counts.read_units));
    writeln!(out, "  consumed, by DynamoDB's replies for these items: {write} WCU, {read} RCU")?;
    if counts.estimated_write_units > 0.0 {
        writeln!(out, "  {}", estimate_held_to(counts))?;
    }
    if counts.assumed_write_units > 0.0 {
        let assumed = units(counts.assumed_write_units);
        writeln!(out, "  assumed, where a reply names none (failed conditions, lost replies): {assumed} WCU")?;
    }
    Ok(())
}

/// What was estimated before, and what it came to: of the writes whose replies state what they consumed, and of no other.
fn estimate_held_to(counts: &Counts) -> String {
    let (estimated, consumed) = (counts.estimated_write_units, counts.write_units);
    let percent = consumed / estimated * 100.0;
    format!("estimated for them before they were sent: {} WCU (consumed {percent:.1} % of it)", units(estimated))
}

/// Outcomes by name, and what was consumed.
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
    fn estimates_are_held_to_what_was_consumed() {
        let written = |write_units, assumed_write_units, estimated_write_units| {
            let counts = Counts { write_units, assumed_write_units, estimated_write_units, ..Counts::default() };
            let mut text = Vec::new();
            write_counts(&mut text, &counts, false).unwrap();
            String::from_utf8(text).unwrap()
        };
        let exact = written(20_934.0, 0.0, 20_911.0);
        assert!(exact.contains("before they were sent: 20,911 WCU (consumed 100.1 % of it)"), "{exact}");
        assert!(!exact.contains("assumed"), "{exact}");
        // What is assumed has no part in the ratio.
        let lost = written(90.0, 4.5, 100.0);
        assert!(lost.contains("for these items: 90 WCU") && lost.contains("lost replies): 4.5 WCU"), "{lost}");
        assert!(lost.contains("before they were sent: 100 WCU (consumed 90.0 % of it)"), "{lost}");
        assert!(!written(0.0, 0.0, 0.0).contains("estimate"), "nothing was written");
    }

    #[test]
    fn outcomes_add_up_to_what_was_scanned() {
        let mut counts = Counts::default();
        Outcome::ALL.into_iter().for_each(|o| counts.count(o));
        let mut text = Vec::new();
        write_counts(&mut text, &counts, true).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("items scanned") && text.contains('8') && text.contains("at least"), "{text}");
    }
}
