//! Tests damaged files. Some of them have flipped bits, and some lack their log.

use backfill::internals::change::{Digest, ItemHistory};
use backfill::internals::state::{BaselinePage, EventRecord, RunRecord, phase};

use super::*;

/// This environment variable sets the number of damaged copies to test. Each copy has one flipped bit. Set a larger
/// number for a longer search.
const FLIPS: &str = "BACKFILL_TEST_BIT_FLIPS";

const ITEMS: u32 = 48;

/// All records on which rollbacks depend.
#[derive(Debug, PartialEq)]
struct RollbackInputs {
    items: Vec<ItemHistory>,
    segments: Vec<(u32, SegmentState)>,
    run: Option<RunRecord>,
    events: Vec<EventRecord>,
    items_under_way: usize,
    open_failures: u64,
}

async fn read_rollback_inputs(
    path: &Path,
    identity: &Identity,
    keys: &[ItemKey],
) -> Result<RollbackInputs, StoreError> {
    let store = backfill::internals::state::open(path, identity, clock)?;
    let run = store.current_run(phase::EXPAND).await?;
    let id = run.as_ref().map_or(RunId::from_number(1), |run| run.id);
    Ok(RollbackInputs {
        items: store.history_of(keys.to_vec(), HistoryLookup::ForDecision).await?,
        segments: store.segments_after(id, None, u32::MAX).await?,
        events: store.events().await?,
        items_under_way: store.items_under_way(id, 7).await?.len(),
        open_failures: store.open_work(Some(id)).await?.failures,
        run,
    })
}

/// Creates the state file of an expansion that has overwritten values, has found preexisting values, and has left
/// failures.
async fn create_expanded_file(path: &Path) {
    let store = open(path);
    store.append_event(r#"{"type":"phase_begun","phase":"expand"}"#.to_owned()).await.unwrap();
    let run = begin(&store, BeginMode::ResumeOrNew, 8).await.run.id;
    for n in 0..ITEMS {
        let value = Value::S(format!("what item {n} had before the run wrote it"));
        let row = PreImageRow {
            key: key(n),
            pre: PreImage::with_value(&attribute("old"), &value).with_written_value(&Value::Null),
        };
        let ids = store.append_pre_images(session_of(run, 1), vec![row.clone(), row]).await.unwrap();
        store.mark_refused(session_of(run, 1), ids[..usize::from(n % 2 == 0)].to_vec()).await.unwrap();
        let preexisting_target =
            (n % 3 == 0).then(|| (key(n), vec![(attribute("new"), Digest::from_value(&Value::Null))]));
        let may_write = vec![Digest::from_text(&key(n).to_text())];
        let preexisting = Vec::from_iter(preexisting_target);
        let page = BaselinePage { preexisting, may_write, ..BaselinePage::empty(session_of(run, 1), 7, u64::from(n)) };
        store.record_baseline(page).await.unwrap();
    }
    for segment in 0..7 {
        let mut done = commit(run, segment, pages(1, 1, None, &[Outcome::Applied, Outcome::Rejected]));
        done.failures = vec![failure(segment, Outcome::Rejected, "too large")];
        store.commit(done).await.unwrap();
    }
    store.commit(commit(run, 7, pages(1, 1, Some(key(9)), &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    store.close().await.unwrap();
}

/// If a bit flips on the disk, either the file is refused, or the affected item's record is unreadable. So undetected
/// damage never changes the effect of a rollback.
#[tokio::test]
async fn a_flipped_bit_never_changes_what_a_rollback_does() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.db");
    create_expanded_file(&whole).await;
    check_flipped_bits(&whole, &identity(), &Vec::from_iter((0..ITEMS).map(key))).await;
}

/// When a file of layout 2 is migrated to the current layout, a damaged row must not get a correct checksum.
#[tokio::test]
async fn a_flipped_bit_in_a_file_of_layout_2_never_changes_what_a_rollback_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = super::layouts::copy(&super::layouts::fixture(2, "in-place"), dir.path());
    let file = StateFile::open(&path).unwrap();
    let identity = file.identity().unwrap();
    let keys: Vec<ItemKey> = file.journal(ALL).unwrap().into_iter().map(|row| row.unwrap().key).collect();
    check_flipped_bits(&path, &identity, &keys).await;
}

/// Flips single bits in copies of a file. Compares the records of these items with those in the undamaged file.
async fn check_flipped_bits(whole: &Path, identity: &Identity, keys: &[ItemKey]) {
    let flips = std::env::var(FLIPS).map_or(120, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(whole).unwrap();
    let expected = read_rollback_inputs(whole, identity, keys).await.unwrap();
    let mut refused = 0;
    let mut unreadable = 0;
    let mut wrong = Vec::new();
    let mut random = fastrand::Rng::with_seed(25);
    for n in 0..flips {
        let path = dir.path().join(format!("{n}.db"));
        let at = random.usize(..bytes.len());
        let bit = random.u8(..8);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&path, flipped).unwrap();
        match read_rollback_inputs(&path, identity, keys).await {
            Err(_) => refused += 1,
            Ok(mut found) => {
                for (item, whole) in found.items.iter_mut().zip(&expected.items) {
                    if is_unreadable(item) {
                        unreadable += 1;
                        *item = whole.clone();
                    }
                }
                if found != expected {
                    wrong.push(format!("bit {bit} of byte {at}"));
                }
            }
        }
        for suffix in ["", ".lock", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {flips} flips went unnoticed: {wrong:?}", wrong.len());
    assert!(refused > flips / 20 && unreadable > 0, "{refused} refused, {unreadable} items unreadable");
}

fn is_unreadable(record: &ItemHistory) -> bool {
    record.unreadable_reason().is_some()
}

/// A killed process leaves its log next to the file. Without the log, the file is outdated. So opening it fails, and
/// the error message says that the log is missing.
#[test]
fn an_unclosed_file_without_its_log_is_refused() {
    if let Some(path) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = open(Path::new(&path));
            let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
            store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
            print_line("stored");
            std::future::pending::<()>().await;
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    for round in 0..2 {
        let mut child = child("damage::an_unclosed_file_without_its_log_is_refused", &path);
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line, "stored\n");
        if round == 0 {
            // With its log, the file can be opened. After a clean close, the file needs no log.
            assert_eq!(summary(&path).current.unwrap().totals.done, 1);
            drop(open(&path));
            assert!(!dir.path().join("s.db-wal").exists());
            fs::remove_file(&path).unwrap();
        }
    }
    let log = dir.path().join("s.db-wal");
    let whole = fs::read(&log).unwrap();
    let file = fs::read(&path).unwrap();
    for lost in [None, Some(Vec::new()), Some(whole[..whole.len() - 4096].to_vec())] {
        fs::remove_file(&log).unwrap();
        let _ = lost.as_ref().map(|bytes| fs::write(&log, bytes).unwrap());
        let _ = fs::remove_file(dir.path().join("s.db-shm"));
        let reader = StateFile::open(&path).and_then(|file| file.summary()).unwrap_err();
        for error in [refusal(&path, &identity()), reader] {
            assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("-wal") && text.contains("was not closed") && text.contains("Nothing"), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), file, "a refused file must not change");
        fs::write(&log, &whole).unwrap();
    }
    let _ = fs::remove_file(dir.path().join("s.db-shm"));
    assert_eq!(summary(&path).current.unwrap().totals.done, 1, "with its log restored, the file must open");
    // If another program opens the file for writing, it moves the log into the file. No data is lost.
    rusqlite::Connection::open(&path).unwrap().query_row("SELECT 1 FROM runs", [], |_| Ok(())).unwrap();
    assert!(!log.exists());
    assert_eq!(summary(&path).current.unwrap().totals.done, 1);
    drop(open(&path));
    // A lock file applies only to the state file for which it was written, and not to a different state file with the
    // same name.
    fs::write(dir.path().join("s.db.lock"), "pid=1\nhost=h\nsince=s\ncommits=5/00000000000000000009\n").unwrap();
    drop(open(&path));
    for cut in ["pid=1\nho", "\0\0\0\0", "pid=1\nhost=h\nsince=s\ncommits=5/00"] {
        fs::write(dir.path().join("s.db.lock"), cut).unwrap();
        drop(open(&path));
    }
}

/// RUNBOOK: "With the lock file the copy opens; without it the tool refuses the copy"
#[tokio::test]
async fn a_copy_of_a_file_in_use_opens_with_its_lock_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let copy = dir.path().join("copy.db");
    let lock = |path: &Path| format!("{}.lock", path.display());
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    fs::copy(lock(&path), lock(&copy)).unwrap();
    // The process commits a second page after the lock file was copied and before the state file is copied.
    store.commit(commit(run, 1, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    let reader = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    store.commit(commit(run, 2, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();

    let alone = dir.path().join("alone.db");
    fs::copy(&copy, &alone).unwrap();
    assert!(matches!(refusal(&alone, &identity()), StoreError::Corrupt(text) if text.contains("was not closed")));

    assert_eq!(summary(&copy).current.unwrap().totals.done, 2);
    let copied = open(&copy);
    assert_eq!(copied.totals(run).await.unwrap().done, 2, "the copy must contain the commits from before it was made");
    assert_eq!(store.totals(run).await.unwrap().done, 3);
}
