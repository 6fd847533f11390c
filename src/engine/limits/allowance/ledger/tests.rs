//! Tests the grants and the reservations of the ledger. The limits must hold, however often processes are killed.

use proptest::prelude::*;

use super::*;
use crate::cost::PriceBasis;
use crate::state::SpendState;

const PRICES: UnitPrices =
    UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };

fn spend_limits(max_wcu: Option<Units>, max_cost_usd: Option<f64>) -> SpendLimits {
    let limits = PlanLimits { max_failures: 0, max_wcu, max_cost_usd, max_items: None, deadline: None, window: None };
    SpendLimits::new(&limits, Budget { write: 1_000.0, read: 2_000.0 }, PRICES)
}

fn writes(write: Units) -> Spend {
    Spend { write, read: 0.0 }
}

fn reads(read: Units) -> Spend {
    Spend { write: 0.0, read }
}

#[test]
fn a_slice_is_small_against_the_limit_and_against_the_budget() {
    assert_eq!(spend_limits(None, None).slice(), None);
    assert_eq!(spend_limits(Some(100_000.0), None).slice(), Some(writes(1_000.0)));
    assert_eq!(spend_limits(Some(1e9), None).slice(), Some(writes(10_000.0)), "a slice is ten seconds of the budget");
    assert_eq!(spend_limits(Some(50.0), None).slice(), Some(writes(10.0)), "a slice is enough for a few items");
    let cent = spend_limits(None, Some(0.01)).slice().unwrap();
    assert!((PRICES.dollars(cent) - 0.01 * SLICE_SHARE).abs() < 1e-12, "{cent:?}");
}

#[test]
fn without_a_limit_nothing_is_reserved_and_everything_is_counted() {
    let mut ledger = Ledger::new(spend_limits(None, None), writes(5.0));
    assert_eq!(ledger.take(writes(1e12)), CapacityReply::Granted);
    assert_eq!(ledger.prefetch(), None);
    ledger.reconcile(writes(1e12), Spend { write: 7.0, read: 1.0 });
    assert_eq!(ledger.spent(), Spend { write: 12.0, read: 1.0 });
}

#[test]
fn the_affordable_writes_are_what_the_tightest_limit_leaves() {
    assert_eq!(Ledger::new(spend_limits(None, None), writes(5.0)).affordable_write(), None);
    let mut ledger = Ledger::new(spend_limits(Some(20.0), Some(0.000_025)), writes(5.0));
    assert_eq!(ledger.affordable_write(), Some(15.0));
    ledger = Ledger::new(spend_limits(Some(1_000.0), Some(0.000_025)), writes(5.0));
    assert!((ledger.affordable_write().unwrap() - 35.0).abs() < 1e-6, "$0.000025 buys 40 units");
    let exempt = spend_limits(Some(20.0), None).with_exempt_spend(writes(5.0));
    assert_eq!(Ledger::new(exempt, writes(5.0)).affordable_write(), Some(20.0));
}

#[test]
fn a_write_limit_does_not_concern_reads() {
    let mut ledger = Ledger::new(spend_limits(Some(10.0), None), writes(10.0));
    assert_eq!(ledger.take(reads(500.0)), CapacityReply::Granted);
    assert!(matches!(
        ledger.take(writes(0.5)),
        CapacityReply::ExhaustedLimit(ExhaustedLimit::Wcu { spent: 10.0, limit: 10.0 })
    ));
}

#[test]
fn earlier_spend_can_be_exempt_from_every_limit() {
    for (spend_limits, spent) in
        [(spend_limits(Some(20.0), None), writes(20.0)), (spend_limits(None, Some(0.000_025)), writes(40.0))]
    {
        assert!(Ledger::new(spend_limits, spent).exhausted().is_some());
        let mut ledger = Ledger::new(spend_limits.with_exempt_spend(spent), spent);
        assert_eq!(ledger.exhausted(), None);
        let mut taken = 0.0;
        let end = loop {
            match ledger.take(writes(1.0)) {
                CapacityReply::Granted => taken += 1.0,
                CapacityReply::Reserve(reservation) => {
                    assert_eq!(reservation.spent, spent + writes(taken));
                    ledger.confirm();
                }
                CapacityReply::Wait => ledger.reconcile(writes(taken), writes(taken)),
                CapacityReply::ExhaustedLimit(why) => break why,
            }
            if ledger.holders > 0 {
                ledger.reconcile(writes(1.0), writes(1.0));
            }
        };
        assert_eq!(ledger.spent(), spent + writes(taken));
        match end {
            ExhaustedLimit::Wcu { spent, limit } => assert_eq!((spent, limit, taken), (20.0, 20.0, 20.0)),
            ExhaustedLimit::Cost { spent, limit } => {
                assert!(spent <= limit && taken == 40.0, "{spent} of {limit}: {taken}")
            }
        }
    }
}

#[test]
fn the_next_slice_is_reserved_before_any_request_waits() {
    let mut ledger = Ledger::new(spend_limits(Some(10_000.0), None), Spend::default());
    assert_eq!(
        ledger.take(writes(1.0)),
        CapacityReply::Reserve(Reservation { spent: writes(0.0), slice: writes(100.0) })
    );
    assert_eq!(ledger.take(writes(1.0)), CapacityReply::Wait, "only one reservation may be pending");
    ledger.confirm();
    for n in 0..100 {
        assert_eq!(ledger.take(writes(1.0)), CapacityReply::Granted, "{n}");
        ledger.reconcile(writes(1.0), writes(1.0));
        match ledger.prefetch() {
            Some(next) => {
                assert_eq!((n, next), (50, Reservation { spent: writes(51.0), slice: writes(100.0) }));
            }
            None => assert_ne!(n, 50),
        }
    }
    assert_eq!(ledger.take(writes(1.0)), CapacityReply::Wait, "the reservation is not durable yet");
    ledger.confirm();
    assert_eq!(ledger.take(writes(1.0)), CapacityReply::Granted);
}

#[test]
fn a_request_waits_while_others_may_return_capacity() {
    let mut ledger = Ledger::new(spend_limits(Some(10.0), None), Spend::default());
    assert!(matches!(ledger.take(writes(8.0)), CapacityReply::Reserve(_)));
    ledger.confirm();
    assert_eq!(ledger.take(writes(8.0)), CapacityReply::Granted);
    assert_eq!(ledger.take(writes(4.0)), CapacityReply::Wait);
    ledger.reconcile(writes(8.0), writes(6.0));
    assert_eq!(ledger.take(writes(4.0)), CapacityReply::Granted);
    ledger.reconcile(writes(4.0), writes(4.0));
    assert!(matches!(ledger.take(writes(0.5)), CapacityReply::ExhaustedLimit(_)));
}

/// A write can use money that was reserved for reads.
#[test]
fn any_request_can_spend_the_remaining_money() {
    let dollar = |units: Units| units * PRICES.write_per_million / 1e6;
    let mut ledger = Ledger::new(spend_limits(None, Some(dollar(20.0))), Spend::default());
    let mut used = 0;
    loop {
        match ledger.take(writes(1.0)) {
            CapacityReply::Granted => {
                ledger.reconcile(writes(1.0), writes(1.0));
                used += 1;
            }
            CapacityReply::Reserve(_) => ledger.confirm(),
            CapacityReply::ExhaustedLimit(_) => break,
            CapacityReply::Wait => panic!("no request can give capacity back"),
        }
    }
    assert_eq!(used, 20);
}

/// An event of a session, or of a request that the session has sent.
#[derive(Debug, Clone)]
enum Event {
    /// A request asks for capacity.
    Request(Spend),
    /// The oldest reservation becomes durable, and the session is notified.
    Store,
    /// A request is answered after it has consumed the fraction `part` of its capacity.
    Answer { which: usize, part: f64 },
    /// The pages of all answered requests are committed, together with the capacity that the requests consumed.
    Commit,
    /// The process dies. `stored` says whether the pending reservation became durable. Each request in flight consumed
    /// the fraction `part` of its capacity.
    Kill { stored: bool, part: f64 },
    /// The session ends normally.
    End,
    /// A request is abandoned before it is sent.
    GiveUp { which: usize },
}

fn any_event() -> impl Strategy<Value = Event> {
    let units = || (0_u32..60).prop_map(|halves| f64::from(halves) / 2.0);
    prop_oneof![
        12 => (units(), units()).prop_map(|(write, read)| Event::Request(Spend { write, read: read * 4.0 })),
        8 => Just(Event::Store),
        8 => (any::<usize>(), 0.0..=1.0).prop_map(|(which, part)| Event::Answer { which, part }),
        1 => any::<usize>().prop_map(|which| Event::GiveUp { which }),
        2 => Just(Event::Commit),
        1 => (any::<bool>(), 0.0..=1.0).prop_map(|(stored, part)| Event::Kill { stored, part }),
        1 => Just(Event::End),
    ]
}

/// The environment of the ledger: the durable reservations, the requests in flight, and the capacity that the server
/// has actually counted.
struct LedgerModel {
    spend_limits: SpendLimits,
    ledger: Ledger,
    durable: SpendState,
    pending: Option<Reservation>,
    in_flight: Vec<Spend>,
    answered: Spend,
    committed: Spend,
    actual: Spend,
    /// The capacity that requests have given back since the durable reservation was made, and since the pending
    /// reservation was made. This capacity can make the reserved but unused part larger than a slice.
    handed_back: [Spend; 2],
    largest: Spend,
}

impl LedgerModel {
    fn new(spend_limits: SpendLimits) -> LedgerModel {
        LedgerModel {
            spend_limits,
            ledger: Ledger::new(spend_limits, Spend::default()),
            durable: SpendState::default(),
            pending: None,
            in_flight: Vec::new(),
            answered: Spend::default(),
            committed: Spend::default(),
            actual: Spend::default(),
            handed_back: Default::default(),
            largest: Spend::default(),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Request(need) => self.take(need),
            Event::Store => {
                if let Some(reservation) = self.pending.take() {
                    self.store(reservation);
                    self.ledger.confirm();
                }
            }
            Event::Answer { which, part } if !self.in_flight.is_empty() => {
                let need = self.in_flight.swap_remove(which % self.in_flight.len());
                self.answer(need, need * part);
                self.actual += need * part;
            }
            Event::GiveUp { which } if !self.in_flight.is_empty() => {
                let need = self.in_flight.swap_remove(which % self.in_flight.len());
                self.answer(need, Spend::default());
            }
            Event::Answer { .. } | Event::GiveUp { .. } => {}
            Event::Commit => self.committed += std::mem::take(&mut self.answered),
            Event::Kill { stored, part } => self.kill(stored, part),
            Event::End => self.end(),
        }
    }

    fn take(&mut self, need: Spend) {
        match self.ledger.take(need) {
            CapacityReply::Granted => {
                self.in_flight.push(need);
                if let Some(reservation) = self.ledger.prefetch() {
                    self.reserve(reservation);
                }
            }
            CapacityReply::Reserve(reservation) => {
                self.largest = self.largest.max(need);
                self.reserve(reservation);
            }
            CapacityReply::Wait | CapacityReply::ExhaustedLimit(_) => {}
        }
    }

    fn reserve(&mut self, reservation: Reservation) {
        assert!(self.pending.replace(reservation).is_none(), "only one reservation may be pending");
        self.handed_back[1] = Spend::default();
    }

    fn store(&mut self, reservation: Reservation) {
        self.durable = self.durable.reserved(reservation);
        self.handed_back[0] = self.handed_back[1];
    }

    fn answer(&mut self, need: Spend, consumed: Spend) {
        self.ledger.reconcile(need, consumed);
        self.answered += consumed;
        self.handed_back.iter_mut().for_each(|back| *back += need - consumed);
    }

    fn kill(&mut self, stored: bool, part: f64) {
        if let Some(reservation) = self.pending.take().filter(|_| stored) {
            self.store(reservation);
        }
        let known_spend = self.ledger.spent();
        self.actual += self.in_flight.drain(..).fold(Spend::default(), |sum, need| sum + need * part);
        self.durable = self.durable.after_death(self.committed);
        let wasted = self.durable.spent.excess_over(known_spend);
        let open = self.spend_limits.slice.max(self.largest) + self.handed_back[0];
        assert!(is_within(wasted, open), "{wasted:?} were wasted, but only {open:?} were open");
        self.begin();
    }

    fn end(&mut self) {
        self.apply(Event::Store);
        while !self.in_flight.is_empty() {
            self.apply(Event::Answer { which: 0, part: 1.0 });
        }
        self.durable = self.durable.settled(self.ledger.spent(), self.committed);
        self.begin();
    }

    fn begin(&mut self) {
        self.answered = Spend::default();
        self.ledger = Ledger::new(self.spend_limits, self.durable.known_spend(self.committed));
        // The ledger's counts include everything that the server has counted.
        let known = self.ledger.spent();
        if self.spend_limits.money.is_some() {
            assert!(is_within(self.actual, known), "{:?} spent, {known:?} known", self.actual);
        }
        assert!(is_within(writes(self.actual.write), known), "{:?} spent, {known:?} known", self.actual);
    }
}

fn is_within(spend: Spend, bound: Spend) -> bool {
    spend.write <= bound.write + 1e-6 && spend.read <= bound.read + 1e-6
}

proptest! {
    /// A process may be killed at any point, any number of times. As long as the estimates are right, the consumption
    /// that the server counts never exceeds a limit, and a kill wastes at most one slice.
    #[test]
    fn no_sequence_of_kills_exceeds_a_limit(
        (max_wcu, max_cost_usd) in prop_oneof![
            (1.0..3_000.0).prop_map(|units| (Some(units), None)),
            (0.000_001..0.002).prop_map(|dollars| (None, Some(dollars))),
            (1.0..3_000.0, 0.000_001..0.002).prop_map(|(units, dollars)| (Some(units), Some(dollars))),
        ],
        events in proptest::collection::vec(any_event(), 0..400),
    ) {
        let mut model = LedgerModel::new(spend_limits(max_wcu, max_cost_usd));
        for event in events {
            model.apply(event);
            let at_most = model.in_flight.iter().fold(model.actual, |sum, need| sum + *need);
            prop_assert!(max_wcu.is_none_or(|max| at_most.write <= max + 1e-6));
            prop_assert!(max_cost_usd.is_none_or(|max| PRICES.dollars(at_most) <= max * (1.0 + 1e-6)));
        }
    }
}
