//! Tests hooks with real programs: small shell scripts that read and write a file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::cutover::FlagChange;

/// Returns a directory for the flag's file, and a store that uses these scripts as hooks.
fn store(get: &str, set: &str, timeout: Duration) -> (TempDir, HookStore) {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path: PathBuf = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        vec!["/bin/sh".to_owned(), path.to_str().unwrap().to_owned(), "an $argument; of its own".to_owned()]
    };
    let hooks = FlagHooks { get: script("get", get), set: script("set", set), timeout };
    (dir, HookStore::new(hooks, clock::wall_clock()))
}

const GET: &str = "test -e flag && cat flag; true";
const SET: &str = "cat >new && mv new flag && echo $BACKFILL_EXPECTED_VERSION \"$1\" >>log";

/// A time limit that is long enough for a script even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn meta() -> FlagMeta {
    FlagMeta { plan: "f".repeat(64).into(), report: None, actor: "jo@laptop".into(), reason: None }
}

fn first() -> Flag {
    Flag::new(1, jiff::Timestamp::UNIX_EPOCH)
}

fn both(flag: &Flag) -> Flag {
    flag.next(FlagChange::DualWrite, flag.settled_at(), Duration::ZERO).unwrap()
}

#[tokio::test]
async fn get_prints_what_was_set() {
    let (dir, store) = store(GET, SET, LONG);
    assert!(store.read().await.unwrap().is_none());
    let flag = store.change(None, &first(), &meta()).await.unwrap();
    assert!(flag.changed_at > jiff::Timestamp::now(), "the recorded time must not be before the change took effect");
    let next = store.change(Some(&flag), &both(&flag), &meta()).await.unwrap();
    assert_eq!(store.read().await.unwrap(), Some((next, meta())));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(log, "0 an $argument; of its own\n1 an $argument; of its own\n");
}

#[tokio::test]
async fn a_flag_that_somebody_else_changed_is_left_alone() {
    let (_dir, store) = store(GET, SET, LONG);
    let flag = store.change(None, &first(), &meta()).await.unwrap();
    let theirs = store.change(Some(&flag), &both(&flag), &meta()).await.unwrap();
    for expected in [None, Some(&flag)] {
        let refused = store.change(expected, &first(), &meta()).await.unwrap_err();
        assert!(
            matches!(&refused, FlagStoreError::Changed { found: Some(found), .. } if **found == theirs),
            "{refused}"
        );
    }
    assert_eq!(store.read().await.unwrap().unwrap().0, theirs);
}

/// If `set` fails twice even though it took effect, the output of `get` decides. The stored time is then the time of
/// the last `set`.
#[tokio::test]
async fn after_a_failed_set_the_output_of_get_decides() {
    let fails_twice = format!("{SET}; test $(wc -l <log) -ge 3");
    let (dir, mut store) = store(GET, &fails_twice, LONG);
    let flag = store.change(None, &first(), &meta()).await.unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap().lines().count(), 3);
    assert_eq!(store.read().await.unwrap().unwrap().0, flag);

    let fails = "cat >/dev/null; echo no access >&2; exit 3";
    std::fs::write(&store.hooks.set[1], fails).unwrap();
    let refused = store.change(Some(&flag), &both(&flag), &meta()).await.unwrap_err().to_string();
    for part in ["exit status: 3", "no access", "The flag is unchanged"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(store.read().await.unwrap().unwrap().0, flag);

    store.hooks.set = vec!["/nowhere/at/all".into()];
    let refused = store.change(Some(&flag), &both(&flag), &meta()).await.unwrap_err().to_string();
    assert!(refused.contains("\"/nowhere/at/all\" of [cutover.exec] could not be started"), "{refused}");
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended() {
    let (_dir, store) = store("exec sleep 1000", SET, Duration::from_secs(1));
    let refused = store.read().await.unwrap_err().to_string();
    assert!(
        refused.contains("did not end within its `timeout` (1 s)") && refused.contains("nothing was changed"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_set_that_changes_nothing_is_no_success() {
    let (_dir, store) = store(GET, "cat >/dev/null", Duration::from_secs(1));
    let refused = store.change(None, &first(), &meta()).await.unwrap_err().to_string();
    assert!(refused.contains("succeeded, but the flag is unchanged"), "{refused}");
}

#[tokio::test]
async fn output_that_is_no_flag_is_refused() {
    for (get, says) in [
        ("echo '{\"schema_version\": 2}'", "schema_version 2"),
        ("echo '{}'", "`schema_version` of the flag is missing"),
        ("echo '[1]'", "`schema_version` of the flag is missing"),
        ("echo off", "not JSON (line 1, column 1)"),
        ("printf '\\377'", "not UTF-8"),
        ("head -c 100000 /dev/zero | tr '\\0' ' '", "more than 65536 bytes"),
        ("exit 1", "exit status: 1"),
    ] {
        let (_dir, store) = store(get, SET, LONG);
        let refused = store.read().await.unwrap_err().to_string();
        assert!(refused.contains(says), "{get}: {refused}");
    }
    let (_dir, store) = store("echo null", SET, LONG);
    assert!(store.read().await.unwrap().is_none());
}
