//! The governor limiter of one bucket. The state of the limiter is stored in a type of our own. So we can add debt and
//! refunds, and keep the state when the burst changes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::direct::NotKeyed;
use governor::{Quota, RateLimiter};

use crate::item::Units;
use crate::ratelimit::clock::SpeedClock;

/// A token is half a capacity unit, so there are two tokens per unit. Half a unit is the smallest amount that DynamoDB
/// charges (an eventually consistent read of 4 KB).
pub(in crate::ratelimit) const TOKENS_PER_UNIT: f64 = 2.0;

/// The time between two tokens at speed 1. The clock's speed scales the resulting rate to the actual rate.
pub(in crate::ratelimit) const TOKEN_TIME: Duration = Duration::from_millis(1);
const TOKENS_PER_SECOND_AT_SPEED_1: f64 = 1_000.0;

/// A burst is the budget for this fraction of a second. It is small, so that the start of a run or the end of a pause
/// does not cause a peak of requests.
const BURST_SECONDS: f64 = 0.1;

/// The smallest number of tokens in a burst. This number allows one write unit.
const MIN_BURST: f64 = 2.0;

/// The largest number of tokens in a burst. This number is safe for governor and its state at any speed.
const MAX_BURST: f64 = 1e6;

/// The governor limiter and its burst. governor cannot change a quota, so a different burst needs a new limiter with
/// the same state.
#[derive(Debug)]
pub(super) struct Limiter {
    governor: RateLimiter<NotKeyed, LimiterState, SpeedClock, NoOpMiddleware<Duration>>,
    burst: NonZeroU32,
    tat: ArrivalTime,
    clock: SpeedClock,
}

impl Limiter {
    /// Creates a limiter with this burst. If `tat` has its initial value, the whole burst is available immediately.
    pub(super) fn new(burst: NonZeroU32, tat: ArrivalTime, clock: SpeedClock) -> Limiter {
        let state = LimiterState { tat: tat.clone(), start: nanos(clock.now()) };
        Limiter { governor: RateLimiter::new(quota(burst), state, clock.clone()), burst, tat, clock }
    }

    /// Changes the burst. If the burst becomes larger, the bucket has to fill before the additional tokens are
    /// available. If the burst becomes smaller, surplus tokens are dropped. Debt stays the same. So a changed burst
    /// never provides tokens beyond the rate.
    pub(super) fn set_burst(&mut self, burst: NonZeroU32) {
        if burst != self.burst {
            self.tat.change_burst(self.burst, burst, self.clock.now());
            *self = Limiter::new(burst, self.tat.clone(), self.clock.clone());
        }
    }

    /// Takes these tokens. If they are not available, returns the time until they are available at speed 1. Tokens
    /// beyond the burst become debt.
    pub(super) fn take(&self, tokens: u64) -> Result<(), Duration> {
        let first = u32::try_from(tokens).unwrap_or(u32::MAX).min(self.burst.get());
        match self.governor.check_n(NonZeroU32::new(first).unwrap_or(NonZeroU32::MIN)) {
            Ok(Ok(())) => {}
            Ok(Err(not_until)) => return Err(not_until.wait_time_from(self.clock.now())),
            // This branch is unreachable, because governor is never asked for more than its burst. If it were reached,
            // waiting would be correct.
            Err(_) => return Err(TOKEN_TIME),
        }
        if tokens > u64::from(first) {
            self.tat.add_debt(tokens - u64::from(first), self.clock.now());
        }
        Ok(())
    }
}

/// Returns the burst for a budget, in tokens. A burst is the budget for a tenth of a second.
pub(in crate::ratelimit) fn burst_tokens(units_per_second: Units) -> NonZeroU32 {
    let tokens = (units_per_second * TOKENS_PER_UNIT * BURST_SECONDS).clamp(MIN_BURST, MAX_BURST);
    NonZeroU32::new(tokens as u32).unwrap_or(NonZeroU32::MIN)
}

/// Returns a quota of one token per millisecond of the bucket's own clock.
pub(in crate::ratelimit) fn quota(burst: NonZeroU32) -> Quota {
    Quota::with_period(TOKEN_TIME).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

pub(in crate::ratelimit) fn speed_for(units_per_second: Units) -> f64 {
    (units_per_second * TOKENS_PER_UNIT / TOKENS_PER_SECOND_AT_SPEED_1).max(0.0)
}

pub(in crate::ratelimit) fn to_tokens(units: Units) -> u64 {
    (units * TOKENS_PER_UNIT).ceil() as u64
}

pub(in crate::ratelimit) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The governor state of a bucket: the theoretical arrival time of the next token, in nanoseconds of the bucket's
/// clock. Based on this time, governor decides whether it admits a request. We store this time ourselves, so that debt
/// and refunds can change it.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalTime(Arc<AtomicU64>);

impl ArrivalTime {
    pub(super) fn add_debt(&self, tokens: u64, now: Duration) {
        let now = nanos(now);
        self.update(|tat| tat.max(now).saturating_add(token_nanos(tokens)));
    }

    pub(super) fn refund(&self, tokens: u64) {
        self.update(|tat| tat.saturating_sub(token_nanos(tokens)));
    }

    /// Changes the burst. A bucket with burst `b` contains `b` tokens, minus the tokens that arrive before the
    /// theoretical arrival time. So if `b` changes, the arrival time moves by the same number of tokens. The bucket
    /// then keeps its tokens, up to the new burst.
    fn change_burst(&self, from: NonZeroU32, to: NonZeroU32, now: Duration) {
        let from = token_nanos(from.get().into());
        let to = token_nanos(to.get().into());
        let now = nanos(now);
        self.update(|tat| tat.max(now).saturating_add(to).saturating_sub(from).max(now));
    }

    fn update(&self, f: impl Fn(u64) -> u64) {
        // The update never fails, because the closure always returns a value.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |tat| Some(f(tat)));
    }
}

fn token_nanos(tokens: u64) -> u64 {
    tokens.saturating_mul(nanos(TOKEN_TIME))
}

/// The state as seen by a limiter that was created at `start`. Times are converted, because governor counts time from
/// the creation of a limiter. An arrival time before `start` becomes zero, because both times mean a full bucket.
#[derive(Debug)]
struct LimiterState {
    tat: ArrivalTime,
    start: u64,
}

impl StateStore for LimiterState {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let state = &self.tat.0;
        let mut before = state.load(Ordering::Acquire);
        loop {
            let (outcome, after) = f(Some(Nanos::from(before.saturating_sub(self.start))))?;
            let after = after.as_u64().saturating_add(self.start);
            match state.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(outcome),
                Err(now) => before = now,
            }
        }
    }
}
