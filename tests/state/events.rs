//! Tests the promises of the trait `Events`.

use backfill::internals::state::KeptFact;

use super::*;

const ACCEPTED: &str = r#"{"type":"preflight_accepted"}"#;
const EXPAND_BEGUN: &str = r#"{"type":"phase_begun","phase":"expand"}"#;

async fn append(store: &State, event: &str) -> RunId {
    store.append_event(event.to_owned()).await.unwrap().behind
}

async fn events(store: &State) -> Vec<String> {
    store.events().await.unwrap().into_iter().map(|record| record.event).collect()
}

pub(super) async fn events_are_durable_and_in_order(stored: &mut dyn Stored) {
    let store = stored.open();
    append(&store, ACCEPTED).await;
    append(&store, EXPAND_BEGUN).await;
    let store = stored.crash(store);
    append(&store, ACCEPTED).await;
    assert_eq!(events(&store).await, [ACCEPTED, EXPAND_BEGUN, ACCEPTED]);
}

pub(super) async fn an_event_names_the_newest_run(stored: &mut dyn Stored) {
    let store = stored.open();
    assert_eq!(append(&store, ACCEPTED).await, RunId::NONE);
    let run = begin(&store, Begin::ResumeOrNew, 1).await;
    assert_eq!(append(&store, EXPAND_BEGUN).await, run);
    let store = stored.crash(store);
    let behind: Vec<_> = store.events().await.unwrap().iter().map(|record| record.behind).collect();
    assert_eq!(behind, [RunId::NONE, run]);
}

pub(super) async fn a_fact_replaces_its_earlier_value_and_is_durable(stored: &mut dyn Stored) {
    let store = stored.open();
    assert_eq!(store.kept(KeptFact::Pace).await.unwrap(), None);
    for value in ["1", "2"] {
        store.keep(KeptFact::Pace, value.to_owned()).await.unwrap();
    }
    store.keep(KeptFact::Budgets, "3".to_owned()).await.unwrap();
    let store = stored.crash(store);
    assert_eq!(store.kept(KeptFact::Pace).await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.kept(KeptFact::Budgets).await.unwrap().as_deref(), Some("3"));
}

pub(super) async fn a_state_without_a_run_can_be_forgotten(stored: &mut dyn Stored) {
    let store = stored.open();
    append(&store, ACCEPTED).await;
    append(&store, EXPAND_BEGUN).await;
    store.keep(KeptFact::FlagPlace, "a table".to_owned()).await.unwrap();
    store.keep(KeptFact::LeaseOwner, "me".to_owned()).await.unwrap();
    assert!(store.forget_unbegun().await.unwrap());
    let store = stored.crash(store);
    assert!(events(&store).await.is_empty());
    assert_eq!(store.kept(KeptFact::FlagPlace).await.unwrap(), None);
    assert_eq!(store.kept(KeptFact::LeaseOwner).await.unwrap().as_deref(), Some("me"));
    append(&store, ACCEPTED).await;
    begin(&store, Begin::ResumeOrNew, 1).await;
    assert!(!store.forget_unbegun().await.unwrap(), "a state with a run must not be forgotten");
    assert_eq!(events(&store).await, [ACCEPTED]);
}
