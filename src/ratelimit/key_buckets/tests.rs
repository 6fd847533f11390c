use super::*;

fn key(n: u64) -> PartitionHash {
    PartitionHash::from_value(&crate::item::Value::S(n.to_string()))
}

async fn take(key_buckets: &KeyBuckets, key: PartitionHash, units: Units) {
    key_buckets.acquire(key, units).await;
    key_buckets.reconcile(key, units, units);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_rate_of_its_own() {
    let key_buckets = KeyBuckets::new(100.0, Feedback::default());
    take(&key_buckets, key(1), 10.0).await;
    assert!(!key_buckets.try_acquire(key(1), 1.0), "the burst of the key is used up");
    assert!(key_buckets.try_acquire(key(2), 1.0), "another key has its own burst");
    let start = Instant::now();
    for _ in 0..200 {
        take(&key_buckets, key(1), 1.0).await;
    }
    assert!((1.9..2.3).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_key_gets_debt_and_refunds() {
    let key_buckets = KeyBuckets::new(100.0, Feedback::default());
    key_buckets.acquire(key(1), 1.0).await;
    key_buckets.reconcile(key(1), 1.0, 201.0);
    let start = Instant::now();
    take(&key_buckets, key(1), 1.0).await;
    assert!((1.8..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    key_buckets.acquire(key(1), 500.0).await;
    key_buckets.reconcile(key(1), 500.0, 1.0);
    let start = Instant::now();
    take(&key_buckets, key(1), 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_busy_keys_take_memory() {
    let key_buckets = KeyBuckets::new(250.0, Feedback::default());
    for n in 0..1_000_000 {
        take(&key_buckets, key(n), 1.0).await;
        if n % 1_000 == 0 {
            tokio::time::advance(Duration::from_millis(25)).await;
        }
    }
    assert!(key_buckets.state_count() < 2 * SHARDS * STATES_PER_SHARD, "{}", key_buckets.state_count());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_throttled_repeatedly_slows_down_and_recovers() {
    let key_buckets = KeyBuckets::new(100.0, Feedback::default());
    for _ in 0..6 {
        take(&key_buckets, key(1), 1.0).await;
        key_buckets.throttled(key(1), 20.0);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    key_buckets.throttled(key(2), 20.0);
    assert_eq!(key_buckets.slowed(), 1, "one throttle does not slow a key");
    let start = Instant::now();
    take(&key_buckets, key(1), 50.0).await;
    take(&key_buckets, key(1), 1.0).await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    tokio::time::advance(Duration::from_secs(120)).await;
    let start = Instant::now();
    take(&key_buckets, key(1), 100.0).await;
    take(&key_buckets, key(1), 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_number_of_slowed_keys_is_bounded() {
    let key_buckets = KeyBuckets::new(100.0, Feedback::default());
    for n in 0..1_000 {
        (0..HOT_KEY_THROTTLES).for_each(|_| key_buckets.throttled(key(n), 20.0));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(key_buckets.slowed(), MAX_SLOWED);
    assert!(key_buckets.own_bucket(key(0)).is_none() && key_buckets.own_bucket(key(999)).is_some());
}

/// Starts a task that waits for a unit of a key.
fn waiter(key_buckets: &Arc<KeyBuckets>, key: PartitionHash) -> tokio::task::JoinHandle<()> {
    let key_buckets = Arc::clone(key_buckets);
    tokio::spawn(async move { take(&key_buckets, key, 1.0).await })
}

#[tokio::test(start_paused = true)]
async fn a_refund_lets_a_waiter_of_the_key_continue() {
    let key_buckets = Arc::new(KeyBuckets::new(1.0, Feedback::default()));
    key_buckets.acquire(key(1), 400.0).await;
    let waiter = waiter(&key_buckets, key(1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!waiter.is_finished());
    let start = Instant::now();
    key_buckets.reconcile(key(1), 400.0, 1.0);
    waiter.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_notices_when_its_key_gains_or_loses_a_bucket_of_its_own() {
    let key_buckets = Arc::new(KeyBuckets::new(100.0, Feedback::default()));
    // Key 1 is in debt for hours, at the common rate.
    key_buckets.acquire(key(1), 1e6).await;
    let one = waiter(&key_buckets, key(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..HOT_KEY_THROTTLES).for_each(|_| key_buckets.throttled(key(1), 20.0));
    let start = Instant::now();
    one.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    // Key 1 is in debt for hours, in its own bucket.
    key_buckets.reconcile(key(1), 1.0, 1e6);
    key_buckets.acquire(key(2), 1.0).await;
    let one = waiter(&key_buckets, key(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    key_buckets.states.refund(key(1), to_tokens(1e6));
    assert!(!one.is_finished());
    for n in 2..1_000 {
        (0..HOT_KEY_THROTTLES).for_each(|_| key_buckets.throttled(key(n), 20.0));
    }
    assert!(key_buckets.own_bucket(key(1)).is_none());
    let start = Instant::now();
    one.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_budget_change_reaches_waiters() {
    let key_buckets = Arc::new(KeyBuckets::new(100.0, Feedback::default()));
    take(&key_buckets, key(1), 10.0).await;
    key_buckets.set_budget(10.0);
    let start = Instant::now();
    for _ in 0..20 {
        take(&key_buckets, key(1), 1.0).await;
    }
    // The key can have taken one burst of the larger size. No units are available until the bucket has refilled by this
    // amount.
    assert!((1.8..3.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    assert!(
        key_buckets.try_acquire(key(2), 1.0) && !key_buckets.try_acquire(key(2), 1.0),
        "the burst must fit the lower budget"
    );

    key_buckets.acquire(key(1), 100.0).await;
    let waits = tokio::spawn({
        let key_buckets = Arc::clone(&key_buckets);
        async move { take(&key_buckets, key(1), 1.0).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    key_buckets.set_budget(1_000.0);
    let start = Instant::now();
    waits.await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..2_000 {
        take(&key_buckets, key(1), 1.0).await;
    }
    assert!((1.7..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());

    // A key with its own bucket gets the new budget as well.
    for _ in 0..4 {
        key_buckets.throttled(key(3), 900.0);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(key_buckets.slowed(), 1);
    key_buckets.set_budget(5.0);
    let start = Instant::now();
    for _ in 0..10 {
        take(&key_buckets, key(3), 1.0).await;
    }
    assert!(start.elapsed() > Duration::from_secs_f64(1.5), "{:?}", start.elapsed());
}
