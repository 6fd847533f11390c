//! Tests the promises of an open state that belong to no single trait.

use super::*;

pub(super) async fn another_plan_is_refused_once_something_has_begun(stored: &mut dyn Stored) {
    let store = stored.open();
    begin(&store, Begin::ResumeOrNew, 1).await;
    store.close().await.unwrap();
    drop(store);
    for other in [
        Identity { fingerprint: "b".repeat(20), ..identity() },
        Identity { table_arn: identity().table_arn + "2", ..identity() },
        Identity { table_id: Some("id-2".to_owned()), ..identity() },
    ] {
        let opened = stored.open_as(&other).map(|_| ());
        assert!(matches!(opened, Err(StoreError::Foreign(_))), "{opened:?}");
    }
    assert!(stored.open().current_run(phase::EXPAND).await.unwrap().is_some());
}

pub(super) async fn a_closed_state_takes_no_request_and_can_be_opened_again(stored: &mut dyn Stored) {
    let store = stored.open();
    let run = begin(&store, Begin::ResumeOrNew, 1).await;
    let other = store.clone();
    store.close().await.unwrap();
    other.current_run(phase::EXPAND).await.unwrap_err();
    drop((store, other));
    assert_eq!(stored.open().current_run(phase::EXPAND).await.unwrap().unwrap().id, run);
}
