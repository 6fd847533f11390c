//! The machine's clocks and its source of randomness. Code takes both as arguments, so that a test can repeat a run
//! from a seed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use fastrand::Rng;
use jiff::Timestamp;

use crate::clock::{BootTime, Clock, MomentClock, boot_time, moments};

/// A function that returns the time since the machine started, like [`boot_time`].
pub type BootClock = Arc<dyn Fn() -> Option<BootTime> + Send + Sync>;

/// The clocks and the source of randomness of one process. Clones share them.
#[derive(Clone)]
pub struct Machine {
    /// Both clocks of this process.
    pub moments: MomentClock,
    /// The clock that returns the time since the machine started.
    pub boot: BootClock,
    /// The source of randomness for backoff jitter, for samples, and for writers' names.
    pub random: Random,
}

impl Machine {
    /// Returns the machine that this process runs on.
    pub fn system() -> Machine {
        Machine { moments: moments(), boot: Arc::new(boot_time), random: Random::from_entropy() }
    }

    /// Returns only the wall clock.
    pub fn wall(&self) -> Clock {
        let moments = Arc::clone(&self.moments);
        Arc::new(move || moments().wall)
    }

    /// Returns the current time of the wall clock.
    pub fn now(&self) -> Timestamp {
        (self.moments)().wall
    }

    /// Returns the time since the machine started; `None` if the machine does not report this time.
    pub fn boot_time(&self) -> Option<BootTime> {
        (self.boot)()
    }
}

/// A source of randomness. Clones share one sequence.
#[derive(Clone)]
pub struct Random(Arc<Mutex<Rng>>);

impl Random {
    /// Returns a sequence that is different in every process.
    pub fn from_entropy() -> Random {
        Random::with(Rng::new())
    }

    /// Returns the sequence of a seed. The same seed always produces the same sequence.
    pub fn with_seed(seed: u64) -> Random {
        Random::with(Rng::with_seed(seed))
    }

    fn with(rng: Rng) -> Random {
        Random(Arc::new(Mutex::new(rng)))
    }

    /// Draws a fraction, from 0 up to but not including 1.
    pub fn fraction(&self) -> f64 {
        self.draw(Rng::f64)
    }

    /// Draws a 64-bit number, to use as a seed.
    pub fn number(&self) -> u64 {
        self.draw(|rng| rng.u64(..))
    }

    /// Draws a 128-bit number. Another process is extremely unlikely to draw the same number.
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
