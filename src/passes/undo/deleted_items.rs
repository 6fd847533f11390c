//! The source of a rollback that puts deleted items back: the journal.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;

use crate::change::{HistoryLookup, ItemHistory};
use crate::dynamodb::{FatalKind, GetReply, Page, PageRequest, Sink, Source, TableError};
use crate::item::{ItemKey, Position};
use crate::state::{DeletedItemsQuery, History, RunId, StoreError};

/// The largest number of items on a page. Each of them becomes a write.
const MAX_PAGE: u32 = 100;

/// Yields the items that the migration may have deleted. A segment is a part of the journal. The list does not change
/// during a rollback, because only earlier runs delete items.
///
/// An item has only its key here. If its delete was not confirmed, the source reads the item, so that the pass can
/// decide whether the delete took effect.
pub(super) struct DeletedItems {
    history: Arc<dyn History>,
    sink: Arc<dyn Sink>,
    rollback: RunId,
}

impl DeletedItems {
    pub(super) fn new(history: Arc<dyn History>, sink: Arc<dyn Sink>, rollback: RunId) -> DeletedItems {
        DeletedItems { history, sink, rollback }
    }

    /// Reads the item if it is not certain that the migration deleted it.
    async fn read_unconfirmed(&self, key: &ItemKey, history: &ItemHistory) -> Result<GetReply, TableError> {
        match history.deletion() {
            Some(deletion) if !deletion.is_confirmed => self.sink.get(key).await,
            Some(_) | None => Ok(GetReply { item: None, units: None }),
        }
    }
}

#[async_trait]
impl Source for DeletedItems {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let limit = request.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let after = match &request.start {
            None => None,
            Some(Position::Key(key)) => Some(key.clone()),
            Some(Position::Offset(_)) => return Err(TableError::foreign_position()),
        };
        let query = DeletedItemsQuery {
            before: self.rollback,
            part: request.segment,
            parts: request.total_segments,
            after,
            limit,
        };
        let keys = self.history.deleted_items(query).await.map_err(unreadable)?;
        let records = self.history.history_of(keys.clone(), HistoryLookup::ForDecision).await.map_err(unreadable)?;
        let reads = keys.iter().zip(&records).map(|(key, record)| self.read_unconfirmed(key, record));
        let read = try_join_all(reads).await?;
        let units = read.iter().filter_map(|reply| reply.units).sum();
        let next = keys.last().filter(|_| keys.len() == limit as usize).cloned().map(Position::Key);
        let items = keys.iter().zip(read).map(|(key, reply)| reply.item.unwrap_or_else(|| key.attributes().clone()));
        Ok(Page { items: items.collect(), next, units: Some(units) })
    }
}

fn unreadable(error: StoreError) -> TableError {
    TableError::Fatal { kind: FatalKind::Request, message: error.to_string() }
}
