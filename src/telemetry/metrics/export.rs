//! Sends the figures to a destination at regular intervals, and at the beginning and the end of each pass. EMF and OTLP
//! use this module.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::exposition::Exposition;
use super::source::{AnnouncedPass, MetricsSource};

/// The maximum time for which a command waits at its end while the last figures are sent.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// A destination of the figures. An exporter must not disturb the pass, so it only logs its own errors.
#[async_trait]
pub(super) trait Export: Send + Sync {
    /// Receives the figures with which a pass begins in this process. The counters rise from these values.
    async fn begin(&mut self, first: &Exposition);

    /// Sends the current figures.
    async fn send(&mut self, now: &Exposition);

    /// Waits until the sent figures have arrived.
    async fn finish(&mut self) {}
}

/// An exporter that runs. It ends when this value is dropped.
pub struct RunningExport {
    ends: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl RunningExport {
    /// Starts an exporter.
    pub(super) fn start(source: Arc<MetricsSource>, every: Duration, export: impl Export + 'static) -> RunningExport {
        let ends = CancellationToken::new();
        let passes = source.follow();
        let ended = ends.clone();
        let task = tokio::spawn(
            Exporter { source, passes, export, current: None, is_ended: false, sent: Timestamp::MIN }.run(every, ended),
        );
        RunningExport { ends, task: AbortOnDropHandle::new(task) }
    }

    /// Sends the last figures, and waits until they are sent, but at most for `LAST_PATIENCE`.
    pub async fn finish(self) {
        self.ends.cancel();
        if timeout(LAST_PATIENCE, self.task).await.is_err() {
            tracing::warn!(
                "the last metrics could not be sent within {} s. The migration is not affected",
                LAST_PATIENCE.as_secs()
            );
        }
    }
}

struct Exporter<E> {
    source: Arc<MetricsSource>,
    passes: UnboundedReceiver<AnnouncedPass>,
    export: E,
    current: Option<AnnouncedPass>,
    /// Whether the last figures of the current pass were sent.
    is_ended: bool,
    /// The time of the last figures that were sent.
    sent: Timestamp,
}

/// Waits for the end of a pass. Without a pass, waits forever.
async fn end_of(pass: Option<AnnouncedPass>) {
    match pass {
        Some(pass) => pass.ended().await,
        None => std::future::pending().await,
    }
}

impl<E: Export> Exporter<E> {
    async fn run(mut self, every: Duration, ends: CancellationToken) {
        let mut tick = interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = ends.cancelled() => break,
                Some(pass) = self.passes.recv() => self.change_to(pass).await,
                // Send the last figures of a pass immediately, without waiting for the next interval.
                () = end_of(self.current.clone()), if !self.is_ended => {
                    self.is_ended = true;
                    self.send().await;
                }
                _ = tick.tick() => self.send().await,
            }
        }
        while let Ok(pass) = self.passes.try_recv() {
            self.change_to(pass).await;
        }
        self.send().await;
        self.export.finish().await;
    }

    /// Sends the last figures of the previous pass, and begins with the next pass.
    async fn change_to(&mut self, pass: AnnouncedPass) {
        if self.current.is_some() && !self.is_ended {
            self.send().await;
        }
        let begun = pass.begun();
        // The pass may have begun before the last figures of the previous pass were sent. Use the later time, because
        // times must never decrease.
        let now = begun.view.at.max(self.sent);
        let first = Exposition { now, ..self.source.exposition_of(Some(begun)).await };
        self.sent = now;
        self.is_ended = false;
        self.current = Some(pass);
        self.export.begin(&first).await;
    }

    async fn send(&mut self) {
        let exposition = self.source.exposition_of(self.current.as_ref().map(AnnouncedPass::shown)).await;
        self.sent = self.sent.max(exposition.now);
        self.export.send(&exposition).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::state::RunId;
    use crate::telemetry::RunningMonitor;
    use crate::telemetry::monitor::tests::sources;

    /// Records the calls. `B1` means that run 1 begins, and `S1:5` means that figures of run 1 with five answers are
    /// sent.
    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<(Timestamp, String)>>>);

    impl Recorded {
        fn note(&self, kind: &str, exposition: &Exposition) {
            let text = match &exposition.pass {
                Some(pass) => format!("{kind}{}:{}", pass.labels.run, pass.view.figures.answers),
                None => kind.to_owned(),
            };
            self.0.lock().unwrap().push((exposition.now, text));
        }

        /// Returns the calls, and checks that their times never decrease.
        fn take(&self) -> Vec<String> {
            let calls = std::mem::take(&mut *self.0.lock().unwrap());
            assert!(calls.is_sorted_by_key(|(at, _)| *at), "{calls:?}");
            calls.into_iter().map(|(_, text)| text).collect()
        }
    }

    #[async_trait]
    impl Export for Recorded {
        async fn begin(&mut self, first: &Exposition) {
            self.note("B", first);
        }

        async fn send(&mut self, now: &Exposition) {
            self.note("S", now);
        }
    }

    /// The last figures of every pass are sent, even if the pass is very short.
    #[tokio::test(start_paused = true)]
    async fn no_pass_is_lost_between_two_intervals() {
        let source = Arc::new(MetricsSource::new("rename", "shop"));
        let recorded = Recorded::default();
        let export = RunningExport::start(Arc::clone(&source), Duration::from_secs(60), recorded.clone());
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(recorded.take(), ["S"]);
        for run in 1..=2 {
            let sources = sources([1_000.0; 4]);
            let progress = Arc::clone(&sources.progress);
            let monitor = RunningMonitor::start(sources);
            source.show(RunId::from_number(run), &monitor);
            (0..run).for_each(|_| progress.answered());
            monitor.end().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            recorded.take(),
            ["B1:0", "S1:1", "B2:0", "S2:2"],
            "a pass that ends does not wait for the interval"
        );
        export.finish().await;
        assert_eq!(recorded.take(), ["S2:2"]);
    }

    /// An exporter that hangs delays the end of the command by at most [`LAST_PATIENCE`].
    #[tokio::test(start_paused = true)]
    async fn an_exporter_that_hangs_delays_the_end_only_briefly() {
        struct Hangs;

        #[async_trait]
        impl Export for Hangs {
            async fn begin(&mut self, _: &Exposition) {}

            async fn send(&mut self, _: &Exposition) {
                std::future::pending().await
            }
        }

        let source = Arc::new(MetricsSource::new("rename", "shop"));
        let export = RunningExport::start(source, Duration::from_secs(60), Hangs);
        let began = Instant::now();
        export.finish().await;
        assert_eq!(began.elapsed(), LAST_PATIENCE);
    }
}
