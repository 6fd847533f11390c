use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::item::Value;

fn key(n: u64) -> PartitionHash {
    PartitionHash::from_value(&Value::S(n.to_string()))
}

fn budgets(table: Units, narrow: Units, indexes: &[Option<Units>]) -> Budgets {
    let both = |units| Budget { write: units, read: units };
    Budgets {
        table: both(table),
        per_key_range: both(narrow),
        per_partition_key: both(narrow),
        indexes: indexes.to_vec(),
    }
}

fn scopes(budgets: &Budgets) -> Arc<Scopes> {
    Scopes::new(budgets, &["local".into(), "by-email".into()], Feedback::default())
}

async fn write(scopes: &Scopes, range: &KeyRange, key: PartitionHash, cost: &WriteCost) {
    scopes.acquire_keys(Access::Write, &[(key, cost.table)]).await;
    scopes.acquire_narrow_write(range, cost).await;
    scopes.table(Access::Write).acquire(cost.table).await;
    scopes.reconcile_write(range, &[(key, cost.table, cost.table)], cost, cost);
}

/// Starts `at_once` tasks that write continuously. Returns a counter of completed writes.
fn writers(scopes: &Arc<Scopes>, at_once: u64, cost: &WriteCost, one_key: bool) -> Arc<std::sync::atomic::AtomicU64> {
    let range = scopes.key_range();
    let done = Arc::default();
    for n in 0..at_once {
        let scopes = Arc::clone(scopes);
        let range = Arc::clone(&range);
        let cost = cost.clone();
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            for round in 0.. {
                write(&scopes, &range, key(if one_key { 0 } else { n + round * at_once }), &cost).await;
                std::sync::atomic::AtomicU64::fetch_add(&done, 1, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    done
}

fn counted(done: &std::sync::atomic::AtomicU64) -> f64 {
    done.load(std::sync::atomic::Ordering::Relaxed) as f64
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_key_or_an_index_holds_no_tokens_of_the_table() {
    let mut hot = budgets(1_000.0, 1_000.0, &[None, Some(50.0)]);
    hot.per_partition_key.write = 10.0;
    let scopes = scopes(&hot);
    let one = WriteCost { table: 1.0, indexes: vec![] };
    let indexed = WriteCost { table: 1.0, indexes: vec![(1, 1.0)] };
    let hot = writers(&scopes, 200, &one, true);
    let short = writers(&scopes, 200, &indexed, false);
    let others = writers(&scopes, 50, &one, false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!((95.0..115.0).contains(&counted(&hot)), "the hot key: {}", counted(&hot));
    assert!((490.0..520.0).contains(&counted(&short)), "the index: {}", counted(&short));
    let all = counted(&hot) + counted(&short) + counted(&others);
    assert!((9_900.0..10_300.0).contains(&all), "the table: {all}");
    assert_eq!(scopes.status().iter().map(|s| s.waiting > 0).collect::<Vec<_>>(), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn unused_units_are_given_back_to_every_scope() {
    let scopes = scopes(&budgets(10.0, 10.0, &[None, Some(10.0)]));
    let range = scopes.key_range();
    let large = WriteCost { table: 100.0, indexes: vec![(1, 100.0)] };
    let none = WriteCost::default();
    let start = Instant::now();
    for _ in 0..5 {
        scopes.acquire_keys(Access::Write, &[(key(1), 100.0)]).await;
        scopes.acquire_narrow_write(&range, &large).await;
        scopes.table(Access::Write).acquire(100.0).await;
        scopes.reconcile_write(&range, &[(key(1), large.table, none.table)], &large, &none);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // If a write consumes units of an index that its estimate did not include, the bucket of this index is also
    // charged.
    let consumed = WriteCost { table: 0.0, indexes: vec![(1, 20.0)] };
    scopes.reconcile_write(&range, &[(key(1), none.table, 0.0)], &none, &consumed);
    let start = Instant::now();
    scopes.acquire_narrow_write(&range, &WriteCost { table: 1.0, indexes: vec![(1, 1.0)] }).await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_throttle_slows_the_scope_that_its_reason_names() {
    let arn = "arn:aws:dynamodb:us-east-1:1:table/t";
    let index = format!("{arn}/index/by-email");
    // The four flags state which scopes slow down: the table's reads, the table's writes, the index, the key range.
    for (access, reason, resource, slower) in [
        (Access::Write, "TableWriteProvisionedThroughputExceeded", arn, [false, true, false, false]),
        (Access::Write, "TableWriteMaxOnDemandThroughputExceeded", arn, [false, true, false, false]),
        (Access::Write, "TableWriteAccountLimitExceeded", arn, [false, true, false, false]),
        (Access::Read, "TableReadProvisionedThroughputExceeded", arn, [true, false, false, false]),
        (Access::Write, "IndexWriteProvisionedThroughputExceeded", &index, [false, false, true, false]),
        (Access::Write, "IndexWriteKeyRangeThroughputExceeded", &index, [false, false, true, false]),
        (Access::Write, "TableWriteKeyRangeThroughputExceeded", arn, [false, false, false, true]),
        (
            Access::Write,
            "IndexWriteProvisionedThroughputExceeded",
            "an index nobody knows",
            [false, true, false, false],
        ),
        (Access::Write, "", "", [false, true, false, false]),
    ] {
        let scopes = scopes(&budgets(1_000.0, 500.0, &[None, Some(100.0)]));
        let range = scopes.key_range();
        let named = ThrottlingReason { reason: reason.into(), resource: resource.into() };
        let reasons = if reason.is_empty() { vec![] } else { vec![named] };
        scopes.throttled(access, &range, Some(key(1)), &reasons);
        let mut found: Vec<bool> = scopes.status().iter().map(|s| s.rate < s.budget).collect();
        found.push(range.rate(access) < 500.0);
        assert_eq!(found, slower, "{reason} {resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_counts_as_set_aside_while_a_task_holds_its_turn() {
    let scopes = scopes(&budgets(10.0, 10.0, &[None, None]));
    let range = scopes.key_range();
    assert!(!range.is_set_aside(key(1)));
    let turn = range.turn(key(1));
    assert!(range.is_set_aside(key(1)) && !range.is_set_aside(key(2)));
    let second = range.turn(key(1));
    assert!(Arc::ptr_eq(&turn, &second));
    drop((turn, second));
    assert!(!range.is_set_aside(key(1)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_for_keys_returns_its_units() {
    let scopes = scopes(&budgets(10.0, 10.0, &[None, None]));
    // The first two keys have units available. The third key is in debt.
    scopes.acquire_keys(Access::Write, &[(key(3), 1_000.0)]).await;
    let wanted = [(key(1), 1_000.0), (key(2), 1.0), (key(3), 1.0)];
    let gave_up = tokio::time::timeout(Duration::from_secs(1), scopes.acquire_keys(Access::Write, &wanted)).await;
    assert!(gave_up.is_err());
    assert!(scopes.try_acquire_key(Access::Write, key(1), 1.0) && scopes.try_acquire_key(Access::Write, key(2), 1.0));

    scopes.acquire_keys(Access::Write, &wanted[..2]).await;
    assert!(!scopes.try_acquire_key(Access::Write, key(1), 1.0), "a call that returns keeps the units that it took");
}

/// The change also applies to a key range in progress, a key range that begins later, a known index and a new index.
#[tokio::test(start_paused = true)]
async fn a_budget_change_reaches_every_scope() {
    use crate::ratelimit::Scope;

    let scopes = scopes(&budgets(1_000.0, 1_000.0, &[None, Some(1_000.0)]));
    let active = scopes.key_range();
    for (scope, units) in [
        (Scope::Table, 80.0),
        (Scope::KeyRange, 40.0),
        (Scope::PartitionKey, 20.0),
        (Scope::Index("by-email".into()), 10.0),
        (Scope::Index("by-new".into()), 5.0),
    ] {
        scopes.set_budget(&scope, Access::Write, units);
    }
    let rates = [active, scopes.key_range()].map(|range| (range.rate(Access::Write), range.rate(Access::Read)));
    assert_eq!(rates, [(40.0, 1_000.0); 2]);
    assert_eq!((scopes.per_key_range(Access::Write), scopes.table(Access::Write).budget()), (40.0, 80.0));
    assert!(scopes.try_acquire_key(Access::Write, key(1), 2.0) && !scopes.try_acquire_key(Access::Write, key(1), 1.0));
    let places = ["local", "by-email", "by-new", "other"].map(|name| scopes.index_position(name));
    assert_eq!(places, [Some(0), Some(1), Some(2), None]);
    let budgets: Vec<_> = scopes.status().into_iter().filter(|s| s.is_index).map(|s| (s.name, s.budget)).collect();
    assert_eq!(budgets, [("by-email".to_owned(), 10.0), ("by-new".to_owned(), 5.0)]);

    // Writes wait for units of the new index, as they do for other indexes.
    let range = scopes.key_range();
    let cost = WriteCost { table: 0.5, indexes: vec![(2, 1.0)] };
    let start = Instant::now();
    for n in 0..20 {
        write(&scopes, &range, key(n), &cost).await;
    }
    assert!((3.5..4.5).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

/// A full bucket contains the units of a tenth of a second, but at least one unit.
#[tokio::test(start_paused = true)]
async fn writes_fit_a_burst_if_they_fit_every_bucket() {
    let fit = |budgets: &Budgets, table: Units, indexes: &[(usize, Units)], count: usize| {
        let cost = WriteCost { table, indexes: indexes.to_vec() };
        let scopes = scopes(budgets);
        scopes.fit_burst(&scopes.key_range(), std::iter::repeat_n(&cost, count))
    };
    let wide = budgets(1_000.0, 250.0, &[None, Some(100.0)]);
    assert!(fit(&wide, 1.0, &[], 25) && !fit(&wide, 1.0, &[], 26), "the key range");
    assert!(fit(&wide, 1.0, &[(1, 1.0)], 10) && !fit(&wide, 1.0, &[(1, 1.0)], 11), "the index");
    assert!(fit(&wide, 1.0, &[(0, 1.0)], 25), "an index without a budget of its own");
    let narrow = budgets(20.0, 250.0, &[]);
    assert!(fit(&narrow, 1.0, &[], 2) && !fit(&narrow, 1.0, &[], 3), "the table");
    assert!(fit(&budgets(0.5, 250.0, &[]), 1.0, &[], 1), "one unit always fits");
}
