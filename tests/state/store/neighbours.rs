//! Tests that the tool does not use, change or remove other programs' files beside a state file.

use std::os::unix::fs::symlink;

use super::*;

/// Returns the names and contents of all files in a folder.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default());
    entries.map(read).collect()
}

const SUFFIXES: [&str; 5] = [".lock", "-wal", "-shm", "-journal", ".new"];

#[test]
fn a_neighbour_is_never_changed() {
    for begun in [false, true] {
        for suffix in SUFFIXES {
            for text in ["GEM\n  remote: https://rubygems.org/\n", "pid=1\nhost=a\nsince=b\nand more\n"] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("Gemfile");
                if begun {
                    drop(open(&path));
                    let _ = fs::remove_file(dir.path().join("Gemfile.lock"));
                }
                let neighbour = dir.path().join(format!("Gemfile{suffix}"));
                fs::write(&neighbour, text.repeat(2_000)).unwrap();
                let before = contents(dir.path());
                let opened = backfill::internals::state::open(&path, &identity(), clock);
                if suffix == ".new" {
                    // The tool chooses a different name for its new file.
                    drop(opened.unwrap());
                    assert_eq!(fs::read_to_string(&neighbour).unwrap(), text.repeat(2_000));
                    continue;
                }
                let error = opened.expect_err(suffix);
                assert!(error.to_string().contains(&format!("Gemfile{suffix}")), "{error}");
                assert!(error.to_string().contains("--state"), "{error}");
                assert_eq!(contents(dir.path()), before, "{suffix}, begun: {begun}");
                if begun && suffix != ".lock" {
                    assert!(StateFile::open(&path).is_err(), "{suffix}");
                    assert_eq!(contents(dir.path()), before, "{suffix}, read");
                }
            }
        }
    }
}

/// If a sibling file is a link, the tool does not follow it, because the link's target belongs to another program.
#[test]
fn a_sibling_that_is_a_link_is_not_followed() {
    for suffix in SUFFIXES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let theirs = dir.path().join("theirs");
        for text in ["", "of another program"] {
            fs::write(&theirs, text).unwrap();
            let link = dir.path().join(format!("s.db{suffix}"));
            symlink("theirs", &link).unwrap();
            let opened = backfill::internals::state::open(&path, &identity(), clock);
            assert_eq!(opened.is_ok(), suffix == ".new", "{suffix}: {opened:?}");
            drop(opened);
            assert_eq!(fs::read_to_string(&theirs).unwrap(), text, "{suffix}");
            assert!(link.is_symlink(), "{suffix}");
            fs::remove_file(link).unwrap();
            let _ = fs::remove_file(&path);
        }
    }
}

/// If the lock file is a pipe, opening it would block the process.
#[test]
fn a_lock_file_must_be_a_regular_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let made = Command::new("mkfifo").arg(dir.path().join("s.db.lock")).status().unwrap();
    assert!(made.success());
    let error = refusal(&path, &identity());
    assert!(error.to_string().contains("s.db.lock"), "{error}");
    assert!(!path.exists());
}

/// A foreign file is refused before anything is created next to it.
#[test]
fn nothing_is_created_next_to_a_foreign_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    for bytes in [&b"x"[..], &b"# some notes\n".repeat(1_000), &[0; 8192]] {
        fs::write(&path, bytes).unwrap();
        let before = contents(dir.path());
        refusal(&path, &identity());
        assert!(StateFile::open(&path).is_err());
        assert_eq!(contents(dir.path()), before);
    }
}

/// If a process is killed while it creates its first session, it leaves a journal to which SQLite has not yet written
/// its magic number.
#[test]
fn an_unsynced_journal_is_recognized() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path));
    fs::write(dir.path().join("s.db-journal"), [0; 512]).unwrap();
    summary(&path);
    drop(open(&path));
}
