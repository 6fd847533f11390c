//! Reads a state file, for the file's owner and for readers. Each row is parsed into the types from which the row was
//! written. So reading fails if a file contradicts itself, and no run resumes from a wrong position.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde::Deserialize;

use super::super::{
    Counts, Cursor, DivergedRecord, FailureRecord, Identity, ListQuery, OpenWork, RowStatus, RunId, RunRecord,
    RunStatus, SegmentEvent, SegmentState, SegmentTotals, Spend, UnreadableRow, phase,
};
use super::OFFSET_PREFIX;
use super::checksum::{DIVERGED as DIVERGED_SUM, FAILURE as FAILURE_SUM, SEGMENT as SEGMENT_SUM, refuse_damaged_row};
use super::error::StateFileError;
use crate::change::Outcome;
use crate::item::{ItemKey, Path, Position, item_from_json};

/// Returns the file's identity and its time of creation.
pub(super) fn read_identity(connection: &Connection) -> Result<(Identity, String), StateFileError> {
    let sql = "SELECT migration, fingerprint, table_arn, table_id, meaning, created_at FROM identity";
    let found = connection
        .query_row(sql, [], |row| {
            let identity = Identity {
                migration: row.get(0)?,
                fingerprint: row.get(1)?,
                table_arn: row.get(2)?,
                table_id: row.get(3)?,
                meaning: row.get(4)?,
            };
            Ok((identity, row.get(5)?))
        })
        .optional()?;
    found.ok_or_else(|| StateFileError::Row("it does not name its plan and table".to_owned()))
}

const RUN: &str = "SELECT id, phase, pass, total_segments, status, started_at, ended_at, sessions, open_session, \
     lower_bound, abandoned_pages, stop_reason, table_items_estimate, tool_version, looked_through, \
     look_write_units, look_read_units FROM runs";

/// Returns all runs, oldest first.
pub(super) fn runs(connection: &Connection) -> Result<Vec<RunRecord>, StateFileError> {
    collect(connection, &format!("{RUN} ORDER BY id"), [], run_from)
}

/// Returns whether a run has ever begun.
pub(super) fn has_runs(connection: &Connection) -> Result<bool, StateFileError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM runs)", [], |row| row.get(0))?)
}

/// Returns the newest run of a phase.
pub(super) fn current_run(connection: &Connection, phase: &str) -> Result<Option<RunRecord>, StateFileError> {
    let found = collect(connection, &format!("{RUN} WHERE phase = ?1 ORDER BY id DESC LIMIT 1"), [phase], run_from)?;
    Ok(found.into_iter().next())
}

/// Returns the run with this id.
pub(super) fn run(connection: &Connection, id: RunId) -> Result<RunRecord, StateFileError> {
    let found = collect(connection, &format!("{RUN} WHERE id = ?1"), [id.0], run_from)?;
    found.into_iter().next().ok_or_else(|| StateFileError::Row(format!("there is no run {}", id.0)))
}

/// Returns the state of a segment. A segment without a row is pending.
pub(super) fn segment(connection: &Connection, run: RunId, segment: u32) -> Result<SegmentState, StateFileError> {
    let mut statement =
        connection.prepare_cached(&format!("{SEGMENT}{SEGMENT_SUM} FROM segments WHERE run = ?1 AND segment = ?2"))?;
    let mut rows = statement.query(params![run.0, segment])?;
    match rows.next()? {
        Some(row) => Ok(segment_from(row)?.1),
        None => Ok(SegmentState::default()),
    }
}

/// Returns the segments with numbers larger than `after` that are not pending, in ascending order.
pub(super) fn segments_after(
    connection: &Connection,
    run: RunId,
    after: Option<u32>,
    limit: u32,
) -> Result<Vec<(u32, SegmentState)>, StateFileError> {
    let sql = format!("{SEGMENT}{SEGMENT_SUM} FROM segments WHERE run = ?1 AND segment > ?2 ORDER BY segment LIMIT ?3");
    collect(connection, &sql, params![run.0, after.map_or(-1, i64::from), limit], segment_from)
}

/// Returns the totals over a run's segments: the number of segments in each status, and the sum of the segments'
/// counts.
pub(super) fn totals(connection: &Connection, run: &RunRecord) -> Result<SegmentTotals, StateFileError> {
    let sql = "SELECT count(*) FILTER (WHERE status = 'scanning'), count(*) FILTER (WHERE status = 'done'), \
         coalesce(sum(pages), 0), max(updated_at), coalesce(max(segment), 0), \
         coalesce(sum(scanned), 0), coalesce(sum(applied), 0), coalesce(sum(already_applied), 0), \
         coalesce(sum(nothing_to_do), 0), coalesce(sum(skipped), 0), coalesce(sum(gone), 0), coalesce(sum(diverged), 0), \
         coalesce(sum(conflict), 0), coalesce(sum(rejected), 0), coalesce(sum(not_computable), 0), \
         total(write_units), total(read_units), total(assumed_write_units), total(estimated_write_units) \
         FROM segments WHERE run = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([run.id.0])?;
    let row =
        rows.next()?.ok_or_else(|| StateFileError::Row("the totals of its segments cannot be read".to_owned()))?;
    let scanning: u32 = row.get(0)?;
    let done: u32 = row.get(1)?;
    let last: u32 = row.get(4)?;
    let Some(pending) = run.total_segments.checked_sub(scanning + done).filter(|_| last < run.total_segments) else {
        return Err(StateFileError::Row(format!("run {} has more than {} segments", run.id.0, run.total_segments)));
    };
    let counts = counts_from(row, 5)?;
    Ok(SegmentTotals { pending, scanning, done, pages: row.get(2)?, counts, last_commit_at: row.get(3)? })
}

const FAILURE: &str =
    "SELECT id, run, key, segment, status, resolved_as, first_at, last_at, outcome, reason, attempts, sum IS";

/// Returns failures, oldest first.
pub(super) fn failures(
    connection: &Connection,
    query: ListQuery,
) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StateFileError> {
    list(connection, query, &format!("{FAILURE} {FAILURE_SUM} FROM failures"), failure_from)
}

/// Returns the open failures of all runs of a phase, oldest first, starting after this cursor.
pub(super) fn failures_of_phase(
    connection: &Connection,
    phase: &str,
    after: Cursor,
    limit: u32,
) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StateFileError> {
    let sql = format!(
        "{FAILURE} {FAILURE_SUM} FROM failures WHERE id > ?1 AND run IN (SELECT id FROM runs WHERE phase = ?2) \
         AND status = 'open' ORDER BY id LIMIT ?3"
    );
    collect_rows(connection, &sql, params![after.0, phase, limit], failure_from)
}

fn failure_from(row: &Row<'_>) -> Result<FailureRecord, StateFileError> {
    refuse_damaged_row(row, 11)?;
    Ok(FailureRecord {
        id: Cursor(row.get(0)?),
        run: RunId(row.get(1)?),
        key: key_from(row, 2)?,
        segment: row.get(3)?,
        status: row_status(row, 4)?,
        resolved_as: row.get(5)?,
        first_at: row.get(6)?,
        last_at: row.get(7)?,
        outcome: outcome_from(row, 8)?,
        reason: row.get(9)?,
        attempts: row.get(10)?,
    })
}

/// Returns diverged items, oldest first.
pub(super) fn diverged(
    connection: &Connection,
    query: ListQuery,
) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StateFileError> {
    let sql = format!(
        "SELECT id, run, key, segment, status, resolved_as, first_at, last_at, paths, sum IS {DIVERGED_SUM} FROM diverged"
    );
    list(connection, query, &sql, |row| {
        refuse_damaged_row(row, 9)?;
        let (paths, derived) = divergence_from(row, 8)?;
        Ok(DivergedRecord {
            id: Cursor(row.get(0)?),
            run: RunId(row.get(1)?),
            key: key_from(row, 2)?,
            segment: row.get(3)?,
            status: row_status(row, 4)?,
            resolved_as: row.get(5)?,
            first_at: row.get(6)?,
            last_at: row.get(7)?,
            paths,
            derived,
        })
    })
}

/// Returns the number of items with an open failure and the number of open diverged items.
pub(super) fn open_work(connection: &Connection, run: Option<RunId>) -> Result<OpenWork, StateFileError> {
    open_work_where(connection, "?1 IS NULL OR run = ?1", params![run.map(|run| run.0)])
}

/// Returns the same numbers as [`open_work`], for all runs of a phase.
pub(super) fn open_work_of_phase(connection: &Connection, phase: &str) -> Result<OpenWork, StateFileError> {
    open_work_where(connection, "run IN (SELECT id FROM runs WHERE phase = ?1)", params![phase])
}

/// Counts the open work of the selected runs. For one run, the tallies contain the counts. For several runs, the rows
/// must be read, because an item that is open in several runs must be counted once.
fn open_work_where(
    connection: &Connection,
    runs: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<OpenWork, StateFileError> {
    let count = |what: u8, table: &str| -> Result<u64, StateFileError> {
        let tally =
            format!("SELECT count(*), coalesce(sum(n), 0) FROM tallies WHERE what = {what} AND n > 0 AND ({runs})");
        let (runs_with_open_work, open): (u32, u64) =
            connection.query_row(&tally, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        if runs_with_open_work <= 1 {
            return Ok(open);
        }
        let sql = format!("SELECT count(DISTINCT key) FROM {table} WHERE status = 'open' AND ({runs})");
        Ok(connection.query_row(&sql, params, |row| row.get(0))?)
    };
    Ok(OpenWork { failures: count(3, "failures")?, diverged: count(4, "diverged")? })
}

pub(super) fn is_proven(connection: &Connection, phase: &str) -> Result<bool, StateFileError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM segments JOIN runs ON runs.id = run \
               WHERE phase = ?1 AND (applied > 0 OR already_applied >= 100)) \
               OR EXISTS (SELECT 1 FROM runs WHERE phase = ?1 AND status = 'complete')";
    Ok(connection.query_row(sql, [phase], |row| row.get(0))?)
}

const SEGMENT: &str = "SELECT segment, status, start_key, pages, scanned, applied, already_applied, nothing_to_do, \
     skipped, gone, diverged, conflict, rejected, not_computable, write_units, read_units, assumed_write_units, \
     estimated_write_units, sum IS ";

/// Reads a stored segment as the result of one event in the initial state, so that [`SegmentState::next`] rejects an
/// impossible state.
fn segment_from(row: &Row<'_>) -> Result<(u32, SegmentState), StateFileError> {
    let segment: u32 = row.get(0)?;
    if !row.get::<_, bool>(18)? {
        return Err(StateFileError::Damaged(format!("the row of segment {segment} has a wrong checksum")));
    }
    let status: String = row.get(1)?;
    let start_key = row.get::<_, Option<String>>(2)?;
    let next = match (status.as_str(), start_key.as_deref()) {
        ("scanning", Some(text)) => Some(match text.strip_prefix(OFFSET_PREFIX) {
            Some(offset) => Position::Offset(
                offset
                    .parse()
                    .map_err(|_| StateFileError::Row(format!("the position of segment {segment} is not an offset")))?,
            ),
            None => Position::Key(key_from(row, 2)?),
        }),
        ("done", None) => None,
        _ => return Err(StateFileError::Row(format!("the status of segment {segment} does not fit its start key"))),
    };
    let event = SegmentEvent::PagesDone { first: 1, pages: row.get(3)?, next, counts: counts_from(row, 4)? };
    let state = SegmentState::default().next(&event);
    Ok((
        segment,
        state.map_err(|e| StateFileError::Row(format!("the stored state of segment {segment} is impossible: {e}")))?,
    ))
}

/// Reads counts from fourteen columns, starting at the column `at`.
fn counts_from(row: &Row<'_>, at: usize) -> Result<Counts, StateFileError> {
    let mut counts = Counts { scanned: row.get(at)?, ..Counts::default() };
    for (i, outcome) in counts.outcomes.iter_mut().enumerate() {
        *outcome = row.get(at + 1 + i)?;
    }
    counts.write_units = row.get(at + 10)?;
    counts.read_units = row.get(at + 11)?;
    counts.assumed_write_units = row.get(at + 12)?;
    counts.estimated_write_units = row.get(at + 13)?;
    Ok(counts)
}

fn run_from(row: &Row<'_>) -> Result<RunRecord, StateFileError> {
    let id = RunId(row.get(0)?);
    let status: String = row.get(4)?;
    let status =
        RunStatus::from_name(&status).ok_or_else(|| StateFileError::Row(format!("run {} has no status", id.0)))?;
    Ok(RunRecord {
        id,
        phase: row.get(1)?,
        pass: row.get(2)?,
        total_segments: row.get(3)?,
        status,
        started_at: row.get(5)?,
        ended_at: row.get(6)?,
        sessions: row.get(7)?,
        open_session: row.get(8)?,
        lower_bound: row.get(9)?,
        abandoned_pages: row.get(10)?,
        stop_reason: row.get(11)?,
        table_items_estimate: row.get(12)?,
        tool_version: row.get(13)?,
        looked_through: row.get(14)?,
        spend_before_read_only: Spend { write: row.get(15)?, read: row.get(16)? },
    })
}

fn list<T>(
    connection: &Connection,
    query: ListQuery,
    select: &str,
    from: impl FnMut(&Row<'_>) -> Result<T, StateFileError>,
) -> Result<Vec<Result<T, UnreadableRow>>, StateFileError> {
    let sql = format!(
        "{select} WHERE id > ?1 AND (?2 IS NULL OR run = ?2) AND (NOT ?3 OR status = 'open') ORDER BY id LIMIT ?4"
    );
    collect_rows(connection, &sql, params![query.after.0, query.run.map(|r| r.0), query.open_only, query.limit], from)
}

/// Returns the rows of a list. Fails if a row cannot be read.
pub(super) fn require_readable<T>(rows: Vec<Result<T, UnreadableRow>>) -> Result<Vec<T>, StateFileError> {
    rows.into_iter().collect::<Result<_, _>>().map_err(|unreadable| StateFileError::Row(unreadable.why))
}

/// Reads the rows of a list. The first column of each row is the row's position in the list. If a row cannot be read,
/// the other rows are still returned.
pub(super) fn collect_rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut from: impl FnMut(&Row<'_>) -> Result<T, StateFileError>,
) -> Result<Vec<Result<T, UnreadableRow>>, StateFileError> {
    collect(connection, sql, params, |row| match from(row) {
        Ok(found) => Ok(Ok(found)),
        Err(failed) => Ok(Err(UnreadableRow { id: Cursor(row.get(0)?), why: failed.into_row_reason()? })),
    })
}

pub(super) fn collect<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut from: impl FnMut(&Row<'_>) -> Result<T, StateFileError>,
) -> Result<Vec<T>, StateFileError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from(row)?);
    }
    Ok(found)
}

/// Returns the readable rows of a list, for a report. Omits unreadable rows.
pub(super) fn collect_readable<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut from: impl FnMut(&Row<'_>) -> Result<T, StateFileError>,
) -> Result<Vec<T>, StateFileError> {
    let rows = collect(connection, sql, params, |row| match from(row) {
        Ok(found) => Ok(Some(found)),
        Err(failed) => failed.into_row_reason().map(|_| None),
    })?;
    Ok(rows.into_iter().flatten().collect())
}

// The messages below never contain an unreadable value, because the value can be private data.

pub(super) fn key_from(row: &Row<'_>, at: usize) -> Result<ItemKey, StateFileError> {
    let text: String = row.get(at)?;
    ItemKey::from_text(&text).map_err(|_| StateFileError::Row("a key in it cannot be read".to_owned()))
}

/// Reads what differs in a diverged item: a list of paths, or an object with the paths and the key of a derived item.
fn divergence_from(row: &Row<'_>, at: usize) -> Result<(Vec<Path>, Option<ItemKey>), StateFileError> {
    let text: String = row.get(at)?;
    if !text.starts_with('{') {
        return Ok((paths_from(row, at)?, None));
    }
    #[derive(Deserialize)]
    struct Divergence {
        paths: Vec<String>,
        derived: serde_json::Value,
    }
    let unreadable = || StateFileError::Row("the key of a derived item in it cannot be read".to_owned());
    let Divergence { paths, derived } = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let derived = item_from_json(&derived).map_err(|_| unreadable())?;
    Ok((paths.iter().map(|path| parse_path(path)).collect::<Result<_, _>>()?, Some(ItemKey::new(derived))))
}

pub(super) fn paths_from(row: &Row<'_>, at: usize) -> Result<Vec<Path>, StateFileError> {
    let text: String = row.get(at)?;
    let paths: Vec<String> = serde_json::from_str(&text)
        .map_err(|_| StateFileError::Row("a list of paths in it cannot be read".to_owned()))?;
    paths.iter().map(|p| parse_path(p)).collect()
}

pub(super) fn parse_path(text: &str) -> Result<Path, StateFileError> {
    text.parse().map_err(|_| StateFileError::Row("a path in it cannot be read".to_owned()))
}

fn row_status(row: &Row<'_>, at: usize) -> Result<RowStatus, StateFileError> {
    match row.get::<_, String>(at)?.as_str() {
        "open" => Ok(RowStatus::Open),
        "resolved" => Ok(RowStatus::Resolved),
        _ => Err(StateFileError::Row("a record in it has no status".to_owned())),
    }
}

pub(super) fn outcome_from(row: &Row<'_>, at: usize) -> Result<Outcome, StateFileError> {
    let name: String = row.get(at)?;
    let found = Outcome::ALL.into_iter().find(|o| o.name() == name);
    found.ok_or_else(|| StateFileError::Row("a failure in it has no outcome".to_owned()))
}

/// Checks whether SQLite can read the file at all. This check is cheap, and must be the first access to the file.
pub(super) fn check_readable(connection: &Connection) -> Result<(), StateFileError> {
    connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional()?;
    Ok(())
}

/// Returns the last run that undid an earlier expansion; 0 if no run did. Records of that run and of earlier runs are
/// obsolete. A rollback counts only after a new expansion has begun, so that all passes of one rollback use the same
/// records.
pub(super) fn last_rollback(connection: &Connection) -> Result<i64, StateFileError> {
    let sql = "SELECT coalesce(max(id), 0) FROM runs WHERE phase = ?1 AND status = 'complete' \
         AND id < (SELECT max(id) FROM runs WHERE phase = ?2)";
    Ok(connection.prepare_cached(sql)?.query_row([phase::ROLLBACK, phase::EXPAND], |row| row.get(0))?)
}
