//! Tests verifications that resume, diverged items that are now equal, and item collections that are larger than a
//! page.

use super::*;

/// A verification is stopped, killed and resumed. Each item counts once, and the report exists when all segments are
/// done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_resumes_where_it_stopped() {
    for parameters in [
        ALL,
        VerificationParameters { repair: true, ..ALL },
        VerificationParameters { sample_clusters: Some(150), ..ALL },
    ] {
        let scene = Scene::new(4_000, "segments = 4\npage_limit = 50").await;
        let mut sessions = 0;
        let mut ids = BTreeSet::new();
        let mut reads = 0;
        let (record, verified) = loop {
            let job = Arc::new(scene.job().await);
            let store = scene.store(&job);
            let record = begin(&job, &store, parameters.clone(), false, sessions).await.unwrap();
            assert_eq!(record.resumed, sessions > 0);
            ids.insert(record.run.id);
            sessions += 1;
            // At the 20th page, even-numbered sessions are aborted, as if the process were killed. Odd-numbered
            // sessions are asked to stop.
            let killed = sessions % 2 == 0;
            let stop = job.stop.clone();
            let (reached, at) = tokio::sync::oneshot::channel();
            let reached = Mutex::new(Some(reached));
            let rule = move |request: &RequestInfo| {
                if request.operation == "Scan" && request.operation_sequence == 20 {
                    reached.lock().unwrap().take().unwrap().send(()).unwrap();
                    if !killed {
                        stop.stop(StopReason::Interrupted);
                    }
                }
                Fault::Pass
            };
            scene.harness.proxy().reset_tally();
            scene.harness.proxy().set_faults(Some(Arc::new(rule)));
            let mut session = {
                let job = Arc::clone(&job);
                let store = store.clone();
                let record = record.clone();
                let before = scene.before();
                tokio::spawn(async move { verify(&job, &store, &record, input(before)).await })
            };
            let ended = tokio::select! {
                ended = &mut session => ended,
                _ = at => {
                    if killed {
                        session.abort();
                    }
                    session.await
                }
            };
            scene.harness.proxy().set_faults(None);
            reads += scene.harness.proxy().tally().operation("Scan").requests;
            store.close().await.unwrap();
            if let Ok(ended) = ended {
                let ended = ended.unwrap();
                match ended.stopped {
                    None => break (record, ended),
                    Some(reason) => assert_eq!((reason, ended.report), (StopReason::Interrupted, None)),
                }
            }
            assert!(sessions < 30, "the verification makes no progress");
        };
        let found = report(&verified);
        println!("{parameters:?}: {sessions} sessions, {reads} pages read");
        assert!(sessions > 3 && ids.len() == 1, "{sessions} sessions of {ids:?}");
        assert_eq!(found.run, record.run.id.number());
        let mismatches = found.missing + found.stale + found.unexpected;
        if parameters.sample_clusters.is_some() {
            assert_eq!(found.sample.as_ref().unwrap().drawn, 150);
        } else if parameters.repair {
            // A killed session can have repaired an item without committing the page. Such an item now matches.
            assert!(mismatches <= 3 * PLANTED as u64 && found.mismatches == 0, "{found:?}");
            assert_eq!(found.compared, 4_000);
        } else {
            assert_eq!((found.compared, [found.missing, found.stale, found.unexpected]), (4_000, [PLANTED as u64; 3]));
        }
        assert_stored(&scene, &verified);
        // A command with different parameters, or a command after the end of the verification, begins a new
        // verification.
        let job = scene.job().await;
        let store = scene.store(&job);
        assert!(!begin(&job, &store, parameters, false, 1).await.unwrap().resumed);
    }
}

/// Reads recorded diverged items a second time. The record of an item is closed if its values are now equal or the item
/// is gone. Other records stay open.
/// RUNBOOK: "no failure and no diverged item is open"
#[tokio::test(flavor = "multi_thread")]
async fn diverged_items_that_are_now_equal_are_closed() {
    let scene = Scene::new(2_000, "segments = 4").await;
    let of = |what: PlantedDefect| scene.keys(what).into_iter().next().unwrap();
    let equal = of(PlantedDefect::Neither);
    let stale = of(PlantedDefect::Stale);
    let gone = key_of(&item("P#gone", "S#0", [])).to_text();
    let job = scene.job().await;
    let store = scene.store(&job);
    let new =
        NewRun { phase: "expand".into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.session();
    let mut counts = Counts::default();
    (0..3).for_each(|_| counts.count(Outcome::Diverged));
    let diverged = [&equal, &stale, &gone].map(|key| DivergedItem {
        key: ItemKey::from_text(key).unwrap(),
        paths: vec![Path::attribute("new")],
        derived: None,
    });
    let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts };
    let commit = Commit { session, segment: 0, event, failures: vec![], diverged: diverged.to_vec(), refused: vec![] };
    store.commit(commit).await.unwrap();
    store.end_session(session, RunStatus::Complete, None, 0).await.unwrap();
    store.close().await.unwrap();

    let open = || {
        let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit: 9 };
        let rows = StateFile::open(&scene.state).unwrap().diverged(query).unwrap();
        rows.into_iter().map(|row| row.key.to_text()).collect::<Vec<_>>()
    };
    let (_, verified) = scene.verify(VerificationParameters { sample_clusters: Some(50), ..ALL }, 1).await;
    assert_eq!((report(&verified).diverged_closed, open().len()), (0, 3), "a sample closes none");
    let (_, verified) = scene.verify(ALL, 1).await;
    assert_eq!((report(&verified).diverged_closed, open()), (2, vec![stale]));
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 1).await;
    assert_eq!((report(&verified).diverged_closed, open()), (1, vec![]));
    let rows = StateFile::open(&scene.state).unwrap().diverged(ListQuery {
        run: None,
        open_only: false,
        after: Cursor::START,
        limit: 9,
    });
    let how: Vec<Option<String>> = rows.unwrap().into_iter().map(|row| row.resolved_as).collect();
    assert_eq!(how, [Some("verified".to_owned()), Some("verified".to_owned()), Some("gone".to_owned())]);
}

/// The large segments of a run form a separate stratum. A verification of a sample reads all clusters of these segments
/// instead of a random selection.
#[tokio::test(flavor = "multi_thread")]
async fn large_collections_are_read_in_full() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let value = |n: usize, wrong: bool| if wrong { secret(format!("other-{n}")) } else { secret(n) };
    let of = |pk: String, n: usize, wrong: bool| {
        item(&pk, &format!("S#{n:06}"), [("old", secret(n)), ("new", value(n, wrong))])
    };
    let giant = (0..6_000).map(|n| of("GIANT".into(), n, n == 5_999));
    harness.load(&table, giant.chain((0..4_000).map(|n| of(format!("P#{n}"), n, false)))).await;
    let plan = harness.plan("verify", &table, "", &format!("{MOVE}[scan]\nsegments = 32\n"));
    let state = harness.dir().join("verify.db");
    let scene = Scene { harness, table, state, plan, items: BTreeMap::new() };
    let job = scene.job().await;
    let store = scene.store(&job);
    let new =
        NewRun { phase: "expand".into(), total_segments: 32, tool_version: "t".into(), table_items_estimate: None };
    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
    job.work(&store, &session).await.unwrap();
    let job = scene.job().await;
    let record =
        begin(&job, &store, VerificationParameters { sample_clusters: Some(20), ..ALL }, false, 3).await.unwrap();
    assert_eq!(record.drawn.as_ref().unwrap().large.len(), 1, "{record:?}");
    let verified = verify(&job, &store, &record, input(Arc::new(store.clone()))).await.unwrap();
    let sample = report(&verified).sample.as_ref().unwrap();
    assert_eq!((sample.drawn, sample.large, sample.large_differing), (20, sample.clusters / 32, 1));
    assert!(report(&verified).compared >= 6_000 && report(&verified).compared < 7_000);
    assert_eq!(
        (sample.differing, report(&verified).stale),
        (0, 1),
        "a large segment is read completely, so its defect is found"
    );
    assert!(sample.statement.contains("around large item collections were read: 1 differ"), "{sample:?}");
    store.close().await.unwrap();
}
