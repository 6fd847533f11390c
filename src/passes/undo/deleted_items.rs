//! The journal as a source: the items that the migration deleted, or the derived items that it put.

use std::sync::Arc;

use async_trait::async_trait;

use crate::dynamodb::{FatalKind, Page, PageRequest, Source, TableError};
use crate::item::{Item, Position};
use crate::state::{DeletedItemsQuery, History, PreImageId, RunId, StoreError};

/// The largest number of items on a page. Each of them becomes a write.
const MAX_PAGE: u32 = 100;

/// Yields the items that the migration may have deleted, or the derived items that it may have put. A segment is a part of the journal, and a position is the
/// number of a journal row. The list does not change during a rollback, because only earlier runs delete items.
///
/// Each yielded item has only its key. If the key cannot be read, the item has no attributes, and the writer makes it a
/// failure.
pub(in crate::passes) struct DeletedItems {
    history: Arc<dyn History>,
    /// Only records of runs before this one are read.
    before: RunId,
    /// Whether each segment is a part of the journal.
    is_divided: bool,
}

impl DeletedItems {
    pub(super) fn new(history: Arc<dyn History>, rollback: RunId) -> DeletedItems {
        DeletedItems { history, before: rollback, is_divided: true }
    }

    /// Yields what the journal records now, for a pass that changes no items. Every segment is the whole journal.
    pub(in crate::passes) fn of_all_runs(history: Arc<dyn History>) -> DeletedItems {
        DeletedItems { history, before: RunId::from_number(i64::MAX), is_divided: false }
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
        let (part, parts) = if self.is_divided { (request.segment, request.total_segments) } else { (0, 1) };
        let query = DeletedItemsQuery { before: self.before, part, parts, after, limit };
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
