//! Tests that need internal functions: group commits, tampered rows, and failures after which nothing more is stored.

use std::sync::mpsc;

use super::*;
use crate::change::{Digest, HistoryLookup, ItemHistory, Leftover, Outcome, PreImage};
use crate::item::{ItemKey, Path, Position, Value};
use crate::state::{
    BaselinePage, BeginMode, Checkpoints, Commit, Counts, Events, Failure, History, NewRun, PreImageId, PreImageRow,
    RunId, RunStatus, Runs, SegmentEvent, SessionId,
};

pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies the state file of a stored in-place migration of this layout (tests/fixtures).
pub(super) fn copy_of_fixture(layout: usize) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/layout-{layout}/in-place"));
    let dir = scratch();
    let path = dir.path().join("s.db");
    std::fs::copy(folder.join("state.db"), &path).unwrap();
    (dir, path)
}

pub(super) fn identity() -> Identity {
    Identity {
        migration: "rename".to_owned(),
        fingerprint: "aaaaaaaaaaaaaaaaaaaa".to_owned(),
        table_arn: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders".to_owned(),
        table_id: Some("id-1".to_owned()),
        meaning: "move a to b".to_owned(),
    }
}

fn open(path: &FilePath) -> SqliteStore {
    SqliteStore::open(path, &identity(), || "2026-01-01T00:00:00Z".to_owned()).unwrap()
}

async fn begin(store: &SqliteStore) -> RunId {
    let new = NewRun {
        phase: "expand".to_owned(),
        total_segments: 1000,
        tool_version: "1".to_owned(),
        table_items_estimate: None,
    };
    store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.id
}

fn page(run: RunId, segment: u32, first: u64) -> Commit {
    let key = ItemKey::new([("pk".to_owned(), Value::S(format!("{segment}/{first}")))].into());
    let mut counts = Counts::default();
    counts.count(Outcome::Applied);
    let event = SegmentEvent::PagesDone { first, pages: 1, next: Some(Position::Key(key)), counts };
    Commit { session: SessionId { run, epoch: 1 }, segment, event, failures: vec![], diverged: vec![], refused: vec![] }
}

/// Keeps the thread busy until the sender is dropped. All requests that are sent until then become one group.
async fn block_thread(store: &SqliteStore) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (release, released) = mpsc::channel::<()>();
    let (running, runs) = tokio::sync::oneshot::channel();
    let store = store.clone();
    let blocked = tokio::spawn(async move {
        let work = move |_: &rusqlite::Connection| {
            let _ = running.send(());
            let _ = released.recv();
            Ok(())
        };
        store.thread.run(work).await
    });
    runs.await.unwrap();
    (release, blocked)
}

type Work = Box<dyn FnOnce(&rusqlite::Connection) -> Result<(), error::StateFileError> + Send>;

/// Sends all of these requests in order, while the thread is busy. Returns the results in the same order.
async fn run_as_one_group(store: &SqliteStore, work: Vec<Work>) -> Vec<Result<(), StoreError>> {
    let (release, blocked) = block_thread(store).await;
    let requests = futures::future::join_all(work.into_iter().map(|w| store.thread.run(w)));
    let mut requests = std::pin::pin!(requests);
    // After one poll of each future, all requests are in the queue of the thread.
    assert!(futures::poll!(&mut requests).is_pending());
    drop(release);
    blocked.await.unwrap().unwrap();
    requests.await
}

fn commit_of(commit: Commit) -> Work {
    Box::new(move |c| write::commit(c, &commit, "2026-01-01T00:00:00Z"))
}

#[tokio::test]
async fn a_refused_request_does_not_affect_the_rest_of_its_group() {
    let dir = scratch();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store).await;
    let out_of_order = commit_of(page(run, 1, 2));
    // This request fails after it has written its segment's row. That row must be undone.
    let mut bad_ids = page(run, 2, 1);
    bad_ids.refused = vec![PreImageId(77)];
    let work = vec![
        commit_of(page(run, 0, 1)),
        out_of_order,
        commit_of(bad_ids),
        commit_of(page(run, 0, 2)),
        commit_of(page(run, 3, 1)),
    ];
    let answers = run_as_one_group(&store, work).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true, true], "{answers:?}");
    assert!(matches!(answers[1], Err(StoreError::Transition(_))));
    assert!(matches!(answers[2], Err(StoreError::Corrupt(_))));
    let pages: Vec<_> =
        store.segments_after(run, None, u32::MAX).await.unwrap().into_iter().map(|(n, s)| (n, s.pages)).collect();
    assert_eq!(pages, [(0, 2), (3, 1)]);
}

/// A group is one transaction. If the group's COMMIT fails, no change of the group is stored, no request of the group
/// reports success, and all later requests fail.
#[tokio::test]
async fn a_failed_commit_fails_the_whole_group_and_everything_after_it() {
    let dir = scratch();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store).await;
    store.commit(page(run, 5, 1)).await.unwrap();
    // The COMMIT checks a deferred foreign key, so the statement succeeds, but the COMMIT fails.
    let fails_at_commit = Box::new(|c: &rusqlite::Connection| {
        c.execute_batch(
            "PRAGMA defer_foreign_keys = ON; INSERT INTO pre_images (run, key, path, kind, at) VALUES (99, '', '', 'same', '')",
        )?;
        Ok(())
    });
    let answers =
        run_as_one_group(&store, vec![commit_of(page(run, 0, 1)), fails_at_commit, commit_of(page(run, 1, 1))]).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert!(store.commit(page(run, 2, 1)).await.is_err());
    assert!(store.append_pre_images(SessionId { run, epoch: 1 }, vec![]).await.is_err());
    assert!(store.segments_after(run, None, u32::MAX).await.is_err());
    assert!(store.end_session(SessionId { run, epoch: 1 }, RunStatus::Stopped, None, 0).await.is_err());
    drop(store);

    let store = open(&path);
    assert_eq!(
        store.segments_after(run, None, u32::MAX).await.unwrap().into_iter().map(|(n, _)| n).collect::<Vec<_>>(),
        [5]
    );
    assert!(store.current_run("expand").await.unwrap().unwrap().lower_bound);
}

#[tokio::test]
async fn a_full_disk_ends_all_storing_and_loses_no_acknowledged_commit() {
    let dir = scratch();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store).await;
    let limit = |c: &rusqlite::Connection| {
        let pages: i64 = c.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        c.query_row(&format!("PRAGMA max_page_count = {}", pages + 8), [], |_| Ok(()))?;
        Ok(())
    };
    store.thread.run(limit).await.unwrap();
    let mut stored = 0;
    let mut error = None;
    while error.is_none() && stored < 10_000 {
        match store.commit(page(run, 0, stored + 1)).await {
            Ok(()) => stored += 1,
            Err(e) => error = Some(e),
        }
        let key = ItemKey::new([("pk".to_owned(), Value::S("x".repeat(500)))].into());
        let pre = PreImage::with_value(&Path::attribute("a"), &Value::S("secret".repeat(100)));
        let row = PreImageRow { key, pre };
        error = error.or(store.append_pre_images(SessionId { run, epoch: 1 }, vec![row]).await.err());
    }
    let text = error.unwrap().to_string();
    assert!(text.contains("disk is full") && text.contains("resumes") && !text.contains("secret"), "{text}");
    assert!(stored > 0);
    let after = store.commit(page(run, 0, stored + 1)).await.unwrap_err().to_string();
    assert!(after.contains("disk is full"), "{after}");
    drop(store);

    let store = open(&path);
    assert_eq!(store.segments_after(run, None, u32::MAX).await.unwrap()[0].1.pages, stored);
    let resumed = begin(&store).await;
    let session = SessionId { run: resumed, epoch: 2 };
    store.commit(Commit { session, ..page(resumed, 0, stored + 1) }).await.unwrap();
}

/// If this program cannot have written a row, reading the row fails. The error does not contain the row's contents.
#[tokio::test]
async fn impossible_rows_are_errors() {
    for tamper in [
        "UPDATE segments SET scanned = scanned + 1",
        "UPDATE segments SET start_key = '{\"pk\": secret'",
        "UPDATE segments SET start_key = '{\"pk\": {\"N\": \"secret\"}}'",
        "UPDATE segments SET applied = -1, gone = 2",
        "UPDATE segments SET pages = 9223372036854775807, scanned = -5",
        "PRAGMA ignore_check_constraints = ON; UPDATE segments SET status = 'done'",
        "PRAGMA ignore_check_constraints = ON; UPDATE segments SET pages = 0",
        "PRAGMA ignore_check_constraints = ON; UPDATE segments SET status = 'secret'",
    ] {
        let dir = scratch();
        let store = open(&dir.path().join("s.db"));
        let run = begin(&store).await;
        store.commit(page(run, 0, 1)).await.unwrap();
        store.thread.run(move |c| Ok(c.execute_batch(tamper)?)).await.unwrap();
        for error in [
            store.segments_after(run, None, u32::MAX).await.unwrap_err(),
            store.commit(page(run, 0, 2)).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Corrupt(_)), "{tamper}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

#[tokio::test]
async fn counts_are_stored_in_the_columns_of_their_outcomes() {
    let dir = scratch();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store).await;
    let mut commit = page(run, 0, 1);
    let SegmentEvent::PagesDone { counts, .. } = &mut commit.event;
    *counts = Counts {
        scanned: 1 + 2 + 3 + 4 + 5,
        outcomes: [1, 2, 3, 4, 0, 0, 0, 0, 5],
        write_units: 1.5,
        read_units: 2.5,
        assumed_write_units: 3.5,
        estimated_write_units: 4.5,
        unclear: 0,
    };
    let expected = counts.clone();
    let failure = |n: u32| {
        let key = ItemKey::new([("pk".to_owned(), Value::S(n.to_string()))].into());
        Failure { key, outcome: Outcome::NotComputable, reason: "an attribute is missing".to_owned() }
    };
    commit.failures = (0..5).map(failure).collect();
    store.commit(commit).await.unwrap();
    let columns: Vec<&str> = Outcome::ALL.iter().map(|o| o.name()).collect();
    let sql = format!("SELECT {} FROM segments", columns.join(", "));
    let stored = store
        .thread
        .run(move |c| {
            let from = |row: &rusqlite::Row<'_>| (0..Outcome::ALL.len()).map(|i| row.get::<_, u64>(i)).collect();
            let counts: Vec<u64> = c.query_row(&sql, [], from)?;
            Ok(counts)
        })
        .await
        .unwrap();
    assert_eq!(stored, expected.outcomes);
    assert_eq!(store.totals(run).await.unwrap().counts, expected);
    assert_eq!(store.segments_after(run, None, u32::MAX).await.unwrap()[0].1.counts, expected);
}

/// A damaged record makes only its own item's history unreadable, so a verification can continue with other items.
#[tokio::test]
async fn a_damaged_baseline_record_fails_only_its_own_item() {
    let key = |name: &str| ItemKey::new([("pk".to_owned(), Value::S(name.to_owned()))].into());
    let target = Path::attribute("new");
    let value = Digest::from_value(&Value::S("x".to_owned()));
    for tamper in ["path = 'a[x'", "path = 'other'", "value = x'0000000000000000'"] {
        let dir = scratch();
        let store = open(&dir.path().join("s.db"));
        let run = begin(&store).await;
        let preexisting =
            ["damaged", "fine"].map(|name| (key(name), vec![(target.clone(), value)])).into_iter().collect();
        let session = SessionId { run, epoch: 1 };
        store.record_baseline(BaselinePage { preexisting, ..BaselinePage::empty(session, 0, 1) }).await.unwrap();
        let sql = format!(
            "DROP TRIGGER there_before_changed; UPDATE there_before SET {tamper} WHERE key = '{}'",
            key("damaged").to_text()
        );
        store.thread.run(move |c| Ok(c.execute_batch(&sql)?)).await.unwrap();
        let records = store.preexisting(vec![key("damaged"), key("fine")]).await.unwrap();
        assert!(records[0].unreadable_reason().is_some(), "{tamper}");
        assert!(records[1].is_preexisting_value(&target, &Value::S("x".to_owned())), "{tamper}");
    }
}

/// A lookup for a report succeeds even if the file is damaged.
#[tokio::test]
async fn a_lookup_for_a_report_never_fails() {
    let dir = scratch();
    let store = open(&dir.path().join("s.db"));
    begin(&store).await;
    let keys = || vec![ItemKey::new([("pk".to_owned(), Value::S("x".to_owned()))].into()); 2];
    let found = store.history_of(keys(), HistoryLookup::ForReport).await.unwrap();
    assert!(found.len() == 2 && found.iter().all(|record| record.unreadable_reason().is_none()), "{found:?}");
    store.thread.run(|c| Ok(c.execute_batch("DROP TABLE there_before")?)).await.unwrap();
    let found = store.history_of(keys(), HistoryLookup::ForReport).await.unwrap();
    assert!(found.len() == 2 && found.iter().all(|record| record.unreadable_reason().is_some()), "{found:?}");
    store.events().await.expect("the store still works");
    store.history_of(keys(), HistoryLookup::ForDecision).await.unwrap_err();
}

/// A lookup for a report contains the readable part of the journal.
#[tokio::test]
async fn a_damaged_journal_row_does_not_stop_a_lookup_for_a_report() {
    let dir = scratch();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store).await;
    let key = ItemKey::new([("pk".to_owned(), Value::S("x".to_owned()))].into());
    let kind = Path::attribute("kind");
    let digest = Digest::from_value(&Value::S("order".to_owned()));
    let stable = vec![(key.clone(), vec![(kind.clone(), digest)])];
    let session = SessionId { run, epoch: 1 };
    store.record_baseline(BaselinePage { stable, ..BaselinePage::empty(session, 0, 1) }).await.unwrap();
    let changed = |found: &[ItemHistory]| {
        found[0].unreadable_reason().is_none()
            && found[0].changed_stable(std::slice::from_ref(&kind), &Default::default()).is_some()
    };
    let found = store.history_of(vec![key.clone()], HistoryLookup::ForReport).await.unwrap();
    assert!(changed(&found), "{found:?}");
    let sql = "UPDATE pre_images SET wrote = x'0000000000000000'";
    store.thread.run(move |c| Ok(c.execute_batch(sql)?)).await.unwrap();
    let found = store.history_of(vec![key], HistoryLookup::ForReport).await.unwrap();
    assert!(found[0].unreadable_reason().is_none() && !changed(&found), "{found:?}");
}

/// Each run of this version records its in-place copies, and stores this fact. Runs of an earlier version did neither.
#[tokio::test]
async fn an_earlier_run_counts_as_one_that_did_not_record_its_copies() {
    let dir = scratch();
    let path = dir.path().join("s.db");
    let key = ItemKey::new([("pk".to_owned(), Value::S("k".to_owned()))].into());
    let store = open(&path);
    begin(&store).await;
    let history = async |store: &SqliteStore| {
        store.history_of(vec![key.clone()], HistoryLookup::ForDecision).await.unwrap().remove(0)
    };
    let recorded = ItemHistory::default().without_baseline();
    assert_eq!(history(&store).await, recorded);
    drop(store);
    // The first run is one of an earlier version, and a second run follows.
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM kept WHERE name LIKE 'creations%'", []).unwrap();
    let store = open(&path);
    assert_eq!(history(&store).await, recorded.clone().without_creations());
    let new = NewRun {
        phase: "expand".to_owned(),
        total_segments: 1,
        tool_version: "2".to_owned(),
        table_items_estimate: None,
    };
    store.begin(BeginMode::Restart, new).await.unwrap();
    assert_eq!(history(&store).await, recorded.without_creations());
}

/// Two rollbacks note the same path of an item. The list of failures counts the item once, until a new run begins.
#[tokio::test]
async fn several_rollbacks_note_an_item_once() {
    let dir = scratch();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store).await;
    store.end_session(SessionId { run, epoch: 1 }, RunStatus::Stopped, None, 0).await.unwrap();
    let new = |phase: &str| NewRun {
        phase: phase.to_owned(),
        total_segments: 1,
        tool_version: "1".to_owned(),
        table_items_estimate: None,
    };
    let key = ItemKey::new([("pk".to_owned(), Value::S("k".to_owned()))].into());
    let noted = || StateFile::open(&path).unwrap().rollback_notes(Leftover::RepairedOver, 9).unwrap();
    for _ in 0..2 {
        let session = store.begin(BeginMode::Restart, new("rollback")).await.unwrap().run.session();
        for name in ["a", "b"] {
            let pre = PreImage::with_leftover(&Path::attribute(name), Leftover::RepairedOver);
            store.append_pre_images(session, vec![PreImageRow { key: key.clone(), pre }]).await.unwrap();
        }
        store.end_session(session, RunStatus::Stopped, None, 0).await.unwrap();
    }
    assert_eq!((noted().count, noted().first.len()), (1, 2));
    store.begin(BeginMode::Restart, new("expand")).await.unwrap();
    assert_eq!(noted().count, 0);
}
