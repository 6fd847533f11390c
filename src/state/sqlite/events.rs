//! Stores the events of a migration, and a few facts.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{EventRecord, RunId, StoredFact, rules};
use super::error::StateFileError;
use super::read;

/// Returns whether the migration has begun; see [`rules::has_begun`].
pub(super) fn has_begun(connection: &Connection) -> Result<bool, StateFileError> {
    Ok(rules::has_begun(read::has_runs(connection)?, &events(connection)?))
}

/// Deletes the events, and all facts except the last lease owner.
pub(super) fn forget(connection: &Connection) -> Result<(), StateFileError> {
    connection.execute("DELETE FROM events", [])?;
    connection.execute("DELETE FROM kept WHERE name <> ?1", [StoredFact::LeaseOwner.name()])?;
    Ok(())
}

/// If the migration has not begun, deletes its records; see
/// [`Events::clear_unless_begun`](super::super::Events::clear_unless_begun).
pub(super) fn clear_unless_begun(connection: &Connection) -> Result<bool, StateFileError> {
    if has_begun(connection)? { Ok(false) } else { forget(connection).map(|()| true) }
}

pub(super) fn append(connection: &Connection, event: String) -> Result<EventRecord, StateFileError> {
    let newest_run = connection.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| row.get(0))?;
    connection.execute("INSERT INTO events (event, behind) VALUES (?1, ?2)", params![event, newest_run])?;
    Ok(EventRecord { event, newest_run: RunId(newest_run) })
}

pub(super) fn events(connection: &Connection) -> Result<Vec<EventRecord>, StateFileError> {
    let mut statement = connection.prepare_cached("SELECT event, behind FROM events ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok(EventRecord { event: row.get(0)?, newest_run: RunId(row.get(1)?) }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_fact(connection: &Connection, fact: StoredFact, value: &str) -> Result<(), StateFileError> {
    let sql = "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    Ok(connection.execute(sql, params![fact.name(), value]).map(|_| ())?)
}

pub(super) fn fact(connection: &Connection, fact: StoredFact) -> Result<Option<String>, StateFileError> {
    let sql = "SELECT value FROM kept WHERE name = ?1";
    Ok(connection.query_row(sql, [fact.name()], |row| row.get(0)).optional()?)
}

/// Deletes the pace histories of all runs that are not in `kept`.
pub(super) fn forget_histories(connection: &Connection, kept: &[RunId]) -> Result<(), StateFileError> {
    let names: Vec<String> = {
        let mut statement = connection.prepare_cached("SELECT name FROM kept")?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect::<Result<_, _>>()?
    };
    let is_old = |name: &&String| StoredFact::history_run(name).is_some_and(|run| !kept.contains(&run));
    for name in names.iter().filter(is_old) {
        connection.execute("DELETE FROM kept WHERE name = ?1", [name])?;
    }
    Ok(())
}

/// Returns all facts by name.
pub(super) fn facts(connection: &Connection) -> Result<BTreeMap<String, String>, StateFileError> {
    let mut statement = connection.prepare_cached("SELECT name, value FROM kept")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
