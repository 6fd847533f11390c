//! Stores the preflight findings that were accepted for a run.

use rusqlite::{Connection, params};

use super::super::{RunId, SessionId, rules};
use super::checksum::ACCEPTED;
use super::error::StateFileError;
use super::read;

/// Records findings that the operator accepts for the session's run. Earlier records stay unchanged.
pub(super) fn record(
    connection: &Connection,
    session: SessionId,
    findings: &[String],
    now: &str,
) -> Result<(), StateFileError> {
    let run = session.run;
    rules::check_epoch(&read::run(connection, run)?, session)?;
    let damaged = format!("DELETE FROM accepted WHERE run = ?1 AND finding = ?2 AND sum IS NOT {ACCEPTED}");
    for finding in findings {
        connection.execute(&damaged, params![run.0, finding])?;
        connection.execute(
            "INSERT INTO accepted (run, finding, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![run.0, finding, now],
        )?;
    }
    Ok(())
}

/// Returns the accepted findings of a run, in alphabetical order. Ignores damaged records.
pub(super) fn findings_of_run(connection: &Connection, run: RunId) -> Result<Vec<String>, StateFileError> {
    let sql = format!("SELECT finding FROM accepted WHERE run = ?1 AND sum IS {ACCEPTED} ORDER BY finding");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([run.0], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
