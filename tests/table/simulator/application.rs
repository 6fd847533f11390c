//! The application's traffic in the same virtual time: writes and reads at random times, over its own keys.

use std::sync::Arc;
use std::time::Duration;

use super::model::Ask;
use super::service::{Service, Who};

/// What the application sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Writes of one unit per second, over uniform keys.
    pub writes: f64,
    /// Reads of one unit per second, over uniform keys.
    pub reads: f64,
}

/// Arrivals are drawn for intervals of this length.
const TICK: Duration = Duration::from_millis(5);

/// Sends requests until it is dropped. Arrivals are a Poisson process. A throttled request is not retried.
pub async fn send(traffic: Traffic, service: Arc<Service>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        for (rate, write) in [(traffic.writes, true), (traffic.reads, false)] {
            for _ in 0..poisson(rate * TICK.as_secs_f64(), &mut random) {
                let position = random.u64(..);
                let key = random.u32(..);
                let ask = if write { Ask::write(position, key, 1.0, 0.0) } else { Ask::read(position, key, 1.0) };
                // Ignore the result, because the service records it.
                let _ = service.ask(Who::Application, &ask);
            }
        }
    }
}

/// A random number of arrivals with this mean (Knuth's method: means here are below 100).
fn poisson(mean: f64, random: &mut fastrand::Rng) -> u32 {
    let limit = (-mean).exp();
    let mut product = random.f64();
    let mut count = 0;
    while product > limit {
        product *= random.f64();
        count += 1;
    }
    count
}
