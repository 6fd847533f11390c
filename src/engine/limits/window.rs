//! Decides when a run may work: `[limits] window` and `deadline`.
//!
//! While the window is closed, new requests wait until it opens. The run still awaits the replies to requests in
//! flight. Every wait checks the clock at short intervals, because the wall clock can jump and the machine can sleep.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{self, Clock};
use crate::engine::stop::{StopReason, Stopper};
use crate::figure::whole_duration;
use crate::plan::{PlanLimits, Window};

/// The interval at which every wait checks the wall clock. If the wall clock jumps, a run notices an opened window or a
/// passed deadline at most this much later.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The daily hours in which a run may work, and its deadline. Requests may be sent while the window is open.
pub struct WorkWindow {
    window: Option<Window>,
    deadline: Option<Timestamp>,
    clock: Clock,
    /// The cached state of the window, and how long this state is valid. Without the cache, every request would have to
    /// calculate the time of day.
    period: Mutex<Option<WindowPeriod>>,
}

#[derive(Clone, Copy)]
struct WindowPeriod {
    from: Timestamp,
    until: Option<Timestamp>,
    open: bool,
    opening: Opening,
}

/// Identifies one uninterrupted period in which the window is open. If a request gets the same value twice, the window
/// did not close in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opening(u64);

impl WorkWindow {
    /// Creates the work window and the deadline from these limits.
    pub fn new(limits: &PlanLimits, clock: Clock) -> Arc<WorkWindow> {
        let PlanLimits { window, deadline, .. } = limits;
        Arc::new(WorkWindow { window: window.clone(), deadline: *deadline, clock, period: Mutex::default() })
    }

    /// Waits until the window is open, and returns the current [`Opening`]. The future can be dropped at any point.
    pub async fn wait_until_open(&self) -> Opening {
        loop {
            match self.current_period() {
                Some((period, left)) if !period.open => tokio::time::sleep(left.min(CHECK_INTERVAL)).await,
                open => return open.map_or_else(Opening::default, |(period, _)| period.opening),
            }
        }
    }

    /// Returns whether a request has to wait now.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    /// Describes when the window opens and how long requests wait. Returns `None` if the window is open.
    pub fn waiting(&self) -> Option<String> {
        let window = self.window.as_ref()?;
        let (opens, left) = self.closed()?;
        let Some(opens) = opens else { return Some("waiting for a window that never opens".to_owned()) };
        let time = window.zone.to_datetime(opens).strftime("%H:%M");
        let zone = window.zone.iana_name();
        let zone = zone.unwrap_or("local time");
        Some(format!("waiting for the window until {time} {zone} (in {})", whole_duration(left)))
    }

    /// Returns the stop reason if the deadline has passed, and `None` otherwise.
    pub fn past_deadline(&self) -> Option<StopReason> {
        let deadline = self.deadline.filter(|deadline| (self.clock)() >= *deadline)?;
        Some(StopReason::Deadline(clock::to_text(deadline)))
    }

    /// Starts a task that stops the run at its deadline and logs when the window closes and opens. The task ends when
    /// the handle is dropped.
    pub(crate) fn watch(self: &Arc<Self>, stop: &Stopper) -> Option<AbortOnDropHandle<()>> {
        if self.deadline.is_none() && self.window.is_none() {
            return None;
        }
        let me = Arc::clone(self);
        let stop = stop.clone();
        Some(AbortOnDropHandle::new(tokio::spawn(async move { me.watch_clock(&stop).await })))
    }

    async fn watch_clock(&self, stop: &Stopper) {
        let mut was_open = true;
        loop {
            if let Some(reason) = self.past_deadline() {
                return stop.stop(reason);
            }
            let waiting = self.waiting();
            match &waiting {
                Some(waiting) if was_open => {
                    tracing::info!(
                        r#type = "activity",
                        activity = "outside_window",
                        "{waiting}: nothing is sent until then"
                    );
                }
                None if !was_open => tracing::info!("the window is open: the run continues"),
                _ => {}
            }
            was_open = waiting.is_none();
            let left = self.deadline.map_or(CHECK_INTERVAL, |deadline| until(deadline, (self.clock)()));
            tokio::time::sleep(left.min(CHECK_INTERVAL)).await;
        }
    }

    /// Returns the time at which the window opens, and how long it stays closed until then. Returns `None` if the
    /// window is open.
    fn closed(&self) -> Option<(Option<Timestamp>, Duration)> {
        let (period, left) = self.current_period().filter(|(period, _)| !period.open)?;
        Some((period.until, left))
    }

    /// Returns the state of the window, and how long this state lasts. Returns `None` if there is no window.
    fn current_period(&self) -> Option<(WindowPeriod, Duration)> {
        let window = self.window.as_ref()?;
        let now = (self.clock)();
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |period: &WindowPeriod| period.from <= now && period.until.is_none_or(|until| now < until);
        let current = match *period {
            Some(current) if holds(&current) => current,
            before => {
                let open = window.is_open(now);
                // If the window has closed and reopened, this is a new opening, even if no caller checked the window
                // while it was closed.
                let Opening(number) = before.map(|period| period.opening).unwrap_or_default();
                let opening = Opening(number + u64::from(open));
                WindowPeriod { from: now, until: window.next_change(now), open, opening }
            }
        };
        *period = Some(current);
        // If the state of the window never changes, the caller checks again after this interval.
        Some((current, current.until.map_or(CHECK_INTERVAL, |change| until(change, now))))
    }
}

/// Returns the duration from `now` to `then`, but at least a millisecond, so that a waiting loop does not spin.
fn until(then: Timestamp, now: Timestamp) -> Duration {
    let left = then.duration_since(now).max(SignedDuration::from_millis(1));
    Duration::try_from(left).unwrap_or(CHECK_INTERVAL)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::tz::TimeZoneDatabase;
    use tokio::time::Instant;

    use super::*;

    /// A wall clock that starts at the time `text` and runs as fast as Tokio's clock. Tests can set the clock forward
    /// or back by changing the returned number of seconds.
    fn clock_at(text: &str) -> (Clock, Arc<AtomicI64>) {
        let begin = text.parse::<Timestamp>().unwrap();
        let start = Instant::now();
        let jump = Arc::new(AtomicI64::new(0));
        let jumped = Arc::clone(&jump);
        let clock = move || {
            let jumped = SignedDuration::from_secs(jumped.load(Ordering::SeqCst));
            begin + SignedDuration::try_from(start.elapsed()).unwrap() + jumped
        };
        (Arc::new(clock), jump)
    }

    fn limits(window: Option<(&str, &str)>, deadline: Option<&str>) -> PlanLimits {
        let zone = || TimeZoneDatabase::bundled().get("Europe/Paris").unwrap();
        let window = window.map(|(opens, closes)| Window {
            opens: opens.parse().unwrap(),
            closes: closes.parse().unwrap(),
            zone: zone(),
        });
        let deadline = deadline.map(|text| text.parse().unwrap());
        PlanLimits { max_failures: 0, max_wcu: None, max_cost_usd: None, max_items: None, deadline, window }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_goes_on_when_the_window_opens() {
        let (clock, _) = clock_at("2026-01-10T18:00:00Z");
        let work_window = WorkWindow::new(&limits(Some(("22:00", "06:00")), None), clock);
        assert_eq!(
            work_window.waiting().as_deref(),
            Some("waiting for the window until 22:00 Europe/Paris (in 3 h 0 min)")
        );
        let start = Instant::now();
        work_window.wait_until_open().await;
        assert!((start.elapsed().as_secs_f64() - 3.0 * 3600.0).abs() < 1.0, "{:?}", start.elapsed());
        assert_eq!(work_window.waiting(), None);
        let start = Instant::now();
        let first = work_window.wait_until_open().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(
            (work_window.wait_until_open().await, start.elapsed()),
            (first, Duration::from_secs(3600)),
            "the same opening"
        );
        // When the window closes again, requests wait again.
        tokio::time::sleep(Duration::from_secs(7 * 3600)).await;
        let second = work_window.wait_until_open().await;
        assert_ne!(second, first);
        assert!((start.elapsed().as_secs_f64() - 24.0 * 3600.0).abs() < 1.0, "{:?}", start.elapsed());
        // A new opening is noticed even if no caller checked the window while it was closed.
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        let start = Instant::now();
        assert_ne!(work_window.wait_until_open().await, second);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_change_is_noticed_within_seconds() {
        let (clock, jump) = clock_at("2026-01-10T18:00:00Z");
        let work_window = WorkWindow::new(&limits(Some(("22:00", "06:00")), None), clock);
        let waiter = tokio::spawn({
            let work_window = Arc::clone(&work_window);
            async move { work_window.wait_until_open().await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!waiter.is_finished());
        jump.store(4 * 3600, Ordering::SeqCst);
        let start = Instant::now();
        waiter.await.unwrap();
        assert!(start.elapsed() <= CHECK_INTERVAL, "{:?}", start.elapsed());
        // When the clock is set back, the window is closed again.
        jump.store(0, Ordering::SeqCst);
        assert!(work_window.waiting().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_stops_the_run() {
        let (clock, jump) = clock_at("2026-01-10T18:00:00Z");
        let work_window = WorkWindow::new(&limits(None, Some("2026-01-10T19:00:00Z")), clock);
        let stop = Stopper::default();
        let _watch = work_window.watch(&stop).unwrap();
        assert_eq!(work_window.past_deadline(), None);
        let start = Instant::now();
        stop.stopping().await;
        assert!((start.elapsed().as_secs_f64() - 3600.0).abs() < 1.0, "{:?}", start.elapsed());
        assert_eq!(stop.reason(), Some(&StopReason::Deadline("2026-01-10T19:00:00Z".into())));

        jump.store(-7200, Ordering::SeqCst);
        let stop = Stopper::default();
        let _watch = work_window.watch(&stop).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!stop.is_stopping());
        jump.store(0, Ordering::SeqCst);
        let start = Instant::now();
        stop.stopping().await;
        assert!(start.elapsed() <= CHECK_INTERVAL, "{:?}", start.elapsed());
    }

    #[test]
    fn without_limits_nothing_waits() {
        let work_window = WorkWindow::new(&limits(None, None), clock::wall_clock());
        assert_eq!((work_window.waiting(), work_window.past_deadline()), (None, None));
        assert!(work_window.watch(&Stopper::default()).is_none());
    }
}
