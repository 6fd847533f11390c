//! Tests the promises of the trait `Checkpoints`.

use backfill::internals::state::{PreImageId, SegmentStatus, TransitionError};

use super::*;

pub(super) async fn a_commit_is_durable_with_its_failures_and_diverged_items(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(page_with_work(run, 1, "f", "d")).await.unwrap();
    let store = fixture.crash(store);
    let segments = store.segments_after(run, None, 9).await.unwrap();
    let (segment, state) = &segments[0];
    assert_eq!((segments.len(), *segment, &state.status, state.pages), (1, 1, &SegmentStatus::Done, 1));
    assert_eq!((state.counts.scanned, state.counts.of(Outcome::Rejected)), (3, 1));
    let failures = store.failures(OPEN).await.unwrap();
    assert_eq!((failures.len(), &failures[0].key, failures[0].segment), (1, &key("f"), 1));
    assert_eq!((failures[0].run, failures[0].attempts, failures[0].reason.as_str()), (run, 1, "too large"));
    let diverged = store.diverged(OPEN).await.unwrap();
    assert_eq!((diverged.len(), &diverged[0].key, &diverged[0].paths), (1, &key("d"), &vec![path("postcode")]));
}

pub(super) async fn every_kind_of_position_survives(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 9).await;
    let positions = [0, 7, u64::MAX >> 1].map(Position::Offset).into_iter();
    let positions: Vec<Position> = positions.chain(["a", "offset 7"].map(|name| Position::Key(key(name)))).collect();
    for (segment, position) in (0..).zip(&positions) {
        let SegmentEvent::PagesDone { counts, .. } = pages(1, None, &[Outcome::Applied]);
        let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: Some(position.clone()), counts };
        store.commit(commit(run, segment, event)).await.unwrap();
    }
    let store = fixture.crash(store);
    let stored = store.segments_after(run, None, 9).await.unwrap();
    let statuses: Vec<SegmentStatus> = stored.into_iter().map(|(_, state)| state.status).collect();
    assert_eq!(statuses, positions.into_iter().map(SegmentStatus::Scanning).collect::<Vec<_>>());
}

pub(super) async fn a_commit_that_is_refused_stores_nothing(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    let whole = page_with_work(run, 0, "f", "d");
    assert_refused(store.commit(Commit { failures: vec![], ..whole.clone() }).await);
    assert_refused(store.commit(Commit { diverged: vec![], ..whole.clone() }).await);
    let two = vec![failure("f", "too large"), failure("g", "too large")];
    assert_refused(store.commit(Commit { failures: two, ..whole }).await);
    assert!(store.segments_after(run, None, 9).await.unwrap().is_empty());
    assert!(store.failures(ALL).await.unwrap().is_empty() && store.diverged(ALL).await.unwrap().is_empty());
}

pub(super) async fn progress_never_moves_backwards(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    let page = |first, next| commit(run, 0, pages(first, next, &[Outcome::Applied]));
    let refused = |answer| assert!(matches!(answer, Err(StoreError::Transition(_))), "{answer:?}");
    refused(store.commit(page(2, Some("b"))).await);
    store.commit(page(1, Some("a"))).await.unwrap();
    refused(store.commit(page(1, Some("a"))).await);
    refused(store.commit(page(3, Some("c"))).await);
    store.commit(page(2, None)).await.unwrap();
    let done = store.commit(page(3, None)).await;
    assert!(matches!(done, Err(StoreError::Transition(TransitionError::AlreadyDone))), "{done:?}");
    let store = fixture.crash(store);
    assert_eq!(store.segments_after(run, None, 9).await.unwrap()[0].1.pages, 2);
}

pub(super) async fn a_commit_of_an_earlier_session_is_refused_and_changes_nothing(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(commit(run, 0, pages(1, Some("a"), &[Outcome::Applied]))).await.unwrap();
    let refused = store.append_pre_images(session_of(run, 1), vec![pre_image("p", "1")]).await.unwrap();
    let late = Commit { refused, ..page_with_work(run, 1, "f", "d") };
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 2).await;
    let before = (store.current_run(phase::EXPAND).await.unwrap(), store.totals(run).await.unwrap());
    assert_fenced(store.commit(late.clone()).await);
    assert_refused(store.commit(Commit { session: session_of(run, 3), ..late.clone() }).await);
    assert_eq!((store.current_run(phase::EXPAND).await.unwrap(), store.totals(run).await.unwrap()), before);
    assert!(store.failures(ALL).await.unwrap().is_empty() && store.diverged(ALL).await.unwrap().is_empty());
    assert_eq!(store.pre_image_count(run).await.unwrap(), 1, "a fenced commit must not mark the pre-image as refused");
    store.commit(Commit { session: session_of(run, 2), ..late.clone() }).await.unwrap();
    store.end_session(session_of(run, 2), RunStatus::Stopped, None, 0).await.unwrap();
    assert_fenced(store.commit(late).await);
}

pub(super) async fn a_commit_needs_an_open_session_and_a_segment_of_the_run(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await;
    let page = |run, segment| commit(run, segment, pages(1, Some("a"), &[Outcome::Applied]));
    assert_refused(store.commit(page(run, 2)).await);
    store.commit(page(RunId::from_number(99), 0)).await.unwrap_err();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    assert_refused(store.commit(page(run, 0)).await);
    assert!(store.segments_after(run, None, 9).await.unwrap().is_empty());
}

pub(super) async fn a_refused_pre_image_that_is_unknown_fails_the_whole_commit(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let refused = vec![PreImageId::from_number(99)];
    let unknown = store.commit(Commit { refused, ..page_with_work(run, 0, "f", "d") }).await;
    assert!(matches!(unknown, Err(StoreError::Corrupt(_))), "{unknown:?}");
    assert!(
        store.segments_after(run, None, 9).await.unwrap().is_empty() && store.failures(ALL).await.unwrap().is_empty()
    );
}

pub(super) async fn segments_are_read_in_order_and_in_pieces(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 9).await;
    for segment in [7, 0, 3] {
        store.commit(commit(run, segment, pages(1, Some("a"), &[Outcome::Applied]))).await.unwrap();
    }
    let numbers = |found: Vec<(u32, _)>| found.into_iter().map(|(segment, _)| segment).collect::<Vec<_>>();
    assert_eq!(numbers(store.segments_after(run, None, 2).await.unwrap()), [0, 3]);
    assert_eq!(numbers(store.segments_after(run, Some(3), 2).await.unwrap()), [7]);
    assert!(store.segments_after(run, Some(7), 2).await.unwrap().is_empty());
    let mut shown = Vec::new();
    store.for_each_segment(run, &mut |segment, state| shown.push((segment, state.pages))).await.unwrap();
    assert_eq!(shown, [(0, 1), (3, 1), (7, 1)]);
}

pub(super) async fn totals_are_the_sum_of_the_segments(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await;
    assert_eq!(store.totals(run).await.unwrap().pending, 4);
    store.commit(commit(run, 0, pages(1, Some("a"), &[Outcome::Applied]))).await.unwrap();
    store.commit(commit(run, 0, pages(2, Some("b"), &[Outcome::Gone]))).await.unwrap();
    store.commit(commit(run, 2, pages(1, None, &[Outcome::Applied, Outcome::Applied]))).await.unwrap();
    let totals = store.totals(run).await.unwrap();
    assert_eq!((totals.pending, totals.scanning, totals.done, totals.pages), (2, 1, 1, 3));
    assert_eq!((totals.counts.scanned, totals.counts.of(Outcome::Applied)), (4, 3));
    assert_eq!((totals.counts.write_units, totals.counts.read_units), (4.0, 1.5));
    assert!(totals.last_commit_at.is_some());
}

pub(super) async fn unclear_items_make_the_counts_a_lower_bound(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let mut page = commit(run, 0, pages(1, None, &[Outcome::AlreadyApplied]));
    let SegmentEvent::PagesDone { counts, .. } = &mut page.event;
    counts.unclear = 1;
    store.commit(page).await.unwrap();
    assert!(store.current_run(phase::EXPAND).await.unwrap().unwrap().lower_bound);
}
