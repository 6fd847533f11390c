//! Stores the events of a migration, and a few facts.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{EventRecord, KeptFact, RunId, rules};
use super::error::Failed;
use super::read;

/// Whether the migration has begun; see [`rules::has_begun`].
pub(super) fn has_begun(connection: &Connection) -> Result<bool, Failed> {
    Ok(rules::has_begun(read::has_runs(connection)?, &events(connection)?))
}

/// Deletes the events, and the facts except the last owner of the lease.
pub(super) fn forget(connection: &Connection) -> Result<(), Failed> {
    connection.execute("DELETE FROM events", [])?;
    connection.execute("DELETE FROM kept WHERE name <> ?1", [KeptFact::LeaseOwner.name()])?;
    Ok(())
}

/// If the migration has not begun, deletes its records; see
/// [`Events::forget_unbegun`](super::super::Events::forget_unbegun).
pub(super) fn forget_unbegun(connection: &Connection) -> Result<bool, Failed> {
    if has_begun(connection)? { Ok(false) } else { forget(connection).map(|()| true) }
}

pub(super) fn append(connection: &Connection, event: String) -> Result<EventRecord, Failed> {
    let behind = connection.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| row.get(0))?;
    connection.execute("INSERT INTO events (event, behind) VALUES (?1, ?2)", params![event, behind])?;
    Ok(EventRecord { event, behind: RunId(behind) })
}

pub(super) fn events(connection: &Connection) -> Result<Vec<EventRecord>, Failed> {
    let mut statement = connection.prepare_cached("SELECT event, behind FROM events ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok(EventRecord { event: row.get(0)?, behind: RunId(row.get(1)?) }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn keep(connection: &Connection, fact: KeptFact, value: &str) -> Result<(), Failed> {
    let sql = "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    Ok(connection.execute(sql, params![fact.name(), value]).map(|_| ())?)
}

pub(super) fn kept(connection: &Connection, fact: KeptFact) -> Result<Option<String>, Failed> {
    let sql = "SELECT value FROM kept WHERE name = ?1";
    Ok(connection.query_row(sql, [fact.name()], |row| row.get(0)).optional()?)
}
