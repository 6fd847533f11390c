use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::item::Value;

fn key(n: u64) -> PartitionHash {
    PartitionHash::of(&Value::S(n.to_string()))
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
    scopes.keys(Access::Write, &[(key, cost.table)]).await;
    scopes.narrow_write(range, cost).await;
    scopes.table(Access::Write).acquire(cost.table).await;
    scopes.settle_write(range, key, cost, cost);
}

/// Writes without a pause, so many at the same time; returns the counter of those that got through.
fn writers(scopes: &Arc<Scopes>, at_once: u64, cost: &WriteCost, one_key: bool) -> Arc<std::sync::atomic::AtomicU64> {
    let (range, done) = (scopes.key_range(), Arc::default());
    for n in 0..at_once {
        let (scopes, range, cost, done) = (Arc::clone(scopes), Arc::clone(&range), cost.clone(), Arc::clone(&done));
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
async fn who_waits_for_a_hot_key_or_a_short_index_holds_nothing_of_the_table() {
    let mut hot = budgets(1_000.0, 1_000.0, &[None, Some(50.0)]);
    hot.per_partition_key.write = 10.0;
    let scopes = scopes(&hot);
    let (one, indexed) = (WriteCost { table: 1.0, indexes: vec![] }, WriteCost { table: 1.0, indexes: vec![(1, 1.0)] });
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
async fn what_was_not_consumed_is_given_back_to_every_scope() {
    let scopes = scopes(&budgets(10.0, 10.0, &[None, Some(10.0)]));
    let range = scopes.key_range();
    let (large, none) = (WriteCost { table: 100.0, indexes: vec![(1, 100.0)] }, WriteCost::default());
    let start = Instant::now();
    for _ in 0..5 {
        scopes.keys(Access::Write, &[(key(1), 100.0)]).await;
        scopes.narrow_write(&range, &large).await;
        scopes.table(Access::Write).acquire(100.0).await;
        scopes.settle_write(&range, key(1), &large, &none);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // An index that the estimate did not know of is charged all the same.
    scopes.settle_write(&range, key(1), &none, &WriteCost { table: 0.0, indexes: vec![(1, 20.0)] });
    let start = Instant::now();
    scopes.narrow_write(&range, &WriteCost { table: 1.0, indexes: vec![(1, 1.0)] }).await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_throttle_slows_the_scope_that_its_reason_names() {
    let arn = "arn:aws:dynamodb:us-east-1:1:table/t";
    let index = format!("{arn}/index/by-email");
    // Which of the table's reads, its writes, the index and the key range go slower.
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
async fn items_of_a_key_that_are_set_aside_have_their_turn() {
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
async fn keys_that_are_given_up_in_the_middle_keep_nothing() {
    let scopes = scopes(&budgets(10.0, 10.0, &[None, None]));
    // The first two are there, the third is in debt.
    scopes.keys(Access::Write, &[(key(3), 1_000.0)]).await;
    let wanted = [(key(1), 1_000.0), (key(2), 1.0), (key(3), 1.0)];
    let gave_up = tokio::time::timeout(Duration::from_secs(1), scopes.keys(Access::Write, &wanted)).await;
    assert!(gave_up.is_err());
    assert!(scopes.try_key(Access::Write, key(1), 1.0) && scopes.try_key(Access::Write, key(2), 1.0));

    scopes.keys(Access::Write, &wanted[..2]).await;
    assert!(!scopes.try_key(Access::Write, key(1), 1.0), "what is not given up is kept");
}

/// A key range that is worked on already, one that begins later, an index that is known and one that is new.
#[tokio::test(start_paused = true)]
async fn another_budget_reaches_every_scope_that_there_is() {
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
    assert!(scopes.try_key(Access::Write, key(1), 2.0) && !scopes.try_key(Access::Write, key(1), 1.0));
    let places = ["local", "by-email", "by-new", "other"].map(|name| scopes.index_place(name));
    assert_eq!(places, [Some(0), Some(1), Some(2), None]);
    let budgets: Vec<_> = scopes.status().into_iter().filter(|s| s.is_index).map(|s| (s.name, s.budget)).collect();
    assert_eq!(budgets, [("by-email".to_owned(), 10.0), ("by-new".to_owned(), 5.0)]);

    // Writes wait for the new one as for the others.
    let (range, cost) = (scopes.key_range(), WriteCost { table: 0.5, indexes: vec![(2, 1.0)] });
    let start = Instant::now();
    for n in 0..20 {
        write(&scopes, &range, key(n), &cost).await;
    }
    assert!((3.5..4.5).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}
