//! Measures the duration of operations on a state file with a large journal: `status`, opening the file, reading the
//! figures that every step needs, preparing a rollback's first item, and converting a file of layout 1.
//!
//! Run it with `cargo bench --bench state [-- ROWS]`. The default is 1,500,000 rows. The benchmark needs no table.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::path::Path;
use std::time::{Duration, Instant};

use backfill::internals::change::{Digest, HistoryLookup, PreImage};
use backfill::internals::item::{ItemKey, Path as AttributePath, Value};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{BaselinePage, BeginMode, Identity, NewRun, PreImageRow, RunId, RunStatus};

/// Number of rows that one request adds.
const BATCH: u64 = 1_000;

/// Number of measurements of each figure.
const ROUNDS: usize = 7;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_500_000);
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, {} {}; {rows} rows, {ROUNDS} rounds", std::env::consts::OS, std::env::consts::ARCH);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("state.db");
    let began = Instant::now();
    let run = fill(&path, rows).await?;
    let bytes = std::fs::metadata(&path)?.len() >> 20;
    println!("  filled in {:.1} s: {bytes} MB", began.elapsed().as_secs_f64());

    let mut status = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let summary = StateFile::open(&path)?.summary()?;
        status.push(began.elapsed());
        assert_eq!(summary.pre_images, rows);
    }
    tell("status", status);

    let mut open = Vec::new();
    let mut step = Vec::new();
    let mut close = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let store = backfill::internals::state::open(&path, &identity(), clock)?;
        open.push(began.elapsed());
        let began = Instant::now();
        let found = (store.pre_image_count(run).await?, store.preexisting_count().await?, store.open_work(None).await?);
        let refused = store.unrestorable_targets().await?;
        step.push(began.elapsed());
        assert_eq!((found.0, found.1, found.2.failures, refused), (rows, rows.div_ceil(BATCH), 0, None));
        let began = Instant::now();
        store.close().await?;
        close.push(began.elapsed());
    }
    tell("open", open);
    tell("figures of a step", step);
    tell("close", close);
    let store = backfill::internals::state::open(&path, &identity(), clock)?;
    let began = Instant::now();
    store.history_of(vec![key(0)], HistoryLookup::ForDecision).await?;
    tell("first item of a rollback", vec![began.elapsed()]);

    let path = directory.path().join("older.db");
    fill_older(&path, rows)?;
    let began = Instant::now();
    let store = backfill::internals::state::open(&path, &identity(), clock)?;
    tell("migrating layout 1", vec![began.elapsed()]);
    store.close().await?;
    Ok(())
}

/// Creates a state file with a stopped run. The run has destroyed one value of every item.
async fn fill(path: &Path, rows: u64) -> Result<RunId, Box<dyn std::error::Error>> {
    let store = backfill::internals::state::open(path, &identity(), clock)?;
    let new = NewRun {
        phase: "expand".to_owned(),
        total_segments: 1,
        tool_version: "bench".to_owned(),
        table_items_estimate: Some(rows),
    };
    let session = store.begin(BeginMode::ResumeOrNew, new).await?.run.session();
    let run = session.run;
    let value = AttributePath::attribute("value");
    for (page, first) in (1..).zip((0..rows).step_by(usize::try_from(BATCH)?)) {
        let batch = first..rows.min(first + BATCH);
        let row =
            |n| PreImageRow { key: key(n), pre: PreImage::with_value(&value, &Value::S(format!("value of item {n}"))) };
        store.append_pre_images(session, batch.map(row).collect()).await?;
        let preexisting = vec![(key(first), vec![(value.clone(), Digest([0; 8]))])];
        store.record_baseline(BaselinePage { preexisting, ..BaselinePage::empty(session, 0, page) }).await?;
    }
    store.end_session(session, RunStatus::Stopped, None, 0).await?;
    store.close().await?;
    Ok(run)
}

/// Creates a state file with the same contents, in the layout of an earlier version.
fn fill_older(path: &Path, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = rusqlite::Connection::open(path)?;
    file.execute_batch(include_str!("../src/state/sqlite/schema.sql"))?;
    file.execute_batch("PRAGMA journal_mode = WAL; PRAGMA application_id = 0x42464C31; PRAGMA user_version = 1")?;
    let filling = file.transaction()?;
    let Identity { migration, fingerprint, table_arn, meaning, .. } = identity();
    filling.execute(
        "INSERT INTO identity VALUES (1, ?1, ?2, ?3, ?4, NULL, ?5)",
        [migration, fingerprint, meaning, table_arn, clock()],
    )?;
    filling.execute(
        "INSERT INTO runs (phase, pass, total_segments, status, started_at, sessions, open_session, tool_version) \
         VALUES ('expand', 1, 1, 'stopped', ?1, 1, 0, 'bench')",
        [clock()],
    )?;
    let sql = "INSERT INTO pre_images (run, key, path, kind, value, at) VALUES (1, ?1, 'value', 'value', ?2, ?3)";
    for n in 0..rows {
        // The leading byte 0 means that the value is not compressed.
        let value = [b"\0", Value::S(format!("value of item {n}")).to_json().to_string().as_bytes()].concat();
        filling.prepare_cached(sql)?.execute((key(n).to_text(), value, clock()))?;
    }
    filling.commit()?;
    Ok(())
}

fn key(n: u64) -> ItemKey {
    ItemKey::new([("pk".to_owned(), Value::S(format!("ITEM#{n:012}")))].into())
}

fn identity() -> Identity {
    Identity {
        migration: "bench".to_owned(),
        fingerprint: "bench".to_owned(),
        table_arn: "arn:aws:dynamodb:eu-west-1:111122223333:table/bench".to_owned(),
        table_id: None,
        meaning: "move a to b".to_owned(),
    }
}

fn clock() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}

fn tell(what: &str, mut rounds: Vec<Duration>) {
    rounds.sort();
    let ms = |at: usize| rounds[at].as_secs_f64() * 1_000.0;
    println!("  {what:<26} {:>9.2} ms median, {:.2} to {:.2}", ms(rounds.len() / 2), ms(0), ms(rounds.len() - 1));
}
