use std::sync::Arc;

use super::*;

fn bucket(units_per_second: Units) -> Arc<Bucket> {
    Arc::new(Bucket::new(units_per_second, Feedback::default()))
}

async fn take(bucket: &Bucket, units: Units) {
    bucket.acquire(units).await;
    bucket.reconcile(units, units);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept_and_can_be_changed_while_a_request_waits() {
    let bucket = bucket(100.0);
    take(&bucket, 10.0).await;
    let start = Instant::now();
    for _ in 0..100 {
        take(&bucket, 1.0).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!((0.95..1.15).contains(&seconds), "{seconds}");

    bucket.set_budget(0.0);
    let waiter = tokio::spawn({
        let bucket = Arc::clone(&bucket);
        async move { take(&bucket, 50.0).await }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!waiter.is_finished(), "rate 0 is a pause");
    let start = Instant::now();
    bucket.set_budget(1000.0);
    waiter.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!((bucket.rate() - 1000.0).abs() < 1e-6);
}

#[tokio::test(start_paused = true)]
async fn debt_delays_and_a_refund_restores() {
    let bucket = bucket(100.0);
    bucket.acquire(1.0).await;
    bucket.reconcile(1.0, 201.0);
    let start = Instant::now();
    take(&bucket, 1.0).await;
    assert!((1.8..2.2).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());

    bucket.acquire(500.0).await;
    bucket.reconcile(500.0, 0.5);
    let start = Instant::now();
    take(&bucket, 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn large_requests_are_not_starved_by_small_ones() {
    let bucket = bucket(100.0);
    for _ in 0..8 {
        let bucket = Arc::clone(&bucket);
        tokio::spawn(async move {
            loop {
                take(&bucket, 1.0).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    take(&bucket, 400.0).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_takes_nothing() {
    let bucket = bucket(10.0);
    take(&bucket, 100.0).await;
    let gave_up = tokio::time::timeout(Duration::from_secs(1), bucket.acquire(1000.0)).await;
    assert!(gave_up.is_err());
    assert_eq!(bucket.waiting(), 0);
    let start = Instant::now();
    take(&bucket, 1.0).await;
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refund_wakes_a_waiter() {
    let bucket = bucket(1.0);
    bucket.acquire(400.0).await;
    let waiter = tokio::spawn({
        let bucket = Arc::clone(&bucket);
        async move { take(&bucket, 1.0).await }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((bucket.waiting(), waiter.is_finished()), (1, false));
    let start = Instant::now();
    bucket.reconcile(400.0, 1.0);
    waiter.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Takes units one by one for `seconds` seconds. Returns the number of taken units.
async fn units_in(bucket: &Bucket, seconds: u64) -> u32 {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut units = 0;
    while tokio::time::timeout_at(until, take(bucket, 1.0)).await.is_ok() {
        units += 1;
    }
    units
}

#[tokio::test(start_paused = true)]
async fn a_raised_budget_is_used_up() {
    for at_first in [10.0, 0.0] {
        let bucket = bucket(at_first);
        let before = f64::from(units_in(&bucket, 10).await);
        assert!((at_first * 9.5..=at_first * 10.5).contains(&before), "{before} at {at_first}/s");
        bucket.set_budget(10_000.0);
        let units = units_in(&bucket, 10).await;
        assert!((98_000..=101_000).contains(&units), "{units} from {at_first}/s to 10,000/s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lowered_budget_applies_immediately_and_creates_no_debt() {
    let bucket = bucket(10_000.0);
    units_in(&bucket, 1).await;
    bucket.set_budget(10.0);
    let start = Instant::now();
    take(&bucket, 1.0).await;
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    let units = units_in(&bucket, 10).await;
    assert!((95..=105).contains(&units), "{units}");

    bucket.set_budget(10_000.0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bucket.set_budget(10.0);
    let units = units_in(&bucket, 10).await;
    assert!((95..=105).contains(&units), "surplus tokens of the larger burst must be dropped: {units}");
}

#[tokio::test(start_paused = true)]
async fn debt_stays_when_the_budget_changes() {
    let bucket = bucket(1_000.0);
    bucket.acquire(1.0).await;
    bucket.reconcile(1.0, 2_101.0);
    for (budget, seconds) in [(100.0, 10.0), (10.0, 10.0), (1_000.0, 0.9)] {
        bucket.set_budget(budget);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        assert!(!bucket.try_acquire(1.0), "at {budget}/s");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bucket.try_acquire(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_paused_bucket_grants_nothing() {
    let bucket = bucket(100.0);
    bucket.set_budget(0.0);
    assert!(!bucket.try_acquire(1.0), "a paused bucket must not grant a burst");
    assert!(!Bucket::new(0.0, Feedback::default()).try_acquire(0.5));
}

#[tokio::test(start_paused = true)]
async fn a_pause_does_not_forget_a_throttle() {
    let bucket = bucket(1_000.0);
    bucket.slow_to(10.0);
    for pause in [0.0, 5.0] {
        bucket.set_budget(pause);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((bucket.rate() - pause).abs() < 1e-9);
        bucket.set_budget(1_000.0);
        assert!(bucket.rate() < 20.0, "{} after {pause}", bucket.rate());
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!((bucket.rate() - 1_000.0).abs() < 1e-9, "the rate must recover");
}
