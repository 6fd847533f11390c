//! Simulates the traffic of an application in virtual time. The application writes and reads its own keys at random
//! times.

use std::sync::Arc;
use std::time::Duration;

use super::model::SimRequest;
use super::service::{Sender, Service};

/// The rates of the application's requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Number of writes per second. Each write costs one unit, and all keys are equally likely.
    pub writes: f64,
    /// Number of reads per second. Each read costs one unit, and all keys are equally likely.
    pub reads: f64,
}

/// The length of an interval. Each interval gets a random number of requests.
const TICK: Duration = Duration::from_millis(5);

/// Sends requests until this future is dropped. The times of the requests follow a Poisson process. A throttled request
/// is not retried.
pub async fn send(traffic: Traffic, service: Arc<Service>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        for (rate, write) in [(traffic.writes, true), (traffic.reads, false)] {
            for _ in 0..poisson(rate * TICK.as_secs_f64(), &mut random) {
                let position = random.u64(..);
                let key = random.u32(..);
                let sim_request = if write {
                    SimRequest::write(position, key, 1.0, 0.0)
                } else {
                    SimRequest::read(position, key, 1.0)
                };
                // Ignore the result, because the service records it.
                let _ = service.send(Sender::Application, &sim_request);
            }
        }
    }
}

/// Draws a number of requests from a Poisson distribution with this mean. Knuth's method is suitable, because all means
/// are below 100.
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
