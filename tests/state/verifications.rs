//! Tests the promises of the trait `Verifications`.

use backfill::internals::passes::verify::{TableStage, Truth, TruthByKey, Verdict, VerdictCounts};
use backfill::internals::state::{Mismatch, NewVerification, SampleDraw, VerificationParameters, VerifiedPages};

use super::*;

const FULL: VerificationParameters = VerificationParameters {
    stage: TableStage::Expanded,
    truths: TruthByKey::All(Truth::Old),
    repair: false,
    flag_version: Some(3),
    sample_clusters: None,
};

fn verification(parameters: VerificationParameters, segments: u32) -> NewVerification {
    let drawn =
        parameters.sample_clusters.map(|_| SampleDraw { seed: u64::MAX >> 1, run_segments: 4, large: vec![1, 3] });
    NewVerification { parameters, drawn, segments_to_read: segments, run: new_run(segments) }
}

/// Returns one page with a matching item and a stale item.
fn page(run: RunId, segment: u32, first: u64, next: Option<&str>) -> VerifiedPages {
    let stale = Mismatch {
        key: key(format!("{segment}/{first}")),
        verdict: Verdict::Stale,
        paths: vec![path("postcode")],
        repaired: false,
        why: Some("left alone".to_owned()),
    };
    VerifiedPages {
        session: session_of(run, 1),
        segment,
        event: pages(first, next, &[Outcome::AlreadyApplied, Outcome::Diverged]),
        verdicts: VerdictCounts { matching: 1, stale: 1, ..VerdictCounts::default() },
        mismatches: vec![stale],
        refused: vec![],
    }
}

pub(super) async fn a_verification_is_resumed_only_by_the_same_request(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_eq!(store.newest_verification().await.unwrap(), None);
    let sampled = VerificationParameters { sample_clusters: Some(5), ..FULL };
    for drawn in [None, Some(SampleDraw { seed: 1 << 63, run_segments: 4, large: vec![] })] {
        let new = NewVerification { drawn, ..verification(sampled.clone(), 2) };
        assert_refused(store.begin_verification(new, false).await);
    }
    let first = store.begin_verification(verification(FULL, 2), false).await.unwrap();
    assert!(!first.resumed && first.run.phase == phase::VERIFY && first.parameters == FULL);
    assert_refused(store.begin_verification(verification(FULL, 2), false).await);
    let store = fixture.crash(store);
    let again = store.begin_verification(verification(FULL, 9), false).await.unwrap();
    assert!(again.resumed);
    assert_eq!((again.run.id, again.run.total_segments, again.segments_to_read), (first.run.id, 2, 2));
    let stopped = store.stop_verification(again.run.session(), Some("a signal".to_owned()), 0).await.unwrap();
    assert_eq!(stopped.status, RunStatus::Stopped);
    let mut newest = again.run.id;
    for (parameters, force_new) in
        [(VerificationParameters { repair: true, ..FULL }, false), (sampled.clone(), false), (sampled.clone(), true)]
    {
        let other = store.begin_verification(verification(parameters.clone(), 2), force_new).await.unwrap();
        assert!(!other.resumed && other.run.id > newest && other.parameters == parameters);
        assert_eq!(other.drawn.is_some(), parameters.sample_clusters.is_some());
        newest = other.run.id;
        store.stop_verification(session_of(newest, 1), None, 0).await.unwrap();
    }
    assert_eq!(store.newest_verification().await.unwrap().unwrap().run.id, newest);
}

pub(super) async fn verified_pages_are_durable_with_their_mismatches(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = store.begin_verification(verification(FULL, 2), false).await.unwrap().run.id;
    store.commit_verified(page(run, 1, 1, Some("a"))).await.unwrap();
    store.commit_verified(page(run, 1, 2, None)).await.unwrap();
    let store = fixture.crash(store);
    let counts = VerdictCounts { matching: 2, stale: 2, ..VerdictCounts::default() };
    assert_eq!(store.segment_verdicts(run).await.unwrap(), [(1, counts)]);
    let found = store.mismatches(run, Verdict::Stale, 9).await.unwrap();
    assert_eq!(found.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), ["1/1", "1/2"].map(key));
    assert_eq!((&found[0].paths, found[0].why.as_deref()), (&vec![path("postcode")], Some("left alone")));
    assert_eq!(store.mismatches(run, Verdict::Stale, 1).await.unwrap().len(), 1);
    assert!(store.mismatches(run, Verdict::Missing, 9).await.unwrap().is_empty());
}

pub(super) async fn verified_pages_that_do_not_add_up_store_nothing(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = store.begin_verification(verification(FULL, 2), false).await.unwrap().run.id;
    let whole = page(run, 0, 1, None);
    assert_refused(store.commit_verified(VerifiedPages { mismatches: vec![], ..whole.clone() }).await);
    assert_refused(store.commit_verified(VerifiedPages { verdicts: VerdictCounts::default(), ..whole.clone() }).await);
    assert_refused(store.commit_verified(VerifiedPages { segment: 2, ..whole }).await);
    let expand = begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert_refused(store.commit_verified(page(expand, 0, 1, None)).await);
    let out_of_order = store.commit_verified(page(run, 0, 2, None)).await;
    assert!(matches!(out_of_order, Err(StoreError::Transition(_))), "{out_of_order:?}");
    assert!(store.segment_verdicts(run).await.unwrap().is_empty());
    assert!(store.mismatches(run, Verdict::Stale, 9).await.unwrap().is_empty());
}

pub(super) async fn an_earlier_session_commits_and_ends_nothing(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = store.begin_verification(verification(FULL, 1), false).await.unwrap().run.id;
    let store = fixture.crash(store);
    assert!(store.begin_verification(verification(FULL, 1), false).await.unwrap().resumed);
    assert_fenced(store.commit_verified(page(run, 0, 1, None)).await);
    assert!(store.segment_verdicts(run).await.unwrap().is_empty());
    let newest = session_of(run, 2);
    store.commit_verified(VerifiedPages { session: newest, ..page(run, 0, 1, None) }).await.unwrap();
    let finish = |session| store.finish_verification(session, "then".to_owned(), "{}".to_owned(), "hash".to_owned());
    assert_fenced(finish(session_of(run, 1)).await);
    assert_fenced(store.stop_verification(session_of(run, 1), None, 1).await);
    assert_eq!(store.latest_report().await.unwrap(), None);
    assert_eq!(finish(newest).await.unwrap().abandoned_pages, 0);
}

pub(super) async fn a_verification_ends_with_a_report_once_all_due_segments_are_done(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = store.begin_verification(verification(FULL, 2), false).await.unwrap().run.id;
    let finish =
        || store.finish_verification(session_of(run, 1), "then".to_owned(), "{}".to_owned(), "hash".to_owned());
    store.commit_verified(page(run, 0, 1, None)).await.unwrap();
    assert_refused(finish().await);
    assert_eq!(store.latest_report().await.unwrap(), None);
    store.commit_verified(page(run, 1, 1, None)).await.unwrap();
    assert_eq!(finish().await.unwrap().status, RunStatus::Complete);
    let store = fixture.crash(store);
    let report = store.latest_report().await.unwrap().unwrap();
    assert_eq!((report.run, report.parameters), (run, FULL));
    assert_eq!((report.ended_at.as_str(), report.json.as_str(), report.hash.as_str()), ("then", "{}", "hash"));
}

pub(super) async fn reports_come_newest_first(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let mut runs = Vec::new();
    for number in 0..3 {
        let run = store.begin_verification(verification(FULL, 1), false).await.unwrap().run.id;
        store.commit_verified(page(run, 0, 1, None)).await.unwrap();
        store
            .finish_verification(session_of(run, 1), "then".to_owned(), "{}".to_owned(), format!("{number}"))
            .await
            .unwrap();
        runs.insert(0, run);
    }
    assert_eq!(store.reports(2).await.unwrap().iter().map(|report| report.run).collect::<Vec<_>>(), runs[..2]);
    assert_eq!(store.latest_report().await.unwrap().unwrap().hash, "2");
}
