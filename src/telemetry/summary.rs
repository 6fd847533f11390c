//! Figures for people: every one was counted, or says what it is an estimate of.

use std::io::{Result, Write};

use serde_json::Value as Json;

use crate::change::Outcome;
use crate::checkpoint::Counts;
use crate::engine::Prediction;

/// A number with thousands separators.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Capacity units, to the half.
pub(super) fn units(units: f64) -> String {
    let halves = (units * 2.0).round() as u64;
    format!("{}{}", number(halves / 2), if halves % 2 == 1 { ".5" } else { "" })
}

/// The items of a run by outcome, and what they consumed. With `lower_bound` some applied items were counted as already
/// applied, because the process ended between their write and its checkpoint.
pub fn write_counts(out: &mut impl Write, counts: &Counts, lower_bound: bool) -> Result<()> {
    writeln!(out, "  {:<16} {:>14}", "items scanned", number(counts.scanned))?;
    for outcome in Outcome::ALL {
        let label = outcome.name().replace('_', " ");
        let note = match outcome {
            Outcome::Applied if lower_bound => {
                "  at least: what was written just before an interruption counts as already applied"
            }
            Outcome::Diverged if counts.of(outcome) > 0 => "  the target holds something else; kept as it is",
            Outcome::Conflict | Outcome::Rejected if counts.of(outcome) > 0 => "  failures",
            _ => "",
        };
        writeln!(out, "    {label:<16} {:>12}{note}", number(counts.of(outcome)))?;
    }
    let (write, read) = (units(counts.write_units), units(counts.read_units));
    writeln!(out, "  consumed, by DynamoDB's replies for these items: {write} WCU, {read} RCU")?;
    if counts.assumed_write_units > 0.0 {
        let assumed = units(counts.assumed_write_units);
        writeln!(out, "  assumed, where a reply names none (failed conditions, lost replies): {assumed} WCU")?;
    }
    if counts.estimated_write_units > 0.0 {
        writeln!(out, "  {}", estimate_held_to(counts))?;
    }
    Ok(())
}

/// What was estimated before, and what it came to.
fn estimate_held_to(counts: &Counts) -> String {
    let (estimated, spent) = (counts.estimated_write_units, counts.spend().write);
    let consumed = if counts.assumed_write_units > 0.0 { "consumed and assumed" } else { "consumed" };
    let percent = spent / estimated * 100.0;
    format!("estimated {} WCU, {consumed} {} ({percent:.1} % of the estimate)", units(estimated), units(spent))
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

/// What a dry run found.
pub fn write_prediction(out: &mut impl Write, found: &Prediction) -> Result<()> {
    let lines = [
        ("would change", found.would_change, ""),
        ("already done", found.already_applied, ""),
        ("nothing to do", found.nothing_to_do, ""),
        ("diverged", found.diverged, "  the target holds something else; it would be kept"),
        ("would exceed", found.would_exceed, "  400 KB, by estimate; DynamoDB would reject the write"),
        ("not possible", found.rejected, "  a parent of the target is of another type"),
    ];
    writeln!(out, "  {:<16} {:>14}", "items scanned", number(found.scanned))?;
    for (label, items, note) in lines {
        writeln!(out, "    {label:<16} {:>12}{}", number(items), if items > 0 { note } else { "" })?;
    }
    writeln!(
        out,
        "  the writes would consume about {} WCU (estimate from item and index entry sizes); this dry run consumed {} RCU",
        units(found.write_units),
        units(found.read_units)
    )?;
    for (index, write_units) in &found.index_write_units {
        writeln!(out, "    {:>12} WCU of it by the index {index}", units(*write_units))?;
    }
    if !found.shapes.is_empty() {
        writeln!(out, "  what would change, by type ({} most frequent at most):", 10)?;
    }
    for shape in &found.shapes {
        writeln!(out, "    {:>12}  {{ {} }} → {{ {} }}", number(shape.items), shape.before, shape.after)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(units(1234.5), "1,234.5");
    }

    #[test]
    fn estimates_are_held_to_what_was_consumed() {
        let written = |write_units, assumed_write_units, estimated_write_units| {
            let counts = Counts { write_units, assumed_write_units, estimated_write_units, ..Counts::default() };
            let mut text = Vec::new();
            write_counts(&mut text, &counts, false).unwrap();
            String::from_utf8(text).unwrap()
        };
        let exact = written(20_934.0, 0.0, 20_911.0);
        assert!(exact.contains("estimated 20,911 WCU, consumed 20,934 (100.1 % of the estimate)"), "{exact}");
        assert!(!exact.contains("assumed"), "{exact}");
        let lost = written(90.0, 4.5, 105.0);
        assert!(lost.contains("for these items: 90 WCU") && lost.contains("lost replies): 4.5 WCU"), "{lost}");
        assert!(lost.contains("estimated 105 WCU, consumed and assumed 94.5 (90.0 % of the estimate)"), "{lost}");
        assert!(!written(0.0, 0.0, 0.0).contains("estimate"), "nothing was written");
    }

    #[test]
    fn a_prediction_names_what_each_index_would_consume() {
        let index_write_units = [("by-email".to_owned(), 1_000.0), ("z".to_owned(), 0.5)].into();
        let found = Prediction { write_units: 3_000.5, index_write_units, ..Prediction::default() };
        let mut text = Vec::new();
        write_prediction(&mut text, &found).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in ["about 3,000.5 WCU", "1,000 WCU of it by the index by-email", "0.5 WCU of it by the index z"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn outcomes_add_up_to_what_was_scanned() {
        let mut counts = Counts::default();
        Outcome::ALL.into_iter().for_each(|o| counts.count(o));
        let mut text = Vec::new();
        write_counts(&mut text, &counts, true).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("items scanned") && text.contains('7') && text.contains("at least"), "{text}");
    }
}
