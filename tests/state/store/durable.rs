//! Tests which changes are durable, and when they become durable.

use super::*;

/// One step in a random sequence of steps.
#[derive(Debug, Clone)]
enum StoreStep {
    Pages { segment: u32, skew: u64, pages: u64, outcomes: Vec<Outcome>, ends: bool, forget_failures: bool },
    PreImage { item: u8, refuse: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = StoreStep> {
    let outcomes = proptest::collection::vec(proptest::sample::select(&Outcome::ALL[..]), 0..5);
    prop_oneof![
        8 => (0_u32..5, prop_oneof![8 => Just(1_u64), 1 => Just(0), 1 => Just(2)], prop_oneof![1 => Just(0_u64), 9 => 1_u64..4],
              outcomes, prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(segment, skew, pages, outcomes, ends, forget_failures)| StoreStep::Pages {
                segment, skew, pages, outcomes, ends, forget_failures
            }),
        2 => (0_u8..3, any::<bool>()).prop_map(|(item, refuse)| StoreStep::PreImage { item, refuse }),
        1 => Just(StoreStep::Reopen),
    ]
}

/// The expected contents of the file.
#[derive(Default)]
struct StoreModel {
    segments: BTreeMap<u32, SegmentState>,
    failures: Vec<Failure>,
    diverged: Vec<DivergedItem>,
    pre_images: Vec<(u8, u64, bool)>,
}

async fn check_agreement(store: &State, run: RunId, model: &StoreModel) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        &store.segments_after(run, None, u32::MAX).await.unwrap().into_iter().collect::<BTreeMap<_, _>>(),
        &model.segments
    );
    let failures = store.failures(OPEN).await.unwrap();
    let failures: Vec<_> =
        failures.into_iter().map(|f| Failure { key: f.key, outcome: f.outcome, reason: f.reason }).collect();
    prop_assert_eq!(&failures, &model.failures);
    let diverged = store.diverged(OPEN).await.unwrap();
    let diverged: Vec<_> =
        diverged.into_iter().map(|d| DivergedItem { key: d.key, paths: d.paths, derived: d.derived }).collect();
    prop_assert_eq!(&diverged, &model.diverged);
    for item in 0..3 {
        let found = store.pre_images(key(item), Some(attribute("a.b"))).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|p| p.value.unwrap()).collect();
        let expected = model.pre_images.iter().rev().filter(|(i, _, refused)| *i == item && !refused);
        let expected: Vec<_> = expected.map(|(_, n, _)| Value::N(n.to_string().parse().unwrap())).collect();
        prop_assert_eq!(found, expected);
    }
    let mut counts = Counts::default();
    model.segments.values().for_each(|s| counts.add(&s.counts));
    prop_assert_eq!(store.totals(run).await.unwrap().counts, counts);
    Ok(())
}

async fn run_steps(steps: Vec<StoreStep>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut store = open(&path);
    let mut session = begin(&store, BeginMode::ResumeOrNew, 4).await.run.session();
    let run = session.run;
    let mut model = StoreModel::default();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            StoreStep::Pages { segment, skew, pages: count, outcomes, ends, forget_failures } => {
                let state = model.segments.get(&segment).cloned().unwrap_or_default();
                let event = pages(state.pages + skew, count, (!ends).then(|| key(format!("start {n}"))), &outcomes);
                let mut commit = commit_in(session, segment, event.clone());
                for (i, outcome) in outcomes.iter().enumerate() {
                    match outcome {
                        Outcome::Diverged => commit.diverged.push(DivergedItem {
                            key: key(format!("{n}/{i}")),
                            paths: vec![attribute("odd-name.x")],
                            derived: None,
                        }),
                        o if o.is_failure() && !forget_failures => {
                            commit.failures.push(failure(format!("{n}/{i}"), *o, "why"));
                        }
                        _ => {}
                    }
                }
                let complete = commit.failures.len() == outcomes.iter().filter(|o| o.is_failure()).count();
                let answer = store.commit(commit.clone()).await;
                match state.next(&event) {
                    Ok(next) if segment < 4 && complete => {
                        prop_assert!(answer.is_ok(), "{answer:?}");
                        model.segments.insert(segment, next);
                        model.failures.extend(commit.failures);
                        model.diverged.extend(commit.diverged);
                    }
                    _ => prop_assert!(
                        matches!(answer, Err(StoreError::Transition(_) | StoreError::Refused(_))),
                        "{answer:?}"
                    ),
                }
            }
            StoreStep::PreImage { item, refuse } => {
                let value = Value::N(n.to_string().parse().unwrap());
                let row = PreImageRow { key: key(item), pre: PreImage::with_value(&attribute("a.b"), &value) };
                let ids = store.append_pre_images(session, vec![row]).await.unwrap();
                if refuse {
                    store.mark_refused(session, ids).await.unwrap();
                }
                model.pre_images.push((item, n as u64, refuse));
            }
            StoreStep::Reopen => {
                check_agreement(&store, run, &model).await?;
                drop(store);
                store = open(&path);
                let session_begun = begin(&store, BeginMode::ResumeOrNew, 99).await;
                prop_assert_eq!(
                    (session_begun.run.id, session_begun.run.total_segments, session_begun.resumed),
                    (run, 4, true)
                );
                session = session_begun.run.session();
            }
        }
    }
    check_agreement(&store, run, &model).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// After any sequence of steps and restarts, the file contains the states that `SegmentState::next` computes from
    /// the acknowledged events. Unacknowledged events have no effect.
    #[test]
    fn the_file_holds_exactly_the_acknowledged_events(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run_steps(steps))?;
    }
}

#[tokio::test]
async fn no_part_of_a_refused_commit_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 2).await.run.id;
    let mut early = commit(run, 0, pages(2, 1, None, &[Outcome::Rejected]));
    early.failures = vec![failure("a", Outcome::Rejected, "too large")];
    let error = store.commit(early).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Transition(TransitionError::OutOfOrder { expected: 1, found: 2 })),
        "{error:?}"
    );
    assert!(store.failures(ALL).await.unwrap().is_empty());
    assert!(store.segments_after(run, None, u32::MAX).await.unwrap().is_empty());
    for (run, segment) in [(run, 2), (RunId::from_number(9), 0)] {
        assert!(store.commit(commit(run, segment, pages(1, 1, None, &[]))).await.is_err());
    }
}

/// A read writes nothing, so it does not wait for a disk sync.
#[tokio::test]
async fn a_group_that_only_reads_commits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    let files = || ["s.db-wal", "s.db.lock"].map(|name| fs::read(dir.path().join(name)).unwrap());
    let before = files();
    for _ in 0..3 {
        store.current_run("expand").await.unwrap();
        store.history_of(vec![key(1)], HistoryLookup::ForDecision).await.unwrap();
        assert!(store.commit(commit(RunId::from_number(9), 0, pages(1, 1, None, &[]))).await.is_err());
    }
    assert!(files() == before, "a read or a refused request was committed");
    store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    let [log, lock] = files();
    assert!(log != before[0] && lock != before[1]);
}

/// This environment variable sets the number of processes to kill. Set a larger number for a longer search.
const KILLS: &str = "BACKFILL_TEST_KILLS";

/// Kills a process at random moments while four segments commit at the same time. Every acknowledged commit must be in
/// the file. No commit must be stored only in part. The next process must be able to continue.
#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD) {
        return commit_for_ever(&PathBuf::from(path));
    }
    let kills = std::env::var(KILLS).map_or(32, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let mut stored = BTreeMap::<u32, u64>::new();
    let mut pre_images = 0;
    let mut kills_at_work = 0;
    for n in 0..kills {
        let mut child = child("durable::a_killed_process_loses_nothing_that_was_acknowledged", &path);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, received) = mpsc::channel();
        let reader = thread::spawn(move || lines.for_each(|line| sender.send(line.unwrap()).unwrap()));
        // Three of every four processes are killed during commits. The fourth is killed at any time, for example while
        // it creates or opens the file.
        let first = (n % 4 > 0).then(|| received.recv_timeout(Duration::from_secs(60)).unwrap());
        thread::sleep(Duration::from_millis(fastrand::u64(..50)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        kills_at_work += u64::from(first.is_some());
        for line in first.into_iter().chain(received) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["page", segment, page] => _ = stored.insert(segment.parse().unwrap(), page.parse().unwrap()),
                ["pre-image"] => pre_images += 1,
                _ => panic!("the process ended by itself: {line}"),
            }
        }
        match path.exists() {
            true => {
                kills::check_opens_after(&path, kills::DISTURBANCES[usize::try_from(n).unwrap() % 3]);
                check_after_kill(&path, &mut stored, pre_images);
            }
            false => assert_eq!(pre_images, 0),
        }
    }
    assert!(
        kills_at_work > kills / 2 && stored.len() == 4,
        "{kills_at_work} of {kills} kills hit a process that was committing"
    );
}

/// Commits pages until the process is killed. Each page has three items. One item is a failure. Another item has a
/// pre-image that is durable before the page is committed.
fn commit_for_ever(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(path);
        let session = begin(&store, BeginMode::ResumeOrNew, 4).await.run.session();
        let run = session.run;
        let done: BTreeMap<_, _> =
            store.segments_after(run, None, u32::MAX).await.unwrap().into_iter().map(|(n, s)| (n, s.pages)).collect();
        futures::future::join_all((0..4).map(|segment| {
            let store = store.clone();
            let mut page = done.get(&segment).copied().unwrap_or(0);
            async move {
                loop {
                    page += 1;
                    let name = format!("{segment}/{page}");
                    let pre = PreImage::with_value(&attribute("a"), &Value::S(name.clone()));
                    let row = PreImageRow { key: key(&name), pre };
                    store.append_pre_images(session, vec![row]).await.unwrap();
                    print_line("pre-image");
                    let outcomes = [Outcome::Applied, Outcome::Rejected, Outcome::NothingToDo];
                    let mut commit = commit_in(session, segment, pages(page, 1, Some(key(&name)), &outcomes));
                    commit.failures = vec![failure(&name, Outcome::Rejected, "why")];
                    store.commit(commit).await.unwrap();
                    print_line(&format!("page {segment} {page}"));
                }
            }
        }))
        .await;
    });
}

fn check_after_kill(path: &Path, stored: &mut BTreeMap<u32, u64>, pre_images: u64) {
    let file = StateFile::open(path).unwrap();
    let summary = file.summary().unwrap();
    assert_eq!(summary.holder, None);
    assert!(summary.pre_images >= pre_images, "{} of {pre_images} pre-images", summary.pre_images);
    let Some(current) = summary.current else {
        assert!(stored.is_empty());
        return;
    };
    // If `died` is true, the process was killed during its session. Otherwise, it was killed before its session began,
    // but after it had recorded that the previous session was killed.
    assert!(current.died || current.run.lower_bound, "{:?}", current.run);
    assert_eq!(current.died, current.run.status == RunStatus::Running);
    assert_eq!(current.totals.counts.scanned, 3 * current.totals.pages);
    let failures = file.failures(ALL).unwrap();
    let states: BTreeMap<_, _> = file.segments_after(current.run.id, None, 10).unwrap().into_iter().collect();
    for segment in 0..4 {
        let acknowledged = stored.get(&segment).copied().unwrap_or(0);
        let pages = states.get(&segment).map_or(0, |s| s.pages);
        // One commit can be durable although the process was killed before it could print the acknowledgement.
        assert!((acknowledged..=acknowledged + 1).contains(&pages), "segment {segment}: {acknowledged}, {pages}");
        let recorded = failures.iter().filter(|f| f.segment == segment && f.attempts == 1).count() as u64;
        assert_eq!(recorded, pages, "segment {segment}");
        stored.insert(segment, pages);
    }
}
