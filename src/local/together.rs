//! Engine, layer in front and sample table together: what `backfill local` and `backfill demo` run.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::beneath::Load;
use super::capacity::{Model, ModelSpec};
use super::front::{Front, FrontOptions};
use super::{Engine, EngineOptions, LocalError, sample};

/// A `Scan` without a `Limit` makes the engine read the rest of the segment for each page, so the layer in front asks for
/// this many items: about a page's megabyte of the sample table.
const PAGE_LIMIT: u32 = 1_000;

/// What to serve, and where.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// The address to listen on; `None` is 127.0.0.1. Only the layer in front can listen on another one.
    pub listen: Option<IpAddr>,
    /// Port on that address; 0 takes any free one.
    pub port: u16,
    /// The database file; `None` keeps everything in memory.
    pub db: Option<PathBuf>,
    /// Load the sample table, [`sample::TABLE`], with so many items, if it is not there.
    pub items: Option<u64>,
    /// Which sample table: equal seeds make equal tables.
    pub seed: u64,
    /// Stand the layer in front that counts, injects faults and indexes new tables.
    pub front: bool,
    /// Throttle as a table of this capacity would; it takes the layer in front, which then stands there in any case.
    pub capacity: Option<ModelSpec>,
}

/// The running whole. Dropping it stops it.
pub struct Local {
    front: Option<Front>,
    engine: Engine,
    table: Option<TableReport>,
}

/// What the sample table holds, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// The table's name.
    pub table: &'static str,
    /// How it came there.
    pub content: Content,
    /// Items in it.
    pub items: u64,
    /// How long the load took; zero where nothing was loaded.
    pub took: Duration,
}

/// How the sample table came to be as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It was not there, and was created and loaded.
    Loaded,
    /// An earlier load had been killed before its end; it was done again, from the start.
    LoadedAgain,
    /// It was there, and was left as it is.
    Existing,
}

/// How it came there, in words.
impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Loaded => write!(f, "loaded in {:.1} s", self.took.as_secs_f64()),
            Content::LoadedAgain => f.write_str("loaded again: an earlier load had not finished"),
            Content::Existing => f.write_str("there already, from an earlier start"),
        }
    }
}

impl Local {
    /// Starts the engine, loads the sample table if it is asked for, and then begins to answer.
    ///
    /// A load notes itself in the database before it creates the table and takes the note away at its end. A start that
    /// finds the note deletes the table and loads it again, with the noted seed and number of items unless others are
    /// asked for: what was noted was never served.
    pub fn start(options: LocalOptions) -> Result<Local, LocalError> {
        let front = options.front || options.capacity.is_some();
        let engine_port = if front { 0 } else { options.port };
        // The port comes first: one that is taken must not cost the time of a load.
        let listen = options.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = if front { Some(super::server::Port::take_of(listen, options.port)?) } else { None };
        let mut engine = Engine::open(EngineOptions { db: options.db.clone(), port: engine_port })?;
        let table = prepare_table(&engine, &options)?;
        engine.serve()?;
        let front = match port {
            Some(port) => Some(Front::serve(port, front_options(&engine, options.port))?),
            None => None,
        };
        if let Some(front) = &front {
            front.set_model(options.capacity.map(Model::new));
        }
        Ok(Local { front, engine, table })
    }

    /// The endpoint URL that clients should use.
    pub fn endpoint(&self) -> String {
        self.front.as_ref().map_or_else(|| self.engine.endpoint(), Front::endpoint)
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The layer in front of it, if there is one.
    pub fn front(&self) -> Option<&Front> {
        self.front.as_ref()
    }

    /// What the sample table holds, if it was asked for or an unfinished load of it was found.
    pub fn table(&self) -> Option<&TableReport> {
        self.table.as_ref()
    }

    /// Stops the layer in front and then the engine, in bounded time.
    pub fn stop(self) {}
}

fn front_options(engine: &Engine, port: u16) -> FrontOptions {
    let store = engine.store().clone();
    let index = move |table: &str| {
        if let Err(why) = store.index(table) {
            tracing::warn!(table, %why, "the new table could not be indexed; parallel scans of it will be slow");
        }
    };
    FrontOptions {
        port,
        upstream: engine.endpoint(),
        on_table_created: Some(Arc::new(index)),
        page_limit: Some(PAGE_LIMIT),
    }
}

fn prepare_table(engine: &Engine, options: &LocalOptions) -> Result<Option<TableReport>, LocalError> {
    let asked = options.items.map(|items| Load { seed: options.seed, items });
    let unfinished = engine.store().unfinished_load(sample::TABLE)?;
    let Some(load) = asked.or(unfinished) else { return Ok(None) };
    if unfinished.is_none()
        && let Some(items) = engine.count(sample::TABLE)?
    {
        let content = Content::Existing;
        return Ok(Some(TableReport { table: sample::TABLE, content, items, took: Duration::ZERO }));
    }
    let began = Instant::now();
    let items = load_table(engine, load)?;
    let content = if unfinished.is_some() { Content::LoadedAgain } else { Content::Loaded };
    Ok(Some(TableReport { table: sample::TABLE, content, items, took: began.elapsed() }))
}

/// Loads the sample table anew. A crash anywhere in here leaves the note, and so is noticed.
fn load_table(engine: &Engine, load: Load) -> Result<u64, LocalError> {
    let store = engine.store();
    store.mark_load(sample::TABLE, load)?;
    engine.delete_table(sample::TABLE)?;
    // Indexed at the end: that costs less than to keep the index in order meanwhile.
    engine.create_unindexed(&sample::create_table_request(sample::TABLE))?;
    let items = engine.load(sample::TABLE, sample::items(load.seed, load.items))?;
    store.index(sample::TABLE)?;
    store.unmark_load(sample::TABLE)?;
    Ok(items)
}
