//! Tests the properties of the server on which the tool relies. The server is the embedded engine, unless
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

use crate::harness::{Harness, to_sdk};
use async_trait::async_trait;
use backfill::internals::change::{Action, Condition, Filter, GuardedWrite, WriteCost};
use backfill::internals::dynamodb::batch::BatchTable;
use backfill::internals::dynamodb::lean::LeanTable;
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::dynamodb::{
    Describe, FilteredPage, GetReply, Page, PageRequest, Recovery, Sink, Source, TableDescription, TableError,
    WriteReply,
};
use backfill::internals::item::{Item, ItemKey, Path, Value, item_from_json};
use backfill::internals::plan::TableRef;
use serde_json::Value as Json;

/// A table of the server. Tests access it through the type that the engine uses: the SDK's client, or the one that
/// `BACKFILL_TEST_CLIENT` names. With `BACKFILL_TEST_TRANSPORT=batch`, every write is a statement in a batch.
async fn table(harness: &Harness, name: &str) -> Table {
    let table = sdk_table(harness, name).await;
    if std::env::var("BACKFILL_TEST_TRANSPORT").as_deref() == Ok("batch") {
        return Table::batch(harness, table, name).await;
    }
    match std::env::var("BACKFILL_TEST_CLIENT").as_deref() {
        Ok("lean") => Table::lean(table).await,
        Ok("sdk") | Err(_) => Table::Sdk(table),
        Ok(other) => panic!("there is no client {other}"),
    }
}

enum Table {
    Sdk(DynamoTable),
    Lean(LeanTable),
    Batch(Box<Batched>),
}

/// A table to which every write goes in a batch of statements.
struct Batched {
    table: DynamoTable,
    batch: BatchTable<DynamoTable>,
    /// A write to an item that does not exist. It is in every batch, because a write that is alone uses `UpdateItem`.
    companion: GuardedWrite,
}

impl Table {
    /// Returns the table for the lean client. The SDK sends the first request, from which the lean client learns the
    /// route to the server.
    async fn lean(table: DynamoTable) -> Table {
        let _ = table.time_to_live().await;
        Table::Lean(LeanTable::new(table))
    }

    /// Returns the table for batches of statements, after the server has proven that it obeys their conditions. A table
    /// that does not exist stays unproven.
    async fn batch(harness: &Harness, table: DynamoTable, name: &str) -> Table {
        let batch = BatchTable::new(std::sync::Arc::new(table.clone()), true);
        // Another handle describes the table, because some tests need a handle that has not.
        let described = sdk_table(harness, name).await.describe().await.ok();
        let schema = described.map_or_else(crate::harness::key_schema, |described| described.key);
        let value = |kind: &str| match kind {
            "N" => Value::N(backfill::internals::item::Num::from_wire("-77".to_owned())),
            "B" => Value::B(b"companion".to_vec()),
            _ => Value::S("companion".to_owned()),
        };
        let attributes = std::iter::once(&schema.partition).chain(&schema.sort);
        let key: Item = attributes.map(|key| (key.name.clone(), value(&key.kind))).collect();
        let companion = GuardedWrite {
            key: ItemKey::new(key.clone()),
            actions: vec![Action::SetValue { to: Path::attribute("companion"), value: Value::Null }],
            conditions: vec![Condition::ItemExists(schema.partition.name)],
            equal_values: Vec::new(),
            pre_images: Vec::new(),
            bytes_before: 0,
            bytes_after: 0,
            cost: WriteCost::default(),
            cost_elsewhere: None,
            next: None,
        };
        let client = harness.client();
        if client.put_item().table_name(name).set_item(Some(to_sdk(&key))).send().await.is_ok() {
            while batch.max_chunk() == 1 {
                let reply = batch.write(&[&companion]).await;
                assert!(matches!(reply[..], [Ok(WriteReply::EndpointChecked { .. })]), "{reply:?}");
            }
            client.delete_item().table_name(name).set_key(Some(to_sdk(&key))).send().await.unwrap();
        }
        Table::Batch(Box::new(Batched { table, batch, companion }))
    }

    fn parts(&self) -> (&dyn Describe, &dyn Source, &dyn Sink) {
        match self {
            Table::Sdk(table) => (table, table, table),
            Table::Lean(table) => (table, table, table),
            Table::Batch(batched) => (&batched.table, &batched.table, &batched.batch),
        }
    }
}

#[async_trait]
impl Describe for Table {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.parts().0.describe().await
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        self.parts().0.recovery().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        self.parts().0.time_to_live().await
    }
}

#[async_trait]
impl Source for Table {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        self.parts().1.read_page(request).await
    }

    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        self.parts().1.read_filtered_page(request, filter).await
    }
}

#[async_trait]
impl Sink for Table {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let Table::Batch(batched) = self else { return self.parts().2.write(chunk).await };
        let all: Vec<&GuardedWrite> = chunk.iter().copied().chain([&batched.companion]).collect();
        let mut replies = batched.batch.write(&all).await;
        replies.truncate(chunk.len());
        replies
    }

    fn max_chunk(&self) -> usize {
        self.parts().2.max_chunk()
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.parts().2.get(key).await
    }
}

async fn sdk_table(harness: &Harness, name: &str) -> DynamoTable {
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

/// Returns an item with this key and these attributes.
fn item(pk: &str, attributes: &Json) -> Item {
    let mut item = item_from_json(attributes).unwrap();
    for (name, value) in [("pk", pk), ("sk", "x")] {
        item.entry(name.into()).or_insert_with(|| backfill::internals::item::Value::S(value.into()));
    }
    item
}
