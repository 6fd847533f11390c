//! The clock that governor uses. Depending on the rate, it runs faster or slower than Tokio's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A clock whose speed determines the rate of a bucket.
///
/// governor cannot change a limiter's quota, and a new limiter with the same state has a different time base. So the
/// rate of the quota is fixed, and time runs at `speed` instead. Twice the speed means twice the rate, and zero speed
/// means a pause. A change of the speed does not change the debt in tokens.
#[derive(Debug, Clone)]
pub(super) struct SpeedClock(Arc<Mutex<ClockState>>);

#[derive(Debug)]
struct ClockState {
    since: Instant,
    elapsed: Duration,
    speed: f64,
}

impl SpeedClock {
    pub(super) fn new(speed: f64) -> SpeedClock {
        SpeedClock(Arc::new(Mutex::new(ClockState { since: Instant::now(), elapsed: Duration::ZERO, speed })))
    }

    pub(super) fn speed(&self) -> f64 {
        self.with(|state| state.speed)
    }

    pub(super) fn set_speed(&self, speed: f64) {
        self.with(|state| {
            let now = Instant::now();
            state.elapsed += (now - state.since).mul_f64(state.speed);
            state.since = now;
            state.speed = speed;
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut ClockState) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl governor::clock::Clock for SpeedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.with(|state| state.elapsed + state.since.elapsed().mul_f64(state.speed))
    }
}
