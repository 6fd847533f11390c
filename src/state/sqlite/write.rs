//! Writes to a state file. Each function runs inside a transaction that the caller commits. All decisions are made in
//! the module `rules`.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::super::phase;
use super::super::rules::{self, BeginDecision};
use super::super::{
    BeginMode, Commit, DivergedItem, Failure, NewRun, RunId, RunRecord, RunSession, RunStatus, SegmentEvent,
    SegmentState, SegmentStatus, SessionId, Spend,
};
use super::error::StateFileError;
use super::{OFFSET_PREFIX, baseline, deleted, journal, read, spend};
use crate::change::Outcome;
use crate::item::{ItemKey, Path, Position, item_to_json};

/// Closes sessions of killed processes. Call this function before any session begins, because every open session then
/// belongs to a killed process. The runs of these sessions can be resumed. The number of items that these runs have
/// applied becomes a lower bound.
pub(super) fn close_killed_sessions(connection: &Connection) -> Result<(), StateFileError> {
    connection.execute(
        "UPDATE runs SET status = ?1, open_session = 0, lower_bound = 1, stop_reason = ?2 WHERE open_session = 1",
        params![RunStatus::Stopped.name(), rules::KILLED],
    )?;
    Ok(())
}

/// Begins a session of the phase's newest run, or of a new run.
pub(super) fn begin(
    connection: &Connection,
    mode: BeginMode,
    new: &NewRun,
    now: &str,
) -> Result<RunSession, StateFileError> {
    let current = read::current_run(connection, &new.phase)?;
    let beginning = rules::begin(mode, current.as_ref())?;
    match (beginning, current) {
        (BeginDecision::Resume, Some(run)) => resume(connection, &run),
        (BeginDecision::ReadOnly, Some(run)) => {
            if !run.looked_through {
                let Spend { write, read } = spend::record(connection, &run, false)?.state.spent;
                connection.execute(
                    "UPDATE runs SET looked_through = 1, look_write_units = ?2, look_read_units = ?3 WHERE id = ?1",
                    params![run.id.0, write, read],
                )?;
            }
            resume(connection, &run)
        }
        (BeginDecision::New { pass, supersedes }, current) => {
            if let Some(run) = current.filter(|_| supersedes) {
                supersede(connection, run.id, rules::SUPERSEDED_BY_RESTART)?;
            }
            let session = insert_run(connection, new, pass, now)?;
            if new.phase == phase::ROLLBACK {
                deleted::record_end(connection, session.run.id)?;
            }
            if new.phase == phase::EXPAND {
                journal::record_creations(connection, session.run.id)?;
            }
            Ok(session)
        }
        (BeginDecision::Resume | BeginDecision::ReadOnly, None) => {
            Err(StateFileError::Row("the run to resume no longer exists".to_owned()))
        }
    }
}

/// Marks a run as superseded, with this stop reason.
pub(super) fn supersede(connection: &Connection, id: RunId, reason: &str) -> Result<(), StateFileError> {
    connection.execute(
        "UPDATE runs SET status = ?2, stop_reason = ?3 WHERE id = ?1",
        params![id.0, RunStatus::Superseded.name(), reason],
    )?;
    Ok(())
}

pub(super) fn resume(connection: &Connection, run: &RunRecord) -> Result<RunSession, StateFileError> {
    run.status.next(RunStatus::Running)?;
    connection.execute(
        "UPDATE runs SET status = ?2, open_session = 1, sessions = sessions + 1, ended_at = NULL, stop_reason = NULL \
         WHERE id = ?1",
        params![run.id.0, RunStatus::Running.name()],
    )?;
    Ok(RunSession { run: read::run(connection, run.id)?, resumed: true })
}

pub(super) fn insert_run(
    connection: &Connection,
    new: &NewRun,
    pass: u32,
    now: &str,
) -> Result<RunSession, StateFileError> {
    rules::check_new_run(new)?;
    connection.execute(
        "INSERT INTO runs (phase, pass, total_segments, status, started_at, sessions, open_session, \
         table_items_estimate, tool_version) VALUES (?1, ?2, ?3, ?4, ?5, 1, 1, ?6, ?7)",
        params![
            new.phase,
            pass,
            new.total_segments,
            RunStatus::Running.name(),
            now,
            new.table_items_estimate,
            new.tool_version
        ],
    )?;
    Ok(RunSession { run: read::run(connection, RunId(connection.last_insert_rowid()))?, resumed: false })
}

/// Ends the open session. If the run is complete, resolves the open work of earlier runs of the phase, because the
/// complete run has read every item again, and has recorded every remaining failure and diverged item itself.
pub(super) fn end_session(
    connection: &Connection,
    session: SessionId,
    to: RunStatus,
    reason: Option<&str>,
    abandoned_pages: u64,
    now: &str,
) -> Result<RunRecord, StateFileError> {
    let id = session.run;
    let run = read::run(connection, id)?;
    let done = if to == RunStatus::Complete { read::totals(connection, &run)?.done } else { 0 };
    let status = rules::end_session(&run, session, to, done, abandoned_pages)?;
    if status == RunStatus::Complete {
        for table in ["failures", "diverged"] {
            let sql = format!(
                "UPDATE {table} SET status = 'resolved', resolved_as = ?4, last_at = ?3 \
                 WHERE status = 'open' AND run IN (SELECT id FROM runs WHERE phase = ?1 AND id < ?2)"
            );
            connection.execute(&sql, params![run.phase, id.0, now, rules::LATER_PASS])?;
        }
    }
    connection.execute(
        "UPDATE runs SET status = ?2, open_session = 0, ended_at = ?3, stop_reason = ?4, \
         abandoned_pages = abandoned_pages + ?5, lower_bound = max(lower_bound, ?5 > 0) WHERE id = ?1",
        params![id.0, status.name(), now, reason, abandoned_pages],
    )?;
    read::run(connection, id)
}

/// Commits the progress of a segment together with its failures, diverged items and refused pre-images.
pub(super) fn commit(connection: &Connection, commit: &Commit, now: &str) -> Result<(), StateFileError> {
    let run = read::run(connection, commit.session.run)?;
    rules::check_commit(&run, commit)?;
    let SegmentEvent::PagesDone { first, pages, next, counts } = &commit.event;
    let state = read::segment(connection, run.id, commit.segment)?.next(&commit.event)?;
    put_segment(connection, run.id, commit.segment, &state, now)?;
    if counts.unclear > 0 {
        connection.execute("UPDATE runs SET lower_bound = 1 WHERE id = ?1", params![run.id.0])?;
    }
    for failure in &commit.failures {
        put_failure(connection, run.id, commit.segment, failure, now)?;
    }
    for item in &commit.diverged {
        put_diverged(connection, run.id, commit.segment, item, now)?;
    }
    baseline::delete_pages_under_way(connection, &run, commit.segment, first + pages - 1, next.is_none())?;
    journal::mark_refused(connection, &commit.refused)
}

pub(super) fn put_segment(
    connection: &Connection,
    run: RunId,
    segment: u32,
    state: &SegmentState,
    now: &str,
) -> Result<(), StateFileError> {
    let (status, start_key) = match &state.status {
        SegmentStatus::Pending => return Err(StateFileError::Row("a commit left its segment pending".to_owned())),
        SegmentStatus::Scanning(Position::Key(key)) => ("scanning", Some(key.to_text())),
        SegmentStatus::Scanning(Position::Offset(offset)) => ("scanning", Some(format!("{OFFSET_PREFIX}{offset}"))),
        SegmentStatus::Done => ("done", None),
    };
    let counts = &state.counts;
    // The columns are in the order of `Outcome::ALL`. A test compares this order with the schema.
    let [applied, already_applied, nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable] =
        counts.outcomes;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO segments (run, segment, status, start_key, pages, scanned, applied, \
             already_applied, nothing_to_do, skipped, gone, diverged, conflict, rejected, not_computable, write_units, \
             read_units, assumed_write_units, estimated_write_units, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            run.0,
            segment,
            status,
            start_key,
            state.pages,
            counts.scanned,
            applied,
            already_applied,
            nothing_to_do,
            skipped,
            gone,
            diverged,
            conflict,
            rejected,
            not_computable,
            counts.write_units,
            counts.read_units,
            counts.assumed_write_units,
            counts.estimated_write_units,
            now
        ])?;
    Ok(())
}

fn put_failure(
    connection: &Connection,
    run: RunId,
    segment: u32,
    failure: &Failure,
    now: &str,
) -> Result<(), StateFileError> {
    connection
        .prepare_cached(
            "INSERT INTO failures (run, key, segment, outcome, reason, attempts, first_at, last_at, status) \
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, 'open') \
             ON CONFLICT (run, key) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason, \
             attempts = attempts + 1, last_at = excluded.last_at, status = 'open', resolved_as = NULL",
        )?
        .execute(params![run.0, failure.key.to_text(), segment, failure.outcome.name(), failure.reason, now])?;
    Ok(())
}

fn put_diverged(
    connection: &Connection,
    run: RunId,
    segment: u32,
    item: &DivergedItem,
    now: &str,
) -> Result<(), StateFileError> {
    let paths = diverged_text(item);
    connection
        .prepare_cached(
            "INSERT INTO diverged (run, key, segment, paths, first_at, last_at, status) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'open') \
             ON CONFLICT (run, key) DO UPDATE SET paths = excluded.paths, last_at = excluded.last_at, \
             status = 'open', resolved_as = NULL",
        )?
        .execute(params![run.0, item.key.to_text(), segment, paths, now])?;
    Ok(())
}

/// Converts the paths of a diverged item to a JSON list. If its derived item differs, returns a JSON object with the paths
/// and the key of the derived item.
fn diverged_text(item: &DivergedItem) -> String {
    match &item.derived {
        None => paths_text(&item.paths),
        Some(key) => {
            let paths: Vec<String> = item.paths.iter().map(Path::to_string).collect();
            json!({ "paths": paths, "derived": item_to_json(key.attributes()) }).to_string()
        }
    }
}

/// Converts paths to a JSON list.
pub(super) fn paths_text(paths: &[Path]) -> String {
    serde_json::Value::from(paths.iter().map(Path::to_string).collect::<Vec<_>>()).to_string()
}

/// Resolves a failure. If the outcome is `Diverged`, records the item as diverged. Returns false if the run has no open
/// failure of this item.
pub(super) fn resolve_failure(
    connection: &Connection,
    session: SessionId,
    run: RunId,
    key: &ItemKey,
    outcome: Outcome,
    diverged: Option<DivergedItem>,
    now: &str,
) -> Result<bool, StateFileError> {
    rules::check_epoch(&read::run(connection, session.run)?, session)?;
    rules::check_resolution(outcome, diverged.as_ref())?;
    let segment: Option<u32> = connection
        .query_row(
            "UPDATE failures SET status = 'resolved', resolved_as = ?3, last_at = ?4 \
             WHERE run = ?1 AND key = ?2 AND status = 'open' RETURNING segment",
            params![run.0, key.to_text(), outcome.name(), now],
            |row| row.get(0),
        )
        .optional()?;
    if let (Some(segment), Some(item)) = (segment, diverged) {
        put_diverged(connection, run, segment, &DivergedItem { key: key.clone(), ..item }, now)?;
    }
    Ok(segment.is_some())
}

/// Records that a retry failed. Returns false if the run has no open failure of this item.
pub(super) fn update_failure(
    connection: &Connection,
    session: SessionId,
    run: RunId,
    failure: &Failure,
    now: &str,
) -> Result<bool, StateFileError> {
    rules::check_epoch(&read::run(connection, session.run)?, session)?;
    rules::check_failure(failure.outcome)?;
    let changed = connection.execute(
        "UPDATE failures SET outcome = ?3, reason = ?4, attempts = attempts + 1, last_at = ?5 \
         WHERE run = ?1 AND key = ?2 AND status = 'open'",
        params![run.0, failure.key.to_text(), failure.outcome.name(), failure.reason, now],
    )?;
    Ok(changed > 0)
}
