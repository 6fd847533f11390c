//! Shows the number of items that each change of a plan would change.

use std::io::{Result, Write};

use serde_json::{Value as Json, json};

use crate::change::{Change, Strategy};
use crate::figure::{count, labelled, number};
use crate::passes::{ChangeCount, Prediction};
use crate::plan::Plan;

/// Width of the column with the numbers.
const WIDTH: usize = 16;

/// Writes a line for each change: the number of items that it would change, and the change.
pub fn write_by_change(out: &mut impl Write, plan: &Plan, read: &Prediction) -> Result<()> {
    plan.changes.iter().zip(&read.by_change).try_for_each(|(change, counted)| {
        let label = format!("{:>WIDTH$}", number(counted.would_change));
        writeln!(out, "{}", labelled(&label, WIDTH, &format!(" {change}{}", note(plan, change, *counted))))
    })
}

/// Explains a count of 0.
fn note(plan: &Plan, change: &Change, counted: ChangeCount) -> String {
    let ChangeCount { would_change, concerned } = counted;
    let waits = plan.strategy == Strategy::ExpandContract && matches!(change, Change::Remove { .. });
    match (would_change, concerned) {
        (1.., _) => String::new(),
        (0, 0) => " (finds nothing to change: see the warnings)".to_owned(),
        (0, items) if waits => format!(" (waits for `contract`; {} it)", count(items, "item has", "items have")),
        (0, _) => String::new(),
    }
}

/// Returns the counts as JSON.
pub fn by_change_json(plan: &Plan, read: &Prediction) -> Json {
    let one = |(change, counted): (&Change, &ChangeCount)| {
        let inputs = change.sources().into_iter().map(|path| {
            let items = read.sources.get(path).copied().unwrap_or_default();
            json!({ "path": path.to_string(), "items": items })
        });
        json!({
            "change": change.to_string(), "would_change": counted.would_change, "concerned": counted.concerned,
            "reads": inputs.collect::<Vec<_>>(),
        })
    };
    plan.changes.iter().zip(&read.by_change).map(one).collect()
}
