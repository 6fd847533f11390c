//! What a rollback leaves otherwise than it was, and what it may: rows of the journal that say so, and pairs as the first pass
//! met them.

use rusqlite::{Connection, Params, Row, params};

use super::super::{Listed, RunId, StoreError, phase};
use super::error::Failed;
use super::read::{collect_readable, key_from, parse_path};
use super::state_file::StateFile;
use crate::change::{BaselinePair, Leftover};
use crate::item::{ItemKey, Path};

impl StateFile {
    /// Pairs as the first pass met them, up to this number of paths by name. It counts them. None if an earlier version of
    /// this program made that pass: it has not recorded them.
    pub fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<Listed>, StoreError> {
        self.read(
            |connection| {
                if unrecorded(connection)? { Ok(None) } else { baseline_pairs(connection, kind, limit).map(Some) }
            },
        )
    }

    /// Whether an earlier version of this program made the first pass, and has not recorded its pairs.
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
    // In such a run, 'same' is a note of what it left: it makes no other rows of this kind (`change/undo.rs`).
    let known = match leftover {
        Leftover::NewRemoved | Leftover::OldMade => "wrote IS NULL",
        Leftover::Unknown => "wrote IS NOT NULL",
    };
    // A write that was planned anew, or sent again after a kill, has a row for each time.
    let rows = format!(
        "FROM (SELECT key, path, min(id) AS id FROM pre_images WHERE run = ?1 AND refused = 0 AND kind = 'same' \
         AND {known} GROUP BY key, path)"
    );
    let count = connection.query_row(&format!("SELECT count(DISTINCT key) {rows}"), [run.0], |row| row.get(0))?;
    let sql = format!("SELECT key, path {rows} ORDER BY id LIMIT ?2");
    let first = named(connection, &sql, params![run.0, limit])?;
    // Which old attributes were made is known of every first pass.
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

/// Keys and paths. One that cannot be read is counted, but not named: it hides no other.
fn named(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<(ItemKey, Path)>, Failed> {
    let read = |row: &Row<'_>| Ok((key_from(row, 0)?, parse_path(&row.get::<_, String>(1)?)?));
    collect_readable(connection, sql, params, read)
}
