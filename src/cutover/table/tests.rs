//! Tests the flag in virtual time, on a table in memory that implements DynamoDB's conditions.

use jiff::{SignedDuration, Timestamp};

use tokio::time::Instant;

use super::*;
use crate::cutover::{FlagChange, ReadFrom, SchemaError, WriteTo, check_flag_plan};
use crate::dynamodb::control::fake::{FakeTable, PutFault};

/// Returns a clock that follows the virtual time.
fn clock() -> Clock {
    let began = Instant::now();
    Arc::new(move || {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(began.elapsed()).unwrap()
    })
}

fn meta() -> FlagMeta {
    FlagMeta { plan: "f".repeat(64).into(), report: None, actor: "jo@laptop".into(), reason: None }
}

fn store(table: &Arc<FakeTable>, clock: &Clock) -> TableStore {
    TableStore::new(table.item("rename"), Arc::clone(clock))
}

/// Creates the flag and changes it once.
async fn both(store: &TableStore, clock: &Clock) -> Flag {
    let first = store.change(None, &Flag::new(60, clock()), &meta()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let next = first.next(FlagChange::DualWrite, clock(), Duration::ZERO).unwrap();
    store.change(Some(&first), &next, &meta()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_read_returns_what_was_changed() {
    let table = FakeTable::new();
    let clock = clock();
    let store = store(&table, &clock);
    assert!(store.read().await.unwrap().is_none());
    let flag = both(&store, &clock).await;
    assert_eq!((flag.version, flag.write, flag.read), (2, WriteTo::Both, ReadFrom::Old));
    assert_eq!(store.read().await.unwrap(), Some((flag.clone(), meta())));
    assert_eq!(flag.dual_since, Some(flag.changed_at));
    assert_eq!(flag.changed_at, clock(), "the recorded time must be the time when the change took effect");
}

/// The stored times are never earlier than the moment when the change took effect, even if requests or replies are
/// delayed or lost.
#[tokio::test(start_paused = true)]
async fn the_times_of_a_change_are_never_too_early() {
    let second = Duration::from_secs;
    for faults in [
        vec![PutFault::Slow(second(2))],
        vec![PutFault::Slow(second(4)), PutFault::Slow(second(20))],
        vec![PutFault::Slow(second(4)), PutFault::Slow(second(20)), PutFault::Slow(second(30))],
        vec![PutFault::LoseReply; 8],
    ] {
        let table = FakeTable::new();
        let clock = clock();
        let store = store(&table, &clock);
        let flag = both(&store, &clock).await;
        tokio::time::sleep(second(100)).await;
        table.inject(faults.clone());
        let next = flag.next(FlagChange::ReadNew(5), clock(), Duration::ZERO).unwrap();
        let meta = meta();
        let mut latest = clock();
        let mut change = store.change(Some(&flag), &next, &meta);
        // This process can die at any moment. The next process then measures its wait from the stored `changed_at`, so
        // this time must never be too early.
        let stored = loop {
            let ended = tokio::time::timeout(Duration::from_millis(100), &mut change).await;
            let seen = store.read().await.unwrap().unwrap().0;
            if seen.version == 2 {
                latest = clock();
            }
            assert!(
                seen.version == 2 || seen.changed_at >= latest,
                "{faults:?}: {seen:?}, but the flag had the earlier state until {latest}"
            );
            if let Ok(stored) = ended {
                break stored.unwrap();
            }
        };
        assert_eq!(store.read().await.unwrap().unwrap().0, stored);
        assert_eq!((stored.version, stored.dual_since), (3, flag.dual_since));
    }
}

/// RUNBOOK: "the flag was changed by somebody else"
#[tokio::test(start_paused = true)]
async fn the_refusal_shows_the_flag_before_and_after_somebody_elses_change() {
    let table = FakeTable::new();
    let clock = clock();
    let store = store(&table, &clock);
    let flag = both(&store, &clock).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let next = |change| flag.next(change, clock(), Duration::ZERO).unwrap();
    let theirs = store.change(Some(&flag), &next(FlagChange::ReadNew(25)), &meta()).await.unwrap();
    let refused = store.change(Some(&flag), &next(FlagChange::WriteOld), &meta()).await.unwrap_err();
    let text = refused.to_string();
    for part in ["jo@laptop", "[version 2: write = both, read = old]", "[version 3: write = both, read = new at 25 %]"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(store.read().await.unwrap().unwrap().0, theirs);
    let created = store.change(None, &Flag::new(60, clock()), &meta()).await.unwrap_err();
    assert!(created.to_string().contains("it was not there, and now it is [version 3"), "{created}");
}

/// The condition of a change must compare more than the version, because somebody can edit the flag by hand without
/// changing its version.
#[tokio::test(start_paused = true)]
async fn a_state_that_was_edited_by_hand_is_noticed() {
    let table = FakeTable::new();
    let clock = clock();
    let store = store(&table, &clock);
    let flag = both(&store, &clock).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let next = flag.next(FlagChange::ReadNew(25), clock(), Duration::ZERO).unwrap();
    table.edit("rename", |item| drop(item.insert("old_stale".into(), Value::Bool(true))));
    let refused = store.change(Some(&flag), &next, &meta()).await.unwrap_err();
    assert!(matches!(&refused, FlagStoreError::Changed { found: Some(found), .. } if found.old_stale), "{refused}");
    table.edit("rename", |item| drop(item.insert("write".into(), Value::S("old".into()))));
    assert!(matches!(store.read().await, Err(FlagStoreError::Schema(SchemaError::Impossible(_)))));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_beside_the_flag() {
    let table: Arc<dyn Control> = FakeTable::new();
    let names = |(flag, lease): (ControlItem, ControlItem)| (flag.name().to_owned(), lease.name().to_owned());
    let found = names(flag_and_lease_items(Arc::clone(&table), "ops", &FlagKey::Partition("x".into())).await.unwrap());
    assert_eq!(found, ("item id=x of table ops".into(), "item id=x#lease of table ops".into()));
    let key = FlagKey::Attributes(vec![("pk".into(), "F".into()), ("a".into(), "x".into())]);
    let found = names(flag_and_lease_items(table, "ops", &key).await.unwrap());
    assert_eq!(found, ("item a=x pk=F of table ops".into(), "item a=x#lease pk=F of table ops".into()));
}

#[test]
fn a_single_value_is_not_a_key_of_every_table() {
    let attribute = |name: &str, kind: &str| crate::item::KeyAttribute { name: name.into(), kind: kind.into() };
    let other = |partition, sort| only_key(&KeySchema { partition, sort }, "ops", "x");
    assert_eq!(other(attribute("id", "S"), None), Ok("id".into()));
    for (wrong, says) in [
        (other(attribute("id", "N"), None), "type N"),
        (other(attribute("pk", "S"), Some(attribute("sk", "S"))), "key = { \"pk\" = \"…\", \"sk\" = \"…\" }"),
    ] {
        assert!(wrong.unwrap_err().to_string().contains(says));
    }
}

/// RUNBOOK: "another migration uses this `key`: choose a different `key`"
#[test]
fn a_flag_of_another_plan_is_foreign() {
    let plan =
        crate::plan::load("p", "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nremove = \"a\"\n")
            .unwrap()
            .plan;
    let own = FlagMeta { plan: plan.fingerprint().to_string().into(), ..meta() };
    assert!(check_flag_plan("the flag", &own, &plan.fingerprint()).is_ok());
    let foreign = check_flag_plan("the flag", &meta(), &plan.fingerprint()).unwrap_err().to_string();
    assert!(foreign.contains("ffffffffffff;") && foreign.contains("`key`"), "{foreign}");
}
