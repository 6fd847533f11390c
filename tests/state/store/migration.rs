//! Tests reads of a complete migration. The figures must be consistent, even while an owner commits.

use backfill::internals::state::{FailureGroup, MigrationRecord, RecordLimits, SegmentCell};

use super::*;

const LIMITS: RecordLimits = RecordLimits { cells: 8, reports: 10, groups: 10, keys: 2, derived_items: false };

/// Asserts that the figures of each run's cells add up to the run's totals. A cell is a range of segments.
fn check_sums(record: &MigrationRecord) {
    assert_eq!(record.runs.len(), record.summary.runs.len());
    for details in &record.runs {
        let totals = &details.progress.totals;
        let sum = |figure: fn(&SegmentCell) -> u64| details.cells.iter().map(figure).sum::<u64>();
        assert_eq!(sum(|cell| cell.scanned), totals.counts.scanned);
        assert_eq!(sum(|cell| cell.pages), totals.pages);
        assert_eq!(sum(|cell| cell.done.into()), u64::from(totals.done));
        assert_eq!(sum(|cell| cell.scanning.into()), u64::from(totals.scanning));
        let last = details.cells.last().unwrap();
        assert_eq!((details.cells[0].first, last.last + 1), (0, details.progress.run.total_segments));
    }
    assert_eq!(record.summary.current.as_ref(), record.runs.last().map(|details| &details.progress));
}

#[tokio::test]
async fn failures_are_grouped_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 20).await.run.id;
    let outcomes = [Outcome::Rejected, Outcome::Rejected, Outcome::Rejected, Outcome::Conflict, Outcome::Diverged];
    let mut page = commit(run, 19, pages(1, 1, None, &outcomes));
    let rejected = |name: &str| failure(name, Outcome::Rejected, "too large");
    page.failures = ["a", "b", "c"].map(rejected).into();
    page.failures.push(failure("d", Outcome::Conflict, "busy"));
    page.diverged = vec![DivergedItem { key: key("e"), paths: vec![attribute("new")], derived: None }];
    store.commit(page).await.unwrap();
    store.resolve_failure(session_of(run, 1), run, key("b"), Outcome::Applied, None).await.unwrap();
    store.set_fact(StoredFact::PaceHistory(run), "the pace".to_owned()).await.unwrap();

    let record = StateFile::open(&path).unwrap().migration(LIMITS).unwrap();
    check_sums(&record);
    let group = |outcome, reason: &str, open, resolved, keys: &[&str]| FailureGroup {
        run,
        outcome,
        reason: reason.to_owned(),
        open,
        resolved,
        keys: keys.iter().map(key).collect(),
    };
    let too_large = group(Outcome::Rejected, "too large", 2, 1, &["a", "c"]);
    let busy = group(Outcome::Conflict, "busy", 1, 0, &["d"]);
    assert_eq!(record.failures.groups, [too_large, busy]);
    assert_eq!((record.failures.unlisted, record.failures.damaged), (0, 0));
    assert_eq!((record.diverged.groups[0].open, &record.diverged.groups[0].keys), (1, &vec![key("e")]));
    assert_eq!(record.fact(StoredFact::PaceHistory(run)), Some("the pace"));
    assert_eq!(record.fact(StoredFact::PaceHistory(RunId::from_number(9))), None);

    let fewer = RecordLimits { groups: 1, keys: 0, ..LIMITS };
    let record = StateFile::open(&path).unwrap().migration(fewer).unwrap();
    assert_eq!((record.failures.groups.len(), record.failures.unlisted), (1, 1));
    assert!(record.failures.groups[0].keys.is_empty(), "no key is read");
}

/// A corrupt failure record belongs to no group. It does not affect the groups of the other failures.
#[tokio::test]
async fn a_damaged_failure_is_only_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let mut page = commit(run, 0, pages(1, 1, Some(key("z")), &[Outcome::Rejected; 3]));
    page.failures = ["a", "b", "c"].map(|name| failure(name, Outcome::Rejected, "too large")).into();
    store.commit(page).await.unwrap();
    store.close().await.unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    // Drop the triggers, because they would correct the row's checksum.
    let find = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'failures'";
    let mut statement = connection.prepare(find).unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    triggers.iter().for_each(|name| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    drop(statement);
    let damaged = "UPDATE failures SET reason = 'too larqe' WHERE id = (SELECT min(id) FROM failures)";
    assert_eq!(connection.execute(damaged, []).unwrap(), 1);
    drop(connection);
    let failures = StateFile::open(&path).unwrap().migration(LIMITS).unwrap().failures;
    assert_eq!((failures.groups.len(), failures.groups[0].open, failures.damaged), (1, 2, 1));
    assert_eq!(failures.groups[0].keys, [key("b"), key("c")]);
}

/// An owner commits pages while a reader repeatedly reads the migration.
#[tokio::test(flavor = "multi_thread")]
async fn the_figures_agree_while_an_owner_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 100).await.run.id;
    let writer = tokio::spawn(async move {
        for n in 0..400_u64 {
            let segment = u32::try_from(n % 100).unwrap();
            let next = (n < 300).then(|| key(n));
            store.commit(commit(run, segment, pages(n / 100 + 1, 1, next, &[Outcome::Applied]))).await.unwrap();
        }
    });
    let file = StateFile::open(&path).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while !writer.is_finished() {
        let record = file.migration(LIMITS).unwrap();
        check_sums(&record);
        seen.insert(record.runs[0].progress.totals.counts.scanned);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    let record = file.migration(LIMITS).unwrap();
    check_sums(&record);
    assert_eq!(record.runs[0].progress.totals.counts.scanned, 400);
    assert!(seen.len() > 3, "the reader saw {seen:?}");
}
