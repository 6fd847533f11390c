//! Tests the promises of an open state that do not belong to a single trait.

use super::*;

pub(super) async fn a_different_plan_is_refused_after_work_has_begun(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.close().await.unwrap();
    drop(store);
    for other in [
        Identity { fingerprint: "b".repeat(20), ..identity() },
        Identity { table_arn: identity().table_arn + "2", ..identity() },
        Identity { table_id: Some("id-2".to_owned()), ..identity() },
    ] {
        let opened = fixture.open_as(&other).map(|_| ());
        assert!(matches!(opened, Err(StoreError::Foreign(_))), "{opened:?}");
    }
    assert!(fixture.open().current_run(phase::EXPAND).await.unwrap().is_some());
}

pub(super) async fn a_closed_state_takes_no_request_and_can_be_opened_again(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let other = store.clone();
    store.close().await.unwrap();
    other.current_run(phase::EXPAND).await.unwrap_err();
    drop((store, other));
    assert_eq!(fixture.open().current_run(phase::EXPAND).await.unwrap().unwrap().id, run);
}
