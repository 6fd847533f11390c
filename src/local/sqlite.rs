//! Operations that the embedded engine's interface does not offer. This module opens a second SQLite connection to the
//! engine's database. It recognizes files that the engine did not create, indexes tables for parallel scans, and
//! records unfinished loads.
//!
//! The engine orders a parallel scan by `(hash_prefix, pk, sk)` but has no index on these columns. Without the index
//! that this module adds, each page reads and sorts the whole table, so a scan takes quadratic time. For 16 segments
//! over 200,000 items, it takes 15 s without the index, and 1 s with it. In SQLite, any connection to the same database
//! can add an index. If the engine drops the table, SQLite drops the index too. Within `local/`, only this file uses
//! `rusqlite`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::LocalError;

/// The maximum time that index creation waits for the engine's current write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of the next in-memory database of this process. Each database needs its own name, because SQLite opens
/// the same database for equal names.
static NEXT_MEMORY_DATABASE: AtomicU64 = AtomicU64::new(0);

/// The SQL table that lists the loads that have begun but not finished. The engine creates a table in several
/// transactions and cannot rename a table, so a load must be recorded before its table is created.
const CREATE_LOADS_TABLE: &str = "CREATE TABLE IF NOT EXISTS _backfill_loads \
                     (table_name TEXT PRIMARY KEY, seed TEXT NOT NULL, items TEXT NOT NULL)";

/// The parameters for loading a sample table: the seed and the number of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SampleLoad {
    pub(super) seed: u64,
    pub(super) items: u64,
}

/// The location of the engine's SQLite database: a file, or a named database in this process's memory.
#[derive(Debug, Clone)]
pub(super) struct EngineStore {
    location: String,
}

impl EngineStore {
    /// Returns the location of a database file.
    pub(super) fn file(path: &Path) -> Result<EngineStore, LocalError> {
        // SQLite cannot mistake an absolute path for a `file:` URI.
        let absolute = std::path::absolute(path).map_err(|e| file_error(path, e))?;
        let location =
            absolute.into_os_string().into_string().map_err(|_| file_error(path, "its path is not UTF-8"))?;
        Ok(EngineStore { location })
    }

    /// Returns the location of a new database in memory, to which this process can open a second connection. The name
    /// `:memory:` would not allow a second connection.
    pub(super) fn memory() -> EngineStore {
        let number = NEXT_MEMORY_DATABASE.fetch_add(1, Ordering::Relaxed);
        EngineStore { location: format!("file:/backfill-{}-{number}?vfs=memdb", std::process::id()) }
    }

    /// Returns the name under which the engine opens the database.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Creates the table's index for parallel scans, unless the index exists.
    pub(super) fn index(&self, table: &str) -> Result<(), LocalError> {
        let quoted = quoted(table);
        let index = quoted_index(table);
        let sql = format!("CREATE INDEX IF NOT EXISTS {index} ON {quoted} (hash_prefix, pk, sk)");
        self.connect()?.execute_batch(&sql).map_err(sqlite)
    }

    /// Indexes every table of the engine.
    pub(super) fn index_all(&self) -> Result<(), LocalError> {
        let tables = self.tables().map_err(sqlite)?;
        tables.iter().try_for_each(|table| self.index(table))
    }

    /// Records durably that a load of the table has begun. Call this function before the table is created.
    pub(super) fn record_load(&self, table: &str, load: SampleLoad) -> Result<(), LocalError> {
        let connection = self.connect()?;
        connection.execute_batch(CREATE_LOADS_TABLE).map_err(sqlite)?;
        let sql = "INSERT OR REPLACE INTO _backfill_loads (table_name, seed, items) VALUES (?1, ?2, ?3)";
        connection.execute(sql, (table, load.seed.to_string(), load.items.to_string())).map_err(sqlite)?;
        Ok(())
    }

    /// Removes the record that [`EngineStore::record_load`] stored, because the table is now complete.
    pub(super) fn remove_load_record(&self, table: &str) -> Result<(), LocalError> {
        let connection = self.connect()?;
        connection.execute("DELETE FROM _backfill_loads WHERE table_name = ?1", [table]).map_err(sqlite)?;
        Ok(())
    }

    /// Returns this table's unfinished load, or `None` if there is none.
    pub(super) fn unfinished_load(&self, table: &str) -> Result<Option<SampleLoad>, LocalError> {
        let connection = self.connect()?;
        connection.execute_batch(CREATE_LOADS_TABLE).map_err(sqlite)?;
        let mut statement =
            connection.prepare("SELECT seed, items FROM _backfill_loads WHERE table_name = ?1").map_err(sqlite)?;
        let rows = statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let Some((seed, items)) = rows.and_then(|mut rows| rows.next().transpose()).map_err(sqlite)? else {
            return Ok(None);
        };
        // Only this module writes the two numbers. Even if they cannot be parsed, the record means that the load is
        // unfinished.
        Ok(Some(SampleLoad { seed: seed.parse().unwrap_or_default(), items: items.parse().unwrap_or_default() }))
    }

    fn tables(&self) -> rusqlite::Result<Vec<String>> {
        let connection = Connection::open(&self.location)?;
        let mut statement = connection.prepare("SELECT table_name FROM _tables")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    }

    fn connect(&self) -> Result<Connection, LocalError> {
        let connection = Connection::open(&self.location).map_err(sqlite)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        Ok(connection)
    }
}

/// Refuses an existing file that is not a database of the embedded engine. Without this check, the engine would add its
/// own tables to any SQLite file.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), LocalError> {
    let foreign = |what| Err(LocalError::Foreign { path: path.to_owned(), what });
    match table_names(path) {
        Ok(names) if names.is_empty() => Ok(()),
        Ok(names) if ["_config", "_tables"].iter().all(|ours| names.iter().any(|name| name == ours)) => Ok(()),
        Ok(_) => foreign("an SQLite file of another program"),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => foreign("not an SQLite file"),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => foreign("a damaged SQLite file"),
        Err(e) => Err(file_error(path, e)),
    }
}

fn table_names(path: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

pub(super) fn file_error(path: &Path, why: impl ToString) -> LocalError {
    LocalError::File { path: PathBuf::from(path), why: why.to_string() }
}

fn sqlite(why: rusqlite::Error) -> LocalError {
    LocalError::Sqlite(why.to_string())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_index(table: &str) -> String {
    quoted(&format!("{table}::hash"))
}

#[cfg(test)]
mod tests {
    use dynoxide::storage::ScanParams;
    use dynoxide::storage_backend::sql_builders;

    use super::super::{Engine, EngineOptions, sample};
    use super::*;

    /// Returns SQLite's query plan for the second or a later page of a parallel scan. The SQL statement comes from the
    /// engine's own code.
    fn page_plan(store: &EngineStore, table: &str) -> String {
        let params = ScanParams {
            limit: Some(100),
            exclusive_start_pk: Some("S:CUSTOMER#1"),
            exclusive_start_sk: Some("S:PROFILE"),
            segment: Some(3),
            total_segments: Some(16),
            ..ScanParams::default()
        };
        let (sql, _) = sql_builders::scan_items(table, &params);
        let connection = store.connect().unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = statement.parameter_count();
        let blanks = vec!["00"; count];
        let rows = statement.query_map(rusqlite::params_from_iter(blanks), |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_page_of_a_parallel_scan_searches_the_index_and_sorts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for db in [None, Some(directory.path().join("t.db"))] {
            let engine = Engine::start(EngineOptions { db, port: 0 }).unwrap();
            engine.create_unindexed(&sample::create_table_request("we-ird.t")).unwrap();
            let before = page_plan(engine.store(), "we-ird.t");
            assert!(before.contains("TEMP B-TREE"), "without our index, the plan must contain a sort: {before}");

            engine.store().index_all().unwrap();
            let after = page_plan(engine.store(), "we-ird.t");
            assert!(after.contains("USING INDEX we-ird.t::hash ((hash_prefix,pk,sk)>"), "{after}");
            assert!(!after.contains("TEMP B-TREE"), "{after}");
        }
    }
}
