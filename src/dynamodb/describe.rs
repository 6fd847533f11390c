//! The port [`Describe`]: a table's description of itself.

use async_trait::async_trait;

use super::{Features, Recovery, TableError};
use crate::item::{IndexSchema, KeySchema};

/// Describes a table. Budgets, the item key and the indexes come from the description. A long run requests it
/// repeatedly.
///
/// An implementation promises:
/// - Each call asks the service once and changes nothing. It does not retry: the caller does.
/// - A description is current. It never comes from a cache.
/// - A call that the service does not know fails with [`FatalKind::Unsupported`](super::FatalKind::Unsupported).
#[async_trait]
pub trait Describe: Send + Sync {
    /// The table's description: `DescribeTable`.
    async fn describe(&self) -> Result<TableDescription, TableError>;

    /// Whether a point-in-time recovery can restore the table: `DescribeContinuousBackups`.
    async fn recovery(&self) -> Result<Recovery, TableError> {
        Err(TableError::unsupported("DescribeContinuousBackups"))
    }

    /// The attribute by which items expire (`DescribeTimeToLive`), or `None` if they do not expire.
    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        Err(TableError::unsupported("DescribeTimeToLive"))
    }
}

/// The part of `DescribeTable` that the tool uses.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct TableDescription {
    /// Table name.
    pub name: String,
    /// `arn:aws:dynamodb:region:account:table/name`.
    pub arn: String,
    /// The table's unique id. A recreated table has another id. Some engines have none.
    pub id: Option<String>,
    /// `ACTIVE`, `UPDATING`, ….
    pub status: String,
    /// Primary key.
    pub key: KeySchema,
    /// Number of items. DynamoDB refreshes it about every six hours.
    pub item_count: u64,
    /// Size in bytes, refreshed like the number of items.
    pub size_bytes: u64,
    /// Provisioned (read, write) capacity units per second. `None` on demand.
    pub provisioned: Option<(f64, f64)>,
    /// The table's own (read, write) maxima on demand, if it has any.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write): what the table serves immediately, if DynamoDB says so.
    pub warm: Option<(f64, f64)>,
    /// Global and local secondary indexes.
    pub indexes: Vec<IndexDescription>,
    /// Other features that the preflight checks.
    pub features: Features,
    /// The table that writes go to, if it is another one ([`Tables`](super::Tables)). Then `indexes` are that table's: only
    /// writes pay for indexes.
    pub sink: Option<Box<TableDescription>>,
}

/// The part of a secondary index's description that the tool uses.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct IndexDescription {
    /// Name, key and projection.
    pub schema: IndexSchema,
    /// Provisioned (read, write) capacity units per second of a global index. `None` on demand and for a local index.
    pub provisioned: Option<(f64, f64)>,
    /// The index's own (read, write) maxima on demand, if it has any.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write).
    pub warm: Option<(f64, f64)>,
}

impl IndexDescription {
    /// An index with this schema. Everything else about it is unknown.
    pub fn new(schema: IndexSchema) -> IndexDescription {
        IndexDescription { schema, provisioned: None, on_demand_max: (None, None), warm: None }
    }
}

impl TableDescription {
    /// An active table on demand with this name, ARN and key. Everything else is unknown or empty: set the fields that
    /// you know.
    pub fn new(name: impl Into<String>, arn: impl Into<String>, key: KeySchema) -> TableDescription {
        TableDescription {
            name: name.into(),
            arn: arn.into(),
            id: None,
            status: "ACTIVE".into(),
            key,
            item_count: 0,
            size_bytes: 0,
            provisioned: None,
            on_demand_max: (None, None),
            warm: None,
            indexes: Vec::new(),
            features: Features::default(),
            sink: None,
        }
    }

    /// The table that writes go to: itself, unless that is another one.
    pub fn written(&self) -> &TableDescription {
        self.sink.as_deref().unwrap_or(self)
    }

    /// The account in the ARN.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or("")
    }

    /// The region in the ARN.
    pub fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or("")
    }

    /// Name, key and projection of each index.
    pub fn index_schemas(&self) -> Vec<IndexSchema> {
        self.indexes.iter().map(|index| index.schema.clone()).collect()
    }
}

#[cfg(test)]
impl TableDescription {
    /// An empty table on demand, with the string keys `pk` and `sk`.
    pub(crate) fn of_a_test() -> TableDescription {
        let attribute = |name: &str| crate::item::KeyAttribute { name: name.into(), kind: "S".into() };
        TableDescription::new("t", "", KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) })
    }
}
