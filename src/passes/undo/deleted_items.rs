//! The source of a rollback that restores deleted items. This source is the journal.

use std::sync::Arc;

use async_trait::async_trait;

use crate::dynamodb::{FatalKind, Page, PageRequest, Source, TableError};
use crate::item::{Item, Position};
use crate::state::{DeletedItemsQuery, History, PreImageId, RunId, StoreError};

/// The largest number of items on a page. Each of them becomes a write.
const MAX_PAGE: u32 = 100;

/// Yields the items that the migration may have deleted. A segment is a part of the journal, and a position is the
/// number of a journal row. The list does not change during a rollback, because only earlier runs delete items.
///
/// Each yielded item has only its key. If the key cannot be read, the item has no attributes, and the writer makes it a
/// failure.
pub(super) struct DeletedItems {
    history: Arc<dyn History>,
    rollback: RunId,
}

impl DeletedItems {
    pub(super) fn new(history: Arc<dyn History>, rollback: RunId) -> DeletedItems {
        DeletedItems { history, rollback }
    }
}

#[async_trait]
impl Source for DeletedItems {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let limit = request.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let after = match &request.start {
            None => None,
            Some(Position::Offset(row)) => {
                let row = i64::try_from(*row).map_err(|_| TableError::foreign_position())?;
                Some(PreImageId::from_number(row))
            }
            Some(Position::Key(_)) => return Err(TableError::foreign_position()),
        };
        let query = DeletedItemsQuery {
            before: self.rollback,
            part: request.segment,
            parts: request.total_segments,
            after,
            limit,
        };
        let rows = self.history.deleted_items(query).await.map_err(unreadable)?;
        let next = rows.last().filter(|_| rows.len() == limit as usize);
        let next = next.map(|last| Position::Offset(last.id.number().unsigned_abs()));
        let items = rows.into_iter().map(|row| row.key.map_or_else(Item::new, |key| key.attributes().clone()));
        Ok(Page { items: items.collect(), next, units: Some(0.0) })
    }
}

fn unreadable(error: StoreError) -> TableError {
    TableError::Fatal { kind: FatalKind::Request, message: error.to_string() }
}
