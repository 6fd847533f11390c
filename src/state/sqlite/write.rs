//! What changes a state file. Each function runs inside a transaction that the caller commits.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{
    Begin, Commit, DivergedItem, Failure, NewRun, RunId, RunRecord, RunStatus, SegmentEvent, SegmentState,
    SegmentStatus, Session, Spend, StoreError,
};
use super::error::Failed;
use super::{journal, read, spend};
use crate::change::Outcome;
use crate::item::{ItemKey, Path, Position};

const KILLED: &str = "the process ended without closing its session: it was killed, or the machine went down";

/// Sessions that are open when nobody works on the file were killed: their runs can be resumed, and what they counted
/// as applied is a lower bound.
pub(super) fn note_killed_sessions(connection: &Connection) -> Result<(), Failed> {
    connection.execute(
        "UPDATE runs SET status = ?1, open_session = 0, lower_bound = 1, stop_reason = ?2 WHERE open_session = 1",
        params![RunStatus::Stopped.name(), KILLED],
    )?;
    Ok(())
}

/// Begins a session of the phase's run, or of a new run.
pub(super) fn begin(connection: &Connection, how: Begin, new: &NewRun, now: &str) -> Result<Session, Failed> {
    let current = read::current_run(connection, &new.phase)?;
    if current.as_ref().is_some_and(|run| run.open_session) {
        return Err(refused("a session of this run is already open in this process; nothing was changed"));
    }
    match (how, current) {
        (Begin::ResumeOrNew, Some(run)) if run.can_be_resumed() => resume(connection, &run),
        (Begin::ResumeOrNew, Some(run)) if run.looked_through && run.is_unfinished() => Err(refused(
            "this run was ended: pages that it had not read were looked at, and not written. Only a run that begins anew \
             can follow it. Nothing was changed",
        )),
        (Begin::Look, Some(run)) if run.is_unfinished() => {
            if !run.looked_through {
                let Spend { write, read } = spend::record(connection, &run, false)?.state.spent;
                connection.execute(
                    "UPDATE runs SET looked_through = 1, look_write_units = ?2, look_read_units = ?3 WHERE id = ?1",
                    params![run.id.0, write, read],
                )?;
            }
            resume(connection, &run)
        }
        (Begin::Look, _) => Err(refused("there is no unfinished run to look at the rest of. Nothing was changed")),
        // Another pass that was interrupted is resumed by the command that began it, too.
        (Begin::Again, Some(run)) if run.can_be_resumed() && run.pass > 1 => resume(connection, &run),
        (Begin::ResumeOrNew, Some(run)) if run.status == RunStatus::Complete => Err(refused(format!(
            "pass {} is complete, so there is nothing to resume; --again makes another pass, --restart begins anew. \
             Nothing was changed",
            run.pass
        ))),
        (Begin::ResumeOrNew | Begin::Restart, None) => insert_run(connection, new, 1, now),
        (Begin::Restart, Some(run)) if run.is_unfinished() => {
            run.status.next(RunStatus::Superseded)?;
            connection.execute(
                "UPDATE runs SET status = ?2, stop_reason = 'superseded by --restart' WHERE id = ?1",
                params![run.id.0, RunStatus::Superseded.name()],
            )?;
            insert_run(connection, new, run.pass, now)
        }
        (Begin::ResumeOrNew | Begin::Restart, Some(_)) => insert_run(connection, new, 1, now),
        (Begin::Again, Some(run)) if run.status == RunStatus::Complete => {
            insert_run(connection, new, run.pass + 1, now)
        }
        (Begin::Again, _) => Err(refused(
            "another pass can be made only after a complete one: run without --again to begin or to resume. Nothing was \
             changed",
        )),
    }
}

pub(super) fn resume(connection: &Connection, run: &RunRecord) -> Result<Session, Failed> {
    run.status.next(RunStatus::Running)?;
    connection.execute(
        "UPDATE runs SET status = ?2, open_session = 1, sessions = sessions + 1, ended_at = NULL, stop_reason = NULL \
         WHERE id = ?1",
        params![run.id.0, RunStatus::Running.name()],
    )?;
    Ok(Session { run: read::run(connection, run.id)?, resumed: true })
}

pub(super) fn insert_run(connection: &Connection, new: &NewRun, pass: u32, now: &str) -> Result<Session, Failed> {
    if !(1..=1_000_000).contains(&new.total_segments) {
        return Err(refused(format!(
            "a run has 1 to 1,000,000 segments, not {}; nothing was changed",
            new.total_segments
        )));
    }
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
    Ok(Session { run: read::run(connection, RunId(connection.last_insert_rowid()))?, resumed: false })
}

/// Ends the open session. A complete run settles what earlier passes of its phase left open: it met every item again,
/// and what still failed or diverged is recorded as its own.
pub(super) fn end_session(
    connection: &Connection,
    id: RunId,
    to: RunStatus,
    reason: Option<&str>,
    abandoned_pages: u64,
    now: &str,
) -> Result<RunRecord, Failed> {
    let run = open_run(connection, id)?;
    let status = run.status.next(to)?;
    match status {
        RunStatus::Stopped => {}
        RunStatus::Complete => {
            let done = read::totals(connection, &run)?.done;
            if done != run.total_segments || abandoned_pages > 0 {
                return Err(refused(format!(
                    "a run cannot be complete with {done} of {} segments done and {abandoned_pages} pages abandoned; its \
                     session stays open",
                    run.total_segments
                )));
            }
            for table in ["failures", "diverged"] {
                let sql = format!(
                    "UPDATE {table} SET status = 'resolved', resolved_as = 'later_pass', last_at = ?3 \
                     WHERE status = 'open' AND run IN (SELECT id FROM runs WHERE phase = ?1 AND id < ?2)"
                );
                connection.execute(&sql, params![run.phase, id.0, now])?;
            }
        }
        RunStatus::Running | RunStatus::Superseded => {
            return Err(refused(format!("a session cannot end as {}; it stays open", status.name())));
        }
    }
    connection.execute(
        "UPDATE runs SET status = ?2, open_session = 0, ended_at = ?3, stop_reason = ?4, \
         abandoned_pages = abandoned_pages + ?5, lower_bound = max(lower_bound, ?5 > 0) WHERE id = ?1",
        params![id.0, status.name(), now, reason, abandoned_pages],
    )?;
    read::run(connection, id)
}

/// Moves one segment on, with everything its progress rests on.
pub(super) fn commit(connection: &Connection, commit: &Commit, now: &str) -> Result<(), Failed> {
    let run = open_run(connection, commit.run)?;
    if commit.segment >= run.total_segments {
        return Err(refused(format!(
            "segment {} was to be committed in a run of {} segments; nothing of it was stored",
            commit.segment, run.total_segments
        )));
    }
    let SegmentEvent::PagesDone { first, pages, next, counts } = &commit.event;
    let (failures, diverged) = (commit.failures.len() as u64, commit.diverged.len() as u64);
    if counts.failures() != failures || counts.of(Outcome::Diverged) != diverged {
        return Err(refused(format!(
            "pages that count {} failures and {} diverged items came with {failures} and {diverged} records; nothing of \
             them was stored",
            counts.failures(),
            counts.of(Outcome::Diverged)
        )));
    }
    let state = read::segment(connection, commit.run, commit.segment)?.next(&commit.event)?;
    put_segment(connection, commit.run, commit.segment, &state, now)?;
    if counts.unclear > 0 {
        connection.execute("UPDATE runs SET lower_bound = 1 WHERE id = ?1", params![commit.run.0])?;
    }
    for failure in &commit.failures {
        put_failure(connection, commit.run, commit.segment, failure, now)?;
    }
    for item in &commit.diverged {
        put_diverged(connection, commit.run, commit.segment, item, now)?;
    }
    journal::forget_pages(connection, &run, commit.segment, first + pages - 1, next.is_none())?;
    journal::mark_refused(connection, &commit.refused)
}

pub(super) fn open_run(connection: &Connection, id: RunId) -> Result<RunRecord, Failed> {
    let run = read::run(connection, id)?;
    if !run.open_session {
        return Err(refused(format!("run {} has no open session; nothing was stored", id.0)));
    }
    Ok(run)
}

pub(super) fn put_segment(
    connection: &Connection,
    run: RunId,
    segment: u32,
    state: &SegmentState,
    now: &str,
) -> Result<(), Failed> {
    let (status, start_key) = match &state.status {
        SegmentStatus::Pending => return Err(Failed::Row("a commit left its segment pending".to_owned())),
        SegmentStatus::Scanning(Position::Key(key)) => ("scanning", Some(key.to_text())),
        SegmentStatus::Done => ("done", None),
    };
    let counts = &state.counts;
    // In the order of `Outcome::ALL`, which a test holds against the schema.
    let [applied, already_applied, nothing_to_do, skipped, gone, diverged, conflict, rejected] = counts.outcomes;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO segments (run, segment, status, start_key, pages, scanned, applied, \
             already_applied, nothing_to_do, skipped, gone, diverged, conflict, rejected, write_units, read_units, \
             assumed_write_units, estimated_write_units, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
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
            counts.write_units,
            counts.read_units,
            counts.assumed_write_units,
            counts.estimated_write_units,
            now
        ])?;
    Ok(())
}

fn put_failure(connection: &Connection, run: RunId, segment: u32, failure: &Failure, now: &str) -> Result<(), Failed> {
    must_be_failure(failure.outcome)?;
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
) -> Result<(), Failed> {
    let paths = paths_text(&item.paths);
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

/// A JSON list of paths.
pub(super) fn paths_text(paths: &[Path]) -> String {
    serde_json::Value::from(paths.iter().map(Path::to_string).collect::<Vec<_>>()).to_string()
}

/// Settles a failure; one that turned out diverged is recorded as such. False where there is no open failure.
pub(super) fn resolve_failure(
    connection: &Connection,
    run: RunId,
    key: &ItemKey,
    outcome: Outcome,
    diverged: Vec<Path>,
    now: &str,
) -> Result<bool, Failed> {
    if outcome.is_failure() || diverged.is_empty() != (outcome != Outcome::Diverged) {
        return Err(refused(format!(
            "a failure cannot be settled as {} with {} diverged paths; it stays open",
            outcome.name(),
            diverged.len()
        )));
    }
    let segment: Option<u32> = connection
        .query_row(
            "UPDATE failures SET status = 'resolved', resolved_as = ?3, last_at = ?4 \
             WHERE run = ?1 AND key = ?2 AND status = 'open' RETURNING segment",
            params![run.0, key.to_text(), outcome.name(), now],
            |row| row.get(0),
        )
        .optional()?;
    if let (Some(segment), Outcome::Diverged) = (segment, outcome) {
        put_diverged(connection, run, segment, &DivergedItem { key: key.clone(), paths: diverged }, now)?;
    }
    Ok(segment.is_some())
}

/// Notes another attempt that failed. False where there is no open failure.
pub(super) fn update_failure(
    connection: &Connection,
    run: RunId,
    failure: &Failure,
    now: &str,
) -> Result<bool, Failed> {
    must_be_failure(failure.outcome)?;
    let changed = connection.execute(
        "UPDATE failures SET outcome = ?3, reason = ?4, attempts = attempts + 1, last_at = ?5 \
         WHERE run = ?1 AND key = ?2 AND status = 'open'",
        params![run.0, failure.key.to_text(), failure.outcome.name(), failure.reason, now],
    )?;
    Ok(changed > 0)
}

fn must_be_failure(outcome: Outcome) -> Result<(), Failed> {
    if outcome.is_failure() {
        return Ok(());
    }
    Err(refused(format!("an item that is {} was recorded as a failure; nothing of it was stored", outcome.name())))
}

fn refused(what: impl Into<String>) -> Failed {
    Failed::Store(StoreError::Refused(what.into()))
}
