//! The machine's clocks and randomness. Both are arguments, so that a test can replay from a seed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use fastrand::Rng;
use jiff::Timestamp;

use crate::clock::{BootTime, Clock, Moments, boot_time, moments};

/// Returns the time since the machine started, like [`boot_time`].
pub type Boot = Arc<dyn Fn() -> Option<BootTime> + Send + Sync>;

/// The clocks and the randomness of one process. A clone shares them.
#[derive(Clone)]
pub struct Machine {
    /// Both clocks of this process.
    pub moments: Moments,
    /// The clock that outlives a process.
    pub boot: Boot,
    /// The source of backoff jitter, samples, and names of writers.
    pub random: Random,
}

impl Machine {
    /// The machine that this process runs on.
    pub fn this() -> Machine {
        Machine { moments: moments(), boot: Arc::new(boot_time), random: Random::of_system() }
    }

    /// Only the wall clock.
    pub fn wall(&self) -> Clock {
        let moments = Arc::clone(&self.moments);
        Arc::new(move || moments().wall)
    }

    /// The current time by the wall clock.
    pub fn now(&self) -> Timestamp {
        (self.moments)().wall
    }

    /// The time since the machine started; `None` if it does not report it.
    pub fn booted(&self) -> Option<BootTime> {
        (self.boot)()
    }
}

/// A source of randomness. Clones share one sequence.
#[derive(Clone)]
pub struct Random(Arc<Mutex<Rng>>);

impl Random {
    /// A sequence that differs from process to process.
    pub fn of_system() -> Random {
        Random::with(Rng::new())
    }

    /// The sequence of this seed. It is always the same.
    pub fn with_seed(seed: u64) -> Random {
        Random::with(Rng::with_seed(seed))
    }

    fn with(rng: Rng) -> Random {
        Random(Arc::new(Mutex::new(rng)))
    }

    /// A fraction, from 0 up to but not including 1.
    pub fn fraction(&self) -> f64 {
        self.draw(Rng::f64)
    }

    /// A 64-bit number, for a seed.
    pub fn number(&self) -> u64 {
        self.draw(|rng| rng.u64(..))
    }

    /// A 128-bit number that no other process draws.
    pub fn name(&self) -> u128 {
        self.draw(|rng| rng.u128(..))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_clones_share_it() {
        let draw = |random: &Random| (random.fraction(), random.number(), random.name());
        let one = Random::with_seed(7);
        let other = Random::with_seed(7);
        assert_eq!(draw(&one), draw(&other));
        assert_eq!(draw(&one.clone()), draw(&other));
        assert_eq!(draw(&one), draw(&other));
        assert_ne!(draw(&Random::with_seed(8)), draw(&Random::with_seed(7)));
    }
}
