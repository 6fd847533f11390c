//! The trait [`Describe`], which reads a table's description.

use async_trait::async_trait;

use super::{Features, Recovery, TableError};
use crate::item::{IndexSchema, KeySchema};

/// Describes a table. The tool derives the budgets, the item key and the indexes from the description. A long run reads
/// the description repeatedly.
///
/// An implementation promises:
/// - Each call sends one request to the service and changes nothing. The implementation does not retry, because the
///   caller does.
/// - Each description is current and never comes from a cache.
/// - If the service does not support a call, the call fails with
///   [`FatalKind::Unsupported`](super::FatalKind::Unsupported).
#[async_trait]
pub trait Describe: Send + Sync {
    /// Reads the table's description with `DescribeTable`.
    async fn describe(&self) -> Result<TableDescription, TableError>;

    /// Reads the table's point-in-time recovery status (`DescribeContinuousBackups`).
    async fn recovery(&self) -> Result<Recovery, TableError> {
        Err(TableError::unsupported("DescribeContinuousBackups"))
    }

    /// Reads the name of the attribute that contains the expiry time of items (`DescribeTimeToLive`). `None` means that
    /// items do not expire.
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
    /// The table's unique ID. A recreated table gets a different ID. Some engines do not support table IDs.
    pub id: Option<String>,
    /// `ACTIVE`, `UPDATING`, ….
    pub status: String,
    /// Primary key.
    pub key: KeySchema,
    /// Number of items. DynamoDB updates this number about every six hours.
    pub item_count: u64,
    /// Size of the table in bytes. DynamoDB updates this size about every six hours.
    pub size_bytes: u64,
    /// Provisioned capacity (read, write) in units per second. `None` for an on-demand table.
    pub provisioned: Option<(f64, f64)>,
    /// The configured maximum (read, write) of an on-demand table, in request units per second. `None` if no maximum is
    /// configured.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write): the number of units per second that the table can serve immediately. `None` if
    /// DynamoDB does not report it.
    pub warm: Option<(f64, f64)>,
    /// Global and local secondary indexes.
    pub indexes: Vec<IndexDescription>,
    /// Other properties of the table that the preflight must check.
    pub features: Features,
    /// The sink's description, if source and sink are different tables ([`Tables`](super::Tables)). `indexes` then
    /// lists the sink's indexes, because only writes consume index capacity.
    pub sink: Option<Box<TableDescription>>,
    /// The description of the table that gets the plan's derived items. `None` if they go into the table of their
    /// sources, or if there are none.
    pub derived: Option<Box<TableDescription>>,
}

/// The parts of a secondary index's description that the tool uses.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct IndexDescription {
    /// Name, key and projection.
    pub schema: IndexSchema,
    /// Provisioned capacity (read, write) of a global index, in units per second. `None` if the table is on demand or
    /// the index is local.
    pub provisioned: Option<(f64, f64)>,
    /// The configured maximum (read, write) of an on-demand index, in request units per second. `None` if no maximum is
    /// configured.
    pub on_demand_max: (Option<f64>, Option<f64>),
    /// Warm throughput (read, write) in units per second. `None` if DynamoDB does not report it.
    pub warm: Option<(f64, f64)>,
    /// Whether the index is complete, that is, ACTIVE and not being backfilled.
    pub is_ready: bool,
    /// Number of entries in the index, and their total size in bytes. DynamoDB updates both figures about every six
    /// hours. `None` if DynamoDB does not report them.
    pub entries: Option<(u64, u64)>,
}

impl IndexDescription {
    /// Creates the description of an index with this schema. The capacity in the description is unknown.
    pub fn new(schema: IndexSchema) -> IndexDescription {
        IndexDescription {
            schema,
            provisioned: None,
            on_demand_max: (None, None),
            warm: None,
            is_ready: true,
            entries: None,
        }
    }
}

impl TableDescription {
    /// Creates the description of an active on-demand table with this name, ARN and key. All other fields are unknown
    /// or empty. The caller should set the fields that it knows.
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
            derived: None,
        }
    }

    /// Returns the same description with `keys` as the item count and with an estimated size. The estimate assumes that
    /// the listed items have the table's mean item size.
    pub(crate) fn of_listed_items(self, keys: u64) -> TableDescription {
        let mean = self.size_bytes.checked_div(self.item_count).unwrap_or(0);
        TableDescription { item_count: keys, size_bytes: mean.saturating_mul(keys), ..self }
    }

    /// Returns the same description with the item count of this index and an estimated size. Returns the description
    /// unchanged if the number of entries is unknown or 0.
    pub(crate) fn of_indexed_items(self, index: &str) -> TableDescription {
        let found = self.indexes.iter().find(|found| found.schema.name == index);
        match found.and_then(|found| found.entries) {
            Some((entries, _)) if entries > 0 => self.of_listed_items(entries),
            Some(_) | None => self,
        }
    }

    /// Returns the sink's description. If source and sink are the same table, returns `self`.
    pub fn written(&self) -> &TableDescription {
        self.sink.as_deref().unwrap_or(self)
    }

    /// Returns the account from the ARN.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or("")
    }

    /// Returns the region from the ARN.
    pub fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or("")
    }

    /// Returns the name, key and projection of each index.
    pub fn index_schemas(&self) -> Vec<IndexSchema> {
        self.indexes.iter().map(|index| index.schema.clone()).collect()
    }
}

#[cfg(test)]
impl TableDescription {
    /// Returns the description of an empty on-demand table with the string keys `pk` and `sk`.
    pub(crate) fn for_tests() -> TableDescription {
        let attribute = |name: &str| crate::item::KeyAttribute { name: name.into(), kind: "S".into() };
        TableDescription::new("t", "", KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) })
    }
}
