//! Tests the promises of the trait `Events`.

use backfill::internals::state::StoredFact;

use super::*;

const ACCEPTED: &str = r#"{"type":"preflight_accepted"}"#;
const EXPAND_BEGUN: &str = r#"{"type":"phase_begun","phase":"expand"}"#;

async fn append(store: &State, event: &str) -> RunId {
    store.append_event(event.to_owned()).await.unwrap().newest_run
}

async fn events(store: &State) -> Vec<String> {
    store.events().await.unwrap().into_iter().map(|record| record.event).collect()
}

pub(super) async fn events_are_durable_and_in_order(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    append(&store, ACCEPTED).await;
    append(&store, EXPAND_BEGUN).await;
    let store = fixture.crash(store);
    append(&store, ACCEPTED).await;
    assert_eq!(events(&store).await, [ACCEPTED, EXPAND_BEGUN, ACCEPTED]);
}

pub(super) async fn an_event_names_the_newest_run(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_eq!(append(&store, ACCEPTED).await, RunId::NONE);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert_eq!(append(&store, EXPAND_BEGUN).await, run);
    let store = fixture.crash(store);
    let newest_run: Vec<_> = store.events().await.unwrap().iter().map(|record| record.newest_run).collect();
    assert_eq!(newest_run, [RunId::NONE, run]);
}

pub(super) async fn a_fact_replaces_its_earlier_value_and_is_durable(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    assert_eq!(store.fact(StoredFact::Pace).await.unwrap(), None);
    for value in ["1", "2"] {
        store.set_fact(StoredFact::Pace, value.to_owned()).await.unwrap();
    }
    store.set_fact(StoredFact::Budgets, "3".to_owned()).await.unwrap();
    let store = fixture.crash(store);
    assert_eq!(store.fact(StoredFact::Pace).await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.fact(StoredFact::Budgets).await.unwrap().as_deref(), Some("3"));
}

pub(super) async fn only_the_kept_histories_stay(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = RunId::from_number;
    for number in [1, 2, 12] {
        store.set_fact(StoredFact::PaceHistory(run(number)), number.to_string()).await.unwrap();
    }
    store.set_fact(StoredFact::Pace, "now".to_owned()).await.unwrap();
    store.forget_histories(vec![run(1), run(7)]).await.unwrap();
    let store = fixture.crash(store);
    for (number, expected) in [(1, Some("1")), (2, None), (7, None), (12, None)] {
        let found = store.fact(StoredFact::PaceHistory(run(number))).await.unwrap();
        assert_eq!(found.as_deref(), expected, "run {number}");
    }
    assert_eq!(store.fact(StoredFact::Pace).await.unwrap().as_deref(), Some("now"));
}

pub(super) async fn a_state_without_a_run_can_be_forgotten(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    append(&store, ACCEPTED).await;
    append(&store, EXPAND_BEGUN).await;
    store.set_fact(StoredFact::FlagLocation, "a table".to_owned()).await.unwrap();
    store.set_fact(StoredFact::LeaseOwner, "me".to_owned()).await.unwrap();
    assert!(store.clear_unless_begun().await.unwrap());
    let store = fixture.crash(store);
    assert!(events(&store).await.is_empty());
    assert_eq!(store.fact(StoredFact::FlagLocation).await.unwrap(), None);
    assert_eq!(store.fact(StoredFact::LeaseOwner).await.unwrap().as_deref(), Some("me"));
    append(&store, ACCEPTED).await;
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert!(!store.clear_unless_begun().await.unwrap(), "a state with a run must not be forgotten");
    assert_eq!(events(&store).await, [ACCEPTED]);
}
