//! Lists the items that, according to the journal, a rollback or a step back did not restore to their state from before
//! the migration. Also lists the pairs of an old and a new attribute that the first pass recorded ([`BaselinePair`]).

use rusqlite::{Connection, Params, Row, ToSql, params};

use super::super::{AffectedItems, RunId, StoreError, phase};
use super::error::StateFileError;
use super::journal::{PUT_BACK, PUTTING_BACK, REPAIRED_OVER, REPLY_LOST};
use super::read::{collect_readable, key_from, parse_path};
use super::state_file::StateFile;
use crate::change::{BaselinePair, Leftover};
use crate::item::{ItemKey, Path};

impl StateFile {
    /// Returns the pairs of this kind that the first pass found: the total number of affected items, and up to `limit`
    /// of the pairs. Returns `None` if the first pass ran with an earlier version of this program that did not record
    /// pairs.
    pub fn baseline_pairs(&self, kind: BaselinePair, limit: u32) -> Result<Option<AffectedItems>, StoreError> {
        self.read(|connection| {
            if pairs_unrecorded(connection)? { Ok(None) } else { baseline_pairs(connection, kind, limit).map(Some) }
        })
    }

    /// Returns the paths that a run reports for this reason: the number of affected items, and up to `limit` paths.
    pub fn leftovers(&self, run: RunId, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError> {
        self.read(|connection| leftovers(connection, run, leftover, limit))
    }

    /// Returns the paths that the rollbacks since the last run noted for this reason: the number of affected items, and up
    /// to `limit` paths. Counts an item once, even if several rollbacks noted it.
    pub fn rollback_notes(&self, leftover: Leftover, limit: u32) -> Result<AffectedItems, StoreError> {
        self.read(|connection| {
            let newest = super::read::current_run(connection, phase::EXPAND)?.map_or(0, |run| run.id.0);
            let of_rollbacks = "run IN (SELECT id FROM runs WHERE phase = ?1 AND id > ?2)";
            affected(connection, of_rollbacks, &[&phase::ROLLBACK, &newest], leftover, limit)
        })
    }

    /// Returns whether the first pass ran with an earlier version of this program that did not record pairs.
    pub fn pairs_unrecorded(&self) -> Result<bool, StoreError> {
        self.read(pairs_unrecorded)
    }
}

fn pairs_unrecorded(connection: &Connection) -> Result<bool, StateFileError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM kept WHERE name = 'pairs_unknown') \
               OR (SELECT user_version < 2 FROM pragma_user_version)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(super) fn leftovers(
    connection: &Connection,
    run: RunId,
    leftover: Leftover,
    limit: u32,
) -> Result<AffectedItems, StateFileError> {
    let items = affected(connection, "run = ?1", &[&run.0], leftover, limit)?;
    // Pairs matter only for the leftovers of a rollback. The leftovers of a step back are complete without pairs,
    // because every version of this program recorded the old attributes that a step back created.
    let is_about_pairs = !matches!(leftover, Leftover::RepairedOver | Leftover::DeleteReplyLost);
    let depends_on_pairs = is_about_pairs && super::read::run(connection, run)?.phase == phase::ROLLBACK;
    Ok(AffectedItems { pairs_unrecorded: depends_on_pairs && pairs_unrecorded(connection)?, ..items })
}

/// Returns the noted paths of the runs that the condition `of_runs` selects. `params` are the condition's parameters.
fn affected(
    connection: &Connection,
    of_runs: &str,
    params: &[&dyn ToSql],
    leftover: Leftover,
    limit: u32,
) -> Result<AffectedItems, StateFileError> {
    // A rollback or a step back writes rows of kind `same` only for items that its report names (`change/undo.rs`), and to
    // mark the items that it puts back or deletes.
    let condition = match leftover {
        Leftover::NewRemoved | Leftover::OldCreated => "wrote IS NULL".to_owned(),
        Leftover::Unknown => {
            let others = [PUTTING_BACK, PUT_BACK, REPAIRED_OVER, REPLY_LOST].map(literal);
            format!("wrote NOT IN ({})", others.join(", "))
        }
        Leftover::RepairedOver => format!("wrote = {}", literal(REPAIRED_OVER)),
        Leftover::DeleteReplyLost => format!("wrote = {}", literal(REPLY_LOST)),
    };
    // Select each path of an item once. The journal has one row for each attempt, because a write may be planned again,
    // or sent again after a kill.
    let rows = format!(
        "FROM (SELECT key, path, min(id) AS id FROM pre_images WHERE {of_runs} AND refused = 0 AND kind = 'same' \
         AND {condition} GROUP BY key, path)"
    );
    let sql = format!("SELECT count(DISTINCT key) {rows}");
    let count = connection.query_row(&sql, params, |row| row.get(0))?;
    let sql = format!("SELECT key, path {rows} ORDER BY id LIMIT {limit}");
    let first = item_paths(connection, &sql, params)?;
    Ok(AffectedItems { count, first, pairs_unrecorded: false })
}

/// Returns the SQL literal of a text that is stored instead of a digest.
fn literal(text: [u8; 8]) -> String {
    let digits: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

fn baseline_pairs(connection: &Connection, kind: BaselinePair, limit: u32) -> Result<AffectedItems, StateFileError> {
    let since = super::read::last_rollback(connection)?;
    let rows = "FROM met_pairs WHERE kind = ?1 AND run > ?2";
    let sql = format!("SELECT count(DISTINCT key) {rows}");
    let count = connection.query_row(&sql, params![kind.name(), since], |row| row.get(0))?;
    let sql = format!("SELECT key, path {rows} ORDER BY key, path LIMIT ?3");
    let first = item_paths(connection, &sql, params![kind.name(), since, limit])?;
    Ok(AffectedItems { count, first, pairs_unrecorded: false })
}

/// Returns the keys and paths of the selected rows. Omits unreadable rows, but the total number includes them.
fn item_paths(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<(ItemKey, Path)>, StateFileError> {
    let read = |row: &Row<'_>| Ok((key_from(row, 0)?, parse_path(&row.get::<_, String>(1)?)?));
    collect_readable(connection, sql, params, read)
}
