//! Tests that the file can be opened after a kill or a power cut at any point.

use super::*;

const FILES: [&str; 4] = ["", ".lock", "-wal", "-shm"];

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Copies the state file and its siblings in their current state. A process that is killed now would leave the same
/// files.
fn copy_as_if_killed(path: &Path, to: &Path) {
    for suffix in FILES {
        let _ = fs::remove_file(sibling(to, suffix));
        if let Ok(bytes) = fs::read(sibling(path, suffix)) {
            fs::write(sibling(to, suffix), bytes).unwrap();
        }
    }
}

/// Opens and closes the file as another program would. This moves the log into the file.
fn open_with_another_program(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).unwrap();
    drop(connection);
    assert!(!sibling(path, "-wal").exists());
}

/// The ways in which the files can change after a kill.
pub(super) const DISTURBANCES: [fn(&Path); 3] = [|_| {}, open_with_another_program, simulate_power_cut];

fn check_opens_after_every_disturbance(path: &Path) {
    DISTURBANCES.into_iter().for_each(|disturb| check_opens_after(path, disturb));
}

/// Copies the files as a kill at this moment would leave them. Changes the copy with `disturb`, and opens it.
pub(super) fn check_opens_after(path: &Path, disturb: fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("s.db");
    copy_as_if_killed(path, &copy);
    disturb(&copy);
    summary(&copy);
    drop(open(&copy));
    summary(&copy);
}

/// Simulates a power cut. A power cut can destroy unsynced data: the index of the log, and the contents of the lock
/// file.
fn simulate_power_cut(path: &Path) {
    for suffix in [".lock", "-shm"] {
        if let Ok(meta) = fs::metadata(sibling(path, suffix)) {
            fs::write(sibling(path, suffix), vec![0; usize::try_from(meta.len()).unwrap()]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_opens_after_its_session_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    check_opens_after_every_disturbance(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    check_opens_after_every_disturbance(&path);
    store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    check_opens_after_every_disturbance(&path);
    let killed = dir.path().join("killed.db");
    copy_as_if_killed(&path, &killed);
    // Simulate a second kill immediately after the file is opened. Then simulate a third kill after a different program
    // has opened the file.
    let again = open(&killed);
    check_opens_after_every_disturbance(&killed);
    let twice = dir.path().join("twice.db");
    copy_as_if_killed(&killed, &twice);
    open_with_another_program(&twice);
    let third = open(&twice);
    check_opens_after_every_disturbance(&twice);
    for store in [third, again, store] {
        store.close().await.unwrap();
    }
    for path in [&path, &killed, &twice] {
        check_opens_after_every_disturbance(path);
        assert_eq!(summary(path).current.unwrap().totals.done, 1);
    }
}

/// Opens an incompletely written file for each point of a kill or a power cut.
#[tokio::test]
async fn half_written_files_do_not_prevent_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    let lock = fs::read(sibling(&path, ".lock")).unwrap();
    let index = fs::read(sibling(&path, "-shm")).unwrap();
    let mut points: Vec<(&str, &str, Vec<u8>)> = vec![
        ("the index is truncated before it is rebuilt", "-shm", index[..3].to_vec()),
        ("the index is new and truncated", "-shm", vec![0; 3]),
        ("the index is empty", "-shm", vec![]),
        ("the index was not synced", "-shm", vec![0; index.len()]),
        ("the journal was not synced", "-journal", vec![0; 512]),
        ("the journal is empty", "-journal", vec![]),
        ("the lock file was not synced", ".lock", vec![0; lock.len()]),
        ("the lock file overwrites a longer one", ".lock", [&lock[..], &[0; 9]].concat()),
        ("a new file still has its temporary name", ".new-1-00000001", b"SQLite format 3\0".to_vec()),
        ("a new file has a journal with a temporary name", ".new-1-00000001-journal", vec![0; 512]),
    ];
    points.extend((0..=lock.len()).step_by(9).map(|n| ("the lock file is truncated", ".lock", lock[..n].to_vec())));
    let copy = dir.path().join("copy.db");
    for (point, suffix, bytes) in points {
        copy_as_if_killed(&path, &copy);
        fs::write(sibling(&copy, suffix), &bytes).unwrap();
        let read = StateFile::open(&copy).and_then(|file| file.summary());
        assert_eq!(read.unwrap_or_else(|e| panic!("{point}: {e}")).current.unwrap().totals.done, 1, "{point}");
        drop(backfill::internals::state::open(&copy, &identity(), clock).unwrap_or_else(|e| panic!("{point}: {e}")));
        assert_eq!(summary(&copy).current.unwrap().totals.done, 1, "{point}");
        let _ = fs::remove_file(sibling(&copy, suffix));
    }
    drop(store);
    assert_eq!(fs::read(sibling(&path, ".lock")).unwrap(), b"");
    // A log that was created but never synced contains no acknowledged commit.
    fs::write(sibling(&path, "-wal"), [0; 4096]).unwrap();
    assert_eq!(summary(&path).current.unwrap().totals.done, 1);
    drop(open(&path));
}
