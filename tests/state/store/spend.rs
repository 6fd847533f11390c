//! Tests the recorded spend of a run: reserved units, consumed units, and units that were still reserved when the
//! process died.

use backfill::internals::cost::{PriceBasis, UnitPrices};
use backfill::internals::state::{Reservation, Spend, SpendState};

use super::*;

const PRICES: UnitPrices =
    UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };

fn spend(write: f64, read: f64) -> Spend {
    Spend { write, read }
}

fn slice(spent: Spend, slice: Spend) -> Reservation {
    Reservation { spent, slice }
}

#[tokio::test]
async fn an_open_slice_counts_as_spent_when_the_file_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    assert_eq!(store.begin_spend(session_of(run, 1), PRICES).await.unwrap(), SpendState::default());
    store.reserve(session_of(run, 1), slice(spend(0.0, 0.0), spend(10.0, 20.0))).await.unwrap();
    store.reserve(session_of(run, 1), slice(spend(7.0, 3.0), spend(10.0, 20.0))).await.unwrap();
    // The page has two applied items, which cost two write units and half a read unit.
    store.commit(commit(run, 0, pages(1, 1, Some(key(1)), &[Outcome::Applied; 2]))).await.unwrap();

    let live = summary(&path).current.unwrap().spend;
    assert_eq!(
        (live.state.spent, live.state.slice, live.state.lost),
        (spend(7.0, 3.0), spend(10.0, 20.0), spend(0.0, 0.0))
    );
    // The process dies. A reader detects the death before the next process opens the file.
    drop(store);
    let dead = summary(&path).current.unwrap().spend;
    assert_eq!((dead.state.spent, dead.state.slice), (spend(17.0, 23.0), spend(0.0, 0.0)));

    let store = open(&path);
    begin(&store, BeginMode::ResumeOrNew, 4).await;
    let known = store.begin_spend(session_of(run, 2), PRICES).await.unwrap();
    assert_eq!((known.spent, known.lost), (spend(17.0, 23.0), spend(10.0, 20.0)));
    assert_eq!(store.spend(run).await.unwrap().dollars(), Some(PRICES.dollars(spend(17.0, 23.0))));

    // After a clean end, only the consumed units count.
    store.reserve(session_of(run, 2), slice(spend(17.0, 23.0), spend(10.0, 20.0))).await.unwrap();
    store.settle_spend(session_of(run, 2), spend(18.0, 24.0)).await.unwrap();
    drop(store);
    let ended = summary(&path).current.unwrap().spend.state;
    assert_eq!((ended.spent, ended.lost), (spend(18.0, 24.0), spend(10.0, 20.0)));
    // The spend of each run is separate.
    let store = open(&path);
    let next_run = begin(&store, BeginMode::Restart, 4).await.run.id;
    assert_eq!(store.begin_spend(session_of(next_run, 1), PRICES).await.unwrap().spent, Spend::default());
    assert_eq!(store.spend(run).await.unwrap().state.spent, spend(18.0, 24.0));
}

/// Without limits, the run reserves nothing. For a killed session, only the consumption of its committed pages is
/// known.
#[tokio::test]
async fn without_reservations_the_committed_counts_are_the_spend() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    store.begin_spend(session_of(run, 1), PRICES).await.unwrap();
    store.settle_spend(session_of(run, 1), spend(5.0, 1.0)).await.unwrap();
    store.commit(commit(run, 0, pages(1, 1, Some(key(1)), &[Outcome::Applied; 3]))).await.unwrap();
    drop(store);
    let spent = summary(&path).current.unwrap().spend.state;
    assert_eq!((spent.spent, spent.lost), (spend(8.0, 1.5), Spend::default()));
}

#[tokio::test]
async fn nothing_is_reserved_before_the_spend_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 4).await.run.id;
    let error = store.reserve(session_of(run, 1), slice(spend(0.0, 0.0), spend(1.0, 0.0))).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(store.spend(run).await.unwrap().prices, None);
}
