use super::*;

fn key(n: u64) -> PartitionHash {
    PartitionHash::of(&crate::item::Value::S(n.to_string()))
}

async fn take(keyed: &Keyed, key: PartitionHash, units: Units) {
    keyed.acquire(key, units).await;
    keyed.settle(key, units, units);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_rate_of_its_own() {
    let keyed = Keyed::new(100.0, Feedback::default());
    take(&keyed, key(1), 10.0).await;
    assert!(!keyed.try_acquire(key(1), 1.0), "the burst of the key is used up");
    assert!(keyed.try_acquire(key(2), 1.0), "another key has its own burst");
    let start = Instant::now();
    for _ in 0..200 {
        take(&keyed, key(1), 1.0).await;
    }
    assert!((1.9..2.3).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_key_gets_debt_and_refunds() {
    let keyed = Keyed::new(100.0, Feedback::default());
    keyed.acquire(key(1), 1.0).await;
    keyed.settle(key(1), 1.0, 201.0);
    let start = Instant::now();
    take(&keyed, key(1), 1.0).await;
    assert!((1.8..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    keyed.acquire(key(1), 500.0).await;
    keyed.settle(key(1), 500.0, 1.0);
    let start = Instant::now();
    take(&keyed, key(1), 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_busy_keys_take_memory() {
    let keyed = Keyed::new(250.0, Feedback::default());
    for n in 0..1_000_000 {
        take(&keyed, key(n), 1.0).await;
        if n % 1_000 == 0 {
            tokio::time::advance(Duration::from_millis(25)).await;
        }
    }
    assert!(keyed.remembered() < 2 * SHARDS * STATES_PER_SHARD, "{}", keyed.remembered());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_throttled_repeatedly_slows_down_and_recovers() {
    let keyed = Keyed::new(100.0, Feedback::default());
    for _ in 0..6 {
        take(&keyed, key(1), 1.0).await;
        keyed.throttled(key(1), 20.0);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    keyed.throttled(key(2), 20.0);
    assert_eq!(keyed.slowed(), 1, "one throttle does not slow a key");
    let start = Instant::now();
    take(&keyed, key(1), 50.0).await;
    take(&keyed, key(1), 1.0).await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    tokio::time::advance(Duration::from_secs(120)).await;
    let start = Instant::now();
    take(&keyed, key(1), 100.0).await;
    take(&keyed, key(1), 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_number_of_slowed_keys_is_bounded() {
    let keyed = Keyed::new(100.0, Feedback::default());
    for n in 0..1_000 {
        (0..REPEATED).for_each(|_| keyed.throttled(key(n), 20.0));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(keyed.slowed(), MAX_SLOWED);
    assert!(keyed.own_bucket(key(0)).is_none() && keyed.own_bucket(key(999)).is_some());
}

/// Waits for a unit of a key in a separate task.
fn waiter(keyed: &Arc<Keyed>, key: PartitionHash) -> tokio::task::JoinHandle<()> {
    let keyed = Arc::clone(keyed);
    tokio::spawn(async move { take(&keyed, key, 1.0).await })
}

#[tokio::test(start_paused = true)]
async fn a_refund_lets_a_waiter_of_the_key_continue() {
    let keyed = Arc::new(Keyed::new(1.0, Feedback::default()));
    keyed.acquire(key(1), 400.0).await;
    let waiter = waiter(&keyed, key(1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!waiter.is_finished());
    let start = Instant::now();
    keyed.settle(key(1), 400.0, 1.0);
    waiter.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_notices_when_its_key_gains_or_loses_a_bucket_of_its_own() {
    let keyed = Arc::new(Keyed::new(100.0, Feedback::default()));
    // Key 1 is in debt for hours, at the common rate.
    keyed.acquire(key(1), 1e6).await;
    let one = waiter(&keyed, key(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..REPEATED).for_each(|_| keyed.throttled(key(1), 20.0));
    let start = Instant::now();
    one.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    // Key 1 is in debt for hours, in its own bucket.
    keyed.settle(key(1), 1.0, 1e6);
    keyed.acquire(key(2), 1.0).await;
    let one = waiter(&keyed, key(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    keyed.states.refund(key(1), to_tokens(1e6));
    assert!(!one.is_finished());
    for n in 2..1_000 {
        (0..REPEATED).for_each(|_| keyed.throttled(key(n), 20.0));
    }
    assert!(keyed.own_bucket(key(1)).is_none());
    let start = Instant::now();
    one.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_budget_change_reaches_waiters() {
    let keyed = Arc::new(Keyed::new(100.0, Feedback::default()));
    take(&keyed, key(1), 10.0).await;
    keyed.set_budget(10.0);
    let start = Instant::now();
    for _ in 0..20 {
        take(&keyed, key(1), 1.0).await;
    }
    // The key may have taken one larger burst. No units are available until these tokens have arrived again.
    assert!((1.8..3.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    assert!(keyed.try_acquire(key(2), 1.0) && !keyed.try_acquire(key(2), 1.0), "the burst must fit the lower budget");

    keyed.acquire(key(1), 100.0).await;
    let waits = tokio::spawn({
        let keyed = Arc::clone(&keyed);
        async move { take(&keyed, key(1), 1.0).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    keyed.set_budget(1_000.0);
    let start = Instant::now();
    waits.await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..2_000 {
        take(&keyed, key(1), 1.0).await;
    }
    assert!((1.7..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());

    // A key with its own bucket gets the new budget as well.
    for _ in 0..4 {
        keyed.throttled(key(3), 900.0);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(keyed.slowed(), 1);
    keyed.set_budget(5.0);
    let start = Instant::now();
    for _ in 0..10 {
        take(&keyed, key(3), 1.0).await;
    }
    assert!(start.elapsed() > Duration::from_secs_f64(1.5), "{:?}", start.elapsed());
}
