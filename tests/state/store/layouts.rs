//! Tests state files of older layouts (tests/fixtures). A reader reads such a file without changing its layout. An
//! owner migrates the file to the current layout.

use backfill::internals::change::ItemHistory;

use super::*;

/// The layout of a file that this version writes.
const NEWEST: u32 = 3;

/// Returns the fixtures of one older layout.
fn fixtures(layout: u32) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/layout-{layout}"));
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 3, "{folders:?}");
    folders
}

/// Returns the fixtures of all older layouts, each with its layout.
fn all_fixtures() -> Vec<(u32, PathBuf)> {
    (1..NEWEST).flat_map(|layout| fixtures(layout).into_iter().map(move |fixture| (layout, fixture))).collect()
}

pub(super) fn fixture(layout: u32, name: &str) -> PathBuf {
    fixtures(layout).into_iter().find(|path| path.ends_with(name)).unwrap()
}

/// Copies a fixture's state file and its log.
pub(super) fn copy(from: &Path, to: &Path) -> PathBuf {
    for name in ["state.db", "state.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    to.join("state.db")
}

/// Returns all data that a reader reads, and the recorded history of every item in the journal.
async fn contents(path: &Path) -> (StateSummary, Vec<ItemKey>, Vec<ItemHistory>, String) {
    let file = StateFile::open(path).unwrap();
    let summary = file.summary().unwrap();
    let keys: Vec<ItemKey> = file.journal(ALL).unwrap().into_iter().map(|row| row.unwrap().key).collect();
    let lists = format!("{:?} {:?} {:?}", file.failures(ALL), file.diverged(ALL), file.unrestorable_targets());
    let events =
        format!("{:?} {:?} {:?}", file.events(), file.reports(9).map(|r| r.len()), file.open_work_of_phase("expand"));
    let items = file.into_history_reader().read_history(keys.clone(), HistoryLookup::ForDecision).await.unwrap();
    (summary, keys, items, lists + &events)
}

#[tokio::test]
async fn migrating_an_older_layout_keeps_everything_that_readers_read() {
    let mut journaled = [0; NEWEST as usize];
    for (layout, fixture) in all_fixtures() {
        let dir = tempfile::tempdir().unwrap();
        let path = copy(&fixture, dir.path());
        let before = fs::read(&path).unwrap();
        let (old, keys, items, lists) = contents(&path).await;
        assert_eq!(old.layout_version, layout, "{fixture:?}");
        assert_eq!(fs::read(&path).unwrap(), before, "a reader must not change the file: {fixture:?}");
        assert!(items.iter().all(|item| item.unreadable_reason().is_none()), "{fixture:?}");
        journaled[layout as usize] += keys.len();

        // The store refuses to open the file for a different plan, and leaves the file's layout unchanged.
        let other = Identity { fingerprint: "b".repeat(20), ..old.identity.clone() };
        assert!(matches!(refusal(&path, &other), StoreError::Foreign(_)), "{fixture:?}");
        assert_eq!(summary(&path).layout_version, layout, "{fixture:?}");

        backfill::internals::state::open(&path, &old.identity, clock).unwrap().close().await.unwrap();
        let (new, new_keys, new_items, new_lists) = contents(&path).await;
        assert_eq!((new_keys, new_items, new_lists), (keys, items, lists), "{fixture:?}");
        assert_eq!(new.layout_version, NEWEST, "{fixture:?}");
        // The next owner records that the last session was killed.
        let as_owner_left_it = StateSummary { layout_version: layout, ..new };
        if old.current.as_ref().is_some_and(|current| current.died) {
            assert!(as_owner_left_it.current.unwrap().run.lower_bound, "{fixture:?}");
        } else {
            assert_eq!(as_owner_left_it, old, "{fixture:?}");
        }
    }
    assert!(journaled[1..].iter().all(|keys| *keys > 0), "no fixture of a layout has a journal: {journaled:?}");
}

/// After a kill at any point of the migration, the file can be opened, and has either the old or the new layout.
#[test]
fn a_killed_layout_migration_is_complete_or_has_not_happened() {
    if let Some(path) = std::env::var_os(CHILD) {
        let identity = summary(Path::new(&path)).identity;
        print_line("ready");
        let _owned = backfill::internals::state::open(Path::new(&path), &identity, clock).unwrap();
        return print_line("migrated");
    }
    for (n, layout) in (0..8).flat_map(|n| (1..NEWEST).map(move |layout| (n, layout))) {
        let fixture = fixture(layout, "in-place");
        let dir = tempfile::tempdir().unwrap();
        let path = copy(&fixture, dir.path());
        let whole = summary(&path);
        let mut child = child("layouts::a_killed_layout_migration_is_complete_or_has_not_happened", &path);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        thread::sleep(Duration::from_micros(700 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = summary(&path);
        assert!([layout, NEWEST].contains(&found.layout_version), "{found:?}");
        assert_eq!(StateSummary { layout_version: layout, ..found }, whole);
        let store = backfill::internals::state::open(&path, &whole.identity, clock).unwrap();
        drop(store);
        assert_eq!(StateSummary { layout_version: layout, ..summary(&path) }, whole);
    }
}

/// Copies a fixture of layout 2 whose run was killed, and closes it properly, so that the file needs no log.
fn closed_copy(to: &Path) -> (PathBuf, StateSummary) {
    let path = copy(&fixture(2, "killed-run"), to);
    damage(&path, "UPDATE file SET in_use = 0");
    let whole = summary(&path);
    (path, whole)
}

/// Changes a closed file as another program would. The statement must change at least one row.
fn damage(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

/// Verifies all checksums, as a dry run of a rollback does.
async fn audit(path: &Path) -> Result<Vec<ItemHistory>, StoreError> {
    StateFile::open(path)?.into_history_reader().read_history(vec![], HistoryLookup::ForDecision).await
}

/// A file of layout 2 has checksums. The tool checks them before it migrates the file, so that a damaged row never gets
/// a correct checksum. A refused file stays unchanged.
#[tokio::test]
async fn damage_in_a_file_of_layout_2_is_found_before_the_migration() {
    for (table, change) in [
        ("identity", "sum = sum + 1"),
        ("runs", "sum = sum + 1"),
        ("events", "sum = sum + 1"),
        ("kept", "sum = sum + 1"),
        ("segments", "sum = sum + 1"),
        ("pages_under_way", "sum = sum + 1"),
        // SQLite's own check finds this damage.
        ("tallies", "n = n + 1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = closed_copy(dir.path());
        damage(&path, &format!("UPDATE {table} SET {change}"));
        let before = fs::read(&path).unwrap();
        let error = refusal(&path, &whole.identity);
        let text = error.to_string();
        let is_named = text.contains(&format!("`{table}`")) || text.contains(&format!("failed in {table}"));
        assert!(matches!(error, StoreError::Corrupt(_)) && is_named, "{table}: {text}");
        assert_eq!(fs::read(&path).unwrap(), before, "{table}: a refused file must not change");
        let seen = audit(&path).await;
        assert!(matches!(seen, Err(StoreError::Corrupt(_))), "{table}: a reader must find the damage: {seen:?}");
    }
}

/// A reader finds a damaged segment when it reads the segment. It does not verify all segments when it opens the file.
#[tokio::test]
async fn a_reader_of_layout_2_refuses_only_damaged_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (path, whole) = closed_copy(dir.path());
    let run = whole.current.unwrap().run.id;
    let file = StateFile::open(&path).unwrap();
    let segments = file.segments_after(run, None, u32::MAX).unwrap();
    assert!(segments.len() > 1 && segments.iter().all(|(_, state)| state.counts.of(Outcome::NotComputable) == 0));
    audit(&path).await.unwrap();
    let last = segments.last().unwrap().0;
    damage(&path, &format!("UPDATE segments SET sum = sum - 1 WHERE segment = {last}"));
    let error = StateFile::open(&path).unwrap().segments_after(run, None, u32::MAX).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains(&format!("segment {last}"))), "{error}");
    let others = StateFile::open(&path).unwrap().segments_after(run, None, u32::try_from(segments.len()).unwrap() - 1);
    assert_eq!(others.unwrap(), segments[..segments.len() - 1]);
}

/// A file of layout 2 whose process was killed needs its log.
#[test]
fn an_unclosed_file_of_layout_2_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy(&fixture(2, "killed-run"), dir.path());
    let whole = summary(&path);
    assert!(whole.current.as_ref().is_some_and(|current| current.died), "{whole:?}");
    fs::remove_file(dir.path().join("state.db-wal")).unwrap();
    let _ = fs::remove_file(dir.path().join("state.db-shm"));
    let before = fs::read(&path).unwrap();
    for error in [refusal(&path, &whole.identity), StateFile::open(&path).unwrap_err()] {
        assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("was not closed")), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before, "a refused file must not change");
}

/// If another process migrates the file while a reader has it open, the reader refuses to continue, because the
/// reader's views do not fit the new layout.
#[tokio::test]
async fn a_reader_notices_that_another_process_migrates_the_file() {
    for layout in 1..NEWEST {
        let dir = tempfile::tempdir().unwrap();
        let path = copy(&fixture(layout, "in-place"), dir.path());
        let reader = StateFile::open(&path).unwrap();
        let whole = reader.summary().unwrap();
        backfill::internals::state::open(&path, &whole.identity, clock).unwrap().close().await.unwrap();
        let error = reader.summary().unwrap_err();
        assert!(matches!(&error, StoreError::Locked(text) if text.contains("migrated")), "{error}");
        assert_eq!(summary(&path).layout_version, NEWEST);
    }
}
