//! Reads a whole migration for a report, in one transaction.

use rusqlite::{Connection, params};

use super::super::{
    DivergedGroup, FailureGroup, MigrationRecord, RecordLimits, RunDetails, RunId, RunProgress, RunRecord, SegmentCell,
    StoreError, WorkGroups,
};
use super::checksum::{DIVERGED, FAILURE};
use super::error::StateFileError;
use super::lock::Lock;
use super::state_file::StateFile;
use super::{accepted, deleted, events, read, spend, verify};
use crate::item::ItemKey;

impl StateFile {
    /// Returns everything that a report needs. All of the data is read in one transaction.
    pub fn migration(&self, limits: RecordLimits) -> Result<MigrationRecord, StoreError> {
        let holder = Lock::holder(self.path());
        self.read(|connection| {
            let summary = self.summarize(connection, holder)?;
            let details = |run: &RunRecord| details(connection, run, summary.current.as_ref(), limits.cells);
            Ok(MigrationRecord {
                runs: summary.runs.iter().map(details).collect::<Result<_, _>>()?,
                events: events::events(connection)?,
                facts: events::facts(connection)?,
                reports: verify::reports(connection, limits.reports)?,
                failures: if limits.groups == 0 { unread() } else { failures(connection, limits)? },
                diverged: if limits.groups == 0 { unread() } else { diverged(connection, limits)? },
                derived_items: limits.derived_items.then(|| deleted::derived_items(connection)).transpose()?,
                summary,
            })
        })
    }
}

fn details(
    connection: &Connection,
    run: &RunRecord,
    current: Option<&RunProgress>,
    limit: u32,
) -> Result<RunDetails, StateFileError> {
    let progress = match current.filter(|current| current.run.id == run.id) {
        Some(current) => current.clone(),
        None => RunProgress {
            totals: read::totals(connection, run)?,
            spend: spend::record(connection, run, false)?,
            accepted: accepted::findings_of_run(connection, run.id)?,
            // Only the newest run can have an open session.
            died: false,
            run: run.clone(),
        },
    };
    let mut cells = SegmentCell::empty(run.total_segments, limit);
    let sql = "SELECT segment * ?2 / ?3, count(*) FILTER (WHERE status = 'scanning'), \
               count(*) FILTER (WHERE status = 'done'), sum(pages), sum(scanned) \
               FROM segments WHERE run = ?1 GROUP BY 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![run.id.0, cells.len(), run.total_segments])?;
    while let Some(row) = rows.next()? {
        let outside = || StateFileError::Row(format!("run {} has too many segments", run.id.0));
        let cell = cells.get_mut(row.get::<_, usize>(0)?).ok_or_else(outside)?;
        cell.scanning = row.get(1)?;
        cell.done = row.get(2)?;
        cell.pages = row.get(3)?;
        cell.scanned = row.get(4)?;
    }
    Ok(RunDetails { progress, cells })
}

/// Returns empty groups for a reader that requests no groups. Does not count the records, because counting them would
/// take a long time.
fn unread<T>() -> WorkGroups<T> {
    WorkGroups { groups: Vec::new(), unlisted: 0, damaged: 0 }
}

fn failures(connection: &Connection, limits: RecordLimits) -> Result<WorkGroups<FailureGroup>, StateFileError> {
    let sql = format!(
        "SELECT run, outcome, reason, count(*) FILTER (WHERE status = 'open'), \
         count(*) FILTER (WHERE status = 'resolved') FROM failures WHERE sum IS {FAILURE} \
         GROUP BY run, outcome, reason ORDER BY 4 DESC, 5 DESC, run, outcome, reason LIMIT ?1"
    );
    let groups = read::collect(connection, &sql, [limits.groups], |row| {
        let (run, outcome, reason): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let keys = format!(
            "SELECT key FROM failures WHERE sum IS {FAILURE} AND run = ?1 AND outcome = ?2 AND reason = ?3 \
             AND status = 'open' ORDER BY id LIMIT ?4"
        );
        Ok(FailureGroup {
            keys: keys_of(connection, &keys, params![run, outcome, reason, limits.keys])?,
            run: RunId(run),
            outcome: read::outcome_from(row, 1)?,
            reason,
            open: row.get(3)?,
            resolved: row.get(4)?,
        })
    })?;
    let listed = groups.iter().map(|group| group.open + group.resolved).sum();
    work_groups(connection, "failures", FAILURE, groups, listed)
}

fn diverged(connection: &Connection, limits: RecordLimits) -> Result<WorkGroups<DivergedGroup>, StateFileError> {
    // The items of a group can have different derived items.
    let of_item = "iif(paths LIKE '{%', json_extract(paths, '$.paths'), paths)";
    let sql = format!(
        "SELECT run, {of_item}, count(*) FILTER (WHERE status = 'open'), count(*) FILTER (WHERE status = 'resolved') \
         FROM diverged WHERE sum IS {DIVERGED} GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC, 1, 2 LIMIT ?1"
    );
    let groups = read::collect(connection, &sql, [limits.groups], |row| {
        let (run, paths): (i64, String) = (row.get(0)?, row.get(1)?);
        let keys = format!(
            "SELECT key FROM diverged WHERE sum IS {DIVERGED} AND run = ?1 AND {of_item} = ?2 AND status = 'open' \
             ORDER BY id LIMIT ?3"
        );
        Ok(DivergedGroup {
            keys: keys_of(connection, &keys, params![run, paths, limits.keys])?,
            run: RunId(run),
            paths: read::paths_from(row, 1)?,
            open: row.get(2)?,
            resolved: row.get(3)?,
        })
    })?;
    let listed = groups.iter().map(|group| group.open + group.resolved).sum();
    work_groups(connection, "diverged", DIVERGED, groups, listed)
}

fn keys_of(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<ItemKey>, StateFileError> {
    read::collect(connection, sql, params, |row| read::key_from(row, 0))
}

fn work_groups<T>(
    connection: &Connection,
    table: &str,
    sum: &str,
    groups: Vec<T>,
    listed: u64,
) -> Result<WorkGroups<T>, StateFileError> {
    let sql =
        format!("SELECT count(*) FILTER (WHERE sum IS {sum}), count(*) FILTER (WHERE sum IS NOT {sum}) FROM {table}");
    let (readable, damaged): (u64, u64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(WorkGroups { groups, unlisted: readable.saturating_sub(listed), damaged })
}
