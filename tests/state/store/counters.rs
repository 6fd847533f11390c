//! Tests that `status` and every step read the numbers of journal rows, failures and diverged items from counters. If
//! they counted the rows, their cost would grow with the table.

use backfill::internals::state::BaselinePage;

use super::*;

/// The tables whose size grows with the number of items that a migration changes.
const GROWING_TABLES: [&str; 4] = ["pre_images", "there_before", "failures", "diverged"];

#[derive(Debug, PartialEq)]
struct StoredCounts {
    journaled: [u64; 2],
    preexisting: u64,
    failures: [u64; 3],
    diverged: [u64; 3],
    unrestorable_targets: [Option<u64>; 2],
}

/// Reads the figures as the owner of the file and as a separate reader.
async fn stored_counts(path: &Path) -> StoredCounts {
    let store = open(path);
    let file = StateFile::open(path).unwrap();
    let summary = file.summary().unwrap();
    let run = store.current_run("expand").await.unwrap().unwrap().id;
    let all = store.open_work(None).await.unwrap();
    let of_phase = file.open_work_of_phase("expand").unwrap();
    let stored_counts = StoredCounts {
        journaled: [summary.pre_images, store.pre_image_count(run).await.unwrap()],
        preexisting: store.preexisting_count().await.unwrap(),
        failures: [summary.open_failures, all.failures, of_phase.failures],
        diverged: [summary.open_diverged, all.diverged, of_phase.diverged],
        unrestorable_targets: [file.unrestorable_targets().unwrap(), store.unrestorable_targets().await.unwrap()],
    };
    store.close().await.unwrap();
    stored_counts
}

/// Returns a page of two items. The item `here` had the target before the migration. The pass can write the item
/// `ours`.
fn baseline_page(run: RunId, here: &str, ours: &str) -> BaselinePage {
    let digest = |name: &str| backfill::internals::change::Digest::from_text(&key(name).to_text());
    let preexisting = vec![(key(here), vec![(attribute("new"), digest(here))])];
    BaselinePage { preexisting, may_write: vec![digest(ours)], ..BaselinePage::empty(session_of(run, 1), 0, 1) }
}

/// The test drops the tables that contain the rows. The figures must stay the same. A query that read one of these
/// tables would fail.
#[tokio::test]
async fn the_counters_do_not_depend_on_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    // The first run is restarted while some items are still unread, so a rollback would be incomplete.
    let first = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    store.record_baseline(baseline_page(first, "b", "a")).await.unwrap();
    store.commit(commit(first, 0, pages(1, 1, Some(key(1)), &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let run = begin(&store, BeginMode::Restart, 1).await.run.id;
    store.record_baseline(baseline_page(run, "a", "c")).await.unwrap();
    let rows = ["c", "d", "e"].map(|name| {
        let pre = PreImage::with_value(&attribute("old"), &Value::S(name.to_owned()));
        PreImageRow { key: key(name), pre }
    });
    let ids = store.append_pre_images(session_of(run, 1), rows.into()).await.unwrap();
    let outcomes = [Outcome::Applied, Outcome::Rejected, Outcome::Rejected, Outcome::Diverged];
    store
        .commit(Commit {
            failures: vec![failure("f", Outcome::Rejected, "too large"), failure("g", Outcome::Rejected, "too large")],
            diverged: vec![DivergedItem { key: key("h"), paths: vec![attribute("new")], derived: None }],
            refused: vec![ids[2]],
            ..commit(run, 0, pages(1, 1, None, &outcomes))
        })
        .await
        .unwrap();
    store.close().await.unwrap();

    let counted = stored_counts(&path).await;
    let expected = StoredCounts {
        journaled: [2, 2],
        preexisting: 2,
        failures: [2; 3],
        diverged: [1; 3],
        unrestorable_targets: [Some(1); 2],
    };
    assert_eq!(counted, expected);
    let file = rusqlite::Connection::open(&path).unwrap();
    for table in GROWING_TABLES {
        file.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    drop(file);
    assert_eq!(stored_counts(&path).await, expected);
}
