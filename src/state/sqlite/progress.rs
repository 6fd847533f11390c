//! Reports the progress of long operations on a whole state file. Without these reports, a command would print nothing
//! for a long time if the file is large.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::figure::{count, number};

/// An operation that takes less than this time reports nothing.
const QUIET: Duration = Duration::from_secs(2);

/// The time between two reported lines.
const EVERY: Duration = Duration::from_secs(5);

/// The number of processed rows. The operation increments this number, and [`Progress`] reads it.
pub(super) type Rows = Arc<AtomicU64>;

/// Logs the progress of one operation until this value is dropped. Uses a separate thread, because a single SQLite
/// statement may take most of the time.
pub(super) struct Progress {
    ends: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to report the progress of an operation on `of` rows. If `of` is `None`, the reports show only the elapsed
    /// time.
    pub(super) fn tell(what: &'static str, rows: &Rows, of: Option<u64>) -> Progress {
        Progress::tell_to(what, rows, of, (QUIET, EVERY), |line| tracing::info!("{line}"))
    }

    fn tell_to(
        what: &'static str,
        rows: &Rows,
        of: Option<u64>,
        (quiet, every): (Duration, Duration),
        say: impl Fn(String) + Send + 'static,
    ) -> Progress {
        let (ends, ended) = mpsc::channel();
        let rows = Arc::clone(rows);
        let began = Instant::now();
        let tell = move || {
            let mut wait = quiet;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = every;
                say(match of {
                    // The number of processed rows can exceed `of`, because `of` was counted beforehand and a row may
                    // be read twice.
                    Some(of) => {
                        format!(
                            "{what}: {} of {}",
                            number(rows.load(Ordering::Relaxed).min(of)),
                            count(of, "row", "rows")
                        )
                    }
                    None => format!("{what}: {} s so far", began.elapsed().as_secs()),
                });
            }
        };
        // If the thread cannot start, the operation continues without reports.
        let thread = thread::Builder::new().name("state-progress".to_owned()).spawn(tell).ok();
        Progress { ends: Some(ends), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ends = None;
        // Waits for the thread, so that it reports no line after the end of the work.
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
        let rows = Rows::default();
        rows.store(1_200, Ordering::Relaxed);
        let (lines, said) = mpsc::channel();
        let progress =
            Progress::tell_to("counting", &rows, Some(3_000), (SOON, SOON), move |line| drop(lines.send(line)));
        assert_eq!(said.recv().unwrap(), "counting: 1,200 of 3,000 rows");
        rows.store(3_001, Ordering::Relaxed);
        assert!(said.iter().any(|line| line == "counting: 3,000 of 3,000 rows"), "never more rows than announced");
        drop(progress);
        // The thread has ended, and its end of the channel is closed.
        assert!(said.iter().all(|line| line == "counting: 3,000 of 3,000 rows"));
    }

    #[test]
    fn work_is_reported_after_the_quiet_time_and_then_at_intervals() {
        let (lines, said) = mpsc::channel();
        let progress =
            Progress::tell_to("looking", &Rows::default(), None, (SOON, NEVER), move |line| drop(lines.send(line)));
        assert!(said.recv().unwrap().starts_with("looking: "));
        assert!(said.recv_timeout(Duration::from_millis(50)).is_err());
        drop(progress);
        assert!(said.recv().is_err(), "no line follows the end of the work");
    }

    #[test]
    fn short_work_reports_nothing() {
        let (lines, said) = mpsc::channel();
        drop(Progress::tell_to("looking", &Rows::default(), None, (NEVER, SOON), move |line| drop(lines.send(line))));
        assert!(said.recv().is_err());
    }
}
