//! Tests when requests wait for the allowance. The store is slow, fails or panics.

use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::cost::PriceBasis;
use crate::state::{RunId, SpendRecord, StoreError};

const PRICES: UnitPrices =
    UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };

const SESSION: SessionId = SessionId { run: RunId::from_number(1), epoch: 1 };

/// A store in memory with a slow disk.
#[derive(Default)]
struct SlowStore {
    state: Mutex<SpendState>,
    reservations: Mutex<u32>,
    fails: bool,
    panics: bool,
}

#[async_trait]
impl SpendLedger for SlowStore {
    async fn spend(&self, _: RunId) -> Result<SpendRecord, StoreError> {
        unreachable!("an allowance only reserves")
    }

    async fn begin_spend(&self, _: SessionId, _: UnitPrices) -> Result<SpendState, StoreError> {
        unreachable!("an allowance only reserves")
    }

    async fn settle_spend(&self, _: SessionId, _: Spend) -> Result<SpendRecord, StoreError> {
        unreachable!("an allowance only reserves")
    }

    async fn reserve(&self, _: SessionId, reservation: Reservation) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!self.panics, "the store has a fault");
        if self.fails {
            return Err(StoreError::Broken("the disk is full".into()));
        }
        let mut state = self.state.lock().unwrap();
        *state = state.reserved(reservation);
        *self.reservations.lock().unwrap() += 1;
        Ok(())
    }
}

impl SlowStore {
    /// The largest spend that is possible if the process dies now.
    fn at_most(&self) -> Units {
        let state = self.state.lock().unwrap();
        state.spent.write + state.slice.write
    }
}

fn allowance(max_wcu: Option<Units>, max_items: Option<u64>) -> Arc<Allowance> {
    let limits = PlanLimits { max_failures: 0, max_wcu, max_cost_usd: None, max_items, deadline: None, window: None };
    Allowance::new(&limits, Budget { write: 1_000.0, read: 2_000.0 }, PRICES)
}

fn writes(write: Units) -> Spend {
    Spend { write, read: 0.0 }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_before_its_slice_is_durable() {
    let store = Arc::new(SlowStore::default());
    let allowance = allowance(Some(5_000.0), None);
    let stop = Stopper::default();
    allowance.begin(store.clone(), SESSION, SpendState { spent: writes(100.0), ..SpendState::default() }, 0);
    let workers = (0..64).map(|_| {
        let store = Arc::clone(&store);
        let allowance = Arc::clone(&allowance);
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut written = 0.0;
            while let Ok(mut grant) = allowance.write(1.0, &stop).await {
                assert!(allowance.spent().write <= store.at_most(), "a request used capacity before it was reserved");
                grant.send();
                tokio::time::sleep(Duration::from_millis(5)).await;
                grant.reconcile(writes(1.0));
                written += 1.0;
            }
            written
        })
    });
    let written: Units = futures::future::join_all(workers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!((written, allowance.end().await), (4_900.0, writes(5_000.0)));
    assert_eq!(stop.reason(), Some(&StopReason::MaxWcu { spent: 5_000.0, lost: 0.0, limit: 5_000.0 }));
    // A slice has 50 units. The next slice is reserved when half of the current one is left.
    let reservations = *store.reservations.lock().unwrap();
    assert!((98..=220).contains(&reservations), "{reservations}");
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_cannot_be_stored_stops_the_run() {
    let store = Arc::new(SlowStore { fails: true, ..SlowStore::default() });
    let allowance = allowance(Some(100.0), None);
    let stop = Stopper::default();
    allowance.begin(store, SESSION, SpendState::default(), 0);
    assert!(allowance.write(1.0, &stop).await.is_err());
    assert!(matches!(stop.reason(), Some(StopReason::Store(why)) if why.contains("disk is full")));
    assert_eq!(allowance.end().await, Spend::default());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_has_a_reason() {
    let allowance = allowance(Some(20.0), None);
    let stop = Stopper::default();
    allowance.begin(Arc::new(SlowStore::default()), SESSION, SpendState::default(), 0);
    let write = |units| {
        let allowance = Arc::clone(&allowance);
        let stop = stop.clone();
        tokio::spawn(async move { allowance.write(units, &stop).await.unwrap() })
    };
    let first = write(15.0);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(allowance.waiting().is_some_and(|what| what.starts_with("the next slice")));
    let first = first.await.unwrap();
    assert_eq!(allowance.waiting(), None);
    let second = write(10.0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(allowance.waiting().is_some_and(|what| what.starts_with("requests in flight")));
    first.reconcile(writes(5.0));
    second.await.unwrap().reconcile(writes(10.0));
    assert_eq!(allowance.waiting(), None);
}

/// A failed reservation must not stay pending. Otherwise requests would wait for it until the process ends.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_stops_the_run_and_the_session_can_end() {
    let store = Arc::new(SlowStore { panics: true, ..SlowStore::default() });
    let allowance = allowance(Some(100.0), None);
    let stop = Stopper::default();
    allowance.begin(store, SESSION, SpendState::default(), 0);
    let answer = tokio::time::timeout(Duration::from_secs(60), allowance.write(1.0, &stop));
    assert!(answer.await.expect("the request gets an answer").is_err());
    assert!(matches!(stop.reason(), Some(StopReason::Internal(why)) if why.contains("the store has a fault")));
    let ended = tokio::time::timeout(Duration::from_secs(60), allowance.end());
    assert_eq!(ended.await, Ok(Spend::default()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_reason_names_reservations_of_killed_processes() {
    let lost = Spend { write: 30.0, read: 8.0 };
    let before = SpendState { spent: Spend { write: 100.0, read: 20.0 }, lost, ..SpendState::default() };
    let named = |max_wcu, max_cost_usd, before| {
        let limits =
            PlanLimits { max_failures: 0, max_wcu, max_cost_usd, max_items: None, deadline: None, window: None };
        let prices = UnitPrices { write_per_million: 1e6, read_per_million: 5e5, ..PRICES };
        let allowance = Allowance::new(&limits, Budget { write: 1_000.0, read: 2_000.0 }, prices);
        allowance.begin(Arc::new(SlowStore::default()), SESSION, before, 0);
        let before_sending = allowance.exhausted().unwrap();
        async move {
            let stop = Stopper::default();
            assert!(allowance.write(1.0, &stop).await.is_err());
            assert_eq!(stop.reason(), Some(&before_sending));
            before_sending.to_string()
        }
    };
    let text = named(Some(100.0), None, before).await;
    assert!(
        text.starts_with("it has spent 100 write units (including up to 30 only reserved when a process"),
        "{text}"
    );
    let text = named(None, Some(110.0), before).await;
    assert!(text.starts_with("it has cost about $110.000000 (including up to $34.000000 only reserved"), "{text}");
    let whole = SpendState { lost: Spend::default(), ..before };
    let text = named(Some(100.0), None, whole).await;
    assert!(text.starts_with("it has spent 100 write units, and the next write"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_given_up_before_it_is_sent_is_free_and_after_that_it_is_spent() {
    let allowance = allowance(Some(10.0), None);
    let stop = Stopper::default();
    allowance.begin(Arc::new(SlowStore::default()), SESSION, SpendState::default(), 0);
    drop(allowance.write(10.0, &stop).await.unwrap());
    assert_eq!(allowance.spent(), Spend::default());
    let mut grant = allowance.write(8.0, &stop).await.unwrap();
    grant.send();
    drop(grant);
    assert_eq!(allowance.spent(), writes(8.0));
    assert!(allowance.exhausted().is_none());
    allowance.write(2.0, &stop).await.unwrap().reconcile(writes(2.0));
    assert!(matches!(allowance.exhausted(), Some(StopReason::MaxWcu { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_large_write_is_not_starved_while_slices_are_reserved() {
    let allowance = allowance(Some(100_000.0), None);
    let stop = Stopper::default();
    allowance.begin(Arc::new(SlowStore::default()), SESSION, SpendState::default(), 0);
    for _ in 0..64 {
        let allowance = Arc::clone(&allowance);
        let stop = stop.clone();
        tokio::spawn(async move {
            while let Ok(mut grant) = allowance.write(1.0, &stop).await {
                grant.send();
                tokio::time::sleep(Duration::from_millis(1)).await;
                grant.reconcile(writes(1.0));
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let large = tokio::time::timeout(Duration::from_secs(1), allowance.write(2_000.0, &stop)).await;
    large.unwrap().unwrap().reconcile(writes(2_000.0));
    stop.stop(StopReason::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_not_limited_and_reads_wait_for_no_slice() {
    let allowance = allowance(Some(1.0), Some(1));
    let stop = Stopper::default();
    allowance.write(50.0, &stop).await.unwrap().reconcile(writes(50.0));
    assert_eq!(allowance.items(250, &stop).await.unwrap().items(), 250);
    allowance.begin(Arc::new(SlowStore { fails: true, ..SlowStore::default() }), SESSION, SpendState::default(), 0);
    allowance.read(50.0, &stop).await.unwrap().reconcile(Spend { write: 0.0, read: 50.0 });
    assert_eq!((allowance.spent().read, stop.is_stopping()), (50.0, false));
}

#[tokio::test(start_paused = true)]
async fn pages_share_the_last_items_and_the_run_stops_when_all_are_done() {
    let allowance = allowance(None, Some(100));
    let stop = Stopper::default();
    allowance.begin(Arc::new(SlowStore::default()), SESSION, SpendState::default(), 40);
    let mut first = allowance.items(50, &stop).await.unwrap();
    let second = allowance.items(50, &stop).await.unwrap();
    assert_eq!((first.items(), second.items()), (50, 10));
    let third = tokio::spawn({
        let allowance = Arc::clone(&allowance);
        let stop = stop.clone();
        async move { allowance.items(50, &stop).await.map(|item_grant| item_grant.items()) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!third.is_finished(), "the page waits for items that uncommitted pages may give back");
    assert!(allowance.waiting().is_some_and(|what| what.starts_with("pages in progress")));
    first.record_used(45);
    assert_eq!(third.await.unwrap(), Ok(5), "the waiting page gets the items that the first page did not need");
    assert_eq!(allowance.waiting(), None);
    second.commit();
    first.commit();
    let last = allowance.items(50, &stop).await.unwrap();
    assert_eq!(last.items(), 5);
    last.commit();
    assert!(allowance.items(50, &stop).await.is_err());
    assert_eq!(stop.reason(), Some(&StopReason::MaxItems { scanned: 100, limit: 100 }));
}

/// The display of a limit agrees with the rule that stops the run. Both exclude the exempt spend.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_limit_is_what_may_still_be_spent() {
    let limits = PlanLimits {
        max_failures: 0,
        max_wcu: Some(1_000.0),
        max_cost_usd: Some(0.001),
        max_items: Some(50),
        deadline: None,
        window: None,
    };
    let allowance = Allowance::new(&limits, Budget { write: 1_000.0, read: 2_000.0 }, PRICES);
    assert_eq!(allowance.status(), None, "nothing is known before the run begins");
    let store = Arc::new(SlowStore::default());
    let before = SpendState { spent: Spend { write: 400.0, read: 80.0 }, ..SpendState::default() };
    allowance.begin(store.clone(), SESSION, before, 20);
    let status = allowance.status().unwrap();
    let left = |name| status.limits.iter().find(|limit| limit.name == name).map(|limit| (limit.limit, limit.left));
    assert_eq!(left("max_wcu"), Some((1_000.0, 600.0)));
    assert_eq!(left("max_items"), Some((50.0, 30.0)));
    let (limit, money) = left("max_cost_usd").unwrap();
    assert!((limit - money - status.dollars).abs() < 1e-12 && (status.dollars - 0.000_26).abs() < 1e-12, "{status:?}");
    // During a rollback, the spend so far is exempt, and the number of items is not limited.
    allowance.begin_with_exempt_spend(store, SESSION, before, before.spent);
    let status = allowance.status().unwrap();
    let names: Vec<_> = status.limits.iter().map(|limit| (limit.name, limit.limit - limit.left)).collect();
    assert_eq!((names, status.spent), (vec![("max_wcu", 0.0), ("max_cost_usd", 0.0)], before.spent));
}
