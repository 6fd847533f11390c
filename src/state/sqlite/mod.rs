//! Stores the state of one migration on one table in a SQLite file.
//!
//! [`SqliteStore`] owns the file. The store holds a lock, and uses one connection on one thread. Other processes can
//! always read the file through [`StateFile`], even while its owner is running.

mod accepted;
mod baseline;
mod checksum;
mod deleted;
mod error;
mod events;
mod journal;
mod journal_list;
mod layout;
mod leftovers;
mod lock;
mod migration;
mod open;
mod owned;
mod ports;
mod progress;
mod read;
mod reader;
mod siblings;
mod spend;
mod state_file;
mod thread;
mod verify;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use open::is_absent;
pub use reader::SqliteReader;
pub use state_file::StateFile;

use super::{Identity, SessionId, StoreError};
use thread::StoreThread;

/// The prefix of a stored position that is a number ([`Position::Offset`](crate::item::Position::Offset)). A stored
/// item key begins with a brace, so the two cannot be confused. Earlier versions of this program refuse to read such a
/// position.
const OFFSET_PREFIX: &str = "offset ";

/// A migration's state, which this process owns.
///
/// A method that changes something stores either the whole change or nothing. The change is durable before the method
/// returns: it is in the file's write-ahead log, and synced to the disk. Concurrent requests share one sync. After the
/// file or the disk has failed once, every later call fails too. So a change is reported as stored only if it is
/// stored.
///
/// Clones share the file. Dropping the last clone, or [`StateStore::close`](super::StateStore::close), finishes pending
/// requests, closes the file and releases the lock.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    thread: Arc<StoreThread>,
    clock: fn() -> String,
    /// The sessions that have called `begin_spend` since the file was opened.
    spending: Arc<Mutex<HashSet<SessionId>>>,
}

impl SqliteStore {
    /// Takes the file's lock. Opens the file, or creates it; see [`super::open`].
    pub fn open(path: &FilePath, identity: &Identity, clock: fn() -> String) -> Result<SqliteStore, StoreError> {
        let owned = open::open_owned(path, identity, &clock())?;
        Ok(SqliteStore { thread: Arc::new(StoreThread::start(owned)?), clock, spending: Arc::default() })
    }

    fn spending(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Damages one row of the journal: makes the key of the first item unreadable, or changes the run of the last item.
#[cfg(test)]
pub(super) fn damage_journal(path: &std::path::Path, damages_key: bool) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = match damages_key {
        true => {
            "UPDATE pre_images SET key = 'damaged' WHERE id = (SELECT min(id) FROM pre_images WHERE kind = 'value')"
        }
        false => "UPDATE pre_images SET run = 1 << 40 WHERE id = (SELECT max(id) FROM pre_images WHERE kind = 'value')",
    };
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    assert_eq!(connection.execute(sql, []).unwrap(), 1);
}

/// Damages the first or the last mark of a rollback.
#[cfg(test)]
pub(super) fn damage_mark(path: &std::path::Path, last: bool) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let which = if last { "max" } else { "min" };
    let sql = format!(
        "UPDATE pre_images SET at = 'damaged' WHERE id = (SELECT {which}(id) FROM pre_images WHERE wrote = ?1)"
    );
    assert_eq!(connection.execute(&sql, [journal::PUTTING_BACK]).unwrap(), 1);
}
