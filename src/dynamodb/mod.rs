//! Access to DynamoDB through the traits [`Describe`], [`Source`], [`Sink`] and [`control::Control`]. The traits have
//! three implementations: [`sdk`] uses the AWS SDK, [`lean`] sends the most frequent requests with less CPU time, and
//! [`memory`] is for tests in virtual time. [`batch`] sends guarded writes through one of them in batches.

pub mod batch;
pub mod control;
mod describe;
mod error;
mod features;
mod keys;
pub mod lean;
pub mod memory;
pub mod retry;
pub mod sdk;
mod sink;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join;

pub use describe::{Describe, IndexDescription, TableDescription};
pub use error::{Directive, FatalKind, TableError, ThrottlingReason};
pub use features::{Features, Recovery, StreamView, TableClass, VectorIndex};
pub use keys::KeysSource;
pub use sink::{BackupStatus, GetReply, Sink, WriteConsumption, WriteReply};
pub use source::{FilteredPage, Page, PageRequest, Source};

use crate::keys_file::PreparedKeys;

/// The two tables of a migration. The migration reads items from the source and writes items to the sink. Both may be
/// the same table.
#[derive(Clone)]
pub struct Tables {
    /// Describes the source.
    pub source_metadata: Arc<dyn Describe>,
    /// The table from which the run reads items.
    pub source: Arc<dyn Source>,
    /// Describes the sink. If source and sink are the same table, this is the same object as `source_metadata`.
    pub sink_metadata: Arc<dyn Describe>,
    /// The table to which the run writes items. The run also reads single items from this table.
    pub sink: Arc<dyn Sink>,
    /// The index that the first pass of `run` reads instead of the source. `None` if the plan does not select items
    /// through an index.
    pub(crate) index: Option<Arc<dyn Source>>,
    /// The table that gets the plan's derived items. `None` if they go into the table of their sources.
    pub(crate) derived: Option<DerivedTable>,
}

/// A table that gets derived items.
#[derive(Clone)]
pub struct DerivedTable {
    /// Describes the table.
    pub metadata: Arc<dyn Describe>,
    /// Reads single items, and deletes the derived items in a rollback.
    pub sink: Arc<dyn Sink>,
}

impl Tables {
    /// Uses one table as both source and sink.
    pub fn one<T: Describe + Source + Sink + 'static>(table: Arc<T>) -> Tables {
        Tables {
            source_metadata: table.clone(),
            source: table.clone(),
            sink_metadata: table.clone(),
            sink: table,
            index: None,
            derived: None,
        }
    }

    /// Reads items from one table, and writes to a different table with the same key.
    pub fn two<T, U>(source: Arc<T>, sink: Arc<U>) -> Tables
    where
        T: Describe + Source + 'static,
        U: Describe + Sink + 'static,
    {
        Tables {
            source_metadata: source.clone(),
            source,
            sink_metadata: sink.clone(),
            sink,
            index: None,
            derived: None,
        }
    }

    /// Returns the same tables, but guarded writes go to this sink. It must write to the same table.
    #[must_use]
    pub(crate) fn with_sink(self, sink: Arc<dyn Sink>) -> Tables {
        Tables { sink, ..self }
    }

    /// Returns the same tables, but the first pass of `run` reads this index.
    #[must_use]
    pub(crate) fn with_index(self, index: Arc<dyn Source>) -> Tables {
        Tables { index: Some(index), ..self }
    }

    /// Returns the same tables, but every pass reads only the items with the keys in this file.
    #[must_use]
    pub(crate) fn with_keys(self, keys: PreparedKeys) -> Tables {
        Tables { source: Arc::new(KeysSource::new(keys)), ..self }
    }

    /// Returns the same tables, and puts derived items into this table. It is in the same account and region.
    #[must_use]
    pub fn with_derived<T: Describe + Sink + 'static>(self, table: Arc<T>) -> Tables {
        Tables { derived: Some(DerivedTable { metadata: table.clone(), sink: table }), ..self }
    }

    /// Returns the table that gets derived items as the only table, for a rollback that deletes them there. `None` if it
    /// is the table of their sources. Every page of such a rollback comes from the journal.
    pub(crate) fn of_derived(&self) -> Option<Tables> {
        let DerivedTable { metadata, sink } = self.derived.clone()?;
        Some(Tables {
            source_metadata: metadata.clone(),
            sink_metadata: metadata,
            sink,
            index: None,
            derived: None,
            source: Arc::clone(&self.source),
        })
    }

    /// Returns the same tables without the table that gets derived items.
    #[must_use]
    pub(crate) fn without_derived(self) -> Tables {
        Tables { derived: None, ..self }
    }

    /// Returns whether source and sink are the same table.
    pub(crate) fn is_one(&self) -> bool {
        Arc::ptr_eq(&self.source_metadata, &self.sink_metadata)
    }
}

/// Describes the source. If the sink is a different table, its description is in [`TableDescription::sink`]. That of the
/// table that gets derived items is in [`TableDescription::derived`]. All other requests go to the sink, because the
/// preflight checks the table that the migration writes to.
#[async_trait]
impl Describe for Tables {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let described = self.describe_first().await?;
        let Some(derived) = &self.derived else { return Ok(described) };
        let derived = derived.metadata.describe().await?;
        Ok(TableDescription { derived: Some(Box::new(derived)), ..described })
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        self.sink_metadata.recovery().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        self.sink_metadata.time_to_live().await
    }
}

impl Tables {
    async fn describe_first(&self) -> Result<TableDescription, TableError> {
        if self.is_one() {
            return self.source_metadata.describe().await;
        }
        let (source, sink) = try_join(self.source_metadata.describe(), self.sink_metadata.describe()).await?;
        Ok(TableDescription { indexes: sink.indexes.clone(), sink: Some(Box::new(sink)), ..source })
    }
}

/// Returns whether an ARN of a table or of an index, or the name of a table, names this table.
pub(crate) fn names_table(resource: &str, table: &str) -> bool {
    let name = resource.split_once("table/").map_or(resource, |(_, rest)| rest.split('/').next().unwrap_or(rest));
    name == table
}

#[cfg(test)]
mod tests {
    use super::names_table;

    #[test]
    fn a_table_is_named_by_its_name_and_by_arns() {
        let arn = "arn:aws:dynamodb:eu-west-1:1:table/shop";
        let by_mail = format!("{arn}/index/by-mail");
        for resource in ["shop", "table/shop", arn, by_mail.as_str()] {
            assert!(names_table(resource, "shop") && !names_table(resource, "sho"), "{resource}");
        }
        assert!(!names_table("arn:aws:dynamodb:eu-west-1:1:table/shop-2", "shop"));
    }
}
