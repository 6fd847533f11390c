//! Writes lines on a separate thread, so that a slow or full destination cannot delay the pass.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

/// Writes one line, which ends with a line break, to a destination. The call can block.
pub type LineWriter = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// Maximum number of lines that wait for a slow destination. Further lines are dropped.
const QUEUED: usize = 4;

/// The destination of EMF lines, and the interval at which they are written.
#[derive(Clone)]
pub struct EmfOptions {
    /// Writes one line.
    pub write: LineWriter,
    /// The time between two lines.
    pub every: Duration,
}

/// The lines that wait to be written.
pub(super) struct LineQueue {
    lines: Option<SyncSender<String>>,
    written: Option<oneshot::Receiver<()>>,
    has_warned: bool,
}

impl LineQueue {
    /// Starts the thread. It ends when the queue is dropped and all of its lines are written.
    pub(super) fn start(write: LineWriter) -> LineQueue {
        let (lines, queued) = sync_channel(QUEUED);
        let (done, written) = oneshot::channel();
        let thread = std::thread::Builder::new().name("emf".to_owned()).spawn(move || {
            write_all(&queued, &write);
            // If the command has ended, nothing waits for this signal.
            let _ = done.send(());
        });
        match thread {
            Ok(_) => LineQueue { lines: Some(lines), written: Some(written), has_warned: false },
            Err(error) => {
                tracing::warn!("no EMF metrics are written, because their thread could not be started: {error}");
                LineQueue { lines: None, written: None, has_warned: true }
            }
        }
    }

    /// Adds a line. If too many lines wait, drops the line.
    pub(super) fn push(&mut self, line: String) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) => self.has_warned = false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) if self.has_warned => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.has_warned = true;
                tracing::warn!(
                    "EMF metrics are dropped, because their destination takes no more lines. The migration is not affected"
                );
            }
        }
    }

    /// Waits until all lines are written. No line can be added afterwards.
    pub(super) async fn finish(&mut self) {
        self.lines = None;
        if let Some(written) = self.written.take() {
            // An error only means that the thread has ended.
            let _ = written.await;
        }
    }
}

fn write_all(lines: &Receiver<String>, write: &LineWriter) {
    let mut has_failed = false;
    while let Ok(mut line) = lines.recv() {
        line.push('\n');
        match write(&line) {
            Ok(()) => has_failed = false,
            Err(error) => {
                if !has_failed {
                    tracing::warn!("EMF metrics cannot be written: {error}. The migration is not affected");
                }
                has_failed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn lines_are_written_in_order_and_errors_are_survived() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let mut queue = LineQueue::start(Arc::new(move |line| {
            to.lock().unwrap().push(line.to_owned());
            if line == "b\n" { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
        ["a", "b", "c"].into_iter().for_each(|line| queue.push(line.to_owned()));
        queue.finish().await;
        queue.push("after the end".to_owned());
        assert_eq!(*written.lock().unwrap(), ["a\n", "b\n", "c\n"]);
    }

    /// A blocked destination never blocks the caller, and only a few lines wait in memory.
    #[tokio::test]
    async fn a_destination_that_blocks_loses_lines_and_nothing_else() {
        let (release, blocked) = sync_channel::<()>(0);
        let blocked = Mutex::new(blocked);
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let mut queue = LineQueue::start(Arc::new(move |line| {
            let _ = blocked.lock().unwrap().recv();
            to.lock().unwrap().push(line.to_owned());
            Ok(())
        }));
        for line in 0..1_000 {
            queue.push(line.to_string());
        }
        drop(release);
        queue.finish().await;
        let written = written.lock().unwrap().len();
        assert!((QUEUED..=QUEUED + 1).contains(&written), "{written} lines");
    }
}
