use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::state::OpenWork;
use crate::telemetry::monitor::tests::sources;

/// The result of a read of the state file.
#[derive(Clone, Copy)]
enum Answer {
    Failures(u64),
    Error,
    Nothing,
}

/// Returns a source, a counter of the reads of its state file, and the answer that the next reads will get.
fn source() -> (MetricsSource, Arc<AtomicU64>, Arc<Mutex<Answer>>) {
    let source = MetricsSource::new("rename", "shop");
    let (reads, answer) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Answer::Failures(1))));
    let (counted, current) = (Arc::clone(&reads), Arc::clone(&answer));
    source.read_with(Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let answer = *lock(&current);
        Box::pin(async move {
            match answer {
                Answer::Failures(failures) => {
                    let open = Some(OpenWork { failures, ..OpenWork::default() });
                    Ok(StateFigures { open, verification: None })
                }
                Answer::Error => Err(StoreError::Io("the disk is gone".to_owned())),
                Answer::Nothing => std::future::pending().await,
            }
        })
    }));
    (source, reads, answer)
}

async fn failures(source: &MetricsSource) -> Option<u64> {
    source.exposition().await.state.open.map(|open| open.failures)
}

/// Even if scrapes are more frequent, the state file is read only once every two seconds.
#[tokio::test(start_paused = true)]
async fn a_scrape_loop_reads_the_state_file_once_in_two_seconds() {
    let (source, reads, answer) = source();
    let scrapes = (0..100).map(|_| failures(&source));
    assert_eq!(futures::future::join_all(scrapes).await, [Some(1); 100]);
    *lock(&answer) = Answer::Failures(7);
    for _ in 0..1_000 {
        assert_eq!(failures(&source).await, Some(1));
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    tokio::time::advance(STATE_CACHE).await;
    assert_eq!((failures(&source).await, reads.load(Ordering::Relaxed)), (Some(7), 2));
}

/// If reads of the state file fail or hang, not every scrape tries another read, and the last figures stay visible.
#[tokio::test(start_paused = true)]
async fn a_broken_state_file_is_asked_as_seldom_as_a_good_one() {
    let (source, reads, answer) = source();
    assert_eq!(failures(&source).await, Some(1));
    for (wrong, waits) in [(Answer::Error, Duration::ZERO), (Answer::Nothing, STATE_PATIENCE)] {
        *lock(&answer) = wrong;
        tokio::time::advance(STATE_CACHE).await;
        let (began, before) = (Instant::now(), reads.load(Ordering::Relaxed));
        let scrapes = (0..50).map(|_| failures(&source));
        assert_eq!(futures::future::join_all(scrapes).await, [Some(1); 50]);
        assert_eq!((reads.load(Ordering::Relaxed), began.elapsed()), (before + 1, waits));
    }
}

/// At its end, the source reads the state file even if the cache is fresh. Nothing reads the file afterwards.
#[tokio::test(start_paused = true)]
async fn the_last_figures_of_the_state_file_stay() {
    let (source, reads, answer) = source();
    assert_eq!(failures(&source).await, Some(1));
    *lock(&answer) = Answer::Failures(0);
    source.end().await;
    tokio::time::advance(10 * STATE_CACHE).await;
    assert_eq!((failures(&source).await, reads.load(Ordering::Relaxed)), (Some(0), 2));
    assert_eq!(source.stage(), Stage::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_every_pass_with_its_first_view() {
    let source = MetricsSource::new("rename", "shop");
    let mut passes = source.follow();
    for run in [1, 2] {
        source.begin_phase("expand");
        let sources = sources([1_000.0; 4]);
        let progress = Arc::clone(&sources.progress);
        let monitor = RunningMonitor::start(sources);
        source.show(RunId::from_number(run), &monitor);
        progress.answered();
        monitor.end().await;
        let announced = passes.try_recv().unwrap();
        let (begun, shown) = (announced.begun(), announced.shown());
        assert_eq!((begun.view.figures.answers, begun.is_running), (0, true));
        assert_eq!((shown.view.figures.answers, shown.is_running), (1, false));
        assert_eq!(shown.labels.run, RunId::from_number(run));
    }
}
