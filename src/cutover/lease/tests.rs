//! Tests leases in virtual time, on a table in memory that implements DynamoDB's conditions.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::dynamodb::TableError;
use crate::dynamodb::control::fake::{FakeTable, PutFault};
use crate::item::Item;

const DURATION: Duration = Duration::from_secs(60);

async fn acquire(table: &Arc<FakeTable>, owner: &str) -> Result<Lease, LeaseError> {
    Lease::acquire(table.item("lease"), owner, None, DURATION, |_, _| ()).await
}

fn is_lost(lease: &Lease) -> bool {
    lease.lost.borrow().is_some()
}

fn down() -> Option<TableError> {
    Some(TableError::Transient { message: "no route".into(), ambiguous: true })
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_is_refused_and_a_released_one_is_not() {
    let table = FakeTable::new();
    let first = acquire(&table, "a").await.unwrap();
    let began = Instant::now();
    let refused = acquire(&table, "b").await.unwrap_err();
    assert!(matches!(&refused, LeaseError::Held { owner, .. } if owner.as_raw() == "a"), "{refused}");
    assert!(
        began.elapsed() <= DURATION / 2,
        "the refusal must come before the whole duration is over: {:?}",
        began.elapsed()
    );
    sleep(20 * DURATION).await;
    assert!(!is_lost(&first));
    let lost = first.lost();
    first.release().await;
    let before = Instant::now();
    let second = acquire(&table, "b").await.unwrap();
    assert_eq!((before.elapsed(), second.fence()), (Duration::ZERO, 2));
    assert!(timeout(DURATION, lost).await.is_err(), "a released lease must not be reported as lost");
}

/// The holder dies without releasing its lease. Other processes wait for one lease duration, which they measure with
/// their own clocks.
/// RUNBOOK: "After a crash the lease expires by itself"
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_taken_over() {
    let table = FakeTable::new();
    drop(acquire(&table, "a").await.unwrap());
    sleep(DURATION * 3 / 4).await;
    let began = Instant::now();
    let second = acquire(&table, "b").await.unwrap();
    assert!(began.elapsed() >= DURATION && began.elapsed() < DURATION + DURATION / 6);
    assert_eq!(second.fence(), 2);
}

/// If several processes want the lease, exactly one of them gets it.
/// RUNBOOK: "a lease next to the flag prevents two hosts from running one migration at the same time"
#[tokio::test(start_paused = true)]
async fn only_one_of_many_processes_gets_the_lease() {
    let table = FakeTable::new();
    for round in 1..4 {
        let wanted = (0..8).map(|n| {
            let table = Arc::clone(&table);
            async move { acquire(&table, &format!("o{n}")).await }
        });
        let results = futures::future::join_all(wanted).await;
        let held: Vec<u64> = results.iter().flatten().map(Lease::fence).collect();
        assert_eq!(held, [round]);
        drop(results);
    }
}

/// If the holder cannot reach the table, it stops before any other process can take the lease.
#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_others_may_begin() {
    let table = FakeTable::new();
    let first = acquire(&table, "a").await.unwrap();
    sleep(DURATION / 2).await;
    let other = tokio::spawn({
        let table = Arc::clone(&table);
        async move { Lease::acquire(table.item("lease"), "b", None, DURATION, |_, _| ()).await }
    });
    // Only the holder cannot reach the table: its requests are lost.
    table.inject(std::iter::repeat_n(PutFault::LoseRequest, 40));
    let began = Instant::now();
    let lost = first.lost().await;
    assert!(matches!(&lost, LeaseLost::NotRenewed { .. }), "{lost}");
    assert!(began.elapsed() <= DURATION * 2 / 3);
    assert!(!other.is_finished(), "the other process must leave a third of the duration for requests in flight");
    let second = other.await.unwrap();
    // The remaining faults also affect the other process's write, so that process retries the write.
    assert_eq!(second.unwrap().fence(), 2);
}

#[tokio::test(start_paused = true)]
async fn lost_replies_do_not_lose_the_lease() {
    let table = FakeTable::new();
    let lease = acquire(&table, "a").await.unwrap();
    for _ in 0..20 {
        table.inject([PutFault::LoseReply, PutFault::Throttle, PutFault::LoseReply]);
        sleep(DURATION / 3).await;
    }
    assert!(!is_lost(&lease));
    // The table is unreachable for less than two thirds of the duration.
    table.fail(down());
    sleep(DURATION / 4).await;
    table.fail(None);
    sleep(DURATION).await;
    assert!(!is_lost(&lease));
    table.fail(down());
    sleep(DURATION * 2 / 3 + Duration::from_secs(1)).await;
    assert!(is_lost(&lease));
    assert!(lease.lost().await.to_string().contains("no r"), "the message must give the cause");
}

/// When a frozen process resumes, it immediately notices that it lost its lease.
#[tokio::test(start_paused = true)]
async fn the_loss_names_the_new_holder() {
    let table = FakeTable::new();
    let lease = acquire(&table, "a").await.unwrap();
    table.edit("lease", |item| {
        let taken = LeaseRecord { owner: "b\u{1b}".into(), fence: 2, counter: 0, duration: DURATION, released: false };
        item.extend(to_item(&taken));
    });
    assert_eq!(lease.lost().await, LeaseLost::Taken { new_owner: "b\u{1b}".into() });
    assert!(lease.lost().await.to_string().contains("taken over by b\\u{1b}:"));
    lease.release().await;
    assert_eq!(
        from_item(&table.item("lease").get().await.unwrap().unwrap()).unwrap().fence,
        2,
        "the lease of the new holder must stay"
    );
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_no_lease_is_left_alone() {
    let table = FakeTable::new();
    table.item("lease").put(Item::from([("owner".to_owned(), Value::Bool(true))]), None).await.unwrap();
    let refused = acquire(&table, "a").await.unwrap_err();
    assert!(matches!(&refused, LeaseError::Foreign { .. }), "{refused}");
    advance(DURATION).await;
    assert_eq!(table.puts(), 1);
}

fn record(owner: u8, fence: u64, counter: u64, released: bool) -> LeaseRecord {
    LeaseRecord { owner: format!("o{owner}").into(), fence, counter, duration: DURATION, released }
}

proptest! {
    /// A process may take the lease only if the lease is absent or released, or if its counter has not changed for one
    /// lease duration.
    #[test]
    fn a_lease_is_free_only_if_its_counter_did_not_change_for_its_duration(
        looks in proptest::collection::vec((0_u64..40, 0_u8..2, 0_u64..2, 0_u64..2), 1..30),
    ) {
        let mut watch = LeaseWatch::default();
        let mut now = 0;
        let mut history: Vec<(u64, LeaseRecord)> = Vec::new();
        for (pause, owner, fence, counter) in looks {
            now += pause;
            let seen = record(owner, fence, counter, false);
            let still = history.iter().rev().take_while(|(_, before)| *before == seen).last().map_or(now, |(since, _)| *since);
            if watch.observe(Some(&seen), Duration::from_secs(now)) == LeaseState::Free {
                prop_assert!(now - still >= DURATION.as_secs(), "the counter changed {} s ago", now - still);
            }
            history.push((now, seen));
        }
        prop_assert_eq!(watch.observe(None, Duration::from_secs(now)), LeaseState::Free);
        prop_assert_eq!(watch.observe(Some(&record(0, 9, 9, true)), Duration::from_secs(now)), LeaseState::Free);
    }
}

/// After a long pause of the process or a sleep of the machine, the holder renews its lease if no other process took
/// it.
#[tokio::test(start_paused = true)]
async fn after_a_sleep_the_lease_is_renewed_if_nobody_took_it() {
    let table = FakeTable::new();
    let lease = acquire(&table, "a").await.unwrap();
    let validity = lease.validity();
    assert!(validity.is_fresh());
    advance(20 * DURATION).await;
    assert!(!validity.is_fresh(), "no request may be sent before the lease is renewed");
    validity.wait_until_fresh().await;
    assert!(!is_lost(&lease) && validity.expirations() > 0);
    assert_eq!(lease.fence(), 1);
    // If another process took over the lease during the sleep, this process must not send any more requests.
    table.edit("lease", |item| {
        let taken = LeaseRecord { owner: "b".into(), fence: 2, counter: 0, duration: DURATION, released: false };
        item.extend(to_item(&taken));
    });
    advance(20 * DURATION).await;
    assert!(timeout(DURATION, validity.wait_until_fresh()).await.is_err());
    assert_eq!(lease.lost().await, LeaseLost::Taken { new_owner: "b".into() });
}

/// While the machine sleeps, the monotonic clock and every timer stop. Only the wall clock reveals the sleep.
#[tokio::test(start_paused = true)]
async fn a_sleep_that_no_timer_notices_is_noticed_before_the_next_request() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let table = FakeTable::new();
    let slept = Arc::new(AtomicI64::new(0));
    let moments: MomentClock = {
        let slept = Arc::clone(&slept);
        Arc::new(move || {
            let wall = jiff::Timestamp::from_second(slept.load(Ordering::Relaxed)).unwrap();
            Moment { monotonic: Instant::now(), wall }
        })
    };
    let lease = Lease::acquire_with_clock(moments, table.item("lease"), "a", None, DURATION, |_, _| ()).await.unwrap();
    let validity = lease.validity();
    let puts = table.puts();
    slept.store(3_600, Ordering::Relaxed);
    assert!(!validity.is_fresh());
    let began = Instant::now();
    validity.wait_until_fresh().await;
    assert!(began.elapsed() < Duration::from_secs(1), "the lease must be renewed immediately: {:?}", began.elapsed());
    assert_eq!(table.puts(), puts + 1);
    assert!(!is_lost(&lease));
}

/// If a process has to wait for another process's lease, it announces the wait once.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_lease_is_announced() {
    let table = FakeTable::new();
    drop(acquire(&table, "a").await.unwrap());
    let announced = std::sync::Mutex::new(Vec::new());
    let on_wait = |owner: &UntrustedText, within: Duration| announced.lock().unwrap().push((owner.to_string(), within));
    let lease = Lease::acquire(table.item("lease"), "b", None, DURATION, on_wait).await.unwrap();
    assert_eq!(*announced.lock().unwrap(), [("a".to_owned(), DURATION)]);
    lease.release().await;
    announced.lock().unwrap().clear();
    Lease::acquire(table.item("lease"), "c", None, DURATION, |_, _| panic!("the lease is free")).await.unwrap();
}
