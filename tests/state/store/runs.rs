//! Tests runs and their stored records.

use super::*;

#[tokio::test]
async fn a_run_is_resumed_ended_and_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let refused = async |mode| match store.begin(mode, new_run(2)).await {
        Err(StoreError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(store.current_run("expand").await.unwrap(), None);
    assert!(refused(BeginMode::Again).await.contains("complete"));
    assert!(matches!(store.begin(BeginMode::ResumeOrNew, new_run(0)).await, Err(StoreError::Refused(_))));

    let first = begin(&store, BeginMode::ResumeOrNew, 2).await;
    assert!(!first.resumed && first.run.pass == 1 && first.run.sessions == 1 && !first.run.lower_bound);
    let run = first.run.id;
    assert!(refused(BeginMode::ResumeOrNew).await.contains("already open"));
    let complete = store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await;
    assert!(matches!(complete, Err(StoreError::Refused(_))), "no segment is done: {complete:?}");
    let stopped =
        store.end_session(session_of(run, 1), RunStatus::Stopped, Some("interrupted".to_owned()), 0).await.unwrap();
    assert!(!stopped.lower_bound && stopped.ended_at.is_some() && !stopped.open_session);
    assert_eq!(stopped.stop_reason.as_deref(), Some("interrupted"));
    let late = store.commit(commit(run, 0, pages(1, 1, None, &[]))).await;
    assert!(matches!(late, Err(StoreError::Refused(_))), "{late:?}");

    // A resumed run keeps its segments. Its counts become a lower bound, because pages were abandoned.
    let resumed = begin(&store, BeginMode::ResumeOrNew, 64).await;
    assert!(resumed.resumed && resumed.run.total_segments == 2 && resumed.run.sessions == 2);
    assert!(store.end_session(session_of(run, 2), RunStatus::Stopped, None, 3).await.unwrap().lower_bound);

    // A restart keeps the record of the earlier run.
    let restarted = begin(&store, BeginMode::Restart, 3).await.run;
    assert!(restarted.id != run && restarted.pass == 1 && restarted.total_segments == 3);
    assert!(store.segments_after(restarted.id, None, u32::MAX).await.unwrap().is_empty());
    for segment in 0..3 {
        store.commit(commit(restarted.id, segment, pages(1, 1, None, &[]))).await.unwrap();
    }
    store.end_session(session_of(restarted.id, 1), RunStatus::Complete, None, 0).await.unwrap();
    assert!(refused(BeginMode::ResumeOrNew).await.contains("--again"));

    let again = begin(&store, BeginMode::Again, 5).await.run;
    assert_eq!((again.pass, again.total_segments), (2, 5));
    store.end_session(session_of(again.id, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let resumed = begin(&store, BeginMode::Again, 5).await;
    assert!(resumed.resumed && resumed.run.id == again.id, "the command that began a pass must resume it");
    let restarted = begin_after_stop(&store, resumed.run.session()).await;
    assert_eq!(restarted.run.pass, 2);
    drop(store);
    let statuses: Vec<_> = summary(&path).runs.iter().map(|r| (r.pass, r.status)).collect();
    use RunStatus::{Complete, Running, Superseded};
    assert_eq!(statuses, [(1, Superseded), (1, Complete), (2, Superseded), (2, Running)]);
}

async fn begin_after_stop(store: &State, session: SessionId) -> RunSession {
    store.end_session(session, RunStatus::Stopped, None, 0).await.unwrap();
    begin(store, BeginMode::Restart, 5).await
}

#[tokio::test]
async fn failures_are_retried_resolved_and_superseded_by_a_later_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let mut done = commit(run, 0, pages(1, 1, None, &[Outcome::Conflict; 4]));
    done.failures = (0..4).map(|n| failure(n, Outcome::Conflict, "it changed under every attempt")).collect();
    store.commit(done).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();

    let open = |after, limit| ListQuery { run: Some(run), after, limit, open_only: true };
    let two = store.failures(open(Cursor::START, 2)).await.unwrap();
    assert_eq!(two.iter().map(|f| f.key.clone()).collect::<Vec<_>>(), [key(0), key(1)]);
    assert_eq!(store.failures(open(two[1].id, 9)).await.unwrap().len(), 2);

    let diverged = |n, paths| Some(DivergedItem { key: key(n), paths, derived: None });
    assert!(store.resolve_failure(session_of(run, 1), run, key(0), Outcome::Applied, None).await.unwrap());
    assert!(
        !store.resolve_failure(session_of(run, 1), run, key(0), Outcome::Applied, None).await.unwrap(),
        "the failure is already resolved"
    );
    assert!(
        store
            .resolve_failure(session_of(run, 1), run, key(1), Outcome::Diverged, diverged(1, vec![attribute("zip")]))
            .await
            .unwrap()
    );
    assert!(store.update_failure(session_of(run, 1), run, failure(2, Outcome::Rejected, "too large")).await.unwrap());
    for (outcome, item) in
        [(Outcome::Rejected, None), (Outcome::Diverged, None), (Outcome::Applied, diverged(3, vec![attribute("zip")]))]
    {
        assert!(matches!(
            store.resolve_failure(session_of(run, 1), run, key(3), outcome, item).await,
            Err(StoreError::Refused(_))
        ));
    }
    let left = store.failures(OPEN).await.unwrap();
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].attempts, left[0].outcome, left[0].reason.as_str()), (2, Outcome::Rejected, "too large"));
    assert_eq!((left[1].attempts, left[1].status), (1, RowStatus::Open));
    assert_eq!(store.diverged(OPEN).await.unwrap()[0].key, key(1));
    assert_eq!(store.failures(ALL).await.unwrap()[0].resolved_as.as_deref(), Some("applied"));

    // A later pass reads every item again.
    let again = begin(&store, BeginMode::Again, 1).await.run.id;
    let mut done = commit(again, 0, pages(1, 1, None, &[Outcome::Rejected]));
    done.failures = vec![failure(2, Outcome::Rejected, "too large")];
    store.commit(done).await.unwrap();
    assert_eq!(store.failures(OPEN).await.unwrap().len(), 3);
    store.end_session(session_of(again, 1), RunStatus::Complete, None, 0).await.unwrap();
    let left = store.failures(OPEN).await.unwrap();
    assert_eq!(left.iter().map(|f| (f.run, f.key.clone())).collect::<Vec<_>>(), [(again, key(2))]);
    assert!(store.diverged(OPEN).await.unwrap().is_empty());
}

#[tokio::test]
async fn pre_images_keep_every_type_and_the_newest_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let json = serde_json::json!({"M": {
        "n": {"N": "99999999999999999999999999999999999998"}, "b": {"B": "AP8="}, "e": {"S": ""}, "z": {"NULL": true},
        "s": {"SS": ["a", "ключ"]}, "l": {"L": [{"BOOL": false}, {"NS": ["1.5", "2"]}]}
    }});
    let values = [Value::from_json(&json).unwrap(), Value::S("second".into()), Value::S("refused".into())];
    let path: AttributePath = "doc.\"odd name\"[0].x".parse().unwrap();
    let row = |value: &Value| PreImageRow { key: key(1), pre: PreImage::with_value(&path, value) };
    let ids = store.append_pre_images(session_of(run, 1), values.iter().map(row).collect()).await.unwrap();
    let mut last = commit(run, 0, pages(1, 1, None, &[Outcome::Applied]));
    last.refused = vec![ids[2]];
    store.commit(last).await.unwrap();
    for path_filter in [Some(path.clone()), None] {
        let found = store.pre_images(key(1), path_filter).await.unwrap();
        assert_eq!(found.iter().map(|p| p.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
        assert_eq!(found[1].value.as_ref().unwrap().to_json(), json);
        assert_eq!(found[1].path, path);
    }
    assert!(store.pre_images(key(1), Some(attribute("doc"))).await.unwrap().is_empty());
    assert!(store.append_pre_images(session_of(RunId::from_number(9), 1), vec![row(&values[1])]).await.is_err());
    assert!(store.mark_refused(session_of(run, 1), vec![PreImageId::from_number(99)]).await.is_err());
    // The store still works after either error, because neither makes the file unusable.
    store.append_pre_images(session_of(run, 1), vec![row(&values[1])]).await.unwrap();
}
