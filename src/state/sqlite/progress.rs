//! Reports the progress of long operations on a whole state file. Without these reports, a command on a large file
//! would print nothing for a long time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::figure::{count, number};

/// An operation that takes less time than this reports nothing.
const FIRST_DELAY: Duration = Duration::from_secs(2);

/// The time between two reports.
const INTERVAL: Duration = Duration::from_secs(5);

/// The number of processed rows. The operation increments it, and [`ProgressReporter`] reads it.
pub(super) type RowCounter = Arc<AtomicU64>;

/// Logs the progress of one operation until this value is dropped. A separate thread writes the log lines, because a
/// single SQLite statement may take most of the time.
pub(super) struct ProgressReporter {
    stop_sender: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressReporter {
    /// Starts to report an operation's progress through `total` rows. If `total` is `None`, the reports show only the
    /// elapsed time.
    pub(super) fn start(what: &'static str, rows: &RowCounter, total: Option<u64>) -> ProgressReporter {
        ProgressReporter::start_with(what, rows, total, (FIRST_DELAY, INTERVAL), |line| tracing::info!("{line}"))
    }

    fn start_with(
        what: &'static str,
        rows: &RowCounter,
        total: Option<u64>,
        (first_delay, interval): (Duration, Duration),
        report: impl Fn(String) + Send + 'static,
    ) -> ProgressReporter {
        let (stop_sender, stopped) = mpsc::channel();
        let rows = Arc::clone(rows);
        let began = Instant::now();
        let report_until_stopped = move || {
            let mut wait = first_delay;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = interval;
                report(match total {
                    // The number of processed rows can exceed `total`, because `total` was counted before the operation
                    // and a row may be read twice.
                    Some(total) => {
                        format!(
                            "{what}: {} of {}",
                            number(rows.load(Ordering::Relaxed).min(total)),
                            count(total, "row", "rows")
                        )
                    }
                    None => format!("{what}: {} s so far", began.elapsed().as_secs()),
                });
            }
        };
        // If the thread cannot be started, the operation continues without reports.
        let thread = thread::Builder::new().name("state-progress".to_owned()).spawn(report_until_stopped).ok();
        ProgressReporter { stop_sender: Some(stop_sender), thread }
    }
}

impl Drop for ProgressReporter {
    fn drop(&mut self) {
        self.stop_sender = None;
        // Wait for the thread, so that it reports no line after the operation has ended.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const NEVER: Duration = Duration::from_secs(3_600);

    #[test]
    fn long_work_reports_finished_rows() {
        let rows = RowCounter::default();
        rows.store(1_200, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        let progress = ProgressReporter::start_with("counting", &rows, Some(3_000), (SOON, SOON), move |line| {
            drop(sender.send(line))
        });
        assert_eq!(receiver.recv().unwrap(), "counting: 1,200 of 3,000 rows");
        rows.store(3_001, Ordering::Relaxed);
        assert!(receiver.iter().any(|line| line == "counting: 3,000 of 3,000 rows"), "never more rows than announced");
        drop(progress);
        // The thread has ended, so its end of the channel is closed.
        assert!(receiver.iter().all(|line| line == "counting: 3,000 of 3,000 rows"));
    }

    #[test]
    fn work_is_reported_after_the_quiet_time_and_then_at_intervals() {
        let (sender, receiver) = mpsc::channel();
        let progress =
            ProgressReporter::start_with("looking", &RowCounter::default(), None, (SOON, NEVER), move |line| {
                drop(sender.send(line))
            });
        assert!(receiver.recv().unwrap().starts_with("looking: "));
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        drop(progress);
        assert!(receiver.recv().is_err(), "no line follows the end of the work");
    }

    #[test]
    fn short_work_reports_nothing() {
        let (sender, receiver) = mpsc::channel();
        drop(ProgressReporter::start_with("looking", &RowCounter::default(), None, (NEVER, SOON), move |line| {
            drop(sender.send(line))
        }));
        assert!(receiver.recv().is_err());
    }
}
