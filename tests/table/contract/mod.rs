//! Tests the server's properties on which the tool relies. The server is the embedded engine, unless
//! `BACKFILL_TEST_ENDPOINT` contains the address of another server.
//!
//! - `probe` checks that conditions hold when several writers write at the same time. All other tests depend on this.
//! - `capabilities` compares the table of capabilities (`tests/harness/capabilities.rs`) with the server.
//! - `capacity` compares the expected cost of a write with the server's report.
//! - `control` tests the flag and the lease.
//! - `derived` tests the example that puts derived items, which needs transactions.
//! - `writes` compares every kind of guarded write with a model.
//! - `filter` compares filters of scans with the evaluator.
//! - `reads` tests scans, descriptions and errors.
//! - `runs` tests whole runs of the real binary.

mod capabilities;
mod capacity;
mod cases;
mod control;
mod derived;
mod examples;
mod filter;
mod probe;
mod reads;
mod runs;
mod writes;

use crate::harness::Harness;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::item::{Item, item_from_json};
use backfill::internals::plan::TableRef;
use serde_json::Value as Json;

/// A table of the server. Tests access it through the type that the engine uses.
async fn table(harness: &Harness, name: &str) -> DynamoTable {
    let reference = TableRef {
        name: name.to_owned(),
        key: None,
        region: Some(std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned())),
        endpoint_url: Some(harness.endpoint()),
        profile: None,
        account: None,
        role: None,
    };
    DynamoTable::new(&connect(&reference).await.unwrap(), name)
}

/// An item with this key and these attributes.
fn item(pk: &str, attributes: &Json) -> Item {
    let mut item = item_from_json(attributes).unwrap();
    for (name, value) in [("pk", pk), ("sk", "x")] {
        item.entry(name.into()).or_insert_with(|| backfill::internals::item::Value::S(value.into()));
    }
    item
}
