//! Draws faults from a seed and injects them between the tool and the table in memory. Counts the faults that took
//! effect.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::Rng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SimulatedFault {
    /// DynamoDB throttles the request.
    Throttle,
    /// The table replies with a 5xx error and does not carry out the request.
    ServerError,
    /// The request is lost on the way to the table. The client gets no reply.
    LostRequest,
    /// The table carries out the request, but the reply is lost.
    LostReply,
    /// The table carries out the request only after the client has stopped waiting for the reply.
    LateRequest,
    /// The table carries out the request, but the reply is unusable.
    UnusableReply,
    /// The reply to a failed condition contains no image of the item.
    NoImage,
    /// An eventually consistent read returns an older state of the table.
    StaleRead,
    /// A page ends early, so it contains fewer items than would fit.
    ShortPage,
    /// The last page of a segment announces another page, and that page is empty.
    EmptyPage,
    /// The reply takes a long time.
    Slow,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// An eventually consistent read of one page.
    Scan,
    /// A strongly consistent read of one page.
    StrongScan,
    /// A strongly consistent read of one item.
    Get,
    /// A guarded write.
    Write,
}

impl SimulatedFault {
    /// Every kind of fault.
    pub const ALL: [SimulatedFault; 11] = [
        SimulatedFault::Throttle,
        SimulatedFault::ServerError,
        SimulatedFault::LostRequest,
        SimulatedFault::LostReply,
        SimulatedFault::LateRequest,
        SimulatedFault::UnusableReply,
        SimulatedFault::NoImage,
        SimulatedFault::StaleRead,
        SimulatedFault::ShortPage,
        SimulatedFault::EmptyPage,
        SimulatedFault::Slow,
    ];

    /// Returns whether this fault can be injected into a request of this kind.
    fn applies_to(self, request: Request) -> bool {
        match self {
            SimulatedFault::Throttle
            | SimulatedFault::ServerError
            | SimulatedFault::LostRequest
            | SimulatedFault::LostReply
            | SimulatedFault::UnusableReply => true,
            SimulatedFault::Slow => true,
            SimulatedFault::LateRequest | SimulatedFault::NoImage => request == Request::Write,
            SimulatedFault::StaleRead => request == Request::Scan,
            SimulatedFault::ShortPage | SimulatedFault::EmptyPage => {
                matches!(request, Request::Scan | Request::StrongScan)
            }
        }
    }
}

/// The frequency and the severity of faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultPlan {
    /// Fraction of requests into which a fault is injected, from 0 to 1.
    pub share: f64,
    /// The maximum delay of a late request. The delay starts when the client stops waiting.
    pub late: Duration,
    /// The maximum age of the state that a stale read returns.
    pub stale: Duration,
    /// The fault to inject into every request that allows it. For all other requests, the fault is random. Set this
    /// field to test a fault that rarely changes the outcome.
    pub preferred: Option<SimulatedFault>,
}

impl FaultPlan {
    /// A plan without faults.
    pub const NONE: FaultPlan = FaultPlan { share: 0.0, late: Duration::ZERO, stale: Duration::ZERO, preferred: None };
}

/// Draws faults, and counts the faults that took effect.
#[derive(Debug)]
pub(super) struct FaultInjector {
    pub(super) plan: FaultPlan,
    pub(super) rng: Rng,
    fired: BTreeMap<SimulatedFault, u64>,
}

impl FaultInjector {
    pub(super) fn new(plan: FaultPlan, seed: u64) -> FaultInjector {
        FaultInjector { plan, rng: Rng::with_seed(seed), fired: BTreeMap::new() }
    }

    /// Draws the fault for the next request. Returns `None` if no fault is injected.
    pub(super) fn draw(&mut self, request: Request) -> Option<SimulatedFault> {
        if self.rng.f64() >= self.plan.share {
            return None;
        }
        if let Some(fault) = self.plan.preferred.filter(|fault| fault.applies_to(request)) {
            return Some(fault);
        }
        let possible: Vec<SimulatedFault> =
            SimulatedFault::ALL.into_iter().filter(|fault| fault.applies_to(request)).collect();
        self.rng.choice(possible)
    }

    /// Returns a random duration up to `most`.
    pub(super) fn random_duration(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    /// Counts a fault that took effect.
    pub(super) fn fired(&mut self, fault: SimulatedFault) {
        *self.fired.entry(fault).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<SimulatedFault, u64> {
        self.fired.clone()
    }
}
