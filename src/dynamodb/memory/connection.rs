//! One tool process's connection to the table in memory. It implements the table ports, and adds the sender to each
//! request.

use async_trait::async_trait;

use super::faults::Request;
use super::{Author, MemoryTable, Sender};
use crate::change::{Filter, GuardedWrite};
use crate::dynamodb::{
    BackupStatus, Describe, FilteredPage, GetReply, Page, PageRequest, Sink, Source, TableDescription, TableError,
    WriteReply,
};
use crate::item::{ItemKey, Position};

/// One tool process's connection to the table.
#[derive(Debug, Clone)]
pub struct MemoryConnection {
    pub(super) table: MemoryTable,
    pub(super) author: Author,
    /// The table that gets derived items. `None` if it is the same table.
    pub(super) other: Option<MemoryTable>,
}

impl MemoryConnection {
    /// Returns the same connection, which can also put derived items into this table.
    #[must_use]
    pub fn with_other(self, other: &MemoryTable) -> MemoryConnection {
        MemoryConnection { other: Some(other.clone()), ..self }
    }

    pub(super) fn sender(&self) -> Sender {
        Sender { author: self.author, sent: self.table.began.elapsed() }
    }
}

#[async_trait]
impl Describe for MemoryConnection {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        self.table.half_round_trip().await;
        Ok(TableDescription::clone(&self.table.description))
    }
}

#[async_trait]
impl Source for MemoryConnection {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        Ok(self.scan(request, None).await?.page)
    }

    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        self.scan(request, Some(filter)).await
    }
}

impl MemoryConnection {
    async fn scan(&self, request: &PageRequest, filter: Option<&Filter>) -> Result<FilteredPage, TableError> {
        if let Some(Position::Offset(_)) = request.start {
            return Err(TableError::foreign_position());
        }
        let kind = if request.consistent { Request::StrongScan } else { Request::Scan };
        let request = request.clone();
        let filter = filter.cloned();
        let sender = self.sender();
        self.table
            .send(kind, "Scan", move |table, fault| Ok(table.page(&request, filter.as_ref(), sender, fault)))
            .await
    }
}

#[async_trait]
impl Sink for MemoryConnection {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        let mut replies = Vec::with_capacity(chunk.len());
        for write in chunk {
            let write = GuardedWrite::clone(write);
            let sender = self.sender();
            let other = self.other.clone();
            let sent = self.table.send(Request::Write, "UpdateItem", move |table, fault| {
                table.write(&write, other.as_ref(), sender, fault)
            });
            replies.push(sent.await);
        }
        replies
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        let key = key.clone();
        let sender = self.sender();
        self.table.send(Request::Get, "GetItem", move |table, _| Ok(table.read(&key, sender))).await
    }

    async fn create_backup(&self, name: &str) -> Result<String, TableError> {
        self.table.half_round_trip().await;
        let arn = format!("{}/backup/{name}", self.table.description.arn);
        self.table.inner().backups.push((arn.clone(), BackupStatus::Creating));
        self.table.half_round_trip().await;
        Ok(arn)
    }

    /// A backup is complete when its status is read for the second time.
    async fn backup_status(&self, arn: &str) -> Result<BackupStatus, TableError> {
        self.table.half_round_trip().await;
        let mut inner = self.table.inner();
        let Some((_, status)) = inner.backups.iter_mut().find(|(name, _)| name == arn) else {
            return Ok(BackupStatus::Deleted);
        };
        Ok(std::mem::replace(status, BackupStatus::Available))
    }
}
