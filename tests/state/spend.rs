//! Tests the promises of the trait `SpendLedger`.

use backfill::internals::cost::{PriceBasis, UnitPrices};
use backfill::internals::state::{Reservation, Spend, SpendState};

use super::*;

const PRICES: UnitPrices =
    UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };

fn spend(write: f64, read: f64) -> Spend {
    Spend { write, read }
}

pub(super) async fn nothing_is_reserved_before_the_spend_has_begun(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert_refused(store.reserve(session_of(run, 1), Reservation::default()).await);
    assert_eq!(store.begin_spend(session_of(run, 1), PRICES).await.unwrap(), SpendState::default());
    store.reserve(session_of(run, 1), Reservation::default()).await.unwrap();
}

pub(super) async fn a_slice_counts_as_spent_after_a_crash(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.begin_spend(session_of(run, 1), PRICES).await.unwrap();
    store.reserve(session_of(run, 1), Reservation { spent: spend(0.0, 0.0), slice: spend(10.0, 20.0) }).await.unwrap();
    store.reserve(session_of(run, 1), Reservation { spent: spend(7.0, 3.0), slice: spend(10.0, 20.0) }).await.unwrap();
    let live = store.spend(run).await.unwrap().state;
    assert_eq!((live.spent, live.slice), (spend(7.0, 3.0), spend(10.0, 20.0)));
    let store = fixture.crash(store);
    let dead = store.spend(run).await.unwrap();
    assert_eq!((dead.state.spent, dead.state.slice), (spend(17.0, 23.0), spend(0.0, 0.0)));
    assert_eq!((dead.state.lost, dead.prices), (spend(10.0, 20.0), Some(PRICES)));
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert_eq!(store.begin_spend(session_of(run, 2), PRICES).await.unwrap().spent, spend(17.0, 23.0));
}

pub(super) async fn a_settled_slice_counts_only_what_was_used(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.begin_spend(session_of(run, 1), PRICES).await.unwrap();
    store.reserve(session_of(run, 1), Reservation { spent: spend(0.0, 0.0), slice: spend(10.0, 20.0) }).await.unwrap();
    assert_eq!(store.settle_spend(session_of(run, 1), spend(4.0, 5.0)).await.unwrap().state.spent, spend(4.0, 5.0));
    let store = fixture.crash(store);
    let ended = store.spend(run).await.unwrap().state;
    assert_eq!((ended.spent, ended.slice, ended.lost), (spend(4.0, 5.0), spend(0.0, 0.0), spend(0.0, 0.0)));
    let next_run = begin(&store, BeginMode::Restart, 1).await;
    assert_eq!(store.spend(next_run).await.unwrap().state.spent, spend(0.0, 0.0), "each run must have its own spend");
}

pub(super) async fn an_earlier_session_neither_reserves_nor_settles(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.begin_spend(session_of(run, 1), PRICES).await.unwrap();
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.begin_spend(session_of(run, 2), PRICES).await.unwrap();
    let slice = Reservation { spent: spend(1.0, 1.0), slice: spend(10.0, 20.0) };
    store.reserve(session_of(run, 2), slice).await.unwrap();
    assert_fenced(store.begin_spend(session_of(run, 1), PRICES).await);
    assert_fenced(store.reserve(session_of(run, 1), Reservation::default()).await);
    assert_fenced(store.settle_spend(session_of(run, 1), spend(0.0, 0.0)).await);
    let fixture = store.spend(run).await.unwrap().state;
    assert_eq!((fixture.spent, fixture.slice), (slice.spent, slice.slice));
    store.end_session(session_of(run, 2), RunStatus::Stopped, None, 0).await.unwrap();
    let settled = store.settle_spend(session_of(run, 2), spend(2.0, 2.0)).await.unwrap().state;
    assert_eq!(settled.spent, spend(2.0, 2.0), "a session must be able to report its spend after its end");
}

/// Until the next session begins, a killed session and a retry have the same epoch. So the epoch does not distinguish
/// them.
pub(super) async fn a_killed_session_cannot_reserve_or_lower_the_spend(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let session = session_of(run, 1);
    store.begin_spend(session, PRICES).await.unwrap();
    store.reserve(session, Reservation { spent: spend(7.0, 3.0), slice: spend(10.0, 20.0) }).await.unwrap();
    let store = fixture.crash(store);
    assert_fenced(store.reserve(session, Reservation { spent: spend(8.0, 3.0), slice: spend(10.0, 20.0) }).await);
    let dead = store.spend(run).await.unwrap().state;
    assert_eq!((dead.spent, dead.slice), (spend(17.0, 23.0), spend(0.0, 0.0)));
    let settled = store.settle_spend(session, spend(9.0, 24.0)).await.unwrap().state;
    assert_eq!(settled.spent, spend(17.0, 24.0), "a late report of the killed session must not lower the spend");
    assert_eq!(store.begin_spend(session, PRICES).await.unwrap().spent, spend(17.0, 24.0));
    store.reserve(session, Reservation { spent: spend(19.0, 24.0), slice: spend(10.0, 20.0) }).await.unwrap();
    let settled = store.settle_spend(session, spend(18.0, 24.0)).await.unwrap().state;
    assert_eq!(settled.spent, spend(18.0, 24.0), "a retry must report the units that its requests consumed");
}

pub(super) async fn the_units_of_committed_pages_count_as_spent(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.commit(commit(run, 0, pages(1, Some("a"), &[Outcome::Applied; 2]))).await.unwrap();
    let counted = store.spend(run).await.unwrap();
    assert_eq!((counted.state.spent, counted.prices), (spend(2.0, 0.5), None));
    store.begin_spend(session_of(run, 1), PRICES).await.unwrap();
    store.reserve(session_of(run, 1), Reservation { spent: spend(2.0, 0.5), slice: spend(1.0, 1.0) }).await.unwrap();
    store.commit(commit(run, 0, pages(2, None, &[Outcome::Applied; 9]))).await.unwrap();
    assert_eq!(
        store.spend(run).await.unwrap().state.spent,
        spend(11.0, 1.0),
        "the larger of the two figures must count"
    );
}
