//! The clock that governor uses. This clock runs faster or slower than Tokio's clock, depending on the rate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A clock whose speed determines the rate of a bucket.
///
/// governor cannot change a limiter's quota, and a new limiter with the same state has a different time base. So the
/// rate of the quota is fixed, and time runs at `speed` instead. Twice the speed means twice the rate, and zero means a
/// pause. The debt in tokens stays the same.
#[derive(Debug, Clone)]
pub(super) struct SpeedClock(Arc<Mutex<Pace>>);

#[derive(Debug)]
struct Pace {
    since: Instant,
    elapsed: Duration,
    speed: f64,
}

impl SpeedClock {
    pub(super) fn new(speed: f64) -> SpeedClock {
        SpeedClock(Arc::new(Mutex::new(Pace { since: Instant::now(), elapsed: Duration::ZERO, speed })))
    }

    pub(super) fn speed(&self) -> f64 {
        self.with(|pace| pace.speed)
    }

    pub(super) fn set_speed(&self, speed: f64) {
        self.with(|pace| {
            let now = Instant::now();
            pace.elapsed += (now - pace.since).mul_f64(pace.speed);
            pace.since = now;
            pace.speed = speed;
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Pace) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl governor::clock::Clock for SpeedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.with(|pace| pace.elapsed + pace.since.elapsed().mul_f64(pace.speed))
    }
}
