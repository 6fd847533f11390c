//! Read-only access to a state file that a different process may own. The access works during a run, and also after the
//! run's process has died.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::{
    DivergedRecord, EventRecord, FailureRecord, Identity, ListQuery, LockHolder, OpenWork, PreImageRecord, RunId,
    RunProgress, RunRecord, SegmentState, StateSummary, StoreError, StoredFact, UnreadableRow,
};
use super::error::{StateFileError, io_error};
use super::lock::Lock;
use super::{accepted, baseline, events, journal, journal_list, layout, open, read, siblings, spend};

/// A state file, opened read-only. Reading blocks no other process. A reader takes the file's lock only for a moment,
/// to find out whether another process holds it.
#[derive(Debug)]
pub struct StateFile {
    connection: Connection,
    path: PathBuf,
    version: u32,
}

impl StateFile {
    /// Opens a state file. The file may belong to any plan. [`StateSummary::identity`] contains the plan to which the
    /// file belongs.
    ///
    /// Returns [`StoreError::Io`] if the file does not exist or cannot be read. Returns [`StoreError::Foreign`] if the
    /// file belongs to a different program, or to a newer version of this program. Returns [`StoreError::Corrupt`] if
    /// the file is damaged.
    pub fn open(path: &Path) -> Result<StateFile, StoreError> {
        siblings::refuse_foreign_file(path)?;
        // Resolve links, because the lock file is next to the real file.
        let path = &std::fs::canonicalize(path).map_err(|e| io_error(path, "inspect the state file", &e))?;
        siblings::refuse_foreign_siblings(path)?;
        let opening = |failed: StateFileError| failed.explain(path, "opening it");
        let connection = open_for_reading(path).map_err(opening)?;
        let version = layout::check_version(&connection, path, layout::LAYOUT_VERSION)?;
        layout::create_compatibility_views(&connection, version).map_err(opening)?;
        let seen = layout::seen_by_reader(version);
        open::refuse_damaged(&connection, path, seen, false, || Lock::last_commit_count(path)).map_err(opening)?;
        let version = u32::try_from(version).unwrap_or(u32::MAX);
        Ok(StateFile { connection, path: path.to_owned(), version })
    }

    /// Refuses a file of a different plan or table, as an owner does when opening the file. Accepts a file whose
    /// migration has not begun, because any plan may still use such a file.
    pub fn check_identity(&self, ours: &Identity) -> Result<(), StoreError> {
        if self.has_begun()? { open::check_identity(&self.connection, &self.path, ours) } else { Ok(()) }
    }

    /// Returns the data that `status` shows. All of the file's data is read in one transaction.
    pub fn summary(&self) -> Result<StateSummary, StoreError> {
        let holder = Lock::holder(&self.path);
        self.read(|connection| self.summarize(connection, holder))
    }

    /// Returns the data that `status` shows. `holder` is the process that owned the file before the transaction began.
    pub(super) fn summarize(
        &self,
        connection: &Connection,
        holder: Option<LockHolder>,
    ) -> Result<StateSummary, StateFileError> {
        let (identity, created_at) = read::read_identity(connection)?;
        let runs = read::runs(connection)?;
        let current = match runs.last() {
            None => None,
            Some(run) => {
                let has_no_holder = holder.is_none() && Lock::holder(&self.path).is_none();
                Some(RunProgress {
                    totals: read::totals(connection, run)?,
                    spend: spend::record(connection, run, has_no_holder)?,
                    accepted: accepted::findings_of_run(connection, run.id)?,
                    // `holder` was read before the transaction, and the holder is read again during the transaction.
                    // With only one of these reads, a process that starts or ends during the transaction could be
                    // reported as dead.
                    died: run.open_session && has_no_holder,
                    run: run.clone(),
                })
            }
        };
        let open = read::open_work(connection, None)?;
        Ok(StateSummary {
            path: self.path.clone(),
            layout_version: self.version,
            identity,
            created_at,
            runs,
            current,
            open_failures: open.failures,
            open_diverged: open.diverged,
            pre_images: journal::pre_image_count(connection, None)?,
            holder,
        })
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the newest run of a phase, and the preflight findings that the operator accepted for that run.
    pub fn current_run(&self, phase: &str) -> Result<Option<(RunRecord, Vec<String>)>, StoreError> {
        self.read(|connection| {
            let Some(run) = read::current_run(connection, phase)? else { return Ok(None) };
            let accepted = accepted::findings_of_run(connection, run.id)?;
            Ok(Some((run, accepted)))
        })
    }

    /// Returns failures, oldest first. Fails if a record cannot be read.
    pub fn failures(&self, query: ListQuery) -> Result<Vec<FailureRecord>, StoreError> {
        self.read(|connection| read::require_readable(read::failures(connection, query)?))
    }

    /// Returns failures, oldest first. If a record cannot be read, the other records are still listed.
    pub fn list_failures(&self, query: ListQuery) -> Result<Vec<Result<FailureRecord, UnreadableRow>>, StoreError> {
        self.read(|connection| read::failures(connection, query))
    }

    /// Returns pre-images, oldest first. Omits pre-images of refused writes. If a record cannot be read, the other
    /// records are still listed.
    pub fn journal(&self, query: ListQuery) -> Result<Vec<Result<PreImageRecord, UnreadableRow>>, StoreError> {
        self.read(|connection| journal_list::list(connection, query))
    }

    /// Returns the number of items with an open failure and the number of open diverged items, in all runs of a phase.
    pub fn open_work_of_phase(&self, phase: &str) -> Result<OpenWork, StoreError> {
        self.read(|connection| read::open_work_of_phase(connection, phase))
    }

    /// Forwards to [`History::unrestorable_targets`](super::super::History::unrestorable_targets).
    pub fn unrestorable_targets(&self) -> Result<Option<u64>, StoreError> {
        self.read(baseline::unrestorable_targets)
    }

    /// Returns diverged items, oldest first. Fails if a record cannot be read.
    pub fn diverged(&self, query: ListQuery) -> Result<Vec<DivergedRecord>, StoreError> {
        self.read(|connection| read::require_readable(read::diverged(connection, query)?))
    }

    /// Returns diverged items, oldest first. If a record cannot be read, the other records are still listed.
    pub fn list_diverged(&self, query: ListQuery) -> Result<Vec<Result<DivergedRecord, UnreadableRow>>, StoreError> {
        self.read(|connection| read::diverged(connection, query))
    }

    /// Returns up to `limit` segments of a run that are not pending and have a number larger than `after`, in ascending
    /// order.
    pub fn segments_after(
        &self,
        run: RunId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, SegmentState)>, StoreError> {
        self.read(|connection| read::segments_after(connection, run, after, limit))
    }

    /// Returns the events of the migration, oldest first.
    pub fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.read(events::events)
    }

    /// Returns the plan and the table that the file belongs to.
    pub fn identity(&self) -> Result<Identity, StoreError> {
        self.read(|connection| read::read_identity(connection).map(|(identity, _)| identity))
    }

    /// Returns whether the migration has begun.
    pub fn has_begun(&self) -> Result<bool, StoreError> {
        self.read(events::has_begun)
    }

    /// Returns a stored fact; `None` if it was never stored.
    pub fn fact(&self, fact: StoredFact) -> Result<Option<String>, StoreError> {
        self.read(|connection| events::fact(connection, fact))
    }

    /// Reads in one transaction, so that all results are from the same moment. Commits the transaction at the end. A
    /// rollback of the transaction would drop the temporary table that [`journal::history_of`] keeps for later calls.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StateFileError>) -> Result<T, StoreError> {
        let read = || {
            let transaction = self.connection.unchecked_transaction()?;
            self.refuse_migrated(&transaction)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        read().map_err(|failed: StateFileError| failed.explain(&self.path, "reading it"))
    }

    /// Refuses a file that another process has migrated since this connection opened the file. The views of the old
    /// layout do not fit the new layout.
    fn refuse_migrated(&self, connection: &Connection) -> Result<(), StateFileError> {
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == self.version {
            return Ok(());
        }
        Err(StateFileError::Store(StoreError::Locked(format!(
            "another process migrated the state file {} to a newer layout while this command read it. This command \
             changed nothing. Run it again.",
            self.path.display()
        ))))
    }
}

/// Opens a file for reading. If a file uses a write-ahead log, SQLite needs additional files next to it, even for a
/// reader. If the reader lacks the permission to create these files, a state file without a log is opened as immutable.
/// This is safe, because such a file contains all of the data.
fn open_for_reading(path: &Path) -> Result<Connection, StateFileError> {
    let open = |path: &Path, flags| -> Result<Connection, StateFileError> {
        let connection = open::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | flags)?;
        read::check_readable(&connection)?;
        Ok(connection)
    };
    let opened = open(path, OpenFlags::empty());
    if let Err(StateFileError::Sql(error)) = &opened
        && cannot_create_files(error)
        && !siblings::has_log(path)
    {
        return open(Path::new(&immutable_uri(path)), OpenFlags::SQLITE_OPEN_URI);
    }
    opened
}

fn cannot_create_files(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for c in path.to_string_lossy().chars() {
        match c {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            c => uri.push(c),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::HistoryLookup;
    use crate::state::sqlite::tests::{identity, scratch};

    /// A dry run of a rollback reads the history of every page. If each read verified the whole file, the total time
    /// would be quadratic.
    #[test]
    fn checksums_are_verified_once_per_connection() {
        let dir = scratch();
        let path = dir.path().join("s.db");
        open::open_owned(&path, &identity(), open::NOW).unwrap().close();
        let file = StateFile::open(&path).unwrap();
        assert!(
            file.read(|connection| journal::history_of(connection, &[], HistoryLookup::ForDecision))
                .unwrap()
                .is_empty()
        );
        let found = "SELECT EXISTS (SELECT 1 FROM sqlite_temp_schema WHERE name = 'doubtful')";
        let kept = file.read(|connection| Ok(connection.query_row(found, [], |row| row.get::<_, bool>(0))?));
        assert!(kept.unwrap(), "the result of the check is kept for the next page");
    }

    /// Simulates a directory without write permission, by telling SQLite that the file is immutable. A test cannot
    /// remove the permission instead, because a test that runs as root has every permission.
    #[test]
    fn an_immutable_file_with_an_odd_name_is_readable() {
        let dir = scratch();
        let path = dir.path().join("odd name %41?#.db");
        open::open_owned(&path, &identity(), open::NOW).unwrap().close();
        let connection = open::connect(
            Path::new(&immutable_uri(&path)),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
        )
        .unwrap();
        assert_eq!(read::read_identity(&connection).unwrap().0, identity());
        assert!(!siblings::sibling(&path, "-wal").exists() && !siblings::sibling(&path, "-shm").exists());
    }
}
