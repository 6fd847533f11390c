//! Tests ownership: one process owns a state file, while other processes can read it.

use super::*;

#[test]
fn a_second_process_is_refused_with_the_name_of_the_owner() {
    if let Some(path) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = open(Path::new(&path));
            begin(&store, BeginMode::ResumeOrNew, 4).await;
            print_line("held");
            std::future::pending::<()>().await;
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut child = child("owners::a_second_process_is_refused_with_the_name_of_the_owner", &path);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");

    // A link to the file opens the file itself.
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let error = refusal(path, &identity());
        let text = error.to_string();
        assert!(matches!(error, StoreError::Locked(_)), "{text}");
        assert!(text.contains(&format!("process {} on host ", child.id())), "{text}");
        assert!(text.contains("since 2026-01-01T00:00:00Z") && text.contains("Nothing was"), "{text}");
        let summary = summary(path);
        assert_eq!(summary.holder.unwrap().pid, Some(child.id()));
        assert!(!summary.current.unwrap().died);
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let dead = summary(&path);
    assert!(dead.holder.is_none() && dead.current.as_ref().unwrap().died);
    let store = open(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = runtime.block_on(store.current_run("expand")).unwrap().unwrap();
    assert!(run.lower_bound && run.status == RunStatus::Stopped, "{run:?}");
    assert!(run.stop_reason.unwrap().contains("killed"));
}

/// A reader that checks the lock's holder never makes a new owner fail.
#[test]
fn readers_never_block_an_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path));
    let (stop, stopped) = mpsc::channel::<()>();
    let reader = thread::spawn({
        let path = path.clone();
        move || {
            let file = StateFile::open(&path).unwrap();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                file.summary().unwrap();
            }
        }
    });
    for _ in 0..30 {
        drop(open(&path));
    }
    drop(stop);
    reader.join().unwrap();
}

#[tokio::test]
async fn a_clean_close_leaves_one_file_and_a_free_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let store = open(&path);
    let clone = store.clone();
    begin(&store, BeginMode::ResumeOrNew, 4).await;
    assert_eq!(names(), ["s.db", "s.db-shm", "s.db-wal", "s.db.lock"]);
    store.close().await.unwrap();
    assert_eq!(names(), ["s.db", "s.db.lock"]);
    let error = clone.current_run("expand").await.unwrap_err().to_string();
    assert!(error.contains("is closed"), "{error}");
    // `close` has released the lock, even though a clone of the store still exists. Dropping a store without a call of
    // `close` also releases the lock.
    drop(open(&path));
    assert_eq!(names(), ["s.db", "s.db.lock"]);
    assert!(open(&path).current_run("expand").await.unwrap().unwrap().lower_bound);
}

#[tokio::test]
async fn only_this_user_can_access_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/s.db");
    let store = open(&path);
    begin(&store, BeginMode::ResumeOrNew, 4).await;
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    for file in ["s.db", "s.db-wal", "s.db-shm", "s.db.lock"] {
        assert_eq!(mode(&path.with_file_name(file)), 0o600, "{file}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&dir.path().join("a")), 0o700);
}

#[tokio::test]
async fn a_reader_sees_a_live_run_and_needs_no_write_permission() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    assert_eq!(summary(&path).current, None);
    let run = begin(&store, BeginMode::ResumeOrNew, 1_000_000).await.run.id;
    let mut last = commit(run, 999_999, pages(1, 3, None, &[Outcome::Applied, Outcome::Diverged]));
    last.diverged =
        vec![DivergedItem { key: key("d"), paths: vec![attribute("zip"), attribute("e-mail")], derived: None }];
    store.commit(last).await.unwrap();
    store.commit(commit(run, 7, pages(1, 2, Some(key(1)), &[Outcome::Gone]))).await.unwrap();

    let now = summary(&path);
    assert_eq!(now.identity, identity());
    assert_eq!(now.holder.as_ref().unwrap().pid, Some(std::process::id()));
    assert_eq!((now.open_failures, now.open_diverged, now.pre_images), (0, 1, 0));
    let current = now.current.clone().unwrap();
    assert!(!current.died);
    let totals = current.totals;
    assert_eq!((totals.pending, totals.scanning, totals.done, totals.pages), (999_998, 1, 1, 5));
    assert_eq!((totals.counts.scanned, totals.counts.of(Outcome::Gone), totals.counts.write_units), (3, 1, 3.0));
    let json = serde_json::to_value(&now).unwrap();
    assert_eq!(json["current"]["run"]["status"], "running");
    assert_eq!(json["current"]["totals"]["counts"]["diverged"], 1);

    drop(store);
    let rights = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    rights(0o500);
    let file = StateFile::open(&path).unwrap();
    assert!(file.summary().unwrap().current.unwrap().died);
    let diverged = file.diverged(ALL).unwrap();
    assert_eq!(serde_json::to_value(&diverged).unwrap()[0]["paths"], serde_json::json!(["zip", "\"e-mail\""]));
    rights(0o700);
}
