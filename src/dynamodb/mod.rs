//! Access to DynamoDB: the ports [`Describe`], [`Source`], [`Sink`] and [`control::Control`]. There are two
//! implementations: [`sdk`] uses the AWS SDK, and [`memory`] is for tests in virtual time.

pub mod control;
mod describe;
mod error;
pub mod memory;
pub mod patience;
pub mod sdk;
mod sink;
mod source;
mod surroundings;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join;

pub use describe::{Describe, IndexDescription, TableDescription};
pub use error::{Directive, FatalKind, TableError, ThrottlingReason};
pub use sink::{Consumed, Got, Sink, WriteReply};
pub use source::{Page, PageRequest, Source};
pub use surroundings::{Features, Recovery, StreamView, TableClass};

/// The tables of a migration: the source of its items, the sink of its writes, and the table whose capacity the budgets
/// follow. All three may be the same table.
#[derive(Clone)]
pub struct Tables {
    /// The table whose capacity the run uses.
    pub described: Arc<dyn Describe>,
    /// The table from which the run reads items.
    pub source: Arc<dyn Source>,
    /// Describes the table that writes go to. It is the same as `described` if source and sink are the same table.
    pub sink_described: Arc<dyn Describe>,
    /// Writes items, and reads single items.
    pub sink: Arc<dyn Sink>,
}

impl Tables {
    /// Uses one table for all three roles.
    pub fn one<T: Describe + Source + Sink + 'static>(table: Arc<T>) -> Tables {
        Tables { described: table.clone(), source: table.clone(), sink_described: table.clone(), sink: table }
    }

    /// Items come from one table, and writes go to another one with the same key.
    pub fn two<T, U>(source: Arc<T>, sink: Arc<U>) -> Tables
    where
        T: Describe + Source + 'static,
        U: Describe + Sink + 'static,
    {
        Tables { described: source.clone(), source, sink_described: sink.clone(), sink }
    }

    /// Whether one table describes itself as source and sink.
    fn is_one(&self) -> bool {
        Arc::ptr_eq(&self.described, &self.sink_described)
    }
}

/// Describes the table that items come from, with the one that writes go to as its [`TableDescription::sink`]. What else is
/// asked, the preflight asks of the table that is written.
#[async_trait]
impl Describe for Tables {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        if self.is_one() {
            return self.described.describe().await;
        }
        let (source, sink) = try_join(self.described.describe(), self.sink_described.describe()).await?;
        Ok(TableDescription { indexes: sink.indexes.clone(), sink: Some(Box::new(sink)), ..source })
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        self.sink_described.recovery().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        self.sink_described.time_to_live().await
    }
}
