//! Items that a rollback did not restore to their state before the migration, as noted in rows of the journal; and
//! items that a rollback may not restore, which are the pairs that the first pass found.

use rusqlite::{Connection, Params, Row, params};

use super::super::{Listed, RunId, StoreError, phase};
use super::error::Failed;
use super::read::{collect_readable, key_from, parse_path};
use super::state_file::StateFile;
use crate::change::{BaselinePair, Leftover};
use crate::item::{ItemKey, Path};

impl StateFile {
    /// The pairs of this kind that the first pass found: their number, and up to `limit` of them. `None` if an earlier
    /// version of this program made that pass and did not record them.
    pub fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<Listed>, StoreError> {
        self.read(
            |connection| {
                if unrecorded(connection)? { Ok(None) } else { baseline_pairs(connection, kind, limit).map(Some) }
            },
        )
    }

    /// Whether an earlier version of this program made the first pass and did not record its pairs.
    pub fn pairs_unrecorded(&self) -> Result<bool, StoreError> {
        self.read(unrecorded)
    }
}

fn unrecorded(connection: &Connection) -> Result<bool, Failed> {
    let sql = "SELECT EXISTS (SELECT 1 FROM kept WHERE name = 'pairs_unknown') \
               OR (SELECT user_version < 2 FROM pragma_user_version)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(super) fn leftovers(connection: &Connection, run: RunId, leftover: Leftover, limit: u32) -> Result<Listed, Failed> {
    // In a rollback or a step back, a row of kind `same` notes an item that the run did not restore. Such a run writes
    // no other rows of this kind (`change/undo.rs`).
    let known = match leftover {
        Leftover::NewRemoved | Leftover::OldMade => "wrote IS NULL",
        Leftover::Unknown => "wrote IS NOT NULL",
    };
    // A write that was re-planned, or sent again after a kill, has one row per attempt.
    let rows = format!(
        "FROM (SELECT key, path, min(id) AS id FROM pre_images WHERE run = ?1 AND refused = 0 AND kind = 'same' \
         AND {known} GROUP BY key, path)"
    );
    let count = connection.query_row(&format!("SELECT count(DISTINCT key) {rows}"), [run.0], |row| row.get(0))?;
    let sql = format!("SELECT key, path {rows} ORDER BY id LIMIT ?2");
    let first = named(connection, &sql, params![run.0, limit])?;
    // Only the leftovers of a rollback depend on the pairs. For a step back, every version of this program has recorded
    // the old attributes that it created.
    let by_pairs = super::read::run(connection, run)?.phase == phase::ROLLBACK;
    Ok(Listed { count, first, unrecorded: by_pairs && unrecorded(connection)? })
}

fn baseline_pairs(connection: &Connection, kind: BaselinePair, limit: u32) -> Result<Listed, Failed> {
    let since = super::journal::last_rollback(connection)?;
    let rows = "FROM met_pairs WHERE kind = ?1 AND run > ?2";
    let sql = format!("SELECT count(DISTINCT key) {rows}");
    let count = connection.query_row(&sql, params![kind.name(), since], |row| row.get(0))?;
    let sql = format!("SELECT key, path {rows} ORDER BY key, path LIMIT ?3");
    let first = named(connection, &sql, params![kind.name(), since, limit])?;
    Ok(Listed { count, first, unrecorded: false })
}

/// The keys and paths of the selected rows. Unreadable rows are omitted, although the count includes them.
fn named(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<(ItemKey, Path)>, Failed> {
    let read = |row: &Row<'_>| Ok((key_from(row, 0)?, parse_path(&row.get::<_, String>(1)?)?));
    collect_readable(connection, sql, params, read)
}
