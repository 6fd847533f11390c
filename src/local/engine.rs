//! The embedded engine: dynoxide on a loopback port, with its own thread and runtime.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::delete_table::DeleteTableRequest;
use dynoxide::actions::describe_table::DescribeTableRequest;
use dynoxide::{AttributeValue, Database, DynoxideError, ImportOptions};
use serde_json::Value as Json;

use super::LocalError;
use super::server::{Port, Server};
use super::sqlite::{EngineStore, file_error, refuse_foreign};
use crate::item::{Item, Num, Value};
use crate::locked::LockedFile;

/// Number of worker threads of the engine's runtime. A handler blocks its worker during an SQLite statement, and one
/// lock serializes all handlers. Meanwhile, the second worker reads requests and writes replies.
const WORKERS: usize = 2;

/// Number of items in one import transaction. With this number, the overhead of transactions and the memory for items
/// are both negligible.
const IMPORT_CHUNK: usize = 2_000;

/// The location of the engine's tables, and the port that the engine listens on.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The database file. If the file does not exist, the engine creates it with mode 0600. `None` keeps everything in
    /// memory (at most 1 GB).
    pub db: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 picks any available port.
    pub port: u16,
}

/// A running embedded engine. Dropping this value stops the engine.
///
/// With a database file, writes survive if the process is killed, but a power cut can lose the last writes. A client
/// can create a table directly at the endpoint, bypassing [`super::Proxy`] and [`Engine::create_table`]. Parallel scans
/// of such a table are slow until [`Engine::index_tables`] is called.
pub struct Engine {
    // Rust drops the fields in this order: first the server with its clone of the database, then the database, then the
    // file lock.
    server: Option<Server>,
    port: Option<Port>,
    address: SocketAddr,
    database: Database,
    store: EngineStore,
    _lock: Option<LockedFile>,
}

impl Engine {
    /// Opens the database and starts to serve it.
    ///
    /// Fails if the port is in use. Also fails if the file cannot be written, is in use by another process, or is not a
    /// database of this engine. In each of these cases, the file stays unchanged.
    pub fn start(options: EngineOptions) -> Result<Engine, LocalError> {
        let mut engine = Engine::open(options)?;
        engine.serve()?;
        Ok(engine)
    }

    /// Binds the port and opens the database. Clients can connect, but they wait for replies until [`Engine::serve`] is
    /// called.
    pub(super) fn open(options: EngineOptions) -> Result<Engine, LocalError> {
        let port = Port::bind_loopback(options.port)?;
        let (store, lock) = match &options.db {
            Some(path) => (EngineStore::file(path)?, Some(lock_database_file(path)?)),
            None => (EngineStore::memory(), None),
        };
        let database = Database::new(store.location()).map_err(|why| match &options.db {
            Some(path) => file_error(path, why),
            None => why.into(),
        })?;
        store.index_all()?;
        Ok(Engine { server: None, address: port.address(), port: Some(port), database, store, _lock: lock })
    }

    /// Starts to answer the requests of clients.
    pub(super) fn serve(&mut self) -> Result<(), LocalError> {
        if let Some(port) = self.port.take() {
            let database = self.database.clone();
            let serve = move |listener| dynoxide::server::serve_on(listener, database);
            self.server = Some(Server::spawn("local-engine", WORKERS, port, serve)?);
        }
        Ok(())
    }

    /// Returns the endpoint URL, for example `http://127.0.0.1:40001`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a table from the JSON of a `CreateTable` request, and indexes it for parallel scans.
    pub fn create_table(&self, request: &Json) -> Result<(), LocalError> {
        let name = self.create_unindexed(request)?;
        self.store.index(&name)
    }

    pub(super) fn create_unindexed(&self, request: &Json) -> Result<String, LocalError> {
        let request: CreateTableRequest = serde_json::from_value(request.clone()).map_err(|e| request_error(&e))?;
        let name = request.table_name.clone();
        self.database.create_table(request)?;
        Ok(name)
    }

    /// Deletes a table. A missing table is not an error.
    pub fn delete_table(&self, table: &str) -> Result<(), LocalError> {
        match self.database.delete_table(DeleteTableRequest { table_name: table.to_owned() }) {
            Ok(_) | Err(DynoxideError::ResourceNotFoundException(_)) => Ok(()),
            Err(why) => Err(why.into()),
        }
    }

    /// Returns the number of items in a table, or `None` if the table does not exist.
    pub fn count(&self, table: &str) -> Result<Option<u64>, LocalError> {
        match self.database.describe_table(DescribeTableRequest { table_name: table.to_owned() }) {
            Ok(description) => Ok(Some(description.table.item_count.unwrap_or(0).unsigned_abs())),
            Err(DynoxideError::ResourceNotFoundException(_)) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Puts items into a table in bulk, without HTTP. Replaces existing items that have the same keys. Returns the
    /// number of items that it put.
    ///
    /// The items become durable in chunks, in order. So if the process is killed, the table contains only complete
    /// chunks.
    pub fn load(&self, table: &str, items: impl IntoIterator<Item = Item>) -> Result<u64, LocalError> {
        let mut items = items.into_iter();
        // While one chunk is imported, the next chunk is generated. The two steps take about the same time, so running
        // them in parallel almost halves the duration of the load.
        let (send, chunks) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            let import = scope.spawn(move || self.import(table, chunks));
            loop {
                let chunk: Vec<_> = items.by_ref().take(IMPORT_CHUNK).map(to_engine_item).collect();
                // The send fails only if the import has failed. The import's error is returned below.
                if chunk.is_empty() || send.send(chunk).is_err() {
                    break;
                }
            }
            drop(send);
            import.join().unwrap_or_else(|_| Err(LocalError::Thread(io::Error::other("the import panicked"))))
        })
    }

    fn import(&self, table: &str, chunks: mpsc::Receiver<Vec<dynoxide::Item>>) -> Result<u64, LocalError> {
        let mut loaded = 0;
        for chunk in chunks {
            loaded += chunk.len() as u64;
            self.database.import_items(table, chunk, ImportOptions::default())?;
        }
        Ok(loaded)
    }

    /// Adds the index for parallel scans to every table that lacks it.
    pub fn index_tables(&self) -> Result<(), LocalError> {
        self.store.index_all()
    }

    /// Closes the port and the database in bounded time. Requests that have not arrived completely are dropped.
    /// Requests in progress have three seconds to finish.
    pub fn stop(self) {}

    pub(super) fn store(&self) -> &EngineStore {
        &self.store
    }
}

/// Locks the database file against a second process. Refuses a file that the engine did not create. If the file is
/// missing, creates it so that only its owner has access.
fn lock_database_file(path: &Path) -> Result<LockedFile, LocalError> {
    if path.exists() {
        // Check the file before locking it. Otherwise a lock file would appear next to another program's file.
        refuse_foreign(path)?;
    }
    // A lock on the database file itself would collide with SQLite's own locks.
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = open_private_file(Path::new(&lock_path)).map_err(|why| file_error(path, why))?;
    let lock = LockedFile::lock(lock).map_err(|(why, _)| match why {
        TryLockError::WouldBlock => LocalError::InUse { path: path.to_owned() },
        TryLockError::Error(why) => file_error(path, why),
    })?;
    open_private_file(path).map_err(|why| file_error(path, why))?;
    refuse_foreign(path)?;
    Ok(lock)
}

/// Opens a file for writing. If the file is missing, creates it so that only its owner has access.
fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the error for a request that the engine refused. The engine reports such errors through serde, with a prefix
/// that this function removes.
fn request_error(why: &serde_json::Error) -> LocalError {
    let text = why.to_string();
    LocalError::Engine(text.strip_prefix("VALIDATION:").unwrap_or(&text).to_owned())
}

fn to_engine_item(item: Item) -> HashMap<String, AttributeValue> {
    item.into_iter().map(|(name, value)| (name, to_engine(value))).collect()
}

fn to_engine(value: Value) -> AttributeValue {
    let number = |n: Num| n.as_str().to_owned();
    match value {
        Value::S(s) => AttributeValue::S(s),
        Value::N(n) => AttributeValue::N(number(n)),
        Value::B(b) => AttributeValue::B(b),
        Value::Bool(b) => AttributeValue::BOOL(b),
        Value::Null => AttributeValue::NULL(true),
        Value::Ss(set) => AttributeValue::SS(set),
        Value::Ns(set) => AttributeValue::NS(set.into_iter().map(number).collect()),
        Value::Bs(set) => AttributeValue::BS(set),
        Value::L(list) => AttributeValue::L(list.into_iter().map(to_engine).collect()),
        Value::M(map) => AttributeValue::M(to_engine_item(map)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locked::tests::while_processes_start;

    /// While a child process starts, it briefly shares every open file with this process, including the lock file. Even
    /// during that time, a released lock must be free.
    #[test]
    fn a_released_database_can_be_served_immediately() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.db");
        while_processes_start(|| {
            let lock = lock_database_file(&path).unwrap();
            assert!(matches!(lock_database_file(&path), Err(LocalError::InUse { .. })));
            drop(lock);
        });
    }
}
