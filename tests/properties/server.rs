//! The tables on which the plans run. A table is either in memory and in virtual time, or in an engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backfill::internals::change::GuardedWrite;
use backfill::internals::dynamodb::memory::{Author, FaultPlan, MemoryTable};
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::dynamodb::{
    Describe, Features, GetReply, IndexDescription, Page, PageRequest, Sink, Source, TableDescription, TableError,
    Tables, WriteReply,
};
use backfill::internals::item::{IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Projection};
use backfill::internals::plan::TableRef;

use super::harness::{self, Harness, to_sdk};
use super::spec::INDEX;

/// The name of the table in memory.
const MEMORY: &str = "shop";

/// A table with one case's items.
pub(crate) enum Server<'h> {
    Memory { table: MemoryTable, description: Box<TableDescription> },
    Engine { harness: &'h Harness, name: String, table: Arc<DynamoTable>, description: Box<TableDescription> },
}

/// The index of a table with an index.
fn index() -> IndexSchema {
    harness::index(INDEX, &[("ik", "S")], Projection::KeysOnly, false)
}

/// The description of a table in memory.
fn description(has_index: bool) -> TableDescription {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let index = IndexDescription {
        schema: index(),
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    };
    TableDescription {
        name: MEMORY.into(),
        arn: format!("arn:aws:dynamodb:us-east-1:000000000000:table/{MEMORY}"),
        id: Some("the-table".into()),
        status: "ACTIVE".into(),
        key: KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) },
        item_count: 10,
        size_bytes: 4_000,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        indexes: has_index.then_some(index).into_iter().collect(),
        features: Features::default(),
        sink: None,
        derived: None,
    }
}

impl Server<'_> {
    /// Creates a table in memory. Requests take virtual time.
    pub(crate) fn in_memory(has_index: bool) -> Server<'static> {
        let description = description(has_index);
        let latency = (Duration::from_millis(1), Duration::from_millis(3));
        let table = MemoryTable::new(description.clone(), latency, FaultPlan::NONE, 1);
        Server::Memory { table, description: Box::new(description) }
    }

    /// Creates a table in an engine.
    pub(crate) async fn on_engine(harness: &Harness, has_index: bool) -> Server<'_> {
        let indexes: Vec<IndexSchema> = has_index.then(index).into_iter().collect();
        let name = harness.create_indexed_table(&indexes).await;
        let reference = TableRef {
            name: name.clone(),
            key: None,
            region: Some("us-east-1".to_owned()),
            endpoint_url: Some(harness.endpoint()),
            profile: None,
            account: None,
            role: None,
        };
        let table = Arc::new(DynamoTable::new(&connect(&reference).await.unwrap(), &name));
        let description = Box::new(table.describe().await.unwrap());
        Server::Engine { harness, name, table, description }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Server::Memory { .. } => MEMORY,
            Server::Engine { name, .. } => name,
        }
    }

    pub(crate) fn description(&self) -> TableDescription {
        match self {
            Server::Memory { description, .. } | Server::Engine { description, .. } => (**description).clone(),
        }
    }

    /// Puts an item, as an application would.
    pub(crate) async fn put(&self, item: &Item) {
        match self {
            Server::Memory { table, .. } => {
                drop(table.change(&harness::key_of(item), Author::Application, |_| Some(item.clone())));
            }
            Server::Engine { harness, name, .. } => {
                drop(harness.client().put_item().table_name(name).set_item(Some(to_sdk(item))).send().await.unwrap());
            }
        }
    }

    /// Deletes the item that has the same key as this item, as an application would.
    pub(crate) async fn delete(&self, item: &Item) {
        match self {
            Server::Memory { table, .. } => {
                drop(table.change(&harness::key_of(item), Author::Application, |_| None));
            }
            Server::Engine { harness, name, .. } => {
                let key = to_sdk(harness::key_of(item).attributes());
                drop(harness.client().delete_item().table_name(name).set_key(Some(key)).send().await.unwrap());
            }
        }
    }

    /// Returns every item.
    pub(crate) async fn dump(&self) -> BTreeMap<String, Item> {
        match self {
            Server::Memory { table, .. } => {
                table.history(|history| history.items().map(|(key, item)| (key.to_text(), item.clone())).collect())
            }
            Server::Engine { harness, name, .. } => harness.dump(name).await,
        }
    }

    /// Deletes the table if it is in an engine.
    pub(crate) async fn remove(self) {
        if let Server::Engine { harness, name, .. } = self {
            drop(harness.client().delete_table().table_name(name).send().await);
        }
    }

    /// Connects the tool to the table. Every write is recorded in `log`.
    pub(crate) fn connect(&self, process: u32, log: &Arc<Mutex<WriteLog>>) -> Tables {
        let description = self.description();
        let log = Arc::clone(log);
        match self {
            Server::Memory { table, .. } => {
                Tables::one(Arc::new(Recorder { inner: table.connect(process), description, log }))
            }
            Server::Engine { table, .. } => {
                Tables::one(Arc::new(Recorder { inner: Shared(Arc::clone(table)), description, log }))
            }
        }
    }
}

/// What the tool wrote.
#[derive(Default)]
pub(crate) struct WriteLog {
    pub(crate) writes: u64,
    /// The writes whose estimated cost differed from the server's count.
    pub(crate) wrong_estimates: Vec<String>,
    /// Number of writes whose estimated cost was compared with the server's count.
    pub(crate) estimates: u64,
}

/// A connection that logs every write, and compares its estimated cost with the server's count.
struct Recorder<T> {
    inner: T,
    description: TableDescription,
    log: Arc<Mutex<WriteLog>>,
}

impl<T> Recorder<T> {
    fn record(&self, write: &GuardedWrite, reply: &Result<WriteReply, TableError>) {
        let mut log = self.log.lock().unwrap();
        log.writes += 1;
        match reply {
            Ok(WriteReply::Applied { consumed: Some(consumed), .. }) => {
                log.estimates += 1;
                let name = |at: usize| self.description.indexes[at].schema.name.clone();
                let mut indexes: Vec<(String, f64)> =
                    write.cost.indexes.iter().map(|(at, units)| (name(*at), *units)).collect();
                let mut counted = consumed.indexes.clone();
                indexes.retain(|(_, units)| *units > 0.0);
                counted.retain(|(_, units)| *units > 0.0);
                if write.cost.table != consumed.table || indexes != counted {
                    log.wrong_estimates.push(format!("{:?} estimated, {consumed:?} counted: {write:?}", write.cost));
                }
            }
            Ok(
                WriteReply::Applied { consumed: None, .. }
                | WriteReply::ConditionFailed { .. }
                | WriteReply::EndpointChecked { .. }
                | WriteReply::DerivedExists { .. },
            ) => {}
            Err(error) => log.wrong_estimates.push(format!("the server refused a write: {error:?}: {write:?}")),
        }
    }
}

/// A table that several connections share.
struct Shared(Arc<DynamoTable>);

#[async_trait]
impl Describe for Shared {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.0.describe().await
    }
}

#[async_trait]
impl Source for Shared {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        self.0.read_page(request).await
    }
}

#[async_trait]
impl Sink for Shared {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        self.0.write(chunk).await
    }

    fn max_chunk(&self) -> usize {
        self.0.max_chunk()
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.0.get(key).await
    }
}

#[async_trait]
impl<T: Describe + Send + Sync> Describe for Recorder<T> {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.inner.describe().await
    }
}

#[async_trait]
impl<T: Source + Send + Sync> Source for Recorder<T> {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        self.inner.read_page(request).await
    }
}

#[async_trait]
impl<T: Sink + Send + Sync> Sink for Recorder<T> {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let replies = self.inner.write(chunk).await;
        chunk.iter().zip(&replies).for_each(|(write, reply)| self.record(write, reply));
        replies
    }

    fn max_chunk(&self) -> usize {
        self.inner.max_chunk()
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.inner.get(key).await
    }
}
