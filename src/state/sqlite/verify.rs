//! Stores verifications: their parameters, counts, mismatching items and reports.

use rusqlite::{Connection, Row, params};

use super::super::phase::VERIFY;
use super::super::rules::{self, BeginDecision};
use super::super::{
    MAX_MISMATCHES, Mismatch, NewRun, NewVerification, RunId, RunRecord, SampleDraw, SessionId, StoreError,
    StoredReport, VerificationParameters, VerificationRecord, VerifiedPages,
};
use super::checksum::{SEGMENT_VERDICTS, VERIFICATION, refuse_damaged_row};
use super::error::StateFileError;
use super::state_file::StateFile;
use super::{journal, read, write};
use crate::cutover::TruthByKey;
use crate::item::ItemKey;
use crate::state::{TableStage, Verdict, VerdictCounts};

impl StateFile {
    /// Returns the newest verification, complete or not.
    pub fn newest_verification(&self) -> Result<Option<VerificationRecord>, StoreError> {
        self.read(newest)
    }

    /// Returns up to `limit` reports of complete verifications, newest first.
    pub fn reports(&self, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.read(|connection| reports(connection, limit))
    }

    /// For each verdict, returns the first `limit` items that did not match in the newest full verification and were
    /// not repaired. Omits open failures and diverged items.
    pub fn open_mismatches(&self, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.read(|connection| open_mismatches(connection, limit))
    }

    /// Returns the first `limit` items with this verdict that a verification found, in the order of their commits.
    pub fn mismatches(&self, run: RunId, verdict: Verdict, limit: u32) -> Result<Vec<Mismatch>, StoreError> {
        self.read(|connection| mismatches(connection, run, verdict, limit))
    }
}

pub(super) fn begin(
    connection: &Connection,
    new: &NewVerification,
    force_new: bool,
    now: &str,
) -> Result<VerificationRecord, StateFileError> {
    let current = read::current_run(connection, VERIFY)?;
    let stored = match &current {
        Some(run) if run.is_unfinished() && !force_new => resumable(connection, run)?,
        Some(_) | None => None,
    };
    let parameters = stored.as_ref().map(|stored| &stored.parameters);
    let beginning = rules::begin_verification(new, force_new, current.as_ref(), parameters)?;
    match (beginning, current, stored) {
        (BeginDecision::Resume, Some(run), Some(stored)) => {
            let run = write::resume(connection, &run)?.run;
            Ok(VerificationRecord { run, resumed: true, ..stored })
        }
        (BeginDecision::New { pass, supersedes }, current, _) => {
            if let Some(run) = current.filter(|_| supersedes) {
                write::supersede(connection, run.id, rules::SUPERSEDED_BY_VERIFICATION)?;
            }
            delete_old_details(connection)?;
            insert(connection, new, pass, now)
        }
        (BeginDecision::Resume | BeginDecision::ReadOnly, ..) => {
            Err(StateFileError::Row("the verification to resume no longer exists".to_owned()))
        }
    }
}

/// Returns the verification of this run; `None` if the verification's record or counts cannot be read.
fn resumable(connection: &Connection, run: &RunRecord) -> Result<Option<VerificationRecord>, StateFileError> {
    let is_intact = are_counts_intact(connection, run.id)?;
    if is_intact { verification(connection, run.clone()) } else { Ok(None) }
}

fn insert(
    connection: &Connection,
    new: &NewVerification,
    pass: u32,
    now: &str,
) -> Result<VerificationRecord, StateFileError> {
    let run = write::insert_run(connection, &NewRun { phase: VERIFY.to_owned(), ..new.run.clone() }, pass, now)?.run;
    put(connection, run.id, new)?;
    Ok(VerificationRecord {
        run,
        parameters: new.parameters.clone(),
        drawn: new.drawn.clone(),
        segments_to_read: new.segments_to_read,
        resumed: false,
    })
}

/// Deletes the counts and mismatches of all verifications that are older than the newest complete verification. All
/// reports are kept.
fn delete_old_details(connection: &Connection) -> Result<(), StateFileError> {
    for table in ["segment_verdicts", "mismatches"] {
        let sql = format!(
            "DELETE FROM {table} WHERE run < (SELECT coalesce(max(run), 0) FROM verifications WHERE report IS NOT NULL)"
        );
        connection.execute(&sql, [])?;
    }
    Ok(())
}

fn put(connection: &Connection, run: RunId, new: &NewVerification) -> Result<(), StateFileError> {
    let VerificationParameters { stage, truths, repair, flag_version, sample_clusters } = &new.parameters;
    let drawn = new.drawn.as_ref();
    connection.execute(
        "INSERT INTO verifications (run, stage, truth, repair, flag_version, due, wanted, seed, run_segments, large) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            run.0,
            stage.name(),
            truths.name(),
            repair,
            flag_version,
            new.segments_to_read,
            sample_clusters,
            drawn.map(|drawn| drawn.seed),
            drawn.map(|drawn| drawn.run_segments),
            drawn.map(|drawn| serde_json::Value::from(drawn.large.clone()).to_string()),
        ],
    )?;
    Ok(())
}

/// Returns the stored verification of this run. Returns `None` if the verification's record is damaged. A damaged
/// verification cannot be resumed and proves nothing.
fn verification(connection: &Connection, run: RunRecord) -> Result<Option<VerificationRecord>, StateFileError> {
    let sql = format!(
        "SELECT stage, truth, repair, flag_version, wanted, due, seed, run_segments, large FROM verifications \
         WHERE run = ?1 AND sum IS {VERIFICATION}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([run.id.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let drawn = match row.get::<_, Option<u64>>(6)? {
        None => None,
        Some(seed) => {
            let large = serde_json::from_str(&row.get::<_, String>(8)?);
            let large = large.map_err(|_| StateFileError::Row("a list of segments in it cannot be read".to_owned()))?;
            Some(SampleDraw { seed, run_segments: row.get(7)?, large })
        }
    };
    Ok(Some(VerificationRecord {
        parameters: parameters_from(row, 0)?,
        drawn,
        segments_to_read: row.get(5)?,
        run,
        resumed: false,
    }))
}

fn parameters_from(row: &Row<'_>, at: usize) -> Result<VerificationParameters, StateFileError> {
    let stage: String = row.get(at)?;
    let truth: String = row.get(at + 1)?;
    let unknown = || StateFileError::Row("a verification in it has unknown parameters".to_owned());
    Ok(VerificationParameters {
        stage: TableStage::from_name(&stage).ok_or_else(unknown)?,
        truths: TruthByKey::from_name(&truth).ok_or_else(unknown)?,
        repair: row.get(at + 2)?,
        flag_version: row.get(at + 3)?,
        sample_clusters: row.get(at + 4)?,
    })
}

pub(super) fn commit(connection: &Connection, pages: &VerifiedPages, now: &str) -> Result<(), StateFileError> {
    let run = pages.session.run;
    rules::check_verified(&read::run(connection, run)?, pages)?;
    let VerifiedPages { segment, verdicts, mismatches, .. } = pages;
    let state = read::segment(connection, run, *segment)?.next(&pages.event)?;
    write::put_segment(connection, run, *segment, &state, now)?;
    add_verdicts(connection, run, *segment, verdicts)?;
    for mismatch in mismatches {
        put_mismatch(connection, run, *segment, mismatch, now)?;
    }
    journal::mark_refused(connection, &pages.refused)
}

fn add_verdicts(
    connection: &Connection,
    run: RunId,
    segment: u32,
    verdicts: &VerdictCounts,
) -> Result<(), StateFileError> {
    // The numbers of skipped items and of items that were not compared are not stored here, because they follow from
    // the counted items and outcomes of the segment (`rules::check_verified`).
    let VerdictCounts { not_selected: _, matching, skipped: _, missing, stale, unexpected, raced, repaired } = verdicts;
    connection
        .prepare_cached(
            "INSERT INTO segment_verdicts (run, segment, matching, missing, stale, unexpected, raced, repaired) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (run, segment) DO UPDATE SET matching = matching + excluded.matching, \
             missing = missing + excluded.missing, stale = stale + excluded.stale, \
             unexpected = unexpected + excluded.unexpected, raced = raced + excluded.raced, \
             repaired = repaired + excluded.repaired",
        )?
        .execute(params![run.0, segment, matching, missing, stale, unexpected, raced, repaired])?;
    Ok(())
}

/// Stores a mismatch, unless [`MAX_MISMATCHES`] mismatches of this verdict are already stored.
fn put_mismatch(
    connection: &Connection,
    run: RunId,
    segment: u32,
    mismatch: &Mismatch,
    now: &str,
) -> Result<(), StateFileError> {
    let Mismatch { key, verdict, paths, repaired, why } = mismatch;
    let last: u32 = connection
        .prepare_cached("SELECT coalesce(max(n), 0) FROM mismatches WHERE run = ?1 AND verdict = ?2")?
        .query_row(params![run.0, verdict.name()], |row| row.get(0))?;
    if last >= MAX_MISMATCHES {
        return Ok(());
    }
    let paths = write::paths_text(paths);
    connection
        .prepare_cached(
            "INSERT INTO mismatches (run, verdict, n, segment, key, paths, repaired, why, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![run.0, verdict.name(), last + 1, segment, key.to_text(), paths, repaired, why, now])?;
    Ok(())
}

/// Returns whether a verification's stored counts are undamaged in all segments.
fn are_counts_intact(connection: &Connection, run: RunId) -> Result<bool, StateFileError> {
    let sql =
        format!("SELECT NOT EXISTS (SELECT 1 FROM segment_verdicts WHERE run = ?1 AND sum IS NOT {SEGMENT_VERDICTS})");
    Ok(connection.query_row(&sql, [run.0], |row| row.get(0))?)
}

pub(super) fn segment_verdicts(
    connection: &Connection,
    run: RunId,
) -> Result<Vec<(u32, VerdictCounts)>, StateFileError> {
    let sql = format!(
        "SELECT segment, matching, missing, stale, unexpected, raced, repaired, skipped, intact, scanned, gone \
         FROM (SELECT *, sum IS {SEGMENT_VERDICTS} AS intact FROM segment_verdicts WHERE run = ?1) \
         JOIN (SELECT run, segment, skipped, scanned, gone FROM segments) USING (run, segment) ORDER BY segment"
    );
    read::collect(connection, &sql, [run.0], |row| {
        refuse_damaged_row(row, 8)?;
        let mut counts = VerdictCounts {
            not_selected: 0,
            matching: row.get(1)?,
            skipped: row.get(7)?,
            missing: row.get(2)?,
            stale: row.get(3)?,
            unexpected: row.get(4)?,
            raced: row.get(5)?,
            repaired: row.get(6)?,
        };
        // If the plan's file lists a key that has no item, the key counts as scanned, although no item was read.
        let read = row.get::<_, u64>(9)?.saturating_sub(row.get(10)?);
        counts.not_selected = read.saturating_sub(counts.compared());
        Ok((row.get(0)?, counts))
    })
}

pub(super) fn mismatches(
    connection: &Connection,
    run: RunId,
    verdict: Verdict,
    limit: u32,
) -> Result<Vec<Mismatch>, StateFileError> {
    let sql = "SELECT key, paths, repaired, why FROM mismatches WHERE run = ?1 AND verdict = ?2 ORDER BY n LIMIT ?3";
    read::collect_readable(connection, sql, params![run.0, verdict.name(), limit], |row| {
        Ok(Mismatch {
            key: read::key_from(row, 0)?,
            verdict,
            paths: read::paths_from(row, 1)?,
            repaired: row.get(2)?,
            why: row.get(3)?,
        })
    })
}

fn open_mismatches(connection: &Connection, limit: u32) -> Result<Vec<Mismatch>, StateFileError> {
    let sql = "SELECT key, paths, repaired, why, verdict FROM (SELECT *, row_number() OVER (PARTITION BY verdict ORDER BY n) \
         AS place FROM mismatches WHERE repaired = 0 \
         AND run = (SELECT max(run) FROM verifications WHERE report IS NOT NULL AND wanted IS NULL) \
         AND key NOT IN (SELECT key FROM diverged WHERE status = 'open' UNION ALL \
         SELECT key FROM failures WHERE status = 'open')) WHERE place <= ?1 ORDER BY verdict, n";
    read::collect_readable(connection, sql, [limit], |row| {
        let verdict: String = row.get(4)?;
        let unknown = || StateFileError::Row("a mismatch in it has an unknown verdict".to_owned());
        Ok(Mismatch {
            key: read::key_from(row, 0)?,
            verdict: Verdict::from_name(&verdict).ok_or_else(unknown)?,
            paths: read::paths_from(row, 1)?,
            repaired: row.get(2)?,
            why: row.get(3)?,
        })
    })
}

pub(super) fn close_diverged(
    connection: &Connection,
    session: SessionId,
    items: &[(ItemKey, &str)],
    now: &str,
) -> Result<u64, StateFileError> {
    rules::check_epoch(&read::run(connection, session.run)?, session)?;
    let sql =
        "UPDATE diverged SET status = 'resolved', resolved_as = ?2, last_at = ?3 WHERE key = ?1 AND status = 'open'";
    let mut statement = connection.prepare_cached(sql)?;
    let mut closed = 0;
    for (key, resolution) in items {
        closed += u64::from(statement.execute(params![key.to_text(), resolution, now])? > 0);
    }
    Ok(closed)
}

pub(super) fn finish(
    connection: &Connection,
    session: SessionId,
    ended_at: &str,
    json: &str,
    hash: &str,
) -> Result<RunRecord, StateFileError> {
    let id = session.run;
    let run = read::run(connection, id)?;
    let Some(stored) = verification(connection, run.clone())? else {
        return Err(StateFileError::Row(format!("verification {} has no readable parameters", run.id.0)));
    };
    let status =
        rules::finish_verification(&run, session, stored.segments_to_read, read::totals(connection, &run)?.done)?;
    connection
        .execute("UPDATE verifications SET report = ?2, report_hash = ?3 WHERE run = ?1", params![id.0, json, hash])?;
    connection.execute(
        "UPDATE runs SET status = ?2, open_session = 0, ended_at = ?3, stop_reason = NULL WHERE id = ?1",
        params![id.0, status.name(), ended_at],
    )?;
    read::run(connection, id)
}

/// Returns undamaged reports, newest first.
pub(super) fn reports(connection: &Connection, limit: u32) -> Result<Vec<StoredReport>, StateFileError> {
    let sql = format!(
        "SELECT stage, truth, repair, flag_version, wanted, run, started_at, ended_at, report, report_hash \
         FROM (SELECT * FROM verifications WHERE report IS NOT NULL AND sum IS {VERIFICATION}) \
         JOIN runs ON runs.id = run ORDER BY run DESC LIMIT ?1"
    );
    read::collect(connection, &sql, [limit], |row| {
        Ok(StoredReport {
            run: RunId(row.get(5)?),
            parameters: parameters_from(row, 0)?,
            began_at: row.get(6)?,
            ended_at: row.get(7)?,
            json: row.get(8)?,
            hash: row.get(9)?,
        })
    })
}

pub(super) fn newest(connection: &Connection) -> Result<Option<VerificationRecord>, StateFileError> {
    let run: Option<i64> = connection.query_row("SELECT max(run) FROM verifications", [], |row| row.get(0))?;
    match run {
        Some(run) => verification(connection, read::run(connection, RunId(run))?),
        None => Ok(None),
    }
}
