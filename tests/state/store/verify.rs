//! Tests how verifications begin, resume, complete, and are superseded. Also tests that their counts add up.

use backfill::internals::change::{BaselinePair, PriorValue};
use backfill::internals::passes::verify::{TableStage, Truth, TruthByKey, Verdict, VerdictCounts};
use backfill::internals::state::{
    BaselinePage, Mismatch, NewVerification, SampleDraw, VerificationParameters, VerifiedPages, phase,
};

use super::*;

const FULL: VerificationParameters = VerificationParameters {
    stage: TableStage::Expanded,
    truths: TruthByKey::All(Truth::Old),
    repair: false,
    flag_version: Some(3),
    sample_clusters: None,
};

fn new_verification(parameters: VerificationParameters, total_segments: u32, segments_to_read: u32) -> NewVerification {
    let drawn =
        parameters.sample_clusters.map(|_| SampleDraw { seed: u64::MAX >> 1, run_segments: 4, large: vec![1, 3] });
    NewVerification { parameters, drawn, segments_to_read, run: new_run(total_segments) }
}

/// Returns a page of items with these verdicts. Each mismatch is recorded.
fn verified(run: RunId, segment: u32, first: u64, ends: bool, verdicts: &[Verdict]) -> VerifiedPages {
    let mut counts = VerdictCounts::default();
    verdicts.iter().for_each(|verdict| counts.count(*verdict));
    let outcome = |verdict: &Verdict| if verdict.is_mismatch() { Outcome::Diverged } else { Outcome::AlreadyApplied };
    let outcomes: Vec<Outcome> = verdicts.iter().map(outcome).collect();
    let mismatch = |verdict: &Verdict| Mismatch {
        key: key(format!("{segment}/{first}/{}", verdict.name())),
        verdict: *verdict,
        paths: vec![attribute("new")],
        repaired: false,
        why: None,
    };
    let next = (!ends).then(|| key(format!("{segment}/{first}")));
    let mismatches = verdicts.iter().filter(|verdict| verdict.is_mismatch()).map(mismatch).collect();
    VerifiedPages {
        session: session_of(run, 1),
        segment,
        event: pages(first, 1, next, &outcomes),
        verdicts: counts,
        mismatches,
        refused: vec![],
    }
}

#[tokio::test]
async fn only_the_same_request_resumes_a_verification() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let first = store.begin_verification(new_verification(FULL, 2, 2), false).await.unwrap();
    assert!(!first.resumed && first.run.phase == "verify" && first.parameters == FULL);
    let open_session = store.begin_verification(new_verification(FULL, 2, 2), false).await;
    assert!(matches!(open_session, Err(StoreError::Refused(_))), "{open_session:?}");
    store.commit_verified(verified(first.run.id, 0, 1, false, &[Verdict::Matching, Verdict::Stale])).await.unwrap();
    drop(store);

    // After the kill, the committed verdicts are still stored, and the number of segments is unchanged.
    let store = open(&path);
    let again = store.begin_verification(new_verification(FULL, 64, 64), false).await.unwrap();
    assert!(
        again.resumed && again.run.id == first.run.id && (again.run.total_segments, again.segments_to_read) == (2, 2)
    );
    let pages = verified(again.run.id, 0, 2, true, &[Verdict::Stale]);
    store.commit_verified(VerifiedPages { session: again.run.session(), ..pages }).await.unwrap();
    let counts = VerdictCounts { matching: 1, stale: 2, ..VerdictCounts::default() };
    assert_eq!(store.segment_verdicts(again.run.id).await.unwrap(), [(0, counts)]);
    store.stop_verification(again.run.session(), None, 1).await.unwrap();

    // A request with different parameters begins a new verification. A request with the same parameters begins a new
    // verification only with `force_new`.
    let sampled = VerificationParameters { sample_clusters: Some(5), ..FULL };
    for (parameters, force_new) in [
        (VerificationParameters { flag_version: Some(4), ..FULL }, false),
        (VerificationParameters { truths: TruthByKey::All(Truth::New), ..FULL }, false),
        (VerificationParameters { repair: true, ..FULL }, false),
        (sampled.clone(), false),
        (sampled.clone(), true),
    ] {
        let new = store.begin_verification(new_verification(parameters.clone(), 8, 5), force_new).await.unwrap();
        assert!(!new.resumed, "{parameters:?}");
        store.stop_verification(session_of(new.run.id, 1), None, 0).await.unwrap();
    }
    let last = store.begin_verification(new_verification(sampled.clone(), 9, 9), false).await.unwrap();
    assert_eq!(
        (last.parameters, last.drawn, last.segments_to_read),
        (sampled.clone(), new_verification(sampled, 8, 5).drawn, 5)
    );
    let superseded = summary(&path).runs.iter().filter(|run| run.status == RunStatus::Superseded).count();
    assert_eq!(superseded, 5);
    assert!(!store.is_proven(phase::EXPAND).await.unwrap(), "no run has written anything");
}

#[tokio::test]
async fn only_consistent_pages_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = store.begin_verification(new_verification(FULL, 4, 1), false).await.unwrap().run.id;
    let good = verified(run, 0, 1, true, &[Verdict::Missing, Verdict::Matching]);
    let mut bad = vec![good.clone(), good.clone(), good.clone(), good.clone()];
    bad[0].verdicts.matching += 1;
    bad[1].mismatches.clear();
    bad[2].verdicts.repaired = 1;
    bad[3].segment = 4;
    for pages in bad {
        let refused = store.commit_verified(pages.clone()).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{pages:?}");
    }
    let finish = async || store.finish_verification(session_of(run, 1), clock(), "{}".into(), "hash".into()).await;
    let early = finish().await;
    assert!(matches!(early, Err(StoreError::Refused(_))), "{early:?}");
    assert_eq!(store.segment_verdicts(run).await.unwrap(), []);
    store.commit_verified(good.clone()).await.unwrap();
    let twice = store.commit_verified(good).await;
    assert!(matches!(twice, Err(StoreError::Transition(TransitionError::AlreadyDone))), "{twice:?}");
    assert_eq!(store.latest_report().await.unwrap(), None);
    assert_eq!(finish().await.unwrap().status, RunStatus::Complete);
    let report = store.latest_report().await.unwrap().unwrap();
    assert_eq!((report.json.as_str(), report.hash.as_str(), &report.parameters), ("{}", "hash", &FULL));
    assert_eq!(store.mismatches(run, Verdict::Missing, 9).await.unwrap().len(), 1);
    assert_eq!(store.newest_verification().await.unwrap().unwrap().run.id, run);

    // The next verification keeps the mismatches of this complete verification. The verification after that keeps only
    // the report.
    for expected_count in [1, 0] {
        let next = store.begin_verification(new_verification(FULL, 1, 1), false).await.unwrap().run.id;
        assert_eq!(store.mismatches(run, Verdict::Missing, 9).await.unwrap().len(), expected_count);
        store.commit_verified(verified(next, 0, 1, true, &[])).await.unwrap();
        store.finish_verification(session_of(next, 1), clock(), "{}".into(), "later".into()).await.unwrap();
    }
    assert_eq!(store.reports(9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_list_of_mismatches_is_bounded_and_the_counts_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = store.begin_verification(new_verification(FULL, 1, 1), false).await.unwrap().run.id;
    let many = vec![Verdict::Stale; 4_000];
    for page in 1..=3 {
        store.commit_verified(verified(run, 0, page, page == 3, &many)).await.unwrap();
    }
    assert_eq!(store.mismatches(run, Verdict::Stale, u32::MAX).await.unwrap().len(), 10_000);
    assert_eq!(store.segment_verdicts(run).await.unwrap()[0].1.stale, 12_000);
}

/// If a report contains an unreadable key, the report still lists the other keys, and its count includes the unreadable
/// one.
#[tokio::test]
async fn an_unreadable_key_hides_no_other_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let items = || (0..3).map(key);
    let pairs = items().map(|key| (key, vec![(attribute("new"), BaselinePair::Equal)])).collect();
    let (preexisting, may_write, filled) = Default::default();
    store
        .record_baseline(BaselinePage {
            session: session_of(run, 1),
            segment: 0,
            number: 0,
            preexisting,
            stable: Vec::new(),
            pairs,
            may_write,
            filled,
        })
        .await
        .unwrap();
    let leftover = |key| PreImageRow {
        key,
        pre: PreImage { path: attribute("new"), prior: PriorValue::SameAsSource, written_digest: None },
    };
    store.append_pre_images(session_of(run, 1), items().map(leftover).collect()).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let verification = store.begin_verification(new_verification(FULL, 1, 1), false).await.unwrap().run.id;
    store.commit_verified(verified(verification, 0, 1, true, &[Verdict::Missing; 3])).await.unwrap();
    store.close().await.unwrap();

    let connection = rusqlite::Connection::open(&path).unwrap();
    for (table, column, first) in
        [("met_pairs", "path", "key"), ("pre_images", "key", "id"), ("mismatches", "paths", "n")]
    {
        let sql = format!("UPDATE {table} SET {column} = '[' WHERE {first} = (SELECT min({first}) FROM {table})");
        assert_eq!(connection.execute(&sql, []).unwrap(), 1, "{table}");
    }
    drop(connection);
    let pairs_found = StateFile::open(&path).unwrap().baseline_pairs(BaselinePair::Equal, 9).unwrap().unwrap();
    assert_eq!((pairs_found.count, pairs_found.first.len()), (3, 2));
    let store = open(&path);
    let leftover = store.leftovers(run, Leftover::NewRemoved, 9).await.unwrap();
    assert_eq!((leftover.count, leftover.first.len()), (3, 2));
    assert_eq!(store.mismatches(verification, Verdict::Missing, 9).await.unwrap().len(), 2);
}

/// If a bit flips on the disk, no gate, repair or retry bases a decision on wrong data. The damaged row is missing or
/// is listed as unreadable. All other rows stay usable.
#[tokio::test]
async fn a_flipped_bit_never_changes_what_a_gate_depends_on() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.db");
    let store = open(&whole);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    store.accept(session_of(run, 1), vec!["accepted-finding".to_owned()]).await.unwrap();
    let mut page = commit(run, 0, pages(1, 1, None, &[Outcome::Rejected, Outcome::Diverged]));
    page.failures = vec![failure("failed-item", Outcome::Rejected, "reason-of-failure")];
    page.diverged =
        vec![DivergedItem { key: key("diverged-item"), paths: vec![attribute("diverged-path")], derived: None }];
    store.commit(page).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();
    let verification = store.begin_verification(new_verification(FULL, 1, 1), false).await.unwrap().run.id;
    store.commit_verified(verified(verification, 0, 1, true, &[Verdict::Stale])).await.unwrap();
    let report = r#"{"mismatches":7}"#.to_owned();
    store.finish_verification(session_of(verification, 1), clock(), report, "hash-of-report".into()).await.unwrap();
    store.close().await.unwrap();

    let all = |path: &Path| -> Result<String, StoreError> {
        let file = StateFile::open(path)?;
        let lists = (file.list_failures(ALL)?, file.list_diverged(ALL)?);
        Ok(format!(
            "{lists:?} {:?} {:?} {:?}",
            file.reports(9)?,
            file.newest_verification()?,
            file.current_run("expand")?
        ))
    };
    let bytes = fs::read(&whole).unwrap();
    let expected = all(&whole).unwrap();
    for text in [
        "accepted-finding",
        "failed-item",
        "reason-of-failure",
        "diverged-item",
        "diverged-path",
        r#"{"mismatches":7"#,
        "hash-of-report",
        // The row of the verification contains this text, because the value of `stage` is followed by the value of
        // `truth`.
        "expandedold",
    ] {
        let mut noticed = 0;
        for at in (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())) {
            let path = dir.path().join(format!("{at}.db"));
            let mut flipped = bytes.clone();
            // The text stays valid UTF-8, and the report stays valid JSON.
            flipped[at + text.len() - 1] ^= 1;
            fs::write(&path, flipped).unwrap();
            let found = all(&path).expect("the flip must not affect other rows");
            // The flipped bit can be in an index, and this test reads no index. So not every flip changes the result.
            noticed += usize::from(found != expected);
            assert!(
                found == expected || found.contains("Unreadable") || found.len() < expected.len(),
                "{text}: {found}"
            );
            match backfill::internals::state::open(&path, &identity(), clock) {
                Ok(store) => store.close().await.unwrap(),
                // The damaged text is no longer a valid stage. SQLite detects the wrong text with the CHECK constraint
                // of the table.
                Err(StoreError::Corrupt(why)) if why.contains("CHECK constraint") => {}
                Err(error) => panic!("{text}: a rollback does not depend on it: {error}"),
            }
        }
        assert!(noticed > 0, "{text}");
    }
}
