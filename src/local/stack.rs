//! Runs the engine, the proxy and the sample table together, for `backfill local` and `backfill demo`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::capacity::{Model, ModelSpec};
use super::proxy::{Proxy, ProxyOptions};
use super::sqlite::SampleLoad;
use super::{Engine, EngineOptions, LocalError, sample};

/// The `Limit` that the proxy adds to a `Scan`. Without a `Limit`, the engine reads the whole remaining segment for
/// every page. In the sample table, this many items take about one megabyte, which is the maximum size of a page in
/// DynamoDB.
const PAGE_LIMIT: u32 = 1_000;

/// The options of a start: the content to serve, and the address to listen on.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// The address to listen on; `None` means 127.0.0.1. Listening on any other address requires the proxy.
    pub listen: Option<IpAddr>,
    /// The port on that address; 0 picks any available port.
    pub port: u16,
    /// The database file; `None` keeps everything in memory.
    pub db: Option<PathBuf>,
    /// Number of items to load into the sample table ([`sample::TABLE`]) if the table does not exist yet.
    pub items: Option<u64>,
    /// The seed of the sample table; equal seeds produce equal tables.
    pub seed: u64,
    /// Whether to start the proxy. The proxy counts requests, injects faults and indexes new tables.
    pub proxy: bool,
    /// The capacity model that throttles requests to the table. `None` means that nothing is throttled. With a model,
    /// the proxy starts even if `proxy` is false.
    pub capacity: Option<ModelSpec>,
}

/// The running servers. Dropping this value stops them.
pub struct Local {
    proxy: Option<Proxy>,
    engine: Engine,
    table: Option<TableReport>,
}

/// The sample table's name and number of items, and whether this start loaded the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The table's name.
    pub table: &'static str,
    /// Whether this start loaded the table.
    pub origin: SampleOrigin,
    /// Number of items in the table.
    pub items: u64,
    /// The duration of the load; zero if nothing was loaded.
    pub load_time: Duration,
}

/// Whether this start loaded the sample table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleOrigin {
    /// The table did not exist, so this start created and loaded it.
    Loaded,
    /// An earlier load was killed before its end. This start repeated the load from the beginning.
    Reloaded,
    /// The table already existed, and this start did not change it.
    Existing,
}

/// Formats the report as one line that says whether this start loaded the table.
impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            SampleOrigin::Loaded => write!(f, "loaded in {:.1} s", self.load_time.as_secs_f64()),
            SampleOrigin::Reloaded => f.write_str("loaded again because an earlier load had not finished"),
            SampleOrigin::Existing => f.write_str("kept from an earlier start"),
        }
    }
}

impl Local {
    /// Starts the engine, loads the sample table if requested, and then starts to answer requests.
    ///
    /// Before the table is created for a load, a record of the load is stored in the database. When the load is
    /// complete, the record is removed. If a later start finds such a record, the start deletes the table and loads the
    /// table again. The new load uses the recorded seed and number of items, unless the options request different ones.
    /// Deleting the table is safe, because an unfinished table was never served.
    pub fn start(options: LocalOptions) -> Result<Local, LocalError> {
        let proxy = options.proxy || options.capacity.is_some();
        let engine_port = if proxy { 0 } else { options.port };
        // Bind the port before the load, because a load can take long. If the port is in use, the start then fails
        // before the load instead of after it.
        let listen = options.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = if proxy { Some(super::server::Port::bind(listen, options.port)?) } else { None };
        let mut engine = Engine::open(EngineOptions { db: options.db.clone(), port: engine_port })?;
        let table = prepare_table(&engine, &options)?;
        engine.serve()?;
        let proxy = match port {
            Some(port) => Some(Proxy::serve(port, proxy_options(&engine, options.port))?),
            None => None,
        };
        if let Some(proxy) = &proxy {
            proxy.set_model(options.capacity.map(Model::new));
        }
        Ok(Local { proxy, engine, table })
    }

    /// Returns the endpoint URL that clients should use.
    pub fn endpoint(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.engine.endpoint(), Proxy::endpoint)
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the proxy in front of the engine, or `None` if the proxy was not started.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Returns the report on the sample table, if the table was requested or if this start repeated an unfinished load.
    pub fn table(&self) -> Option<&TableReport> {
        self.table.as_ref()
    }

    /// Stops the proxy and then the engine, in bounded time.
    pub fn stop(self) {}
}

fn proxy_options(engine: &Engine, port: u16) -> ProxyOptions {
    let store = engine.store().clone();
    let index = move |table: &str| {
        if let Err(why) = store.index(table) {
            tracing::warn!(table, %why, "cannot index the new table; its parallel scans will be slow");
        }
    };
    ProxyOptions {
        port,
        upstream: engine.endpoint(),
        on_table_created: Some(Arc::new(index)),
        page_limit: Some(PAGE_LIMIT),
    }
}

fn prepare_table(engine: &Engine, options: &LocalOptions) -> Result<Option<TableReport>, LocalError> {
    let requested = options.items.map(|items| SampleLoad { seed: options.seed, items });
    let unfinished = engine.store().unfinished_load(sample::TABLE)?;
    let Some(load) = requested.or(unfinished) else { return Ok(None) };
    if unfinished.is_none()
        && let Some(items) = engine.count(sample::TABLE)?
    {
        let origin = SampleOrigin::Existing;
        return Ok(Some(TableReport { table: sample::TABLE, origin, items, load_time: Duration::ZERO }));
    }
    let began = Instant::now();
    let items = load_table(engine, load)?;
    let origin = if unfinished.is_some() { SampleOrigin::Reloaded } else { SampleOrigin::Loaded };
    Ok(Some(TableReport { table: sample::TABLE, origin, items, load_time: began.elapsed() }))
}

/// Loads the sample table from the start. If the process crashes during the load, the record remains, and the next
/// start loads the table again.
fn load_table(engine: &Engine, load: SampleLoad) -> Result<u64, LocalError> {
    let store = engine.store();
    store.record_load(sample::TABLE, load)?;
    engine.delete_table(sample::TABLE)?;
    // Create the index after the load, because updating the index during the load would cost more.
    engine.create_unindexed(&sample::create_table_request(sample::TABLE))?;
    let items = engine.load(sample::TABLE, sample::items(load.seed, load.items))?;
    store.index(sample::TABLE)?;
    store.remove_load_record(sample::TABLE)?;
    Ok(items)
}
