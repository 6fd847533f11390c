//! Tests the promises of the trait `Runs`.

use super::*;

pub(super) async fn a_run_that_has_begun_is_durable(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_eq!(store.current_run(phase::EXPAND).await.unwrap(), None);
    let session = store.begin(BeginMode::ResumeOrNew, new_run(4)).await.unwrap();
    let run = &session.run;
    assert!(!session.resumed && run.open_session && run.status == RunStatus::Running);
    assert_eq!((run.pass, run.total_segments, run.sessions), (1, 4, 1));
    let store = fixture.crash(store);
    assert_eq!(store.current_run(phase::EXPAND).await.unwrap().unwrap().id, session.run.id);
    assert_eq!(store.current_run(phase::CONTRACT).await.unwrap(), None, "each phase has its own runs");
}

pub(super) async fn after_a_crash_the_run_is_stopped_and_its_counts_are_a_lower_bound(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    begin(&store, BeginMode::ResumeOrNew, 4).await;
    let store = fixture.crash(store);
    let run = store.current_run(phase::EXPAND).await.unwrap().unwrap();
    assert_eq!((run.status, run.open_session, run.lower_bound), (RunStatus::Stopped, false, true));
    assert!(run.stop_reason.is_some());
}

pub(super) async fn a_resumed_run_keeps_its_segments(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await;
    let ended =
        store.end_session(session_of(run, 1), RunStatus::Stopped, Some("a signal".to_owned()), 0).await.unwrap();
    assert_eq!((ended.status, ended.stop_reason.as_deref()), (RunStatus::Stopped, Some("a signal")));
    assert!(!ended.lower_bound && !ended.open_session && ended.ended_at.is_some());
    let session = store.begin(BeginMode::ResumeOrNew, new_run(64)).await.unwrap();
    assert!(session.resumed);
    let run_now = session.run;
    assert_eq!((run_now.id, run_now.total_segments, run_now.sessions), (run, 4, 2));
    assert_eq!((run_now.ended_at, run_now.stop_reason), (None, None));
}

pub(super) async fn a_run_has_one_session_at_a_time(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    begin(&store, BeginMode::ResumeOrNew, 4).await;
    for mode in [BeginMode::ResumeOrNew, BeginMode::Restart, BeginMode::Again, BeginMode::ReadOnly] {
        assert_refused(store.begin(mode, new_run(4)).await);
    }
    assert_eq!(store.current_run(phase::EXPAND).await.unwrap().unwrap().sessions, 1);
}

pub(super) async fn another_pass_begins_only_on_request(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = complete(&store, BeginMode::ResumeOrNew, phase::EXPAND, &[Outcome::Applied]).await;
    assert_refused(store.begin(BeginMode::ResumeOrNew, new_run(1)).await);
    let again = store.begin(BeginMode::Again, new_run(2)).await.unwrap();
    assert!(!again.resumed && again.run.id > first);
    assert_eq!((again.run.pass, again.run.total_segments), (2, 2));
    store.end_session(session_of(again.run.id, 1), RunStatus::Stopped, None, 0).await.unwrap();
    assert!(store.begin(BeginMode::Again, new_run(2)).await.unwrap().resumed, "a second pass must also be resumable");
}

pub(super) async fn another_pass_needs_a_complete_run(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_refused(store.begin(BeginMode::Again, new_run(2)).await);
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    assert_refused(store.begin(BeginMode::Again, new_run(2)).await);
}

pub(super) async fn a_restart_supersedes_the_unfinished_run(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(commit(first, 0, pages(1, Some("a"), &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let next_run = store.begin(BeginMode::Restart, new_run(3)).await.unwrap();
    assert!(!next_run.resumed && next_run.run.id > first && next_run.run.total_segments == 3);
    assert_eq!(store.segments_after(next_run.run.id, None, 9).await.unwrap(), []);
    assert_eq!(
        store.segments_after(first, None, 9).await.unwrap().len(),
        1,
        "the superseded run must keep its segments"
    );
}

pub(super) async fn a_run_whose_baseline_was_completed_is_never_resumed(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_refused(store.begin(BeginMode::ReadOnly, new_run(2)).await);
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let look = store.begin(BeginMode::ReadOnly, new_run(2)).await.unwrap();
    assert!(look.resumed && look.run.id == run && look.run.looked_through);
    store.end_session(session_of(run, 2), RunStatus::Stopped, None, 0).await.unwrap();
    assert_refused(store.begin(BeginMode::ResumeOrNew, new_run(2)).await);
    assert!(store.begin(BeginMode::ReadOnly, new_run(2)).await.unwrap().resumed);
    store.end_session(session_of(run, 3), RunStatus::Stopped, None, 0).await.unwrap();
    assert!(!store.begin(BeginMode::Restart, new_run(2)).await.unwrap().resumed);
}

pub(super) async fn a_run_has_one_to_a_million_segments(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    for segments in [0, 1_000_001] {
        assert_refused(store.begin(BeginMode::ResumeOrNew, new_run(segments)).await);
    }
    assert_eq!(store.current_run(phase::EXPAND).await.unwrap(), None);
    begin(&store, BeginMode::ResumeOrNew, 1_000_000).await;
}

pub(super) async fn a_run_is_complete_only_when_every_segment_is_done(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(commit(run, 0, pages(1, None, &[Outcome::Applied]))).await.unwrap();
    assert_refused(store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await);
    store.commit(commit(run, 1, pages(1, None, &[]))).await.unwrap();
    assert_refused(store.end_session(session_of(run, 1), RunStatus::Complete, None, 1).await);
    for status in [RunStatus::Running, RunStatus::Superseded] {
        store.end_session(session_of(run, 1), status, None, 0).await.unwrap_err();
    }
    assert!(
        store.current_run(phase::EXPAND).await.unwrap().unwrap().open_session,
        "a refused request must not end the session"
    );
    let ended = store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();
    assert_eq!((ended.status, ended.open_session), (RunStatus::Complete, false));
    assert_refused(store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await);
    let store = fixture.crash(store);
    let run = store.current_run(phase::EXPAND).await.unwrap().unwrap();
    assert_eq!((run.status, run.lower_bound), (RunStatus::Complete, false));
}

pub(super) async fn an_earlier_session_does_not_end_a_later_one(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(commit_in(session_of(run, 2), 0, pages(1, None, &[Outcome::Applied]))).await.unwrap();
    for (status, abandoned) in [(RunStatus::Stopped, 3), (RunStatus::Complete, 0)] {
        assert_fenced(store.end_session(session_of(run, 1), status, Some("late".to_owned()), abandoned).await);
    }
    assert_refused(store.end_session(session_of(run, 3), RunStatus::Complete, None, 0).await);
    let fixture = store.current_run(phase::EXPAND).await.unwrap().unwrap();
    assert_eq!((fixture.open_session, fixture.abandoned_pages, fixture.stop_reason), (true, 0, None));
    store.end_session(session_of(run, 2), RunStatus::Complete, None, 0).await.unwrap();
}

pub(super) async fn abandoned_pages_make_the_counts_a_lower_bound(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    assert!(!store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap().lower_bound);
    for (pages, expected) in [(3, 3), (0, 3), (2, 5)] {
        let session = store.begin(BeginMode::ResumeOrNew, new_run(2)).await.unwrap().run.session();
        let ended = store.end_session(session, RunStatus::Stopped, None, pages).await.unwrap();
        assert_eq!((ended.lower_bound, ended.abandoned_pages), (true, expected));
    }
}

pub(super) async fn a_complete_run_resolves_what_earlier_runs_left_open(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(page_with_work(first, 0, "f", "d")).await.unwrap();
    store.end_session(session_of(first, 1), RunStatus::Complete, None, 0).await.unwrap();
    let again = begin(&store, BeginMode::Again, 1).await;
    store.commit(page_with_work(again, 0, "f2", "d2")).await.unwrap();
    assert_eq!(store.open_work(None).await.unwrap().failures, 2);
    store.end_session(session_of(again, 1), RunStatus::Complete, None, 0).await.unwrap();
    let store = fixture.crash(store);
    let failures = store.failures(OPEN).await.unwrap();
    assert_eq!(failures.iter().map(|failure| &failure.key).collect::<Vec<_>>(), [&key("f2")]);
    assert_eq!(store.failures(ALL).await.unwrap()[0].resolved_as.as_deref(), Some("later_pass"));
    assert_eq!(store.diverged(OPEN).await.unwrap().len(), 1);
    assert_eq!(store.diverged(ALL).await.unwrap()[0].resolved_as.as_deref(), Some("later_pass"));
}

pub(super) async fn findings_are_accepted_once_and_permanently(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.accept(session_of(run, 1), vec!["stream".to_owned(), "hot-index".to_owned()]).await.unwrap();
    store.accept(session_of(run, 1), vec!["stream".to_owned(), "ttl".to_owned()]).await.unwrap();
    let store = fixture.crash(store);
    assert_eq!(store.accepted(run).await.unwrap(), ["hot-index", "stream", "ttl"]);
    let next_run = begin(&store, BeginMode::Restart, 1).await;
    assert!(store.accepted(next_run).await.unwrap().is_empty(), "each run must have its own findings");
}

pub(super) async fn an_item_that_two_runs_left_open_counts_once(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    for mode in [BeginMode::ResumeOrNew, BeginMode::Restart] {
        let run = begin(&store, mode, 1).await;
        store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
        let work = store.open_work(Some(run)).await.unwrap();
        assert_eq!((work.failures, work.diverged), (1, 1));
        store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    }
    for work in [store.open_work(None).await.unwrap(), store.open_work_of_phase(phase::EXPAND).await.unwrap()] {
        assert_eq!((work.failures, work.diverged), (1, 1));
    }
    assert_eq!(store.open_work_of_phase(phase::CONTRACT).await.unwrap().failures, 0);
}

pub(super) async fn a_phase_is_proven_by_an_applied_write_or_a_complete_run(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert!(!store.is_proven(phase::EXPAND).await.unwrap());
    store.commit(commit(run, 0, pages(1, Some("a"), &[Outcome::AlreadyApplied; 99]))).await.unwrap();
    assert!(!store.is_proven(phase::EXPAND).await.unwrap());
    store.commit(commit(run, 0, pages(2, Some("b"), &[Outcome::AlreadyApplied]))).await.unwrap();
    assert!(
        store.is_proven(phase::EXPAND).await.unwrap(),
        "if this many items are already applied, some write has succeeded"
    );
    complete(&store, BeginMode::ResumeOrNew, phase::CONTRACT, &[]).await;
    assert!(
        store.is_proven(phase::CONTRACT).await.unwrap(),
        "a complete run proves that its phase does not fail for every item"
    );
    let undo = store.begin(BeginMode::ResumeOrNew, run_of(phase::ROLLBACK, 1)).await.unwrap().run.id;
    assert!(!store.is_proven(phase::ROLLBACK).await.unwrap());
    store.commit(commit(undo, 0, pages(1, Some("a"), &[Outcome::Applied]))).await.unwrap();
    assert!(store.is_proven(phase::ROLLBACK).await.unwrap());
}

pub(super) async fn a_list_continues_after_the_cursor(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 3).await;
    for segment in 0..3 {
        let failed = format!("f{segment}");
        let diverged = format!("d{segment}");
        store.commit(page_with_work(run, segment, &failed, &diverged)).await.unwrap();
    }
    let two = store.failures(ListQuery { limit: 2, run: Some(run), ..OPEN }).await.unwrap();
    let rest = store.failures(ListQuery { after: two[1].id, ..OPEN }).await.unwrap();
    let keys: Vec<_> = two.iter().chain(&rest).map(|failure| failure.key.clone()).collect();
    assert_eq!(keys, ["f0", "f1", "f2"].map(key));
    let of_phase = store.failures_of_phase(phase::EXPAND, two[0].id, 1).await.unwrap();
    assert_eq!(of_phase[0].as_ref().unwrap().key, key("f1"));
    assert!(store.failures_of_phase(phase::CONTRACT, Cursor::START, 9).await.unwrap().is_empty());
    let one = store.list_diverged(ListQuery { limit: 1, ..OPEN }).await.unwrap();
    let after = one[0].as_ref().unwrap().id;
    let rest = store.diverged(ListQuery { after, ..ALL }).await.unwrap();
    assert_eq!(rest.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), ["d1", "d2"].map(key));
    assert_eq!(rest[0].paths, [path("postcode")]);
}

pub(super) async fn a_failure_is_resolved_once_and_by_a_fitting_outcome(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
    let derived = Some(key("derived"));
    let item = |paths| Some(DivergedItem { key: key("f"), paths, derived: derived.clone() });
    for (outcome, diverged) in [
        (Outcome::Rejected, None),
        (Outcome::Diverged, None),
        (Outcome::Diverged, item(vec![])),
        (Outcome::Applied, item(vec![path("postcode")])),
    ] {
        assert_refused(store.resolve_failure(session_of(run, 1), run, key("f"), outcome, diverged).await);
    }
    assert!(!store.resolve_failure(session_of(run, 1), run, key("other"), Outcome::Applied, None).await.unwrap());
    assert!(
        store
            .resolve_failure(session_of(run, 1), run, key("f"), Outcome::Diverged, item(vec![path("postcode")]))
            .await
            .unwrap()
    );
    assert!(
        !store.resolve_failure(session_of(run, 1), run, key("f"), Outcome::Applied, None).await.unwrap(),
        "the failure is already resolved"
    );
    let store = fixture.crash(store);
    assert_eq!(store.failures(ALL).await.unwrap()[0].resolved_as.as_deref(), Some("diverged"));
    assert_eq!(store.open_work(None).await.unwrap().diverged, 2, "the failure must become an open diverged item");
    let listed = store.diverged(OPEN).await.unwrap();
    let found: Vec<_> = listed.iter().map(|row| (&row.key, &row.paths, &row.derived)).collect();
    assert_eq!(found, [(&key("d"), &vec![path("postcode")], &None), (&key("f"), &vec![path("postcode")], &derived)]);
}

pub(super) async fn a_failed_retry_counts_as_one_more_attempt(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
    assert!(!store.update_failure(session_of(run, 1), run, failure("other", "throttled")).await.unwrap());
    assert_refused(
        store.update_failure(session_of(run, 1), run, Failure { outcome: Outcome::Applied, ..failure("f", "") }).await,
    );
    assert!(store.update_failure(session_of(run, 1), run, failure("f", "still too large")).await.unwrap());
    let store = fixture.crash(store);
    let failures = store.failures(OPEN).await.unwrap();
    assert_eq!((failures[0].attempts, failures[0].reason.as_str()), (2, "still too large"));
}

pub(super) async fn a_diverged_item_is_closed_in_every_run_that_has_it(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let mut run = RunId::NONE;
    for mode in [BeginMode::ResumeOrNew, BeginMode::Restart] {
        run = begin(&store, mode, 1).await;
        store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
        store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    }
    let closed =
        store.close_diverged(session_of(run, 1), vec![(key("d"), "verified"), (key("other"), "gone")]).await.unwrap();
    assert_eq!(closed, 1, "only items that were open must count");
    let store = fixture.crash(store);
    assert!(store.diverged(OPEN).await.unwrap().is_empty());
    assert!(store.diverged(ALL).await.unwrap().iter().all(|item| item.resolved_as.as_deref() == Some("verified")));
}

pub(super) async fn an_earlier_session_neither_accepts_nor_resolves(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    let first = session_of(run, 1);
    let second = session_of(run, 2);
    store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 2).await;
    assert_fenced(store.accept(first, vec!["ttl".to_owned()]).await);
    assert_fenced(store.resolve_failure(first, run, key("f"), Outcome::Applied, None).await);
    assert_fenced(store.update_failure(first, run, failure("f", "still too large")).await);
    assert_fenced(store.close_diverged(first, vec![(key("d"), "verified")]).await);
    assert!(store.accepted(run).await.unwrap().is_empty());
    let failures = store.failures(OPEN).await.unwrap();
    assert_eq!((failures.len(), failures[0].attempts), (1, 1));
    assert_eq!(store.diverged(OPEN).await.unwrap().len(), 1);
    assert!(store.update_failure(second, run, failure("f", "still too large")).await.unwrap());
    assert!(store.resolve_failure(second, run, key("f"), Outcome::Applied, None).await.unwrap());
    assert_eq!(store.close_diverged(second, vec![(key("d"), "verified")]).await.unwrap(), 1);
}

pub(super) async fn a_retry_resolves_what_an_earlier_run_left_open(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(page_with_work(first, 0, "f", "d")).await.unwrap();
    store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let next_run = begin(&store, BeginMode::Restart, 1).await;
    let session = session_of(next_run, 1);
    store.end_session(session, RunStatus::Stopped, None, 0).await.unwrap();
    assert!(store.update_failure(session, first, failure("f", "still too large")).await.unwrap());
    assert!(store.resolve_failure(session, first, key("f"), Outcome::Applied, None).await.unwrap());
    assert!(store.failures(OPEN).await.unwrap().is_empty());
}

pub(super) async fn a_superseded_run_accepts_no_more_writes(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(page_with_work(run, 0, "f", "d")).await.unwrap();
    let store = fixture.crash(store);
    begin(&store, BeginMode::Restart, 2).await;
    let late = session_of(run, 1);
    assert_fenced(store.accept(late, vec!["ttl".to_owned()]).await);
    assert_fenced(store.resolve_failure(late, run, key("f"), Outcome::Applied, None).await);
    assert_fenced(store.append_pre_images(late, vec![pre_image("a", "1")]).await);
    assert_fenced(store.commit(commit(run, 1, pages(1, None, &[Outcome::Applied]))).await);
    assert_fenced(store.end_session(late, RunStatus::Stopped, None, 0).await);
    assert!(store.accepted(run).await.unwrap().is_empty());
    assert_eq!(store.failures(OPEN).await.unwrap().len(), 1);
    assert_eq!((store.pre_image_count(run).await.unwrap(), store.totals(run).await.unwrap().pages), (0, 1));
}
