//! Compares the estimated cost of writes with the server's counts, over complete runs of the real binary.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod random_tables;
mod rules;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Harness, index};
use crate::spend::whole_run::{CAPACITY, EXPAND, ITEMS, RunFigures, WITHIN, figures, three_indexes, tool};
use backfill::internals::dynamodb::Tables;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::engine::{Job, describe};
use backfill::internals::item::{IndexSchema, Item, Projection, Value};
use backfill::internals::local::{Fault, RequestInfo, sample};
use backfill::internals::preflight::{self, SampleSize, run_changes};
use backfill::internals::ratelimit::resolve;
use backfill::internals::telemetry;
use serde_json::Value as Json;

/// Runs the changes. Compares the units that the dry run predicted, the units that the run estimated, and the units
/// that the server counted.
async fn held(indexes: &[IndexSchema], migration: &str, changes: &str, exit: i32) -> RunFigures {
    let figures = figures(indexes, migration, changes, exit).await;
    let RunFigures { predicted, estimated, consumed, assumed, counted, .. } = figures;
    println!(
        "dry run {predicted} WCU, estimated {estimated}, consumed {consumed} (assumed {assumed}); the server counted \
         {counted} (off by {:.3} %)",
        figures.estimate_off() * 100.0
    );
    // The proxy also counts the units in lost replies. After a lost reply, the condition of the retry fails, which
    // costs units too. The reply to the retry does not report these units, so the proxy cannot count them.
    let spent = figures.spent();
    assert!(consumed <= counted && counted <= spent, "{counted} WCU were counted, {consumed} to {spent} consumed");
    assert!(figures.prediction_off() < WITHIN, "predicted {predicted} WCU, but the server counted {counted}");
    assert!(figures.estimate_off() < WITHIN, "estimated {estimated} WCU, but consumed {consumed}");
    figures
}

/// RUNBOOK: "the dry run says how many units the writes would take, in total and by index"
#[tokio::test(flavor = "multi_thread")]
async fn estimates_are_accurate_without_indexes_and_with_three() {
    let plain = held(&[], "", EXPAND, 5).await;
    assert!(plain.predicted_by_index.is_empty());
    let indexed = held(&three_indexes(), "", EXPAND, 5).await;
    let [(status, by_status), (kind, by_type)] = &indexed.predicted_by_index[..] else {
        panic!("{:?}", indexed.predicted_by_index)
    };
    assert_eq!((status.as_str(), kind.as_str()), ("by-status", "by-type"));
    // The index with whole items costs as much as the table. The other index has only a few small entries, each of
    // which costs one unit.
    assert_eq!(*by_type, plain.predicted);
    assert!((ITEMS as f64 * 0.2..ITEMS as f64 * 0.5).contains(by_status), "{by_status}");
    assert_eq!(indexed.counted, plain.counted + by_type + by_status, "the proxy counts the consumption of indexes");
}

/// Index entries appear, get a new key, lose attributes and disappear.
#[tokio::test(flavor = "multi_thread")]
async fn estimates_are_accurate_when_index_entries_move() {
    let changes = r#"
[[change]]
set = "status"
value = "archived"
[[change]]
remove = "placed_at"
[[change]]
remove = "payload"
[[change]]
copy = "sk"
to = "tag"
"#;
    let indexes = [
        index("by-status", &[("status", "S"), ("pk", "S")], Projection::All, false),
        index("by-time", &[("placed_at", "N")], Projection::Include(vec!["lines".into()]), false),
        index("by-tag", &[("tag", "S")], Projection::KeysOnly, false),
    ];
    let migration = "strategy = \"in-place\"\non_existing = \"overwrite\"";
    let figures = held(&indexes, migration, changes, 0).await;
    assert_eq!(figures.predicted_by_index.len(), 3, "{:?}", figures.predicted_by_index);
}

/// RUNBOOK: "Consumption that replies do not report (failed conditions, lost replies) is assumed and shown separately"
///
/// If a reply is lost, the tool counts the estimated units of the write. The retry's condition then fails. For this
/// failure, the tool counts units by the size of the item. A throttled request consumes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn unreported_consumption_is_assumed_and_counted_separately() {
    let harness = Harness::embedded();
    let by_type = index("by-type", &[("type", "S")], Projection::All, false);
    let table = harness.create_indexed_table(&[by_type]).await;
    harness.load(&table, sample::items(3, 600)).await;
    let plan = harness.plan("lost", &table, "", &format!("{EXPAND}{CAPACITY}"));
    let dry = tool(&harness, &plan, &["--dry-run"], 5);
    let seen = Mutex::new(HashSet::new());
    let rule = move |request: &RequestInfo| {
        // Only the reply to the first attempt of a write is lost, so that exactly one failed condition follows each
        // lost reply.
        if request.operation != "UpdateItem" || !seen.lock().unwrap().insert(request.body()["Key"].to_string()) {
            return Fault::Pass;
        }
        match request.operation_sequence % 8 {
            3 => Fault::DropReply,
            5 => Fault::Reply {
                status: 400,
                error: "ProvisionedThroughputExceededException".into(),
                message: "The level of configured provisioned throughput for the table was exceeded".into(),
                extra: serde_json::Map::new(),
            },
            _ => Fault::Pass,
        }
    };
    harness.proxy().set_faults(Some(Arc::new(rule)));
    let run = tool(&harness, &plan, &["--yes"], 5);
    let counts = &run["totals"]["counts"];
    let updates = harness.proxy().tally().operation("UpdateItem");
    assert!(updates.dropped > 30 && updates.injected > 30, "{updates:?}");
    let already = |counts: &Json| counts["already_applied"].as_u64().unwrap();
    assert!(
        already(counts) >= already(&dry) + updates.dropped,
        "after a lost reply, the retry finds the effect of the first attempt"
    );
    let figure = |name: &str| counts[name].as_f64().unwrap();
    let consumed = figure("write_units");
    let lost = updates.write_units - figure("write_units");
    // Half of each write's cost is charged to the index. A failed condition consumes nothing from the index.
    assert_eq!(figure("assumed_write_units"), lost + lost / 2.0);
    // In this figure, the run's estimate includes only answered requests.
    assert_eq!(figure("estimated_write_units"), consumed);
    assert_eq!(run["run"]["lower_bound"], true, "writes with lost replies count as already applied");
    let human = harness.command().arg("run").arg(&plan).output().unwrap();
    let human = String::from_utf8(human.stdout).unwrap();
    let number = |units: f64| telemetry::number(units as u64);
    for line in [
        format!("for these items: {} WCU", number(consumed)),
        format!("(failed conditions, lost replies): {} WCU", number(lost * 1.5)),
        format!("before they were sent: {} WCU (100.0 % of it was consumed)", number(consumed)),
        "at least: a write whose reply was lost".to_owned(),
    ] {
        assert!(human.contains(&line), "{line}: {human}");
    }
}

/// Returns items for which a run has every possible outcome.
fn items_of_every_kind() -> impl Iterator<Item = Item> {
    let large = "v".repeat(250_000);
    (0..400).map(move |n| {
        let text = |text: &str| Value::S(text.to_owned());
        let map = || Value::M(Item::new());
        let attributes: Vec<(&str, Value)> = match n % 8 {
            0 => vec![("old", text("a"))],
            1 => vec![("old", text("a")), ("doc", Value::M([("new".to_owned(), text("a"))].into()))],
            2 => vec![("old", text("a")), ("doc", Value::M([("new".to_owned(), text("b"))].into()))],
            3 => vec![("other", text("a"))],
            4 => vec![("old", text("a")), ("doc", text("not a map"))],
            5 if n < 40 => vec![("old", text(&large)), ("doc", map())],
            6 => vec![("old", text(&"v".repeat(3_000))), ("doc", map())],
            _ => vec![("doc", map())],
        };
        let mut item: Item = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        item.insert("pk".into(), Value::S(format!("P#{}", n % 13)));
        item.insert("sk".into(), Value::S(format!("S#{n}")));
        item
    })
}

/// RUNBOOK: "A run does what the dry run predicts, item for item, if nobody writes meanwhile"
#[tokio::test(flavor = "multi_thread")]
async fn every_count_of_a_dry_run_equals_that_of_the_run() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items_of_every_kind()).await;
    let changes = "[[change]]\nmove = \"old\"\nto = \"doc.new\"\n";
    let plan = harness.plan("counts", &table, "", &format!("{changes}{CAPACITY}"));
    let dry = tool(&harness, &plan, &["--dry-run"], 4);
    let sampled = tool(&harness, &plan, &["--dry-run", "--sample", "100%"], 4);
    harness.proxy().reset_tally();
    let run = tool(&harness, &plan, &["--yes"], 4);
    let counts = &run["totals"]["counts"];
    for predicted in [&dry, &sampled] {
        let of = |name: &str| predicted[name].as_u64().unwrap();
        assert!(of("would_exceed_400_kb") > 0 && of("rejected") > 0, "{predicted:#}");
        for (outcome, items) in [
            ("scanned", of("scanned")),
            ("applied", of("would_change")),
            ("already_applied", of("already_applied")),
            ("nothing_to_do", of("nothing_to_do")),
            ("diverged", of("diverged")),
            ("rejected", of("rejected") + of("would_exceed_400_kb")),
            ("not_computable", of("not_computable")),
            ("gone", 0),
            ("conflict", 0),
        ] {
            assert_eq!(counts[outcome], items, "{outcome}: {counts:#}");
            let none = ["gone", "conflict", "not_computable"];
            assert!(items > 0 || none.contains(&outcome), "the table must have items of every kind");
        }
        let units = predicted["estimated_write_units"].as_f64().unwrap();
        let counted = harness.proxy().tally().write_units();
        assert!((units / counted - 1.0).abs() < WITHIN, "predicted {units} WCU, but the server counted {counted}");
        assert_eq!(predicted["estimate"]["write_units"]["low"].as_f64(), Some(units));
    }
}

/// A dry run over a sample predicts a range for each figure. Most of these ranges must include the figure of the entire
/// table. The seeds are fixed, so the test does not depend on chance. The unit tests of the intervals check that 95 of
/// 100 intervals include the true value.
#[tokio::test(flavor = "multi_thread")]
async fn the_ranges_of_a_sample_include_the_whole_table() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, sample::items(5, ITEMS)).await;
    let path = harness.plan("sampled", &table, "", &format!("{EXPAND}{CAPACITY}"));
    let whole = tool(&harness, &path, &["--dry-run"], 5);
    let plan = backfill::internals::plan::load("p", &std::fs::read_to_string(&path).unwrap()).unwrap().plan;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connect(&plan.table).await.unwrap(), &table)));
    let description = describe(tables.source_metadata.as_ref(), Duration::from_secs(5)).await.unwrap();
    let changes = run_changes(&plan, &description).unwrap();
    let budgets = resolve(&plan.capacity, &description).unwrap();
    let job = Job::new(plan, changes, tables, description, &budgets.budgets);
    let mut held = 0;
    for seed in 0..5 {
        harness.proxy().reset_tally();
        let sampled = preflight::sample(&job, SampleSize::Percent(40.0), seed).await.unwrap();
        let estimate = preflight::estimate_from_sample(&job, &sampled);
        let share = sampled.totals.scanned as f64 / ITEMS as f64;
        assert!((0.1..0.9).contains(&share), "{share}");
        assert!(
            harness.proxy().tally().read_units() < whole["read_units"].as_f64().unwrap(),
            "a sample costs less than the whole table"
        );
        assert_eq!(estimate.items.likely, Some(ITEMS as f64), "the embedded engine's count is never stale");
        for (range, truth) in [
            (estimate.changed, whole["would_change"].as_f64().unwrap()),
            (estimate.write_units, whole["estimated_write_units"].as_f64().unwrap()),
        ] {
            held += u32::from((range.low..=range.high).contains(&truth));
        }
        let changed = estimate.changed;
        assert!(
            changed.high - estimate.unaccounted < changed.low * 1.5,
            "the range {changed:?} is too wide to be useful, even with some large collections"
        );
    }
    assert!(held >= 9, "{held} of 10 ranges include the true value");
}
