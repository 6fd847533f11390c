//! The table as the engine sees it: describe, scan, get, write. Implementations: [`dynamo`] (the AWS SDK), and
//! [`memory`] for tests in virtual time.

pub mod control;
mod error;
pub mod memory;
pub mod patience;
mod surroundings;

pub mod sdk;

use async_trait::async_trait;

pub use error::{Directive, FatalKind, TableError, ThrottlingReason};
pub use surroundings::{Features, Recovery, StreamView, TableClass};

use crate::change::GuardedWrite;
use crate::item::{IndexSchema, Item, ItemKey, KeySchema, Units};

/// What the engine needs of a DynamoDB table. One place above it owns retry, so an implementation sends each request
/// once and reports what came of it.
#[async_trait]
pub trait Table: Send + Sync {
    /// `DescribeTable`.
    async fn describe(&self) -> Result<TableDescription, TableError>;

    /// One `Scan` request: one page of one segment.
    async fn scan(&self, request: &ScanRequest) -> Result<Page, TableError>;

    /// A strongly consistent `GetItem`.
    async fn get(&self, key: &ItemKey) -> Result<Got, TableError>;

    /// Sends a chunk of guarded writes and returns what came of each, in order and exactly as many. A chunk never names
    /// an item twice and has at most [`Table::max_chunk`] members.
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>>;

    /// How many writes one call of [`Table::write`] takes; 1 where each write is a request of its own.
    fn max_chunk(&self) -> usize;

    /// `DescribeContinuousBackups`. [`FatalKind::Unsupported`] where the engine does not know the call.
    async fn recovery(&self) -> Result<Recovery, TableError> {
        Err(TableError::unsupported("DescribeContinuousBackups"))
    }

    /// `DescribeTimeToLive`: the attribute by which items expire, if they do. [`FatalKind::Unsupported`] where the engine
    /// does not know the call.
    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        Err(TableError::unsupported("DescribeTimeToLive"))
    }
}

/// What `DescribeTable` says, as far as the tool uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDescription {
    /// Table name.
    pub name: String,
    /// `arn:aws:dynamodb:region:account:table/name`.
    pub arn: String,
    /// The table's unique id; a recreated table has another. Some engines have none.
    pub id: Option<String>,
    /// `ACTIVE`, `UPDATING`, ….
    pub status: String,
    /// Primary key.
    pub key: KeySchema,
    /// Items, refreshed by DynamoDB about every six hours.
    pub item_count: u64,
    /// Bytes, refreshed likewise.
    pub size_bytes: u64,
    /// Provisioned (read, write) capacity units per second; none on demand.
    pub provisioned: Option<(f64, f64)>,
    /// The table's own (read, write) maxima on demand, where it has them.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write): what the table serves at once, where DynamoDB says so.
    pub warm: Option<(f64, f64)>,
    /// Global and local secondary indexes.
    pub indexes: Vec<IndexDescription>,
    /// What else it is: for the preflight.
    pub features: Features,
}

/// A secondary index, as far as the tool uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexDescription {
    /// Name, key and projection.
    pub schema: IndexSchema,
    /// Provisioned (read, write) capacity units per second of a global index; none on demand, and none of a local one.
    pub provisioned: Option<(f64, f64)>,
    /// The index's own (read, write) maxima on demand, where it has them.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write).
    pub warm: Option<(f64, f64)>,
}

impl TableDescription {
    /// The account in the ARN.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or("")
    }

    /// The region in the ARN.
    pub fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or("")
    }
}

/// One page to read.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanRequest {
    /// The segment, from 0.
    pub segment: u32,
    /// How many segments the run has; fixed for its life.
    pub total_segments: u32,
    /// `ExclusiveStartKey`; none at the segment's beginning.
    pub start_key: Option<ItemKey>,
    /// `Limit`: items evaluated at most.
    pub limit: Option<u32>,
    /// Strongly consistent.
    pub consistent: bool,
    /// Of each item only its key is wanted; an implementation that does not know the key yet returns whole items. What the
    /// page costs is the same: DynamoDB charges whole items (developer guide, "Scan").
    pub keys_only: bool,
}

/// One `Scan` response.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items; may be empty with more to come.
    pub items: Vec<Item>,
    /// `LastEvaluatedKey`; none, and only none, means that the segment has ended.
    pub next: Option<ItemKey>,
    /// Read capacity units consumed, where the server said so.
    pub units: Option<Units>,
}

/// One `GetItem` response.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    /// The item, if there is one.
    pub item: Option<Item>,
    /// Read capacity units consumed, where the server said so.
    pub units: Option<Units>,
}

/// Write capacity that one request consumed, by DynamoDB's own word (`ReturnConsumedCapacity = INDEXES`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Consumed {
    /// By the table and its local indexes, in write capacity units.
    pub table: Units,
    /// By each global index that the request touched: its name, and write capacity units.
    pub indexes: Vec<(String, Units)>,
}

impl Consumed {
    /// Write capacity units in all: what is billed.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// What came of one guarded write that DynamoDB answered.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReply {
    /// It was applied.
    Applied {
        /// Write capacity consumed, where the server said so.
        consumed: Option<Consumed>,
    },
    /// The condition did not hold; nothing changed.
    ConditionFailed {
        /// The item as it is, where the engine returned it.
        image: Option<Item>,
    },
}

#[cfg(test)]
impl TableDescription {
    /// An empty table on demand, with the string keys `pk` and `sk`.
    pub(crate) fn of_a_test() -> TableDescription {
        let attribute = |name: &str| crate::item::KeyAttribute { name: name.into(), kind: "S".into() };
        TableDescription {
            name: "t".into(),
            arn: String::new(),
            id: None,
            status: "ACTIVE".into(),
            key: KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) },
            item_count: 0,
            size_bytes: 0,
            provisioned: None,
            on_demand_max: (None, None),
            warm: None,
            indexes: Vec::new(),
            features: Features::default(),
        }
    }
}
