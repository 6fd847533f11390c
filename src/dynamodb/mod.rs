//! Access to DynamoDB through the traits [`Describe`], [`Source`], [`Sink`] and [`control::Control`]. Three modules
//! implement the traits. [`sdk`] uses the AWS SDK, [`lean`] sends the most frequent requests with less CPU time, and
//! [`memory`] is for tests in virtual time.

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
        }
    }

    /// Reads items from one table, and writes to a different table with the same key.
    pub fn two<T, U>(source: Arc<T>, sink: Arc<U>) -> Tables
    where
        T: Describe + Source + 'static,
        U: Describe + Sink + 'static,
    {
        Tables { source_metadata: source.clone(), source, sink_metadata: sink.clone(), sink, index: None }
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

    /// Returns whether source and sink are the same table.
    pub(crate) fn is_one(&self) -> bool {
        Arc::ptr_eq(&self.source_metadata, &self.sink_metadata)
    }
}

/// Describes the source. If the sink is a different table, its description is in [`TableDescription::sink`]. The other
/// methods send their requests to the sink, because the preflight checks the table that the migration writes.
#[async_trait]
impl Describe for Tables {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        if self.is_one() {
            return self.source_metadata.describe().await;
        }
        let (source, sink) = try_join(self.source_metadata.describe(), self.sink_metadata.describe()).await?;
        Ok(TableDescription { indexes: sink.indexes.clone(), sink: Some(Box::new(sink)), ..source })
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        self.sink_metadata.recovery().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        self.sink_metadata.time_to_live().await
    }
}
