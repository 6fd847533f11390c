//! A source that reads item keys from a file.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::FatalKind;
use super::{Page, PageRequest, Source, TableError};
use crate::item::Position;
use crate::keys_file::PreparedKeys;

/// The maximum number of keys in a page. Each key costs one read. Pages are small, so that little work is repeated
/// after a kill.
const MAX_PAGE_KEYS: u32 = 250;

/// Reads item keys from a file. A segment is a range of the file. The items of a page contain only their key
/// attributes, and the engine reads the whole items. A page consumes no capacity.
pub struct KeysSource {
    keys: Arc<PreparedKeys>,
}

impl KeysSource {
    /// Creates a source for the keys in this file.
    pub(crate) fn new(keys: PreparedKeys) -> KeysSource {
        KeysSource { keys: Arc::new(keys) }
    }
}

#[async_trait]
impl Source for KeysSource {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let start = match &request.start {
            None => None,
            Some(Position::Offset(offset)) => Some(*offset),
            Some(Position::Key(_)) => return Err(TableError::foreign_position()),
        };
        let PageRequest { segment, total_segments, .. } = *request;
        let limit = request.limit.unwrap_or(MAX_PAGE_KEYS).min(MAX_PAGE_KEYS) as usize;
        let keys = Arc::clone(&self.keys);
        let read = tokio::task::spawn_blocking(move || keys.read(segment, total_segments, start, limit)).await;
        let page = match read {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => return Err(unreadable(&error)),
            Err(panic) => return Err(unreadable(&panic)),
        };
        let items = page.keys.iter().map(|key| key.attributes().clone()).collect();
        Ok(Page { items, next: page.next.map(Position::Offset), units: Some(0.0) })
    }

    fn yields_keys(&self) -> bool {
        true
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> TableError {
    let message = format!("the file of keys cannot be read: {why}");
    TableError::Fatal { kind: FatalKind::KeysFile, message }
}
