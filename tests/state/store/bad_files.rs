//! Tests unusable files. Each error says what happened, what was not done, and what to do.

use super::*;

/// Checks that an error says what happened, what was not done, and what to do.
fn assert_mentions(error: &StoreError, words: &[&str]) {
    let text = error.to_string();
    for word in words.iter().chain(&["--state"]) {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert!(text.contains("was not") || text.contains("Nothing"), "{text}");
}

#[tokio::test]
async fn a_file_without_a_run_can_be_used_for_another_plan() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path));
    let other = Identity { fingerprint: "bbbbbbbbbbbbbbbbbbbb".to_owned(), ..identity() };
    let store = backfill::internals::state::open(&path, &other, clock).unwrap();
    assert_eq!(summary(&path).identity, other);
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    drop(store);
    assert!(
        matches!(refusal(&path, &identity()), StoreError::Foreign(_)),
        "after the first run begins, the file belongs to one plan"
    );
}

/// If a file contains only the records of the preflight and of the start of expand, it can be opened for a different
/// plan. Opening it in this way deletes these records. Any other record binds the file to its plan.
#[tokio::test]
async fn a_preflight_does_not_bind_a_file_to_its_plan() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let other = Identity { fingerprint: "bbbbbbbbbbbbbbbbbbbb".to_owned(), ..identity() };
    let events = [r#"{"type":"preflight_accepted","kind":"stated"}"#, r#"{"type":"phase_begun","phase":"expand"}"#];
    let store = open(&path);
    for event in events {
        store.append_event(event.to_owned()).await.unwrap();
    }
    for fact in [StoredFact::FlagLocation, StoredFact::LastFlag, StoredFact::LeaseOwner] {
        store.set_fact(fact, "x".to_owned()).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(open(&path).events().await.unwrap().len(), 2, "the same plan must keep its events");

    let store = backfill::internals::state::open(&path, &other, clock).unwrap();
    assert_eq!(store.events().await.unwrap(), []);
    for (fact, left) in
        [(StoredFact::FlagLocation, None), (StoredFact::LastFlag, None), (StoredFact::LeaseOwner, Some("x"))]
    {
        assert_eq!(store.fact(fact).await.unwrap().as_deref(), left, "{fact:?}");
    }
    store.append_event(events[0].to_owned()).await.unwrap();
    assert!(store.clear_unless_begun().await.unwrap() && store.events().await.unwrap().is_empty());
    for event in [r#"{"type":"phase_begun","phase":"contract"}"#, r#"{"type":"fact_stated"}"#, "of a later version"] {
        let path = dir.path().join("begun.db");
        let store = open(&path);
        store.append_event(event.to_owned()).await.unwrap();
        assert!(!store.clear_unless_begun().await.unwrap() && store.events().await.unwrap().len() == 1, "{event}");
        store.close().await.unwrap();
        assert!(matches!(refusal(&path, &other), StoreError::Foreign(_)), "{event}");
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_file_of_another_plan_or_table_is_refused_with_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    begin(&open(&path), BeginMode::ResumeOrNew, 1).await;
    let mut other = identity();
    other.fingerprint = "bbbbbbbbbbbbbbbbbbbb".to_owned();
    other.meaning = "move zip to zipcode".to_owned();
    let error = refusal(&path, &other);
    assert!(matches!(error, StoreError::Foreign(_)));
    let both = ["aaaaaaaaaaaa (move zip to postcode)", "bbbbbbbbbbbb (move zip to zipcode)", "another plan"];
    assert_mentions(&error, &both);

    let mut other = identity();
    other.table_arn = "arn:aws:dynamodb:eu-west-1:444455556666:table/orders".to_owned();
    let error = refusal(&path, &other);
    assert!(matches!(error, StoreError::Foreign(_)));
    assert_mentions(&error, &["another table", "111122223333", "444455556666"]);

    let mut other = identity();
    other.table_id = Some("id-2".to_owned());
    let error = refusal(&path, &other);
    assert!(matches!(error, StoreError::Foreign(_)));
    assert_mentions(&error, &["deleted and recreated", "id-1", "id-2"]);

    // This identity has no table id, as on some engines. The description of its plan has a different wording, but the
    // same meaning.
    let same = Identity { table_id: None, meaning: "other words".to_owned(), ..identity() };
    backfill::internals::state::open(&path, &same, clock).unwrap();
}

#[test]
fn an_incomplete_file_is_refused_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.db");
    drop(open(&whole));
    let whole = fs::read(whole).unwrap();
    let text = b"# not a database, but a long text passed by mistake\n".repeat(100);
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("text", &text),
        ("short", b"SQLite format 3\0"),
        ("header only", &whole[..100]),
        ("one page", &whole[..4096]),
        ("cut short", &whole[..whole.len() - 4096]),
    ];
    for (name, bytes) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let owner = refusal(&path, &identity());
        let reader = StateFile::open(&path).and_then(|f| f.summary()).unwrap_err();
        for error in [owner, reader] {
            assert!(matches!(error, StoreError::Corrupt(_)), "{name}: {error:?}");
            assert_mentions(&error, &[name]);
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
    }
}

#[test]
fn a_path_that_cannot_hold_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    let at = |name: &str| dir.path().join(name);
    for (path, words) in [
        (at("folder"), "is a directory"),
        (at("file/s.db"), "file"),
        (at("dangling"), "symbolic link"),
        (at(".."), "directory"),
        (PathBuf::from("/dev/null"), "not a regular file"),
        (PathBuf::from("/proc/no/s.db"), "create the directory"),
    ] {
        let error = refusal(&path, &identity());
        assert!(matches!(error, StoreError::Io(_)), "{path:?}: {error:?}");
        assert_mentions(&error, &[words]);
    }
    assert!(!at("folder.lock").exists(), "the tool must not create a file at a refused path");
    let error = StateFile::open(&at("none.db")).unwrap_err();
    assert!(matches!(error, StoreError::Io(_)));
    assert_mentions(&error, &["there is no state file"]);
    assert!(!at("none.db").exists());
}

#[test]
fn a_log_without_its_file_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    fs::write(dir.path().join("s.db-wal"), "checkpoints").unwrap();
    let error = refusal(&path, &identity());
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("log")), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("s.db-wal")).unwrap(), "checkpoints");
}
