//! Tests of the state file that use only its public interface: durability, ownership and unusable files.

mod bad_files;
mod counters;
mod damage;
mod durable;
mod journal;
mod kills;
mod layouts;
mod migration;
mod neighbours;
mod owners;
mod runs;
mod spend;
mod values;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use backfill::internals::change::{HistoryLookup, Leftover, Outcome, PreImage};
use backfill::internals::item::{ItemKey, Path as AttributePath, Position, Value};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{
    BeginMode, Commit, Counts, Cursor, DivergedItem, Failure, Identity, ListQuery, NewRun, PreImageId, PreImageRow,
    RowStatus, RunId, RunSession, RunStatus, SegmentEvent, SegmentState, SessionId, State, StateSummary, StoreError,
    StoredFact, TransitionError,
};
use proptest::prelude::*;

const ALL: ListQuery = ListQuery { run: None, open_only: false, after: Cursor::START, limit: u32::MAX };
const OPEN: ListQuery = ListQuery { open_only: true, ..ALL };

fn identity() -> Identity {
    Identity {
        migration: "rename".to_owned(),
        fingerprint: "aaaaaaaaaaaaaaaaaaaa".to_owned(),
        table_arn: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders".to_owned(),
        table_id: Some("id-1".to_owned()),
        meaning: "move zip to postcode".to_owned(),
    }
}

fn clock() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}

fn open(path: &Path) -> State {
    backfill::internals::state::open(path, &identity(), clock).unwrap()
}

fn refusal(path: &Path, identity: &Identity) -> StoreError {
    backfill::internals::state::open(path, identity, clock).expect_err("the file must be refused")
}

fn new_run(total_segments: u32) -> NewRun {
    NewRun {
        phase: "expand".to_owned(),
        total_segments,
        tool_version: "0.1.0".to_owned(),
        table_items_estimate: Some(1000),
    }
}

async fn begin(store: &State, mode: BeginMode, total_segments: u32) -> RunSession {
    store.begin(mode, new_run(total_segments)).await.unwrap()
}

fn key(name: impl ToString) -> ItemKey {
    ItemKey::new([("pk".to_owned(), Value::S(name.to_string()))].into())
}

fn attribute(name: &str) -> AttributePath {
    AttributePath::attribute(name)
}

fn pages(first: u64, pages: u64, next: Option<ItemKey>, outcomes: &[Outcome]) -> SegmentEvent {
    let mut counts = Counts { write_units: outcomes.len() as f64, read_units: 0.5, ..Counts::default() };
    outcomes.iter().for_each(|o| counts.count(*o));
    SegmentEvent::PagesDone { first, pages, next: next.map(Position::Key), counts }
}

/// Returns the run's session with this number.
fn session_of(run: RunId, epoch: u64) -> SessionId {
    SessionId { run, epoch }
}

/// Returns a commit of the run's first session.
fn commit(run: RunId, segment: u32, event: SegmentEvent) -> Commit {
    commit_in(session_of(run, 1), segment, event)
}

fn commit_in(session: SessionId, segment: u32, event: SegmentEvent) -> Commit {
    Commit { session, segment, event, failures: vec![], diverged: vec![], refused: vec![] }
}

fn failure(name: impl ToString, outcome: Outcome, reason: &str) -> Failure {
    Failure { key: key(name), outcome, reason: reason.to_owned() }
}

fn summary(path: &Path) -> StateSummary {
    StateFile::open(path).unwrap().summary().unwrap()
}

/// If this environment variable is set, a test of this module acts as the process that another test kills.
const CHILD: &str = "BACKFILL_TEST_STATE_FILE";

fn child(test: &str, state: &Path) -> Child {
    // The full name of a test does not contain the crate's name.
    let (_, here) = module_path!().split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{here}::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn print_line(line: &str) {
    std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}
