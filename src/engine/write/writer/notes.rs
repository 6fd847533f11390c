//! Notes for the report of a rollback about items that it leaves as they are.

use super::{Writer, give_up};
use crate::change::ItemHistory;
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::item::Item;
use crate::state::PreImageRow;

impl Writer {
    /// Stores the notes about these items, which get no write, in one transaction. The notes are durable when this
    /// function returns. If the process dies before the page is committed, the next process stores them again, and the
    /// report counts each path of an item once.
    pub(super) async fn note_unwritten<'a>(
        &self,
        items: impl Iterator<Item = (&'a Item, &'a ItemHistory)>,
        requests: &Requests,
    ) -> Result<(), Stopped> {
        let notes = |(item, record)| {
            let key = self.key_of(item);
            let notes = self.changes().notes_without_write(item, record);
            notes.into_iter().map(move |pre| PreImageRow { key: key.clone(), pre })
        };
        let rows: Vec<PreImageRow> = items.flat_map(notes).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let stored = self.history.append_pre_images(self.session, rows).await;
        stored.map(|_| ()).map_err(|error| give_up(requests, error.to_string()))
    }
}
