//! Tests state files that have an older layout (tests/fixtures). A reader reads such a file without changing its
//! layout. An owner migrates the file to the current layout.

use backfill::internals::change::ItemHistory;

use super::*;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1");
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 7, "{folders:?}");
    folders
}

/// Copies a fixture's state file and its log.
fn copy(from: &Path, to: &Path) -> PathBuf {
    for name in ["state.db", "state.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    to.join("state.db")
}

/// Returns everything that a reader reads, and the recorded history of every item in the journal.
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
    let mut journaled = 0;
    for fixture in fixtures() {
        let dir = tempfile::tempdir().unwrap();
        let path = copy(&fixture, dir.path());
        let before = fs::read(&path).unwrap();
        let (old, keys, items, lists) = contents(&path).await;
        assert_eq!(old.layout_version, 1, "{fixture:?}");
        assert_eq!(fs::read(&path).unwrap(), before, "a reader must not change the file: {fixture:?}");
        assert!(items.iter().all(|item| item.unreadable_reason().is_none()), "{fixture:?}");
        journaled += keys.len();

        // The store refuses to open the file for a different plan, and leaves the file's layout unchanged.
        let other = Identity { fingerprint: "b".repeat(20), ..old.identity.clone() };
        assert!(matches!(refusal(&path, &other), StoreError::Foreign(_)), "{fixture:?}");
        assert_eq!(StateFile::open(&path).unwrap().summary().unwrap().layout_version, 1, "{fixture:?}");

        backfill::internals::state::open(&path, &old.identity, clock).unwrap().close().await.unwrap();
        let (new, new_keys, new_items, new_lists) = contents(&path).await;
        assert_eq!((new_keys, new_items, new_lists), (keys, items, lists), "{fixture:?}");
        assert_eq!(new.layout_version, 2, "{fixture:?}");
        // The next owner records that the last session was killed.
        let as_owner_left_it = StateSummary { layout_version: 1, ..new };
        if old.current.as_ref().is_some_and(|current| current.died) {
            assert!(as_owner_left_it.current.unwrap().run.lower_bound, "{fixture:?}");
        } else {
            assert_eq!(as_owner_left_it, old, "{fixture:?}");
        }
    }
    assert!(journaled > 0, "no fixture has a journal");
}

/// At whatever point the process is killed, the file can be opened, and has either the old layout or the new one.
#[test]
fn a_killed_layout_migration_is_complete_or_has_not_happened() {
    if let Some(path) = std::env::var_os(CHILD) {
        let identity = summary(Path::new(&path)).identity;
        print_line("ready");
        let _owned = backfill::internals::state::open(Path::new(&path), &identity, clock).unwrap();
        return print_line("migrated");
    }
    let fixture = fixtures().into_iter().find(|path| path.ends_with("in-place")).unwrap();
    let mut layouts = Vec::new();
    for n in 0..8 {
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
        layouts.push(found.layout_version);
        assert_eq!(StateSummary { layout_version: 1, ..found }, whole);
        let store = backfill::internals::state::open(&path, &whole.identity, clock).unwrap();
        drop(store);
        assert_eq!(StateSummary { layout_version: 1, ..summary(&path) }, whole);
    }
    assert!(layouts.iter().all(|layout| [1, 2].contains(layout)), "{layouts:?}");
}
