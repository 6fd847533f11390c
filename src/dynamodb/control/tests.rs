//! Tests of control items. They use a table in memory that evaluates conditions as DynamoDB does, and that loses
//! requests and replies.

use super::fake::{FakeTable, PutFault};
use super::*;

fn version(n: u32) -> Item {
    [("version".to_owned(), Value::N(crate::item::Num::from_wire(n.to_string())))].into()
}

#[tokio::test(start_paused = true)]
async fn a_write_happens_only_if_the_item_is_as_expected() {
    let table = FakeTable::new();
    let item = table.item("a");
    let other = table.item("b");
    assert_eq!(item.get().await, Ok(None));
    let first = item.put(version(1), None).await.unwrap();
    assert_eq!(item.get().await, Ok(Some(first.clone())));
    assert_eq!(first["id"], Value::S("a".into()));
    let changed = |error| matches!(error, Err(ControlError::Changed { found: Some(found), .. }) if found == first);
    assert!(changed(item.put(version(2), None).await));
    assert!(changed(item.put(version(3), Some(&version(2))).await));
    let second = item.put(version(2), Some(&version(1))).await.unwrap();
    assert_ne!(second[WRITER], first[WRITER]);
    let missing = other.put(version(2), Some(&version(1))).await;
    assert!(matches!(missing, Err(ControlError::Changed { found: None, .. })));
}

/// A write is applied exactly once, even if requests and replies are lost. The client recognizes its own write and does
/// not mistake it for somebody else's write.
#[tokio::test(start_paused = true)]
async fn lost_requests_and_replies_do_no_harm() {
    use PutFault::{LoseReply, LoseRequest, Throttle};
    for faults in [
        vec![LoseReply],
        vec![LoseRequest],
        vec![Throttle, LoseRequest, LoseReply],
        vec![LoseReply, Throttle, LoseReply],
    ] {
        let table = FakeTable::new();
        let item = table.item("a");
        item.put(version(1), None).await.unwrap();
        table.inject(faults.clone());
        let written =
            item.put(version(2), Some(&version(1))).await.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert_eq!(item.get().await, Ok(Some(written)));
        assert!(table.puts() > 2);
    }
}

/// The reply to a write is lost. Before the client resends the write, somebody else changes the written item. The
/// client must not report success.
#[tokio::test(start_paused = true)]
async fn a_writer_that_builds_on_a_lost_write_is_noticed() {
    let table = FakeTable::new();
    let item = table.item("a");
    item.put(version(1), None).await.unwrap();
    table.inject([PutFault::LoseReply]);
    let ours = tokio::spawn({
        let item = item.clone();
        async move { item.put(version(2), Some(&version(1))).await }
    });
    tokio::task::yield_now().await;
    item.put(version(3), Some(&version(2))).await.unwrap();
    assert!(
        matches!(ours.await.unwrap(), Err(ControlError::Changed { found: Some(found), .. }) if found["version"] == version(3)["version"])
    );
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_in_time_and_says_what_is_unknown() {
    let table = FakeTable::new();
    let item = table.item("a");
    let lost = |ambiguous| Some(TableError::Transient { message: "no route".into(), ambiguous });
    for (error, uncertain, says) in
        [(lost(true), true, "checks this first"), (lost(false), false, "It was not changed")]
    {
        table.fail(error);
        let began = Instant::now();
        let gave_up = item.put(version(1), None).await.unwrap_err();
        assert!(matches!(gave_up, ControlError::GaveUp { uncertain: found, .. } if found == uncertain), "{gave_up}");
        assert!(gave_up.to_string().contains(says) && gave_up.to_string().contains("no route"), "{gave_up}");
        assert!(began.elapsed() <= PATIENCE && began.elapsed() > PATIENCE / 2);
        assert!(table.puts() < 200, "the client must wait between the attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_waiting_does_not_fix_says_what_does() {
    let table = FakeTable::new();
    let item = table.item("a");
    for (kind, says) in [
        (FatalKind::TableMissing, "Create the table"),
        (FatalKind::Permission, "dynamodb:PutItem"),
        (FatalKind::Credentials, "Renew"),
        (FatalKind::Request, "[cutover]"),
    ] {
        table.fail(Some(TableError::Fatal { kind, message: "no".into() }));
        let before = table.puts();
        for error in [item.get().await.unwrap_err(), item.put(version(1), None).await.unwrap_err()] {
            assert!(matches!(error, ControlError::Unusable { kind: found, .. } if found == kind));
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(table.puts(), before + 1, "the write must not be retried");
    }
}
