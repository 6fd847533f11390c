//! Draws faults from a seed, injects them between the tool and the table in memory, and counts those that took effect.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::Rng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SimulatedFault {
    /// DynamoDB throttles the request.
    Throttle,
    /// The reply is a 5xx error, and the table has not carried out the request.
    ServerError,
    /// The request is lost before it arrives, and the client gets no reply.
    LostRequest,
    /// The request is carried out, and the reply is lost.
    LostReply,
    /// The request is carried out only after the client has stopped waiting for the reply.
    LateRequest,
    /// The request is carried out, and the reply is unusable.
    UnusableReply,
    /// A failed condition returns no image of the item.
    NoImage,
    /// An eventually consistent read returns an older state.
    StaleRead,
    /// A page ends early.
    ShortPage,
    /// The last page of a segment says that another page follows. That page is empty.
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

    /// Whether this fault can be injected into a request of this kind.
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
    /// Fraction of requests with a fault, from 0 to 1.
    pub share: f64,
    /// The longest time between the moment at which the client gives up and the arrival of a late request.
    pub late: Duration,
    /// The largest age of the state that a stale read returns.
    pub stale: Duration,
    /// If set, all requests into which this fault can be injected get this fault and no other one. Set this field to
    /// test a fault that rarely changes the outcome.
    pub preferred: Option<SimulatedFault>,
}

impl FaultPlan {
    /// A plan without faults.
    pub const NONE: FaultPlan = FaultPlan { share: 0.0, late: Duration::ZERO, stale: Duration::ZERO, preferred: None };
}

/// Draws faults, and counts those that took effect.
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

    /// Draws the fault of the next request.
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

    /// A random duration up to `most`.
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
