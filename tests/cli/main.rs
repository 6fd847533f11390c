//! Tests the command line from the operator's point of view: each command's output and exit code, and the reaction to
//! bad input.
//!
//! For bad input, the tool prints one paragraph on stderr. The paragraph explains what happened, what the tool did and
//! did not do, and what the operator should do. The exit code is documented in `--help`. With `--output json`, stdout
//! contains one document of type `error`.
#![cfg(feature = "local")]

mod activities;
mod backup;
mod commands;
mod custom_change;
mod deletes;
mod demo;
mod derived;
mod documents;
mod endpoints;
mod exec;
mod explain;
mod forecast;
mod gates;
#[expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]
#[path = "../harness/mod.rs"]
mod harness;
mod health;
mod hooks;
mod language;
mod local;
mod local_capacity;
mod metrics;
mod next_steps;
mod overrides;
mod plans;
mod playbook;
mod preflight;
mod records;
mod refusals;
mod repairs;
mod report;
mod role;
mod rollback;
mod runs;
mod select_index;
mod select_keys;
mod sessions;
mod shim;
mod split;
mod stable;
mod states;
mod stats;
mod steering;
mod table_access;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backfill::internals::item::Item;
use backfill::internals::local::proxy::FaultRule;
use backfill::internals::local::{Fault, RequestInfo};
use harness::tool::{self, RunningTool, item, secret, tool};
use harness::{Harness, bytes_of};
use nix::sys::signal::Signal;
use serde_json::{Map, Value as Json, json};

const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

/// Plan sections that make a run so slow that a test can act during the run.
const SLOWLY: &str = "[scan]\nsegments = 2\npage_limit = 5\n[capacity]\nwrite = 20\n";

/// The output of a refused command.
struct RefusalOutput {
    text: String,
}

/// Runs the tool. Checks the properties that every refusal must have.
#[track_caller]
fn refused(harness: &Harness, code: i32, args: &[&str]) -> RefusalOutput {
    let ran = tool(harness, &[args, &["--output", "json"]].concat()).exits(code);
    let document = ran.json();
    assert_eq!(document["type"], "error", "{document:#}");
    let said = ran.messages();
    let text = match said.find("error") {
        // The output can contain a header or the completed part of a check before the error.
        Some(at) => said[at..].to_owned(),
        None => panic!("no error in: {said}"),
    };
    assert!(!text.contains("\n\n\n") && text.len() < 3_000, "{text}");
    RefusalOutput { text }
}

impl RefusalOutput {
    /// Asserts that the refusal contains all of these texts.
    #[track_caller]
    fn says(self, parts: &[&str]) -> RefusalOutput {
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is missing in: {}", self.text);
        }
        self
    }

    /// Asserts that the refusal is one paragraph and says what the tool did not do.
    #[track_caller]
    fn in_one_paragraph(self) -> RefusalOutput {
        assert!(self.text.starts_with("error: "), "{}", self.text);
        assert!(!self.text.contains("\n\n"), "{}", self.text);
        let did_not = ["Nothing was", "nothing was", "was not", "were not", "is not stored"];
        assert!(
            did_not.iter().any(|part| self.text.contains(part)),
            "the message does not say what was not done: {}",
            self.text
        );
        for clumsy in ["..", "Err(", "Some(", "None", "Error {", "DispatchFailure"] {
            assert!(!self.text.contains(clumsy), "{clumsy} in: {}", self.text);
        }
        self
    }
}

/// Creates a test harness with a table of `count` items that need [`MOVE`], and a plan for the table.
async fn setup(count: usize, more: &str) -> (Harness, String, PathBuf) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(count)).await;
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{more}"));
    (harness, table, plan)
}

fn items(count: usize) -> impl Iterator<Item = Item> {
    (0..count).map(|n| item(&format!("P#{}", n % 7), &format!("S#{n}"), [("old", secret(n))]))
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

fn inject_fault(harness: &Harness, rule: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) {
    harness.proxy().set_faults(Some(Arc::new(rule) as FaultRule));
}

/// Answers every request for one operation with this error.
fn answer(harness: &Harness, operation: &'static str, status: u16, error: &'static str, message: &'static str) {
    inject_fault(harness, move |request| {
        if request.operation != operation {
            return Fault::Pass;
        }
        Fault::Reply { status, error: error.into(), message: message.into(), extra: Map::new() }
    });
}

/// Answers `DescribeTable` with this table.
fn answer_describe_table(harness: &Harness, table: Json) {
    let extra = Map::from_iter([("Table".to_owned(), table)]);
    inject_fault(harness, move |request| {
        if request.operation != "DescribeTable" {
            return Fault::Pass;
        }
        Fault::Reply { status: 200, error: "Made.Up".into(), message: String::new(), extra: extra.clone() }
    });
}

/// Returns a table description in the format of `DescribeTable`.
fn description(name: &str, arn: &str, status: &str) -> Json {
    json!({
        "TableName": name, "TableArn": arn, "TableStatus": status, "ItemCount": 10, "TableSizeBytes": 1000,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
    })
}

/// Asserts that no write was sent.
#[track_caller]
fn nothing_was_written(harness: &Harness) {
    let tally = harness.proxy().tally();
    for write in ["UpdateItem", "PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "ExecuteStatement"] {
        assert_eq!(tally.operation(write).requests, 0, "{write}");
    }
}
