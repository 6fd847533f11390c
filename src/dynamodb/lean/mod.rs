//! A client for the requests that a run sends most often: `Scan`, `UpdateItem` and `BatchExecuteStatement`. It needs less
//! CPU time than the SDK, because it writes and reads JSON directly and skips the SDK's generic steps around a request.
//!
//! The SDK remains the reference. It resolves the endpoint, the credentials and the region. It also owns the
//! connections and sends all other requests. `Route` in `sdk` records how the SDK sends requests, and this client sends
//! requests in the same way. Both clients share the code that checks replies, classifies errors and renews credentials.
//! If this client cannot prepare a request, the SDK sends the request instead. This is safe because this client has
//! sent nothing.

mod batch;
mod body;
mod reply;
mod scan;
mod send;
mod sign;
#[cfg(test)]
mod tests;
mod update;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::sdk::{DynamoTable, Generation, is_credentials_error};
use super::{
    BackupStatus, Describe, FilteredPage, GetReply, Page, PageRequest, Recovery, Sink, Source, TableDescription,
    TableError, WriteReply,
};
use crate::change::{Filter, GuardedWrite};
use crate::item::ItemKey;
use send::{Reply, Sender, Sent, unprepared};

/// A DynamoDB table, accessed through the lean client.
#[derive(Debug, Clone)]
pub struct LeanTable {
    table: DynamoTable,
    /// The sender that uses the connection's newest route.
    sender: Arc<RwLock<Option<Arc<Sender>>>>,
}

impl LeanTable {
    /// Creates a handle that sends requests through this table's connection.
    pub fn new(table: DynamoTable) -> LeanTable {
        LeanTable { table, sender: Arc::default() }
    }

    /// Sends one request, and reads the reply with `read`. If DynamoDB refuses credentials that it accepted before, the
    /// connection reloads the credentials and sends the request once more.
    async fn send<T>(&self, target: &'static str, body: Vec<u8>, read: impl Fn(Reply) -> Sent<T>) -> Sent<T> {
        let body = Bytes::from(body);
        let request = |generation: Generation| {
            let body = body.clone();
            let read = &read;
            async move {
                let Some(sender) = self.sender(&generation) else { return unprepared() };
                read(sender.send(target, body).await?)
            }
        };
        self.table.connection().send_by(request, |error| is_credentials_error(error)).await
    }

    /// Returns the sender for this generation of the connection. Returns `None` if the generation's route is not known
    /// or not usable.
    fn sender(&self, generation: &Generation) -> Option<Arc<Sender>> {
        let route = generation.route()?;
        let known = self.sender.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|sender| sender.uses(route)) {
            return Some(known);
        }
        let sender = Arc::new(Sender::new(route, generation.corrects_clock())?);
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&sender));
        Some(sender)
    }
}

#[async_trait]
impl Describe for LeanTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.table.describe().await
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        self.table.recovery().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        self.table.time_to_live().await
    }
}

#[async_trait]
impl Source for LeanTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        match self.scan(request, None).await {
            Some(page) => Ok(page?.page),
            None => self.table.read_page(request).await,
        }
    }

    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        match self.scan(request, Some(filter)).await {
            Some(page) => page,
            None => self.table.read_filtered_page(request, filter).await,
        }
    }
}

#[async_trait]
impl Sink for LeanTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        futures::future::join_all(chunk.iter().map(|write| self.send_write(write))).await
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.table.get(key).await
    }

    async fn create_backup(&self, name: &str) -> Result<String, TableError> {
        self.table.create_backup(name).await
    }

    async fn backup_status(&self, arn: &str) -> Result<BackupStatus, TableError> {
        self.table.backup_status(arn).await
    }
}
