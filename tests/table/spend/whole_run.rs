//! Makes complete runs of the real binary over the sample table. Collects each run's estimated consumption and the
//! server's count. `tests/table/estimate.rs` compares the two figures, and `benches/spend.rs` prints them.

use std::path::Path;

use backfill::internals::item::{IndexSchema, Projection};
use backfill::internals::local::sample;
use serde_json::Value as Json;

use crate::harness::{Harness, index};

/// Number of items in the sample table.
pub(crate) const ITEMS: u64 = 5_000;

/// The largest allowed difference between an estimate and the server's count, as a fraction of the count.
pub(crate) const WITHIN: f64 = 0.02;

/// Sections of the plan. The budgets are too large to limit the run. There are few segments, because the table is
/// small.
pub(crate) const CAPACITY: &str = "
[scan]
segments = 8
[capacity]
write = 100000
read = 100000
per_key_range = { write = 100000, read = 100000 }
per_partition_key = { write = 100000, read = 100000 }
";

/// A plan that adds attributes to nearly every item. One item in a hundred is diverged.
pub(crate) const EXPAND: &str = r#"
[[change]]
move = "email"
to = "contact_email"
[[change]]
copy = "address.zip"
to = "zip"
"#;

/// The write units of one run: predicted by the dry run, estimated and consumed by the run, and counted by the server.
pub(crate) struct RunFigures {
    /// The units that the dry run predicted.
    pub(crate) predicted: f64,
    /// The units that the dry run predicted for each index.
    pub(crate) predicted_by_index: Vec<(String, f64)>,
    /// The units that the run estimated before each request.
    pub(crate) estimated: f64,
    /// The units that the replies reported.
    pub(crate) consumed: f64,
    /// The units that the tool assumed for requests whose consumption was not reported. They are zero unless a request
    /// timed out on a busy machine.
    pub(crate) assumed: f64,
    /// The units that the proxy in front of the server counted.
    pub(crate) counted: f64,
}

impl RunFigures {
    /// The best estimate of the units that the run consumed.
    pub(crate) fn spent(&self) -> f64 {
        self.consumed + self.assumed
    }

    /// The difference between the run's estimate and the consumption of the same writes, as a fraction of the
    /// consumption.
    pub(crate) fn estimate_off(&self) -> f64 {
        (self.estimated / self.consumed - 1.0).abs()
    }

    /// The difference between the dry run's prediction and the server's count, as a fraction of the count.
    pub(crate) fn prediction_off(&self) -> f64 {
        (self.predicted / self.counted - 1.0).abs()
    }
}

/// Runs the tool to its end and returns the printed JSON.
pub(crate) fn tool(harness: &Harness, plan: &Path, options: &[&str], exit: i32) -> Json {
    let output = harness.command().arg("run").arg(plan).args(["--output", "json"]).args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a plan with these changes over a sample table with these indexes, after a dry run.
pub(crate) async fn figures(indexes: &[IndexSchema], migration: &str, changes: &str, exit: i32) -> RunFigures {
    let harness = Harness::embedded();
    let table = harness.create_indexed_table(indexes).await;
    assert_eq!(harness.load(&table, sample::items(11, ITEMS)).await, ITEMS);
    let budgets: String = indexes.iter().map(|index| format!("{} = 100000\n", index.name)).collect();
    let rest = format!("{changes}{CAPACITY}[capacity.index]\n{budgets}");
    let plan = harness.plan("estimate", &table, migration, &rest);
    let dry = tool(&harness, &plan, &["--dry-run"], exit);
    harness.proxy().reset_tally();
    let run = tool(&harness, &plan, &["--yes"], exit);
    let counts = &run["totals"]["counts"];
    let tally = harness.proxy().tally();
    assert!(counts["applied"].as_u64().unwrap() > ITEMS * 3 / 4, "{counts}");
    let by_index = dry["estimated_index_write_units"].as_object().unwrap();
    RunFigures {
        predicted: dry["estimated_write_units"].as_f64().unwrap(),
        predicted_by_index: by_index.iter().map(|(name, units)| (name.clone(), units.as_f64().unwrap())).collect(),
        estimated: counts["estimated_write_units"].as_f64().unwrap(),
        consumed: counts["write_units"].as_f64().unwrap(),
        assumed: counts["assumed_write_units"].as_f64().unwrap(),
        counted: tally.write_units(),
    }
}

/// Three indexes. The first index contains all items with all attributes. The second index contains the orders,
/// including the attribute that [`EXPAND`] writes. The entries of the third index do not change.
pub(crate) fn three_indexes() -> [IndexSchema; 3] {
    let contact = Projection::Include(vec!["contact_email".into()]);
    [
        index("by-type", &[("type", "S"), ("sk", "S")], Projection::All, false),
        index("by-status", &[("status", "S"), ("placed_at", "N")], contact, false),
        index("untouched", &[("type", "S")], Projection::Include(vec!["total".into()]), false),
    ]
}
