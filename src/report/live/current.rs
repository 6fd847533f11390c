//! Keeps the page current for all clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::look::Look;

/// The shortest pause between two looks at the files.
const PAUSE: Duration = Duration::from_secs(2);

/// The pause after a look is at least this number of times as long as the look. So a large state file is read for at
/// most a fifth of the time.
const PAUSE_FACTOR: u32 = 4;

/// A client that requests the page waits at most this long for a new look. After this time, the client gets the last
/// page, with the time of that page's figures.
const PATIENCE: Duration = Duration::from_secs(3);

/// If the newest look is older than this, the page says that reading takes a long time.
const LATE: Duration = Duration::from_secs(20);

/// The text that the page shows while a look takes too long.
const LATE_TEXT: &str = "Reading the state file takes a long time.";

/// The newest look, and a way to ask for another one.
#[derive(Clone)]
pub(super) struct Current {
    looks: watch::Receiver<(Look, Instant)>,
    wanted: Arc<Notify>,
}

impl Current {
    /// Begins with the look `first`. The returned future calls `look` for further looks. `look` can block. The future
    /// never ends.
    pub(super) fn begin(
        first: Look,
        look: impl FnMut() -> Look + Send + 'static,
    ) -> (Current, impl Future<Output = ()> + Send + 'static) {
        let (publish, looks) = watch::channel((first, Instant::now()));
        let wanted = Arc::new(Notify::new());
        let current = Current { looks, wanted: Arc::clone(&wanted) };
        (current, keep_current(look, publish, wanted))
    }

    /// Returns a look that is at most [`PAUSE`] old. If the files cannot be read in time, returns the newest look.
    pub(super) async fn fresh(&mut self) -> Look {
        if self.looks.borrow_and_update().1.elapsed() > PAUSE {
            self.want();
            // If the new look takes too long, return the older one.
            let _ = timeout(PATIENCE, self.looks.changed()).await;
        }
        self.newest()
    }

    /// Asks for a new look. Does not wait for it.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits for the next look. Returns `false` if the server ends before the next look.
    pub(super) async fn changed(&mut self) -> bool {
        self.looks.changed().await.is_ok()
    }

    /// Returns the newest look.
    pub(super) fn newest(&self) -> Look {
        let (mut look, ended) = self.looks.borrow().clone();
        if ended.elapsed() > LATE && look.trouble.is_none() {
            look.trouble = Some(LATE_TEXT);
        }
        look
    }
}

/// Makes a look when a client asks for one, and pauses after each look.
async fn keep_current(
    look: impl FnMut() -> Look + Send + 'static,
    publish: watch::Sender<(Look, Instant)>,
    wanted: Arc<Notify>,
) {
    let look = Arc::new(Mutex::new(look));
    loop {
        wanted.notified().await;
        let began = Instant::now();
        let look = Arc::clone(&look);
        // Reading the state file blocks, so it runs on its own thread. At most one such thread exists.
        let ended = tokio::task::spawn_blocking(move || look.lock().unwrap_or_else(PoisonError::into_inner)()).await;
        // After a panic, the page keeps its figures. After [`LATE`], it says that reading takes a long time.
        if let Ok(look) = ended {
            publish.send_replace((look, Instant::now()));
        }
        sleep(PAUSE.max(began.elapsed() * PAUSE_FACTOR)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use jiff::Timestamp;

    use super::super::look::Page;
    use super::*;

    fn look(at: u64) -> Look {
        let at = Timestamp::from_second(i64::try_from(at).unwrap()).unwrap();
        Look { page: Arc::new(Page::new("page".to_owned())), at, trouble: None }
    }

    /// RUNBOOK: "The server reads the state file only while a page is open"
    ///
    /// Many clients with frequent requests cause no more looks than one client. Without clients, there are no looks.
    #[tokio::test(start_paused = true)]
    async fn looks_are_shared_and_have_pauses() {
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let (current, task) = Current::begin(look(0), move || look(counter.fetch_add(1, Ordering::Relaxed) + 1));
        let task = tokio::spawn(task);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(count.load(Ordering::Relaxed), 0, "nobody asked");

        let began = Instant::now();
        let clients = (0..50).map(|n| {
            let mut current = current.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while began.elapsed() < Duration::from_secs(60) {
                    seen.push(current.fresh().await.at);
                    sleep(Duration::from_millis(100 + n)).await;
                }
                seen
            })
        });
        for client in clients.collect::<Vec<_>>() {
            let seen = client.await.unwrap();
            assert!(seen.is_sorted() && seen.len() > 100, "{}", seen.len());
        }
        let looks = count.load(Ordering::Relaxed);
        assert!((20..=31).contains(&looks), "{looks} looks in 60 s");
        task.abort();
    }

    /// RUNBOOK: "at most every two seconds, and for at most a fifth of the time"
    #[tokio::test(start_paused = true)]
    async fn a_slow_look_has_a_long_pause() {
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let runtime = tokio::runtime::Handle::current();
        let (current, task) = Current::begin(look(0), move || {
            runtime.block_on(tokio::time::advance(Duration::from_secs(10)));
            look(counter.fetch_add(1, Ordering::Relaxed) + 1)
        });
        let task = tokio::spawn(task);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1000) {
            current.want();
            sleep(Duration::from_secs(1)).await;
        }
        let looks = count.load(Ordering::Relaxed);
        assert!((10..=21).contains(&looks), "{looks} looks of 10 s in 1,000 s");
        task.abort();
    }

    /// If a look does not end, the page says so.
    #[tokio::test(start_paused = true)]
    async fn a_late_look_is_called_late() {
        let (mut current, task) = Current::begin(look(7), || panic!("the state cannot be read"));
        let task = tokio::spawn(task);
        assert_eq!(current.newest().trouble, None);
        for _ in 0..30 {
            current.want();
            sleep(Duration::from_secs(1)).await;
        }
        let late = current.fresh().await;
        assert_eq!((late.trouble, late.at), (Some(LATE_TEXT), look(7).at));
        assert!(!task.is_finished(), "a panic does not end the task");
        task.abort();
    }
}
