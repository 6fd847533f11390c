//! The trait [`Describe`], which reads a table's description.

use async_trait::async_trait;

use super::{Features, Recovery, TableError};
use crate::item::{IndexSchema, KeySchema};

/// Describes a table. The tool derives the budgets, the item key and the indexes from the description. A long run reads
/// the description repeatedly.
///
/// An implementation promises:
/// - Each call sends one request to the service and changes nothing. The implementation does not retry, because the
///   caller retries.
/// - A description is current and never comes from a cache.
/// - A call that the service does not support fails with [`FatalKind::Unsupported`](super::FatalKind::Unsupported).
#[async_trait]
pub trait Describe: Send + Sync {
    /// Reads the table's description: `DescribeTable`.
    async fn describe(&self) -> Result<TableDescription, TableError>;

    /// Reads whether the table can be restored to a point in time: `DescribeContinuousBackups`.
    async fn recovery(&self) -> Result<Recovery, TableError> {
        Err(TableError::unsupported("DescribeContinuousBackups"))
    }

    /// Reads which attribute holds the expiry time of items (`DescribeTimeToLive`). `None` means that items do not
    /// expire.
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
    /// The table's unique id. A recreated table has a different id. Some engines have no table ids.
    pub id: Option<String>,
    /// `ACTIVE`, `UPDATING`, ….
    pub status: String,
    /// Primary key.
    pub key: KeySchema,
    /// Number of items. DynamoDB updates this number about every six hours.
    pub item_count: u64,
    /// Size of the table in bytes. DynamoDB updates it as often as the number of items.
    pub size_bytes: u64,
    /// Provisioned (read, write) capacity units per second. `None` for an on-demand table.
    pub provisioned: Option<(f64, f64)>,
    /// The maximum (read, write) request units per second that are configured for the table on demand. `None` if there
    /// is no maximum.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write): the units per second that the table can serve immediately. `None` if DynamoDB
    /// does not state it.
    pub warm: Option<(f64, f64)>,
    /// Global and local secondary indexes.
    pub indexes: Vec<IndexDescription>,
    /// Other properties of the table that the preflight checks.
    pub features: Features,
    /// The sink, if source and sink are different tables ([`Tables`](super::Tables)). In this case, `indexes` has the
    /// indexes of the sink, because only writes consume capacity of indexes.
    pub sink: Option<Box<TableDescription>>,
}

/// The part of a secondary index's description that the tool uses.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct IndexDescription {
    /// Name, key and projection.
    pub schema: IndexSchema,
    /// Provisioned (read, write) capacity units per second of a global index. `None` for an on-demand table and for a
    /// local index.
    pub provisioned: Option<(f64, f64)>,
    /// The maximum (read, write) request units per second that are configured for the index on demand. `None` if there
    /// is no maximum.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write) in units per second. `None` if DynamoDB does not state it.
    pub warm: Option<(f64, f64)>,
}

impl IndexDescription {
    /// Creates the description of an index with this schema and unknown capacity.
    pub fn new(schema: IndexSchema) -> IndexDescription {
        IndexDescription { schema, provisioned: None, on_demand_max: (None, None), warm: None }
    }
}

impl TableDescription {
    /// Creates the description of an active on-demand table with this name, ARN and key. All other fields are unknown
    /// or empty, so set the fields that you know.
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

    /// The description of the sink, which is this table itself if source and sink are the same table.
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
    /// Describes an empty on-demand table with the string keys `pk` and `sk`.
    pub(crate) fn for_tests() -> TableDescription {
        let attribute = |name: &str| crate::item::KeyAttribute { name: name.into(), kind: "S".into() };
        TableDescription::new("t", "", KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) })
    }
}
