//! Tests control items, the flag and the lease on a real server: conditions, errors and lost replies.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::clock;
use backfill::internals::cutover::{
    Flag, FlagAccess, FlagChange, FlagMeta, FlagStoreError, Lease, LeaseError, ReadFrom, WriteTo, flag_and_lease_items,
    open,
};
use backfill::internals::dynamodb::FatalKind;
use backfill::internals::dynamodb::control::{Control, ControlError, ControlItem};
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::local::Fault;
use backfill::internals::plan::{FlagKey, Plan, load};

use super::sdk_table;
use crate::harness::Harness;

async fn control_items(harness: &Harness, name: &str, key: &FlagKey) -> (ControlItem, ControlItem) {
    let table: Arc<dyn Control> = Arc::new(sdk_table(harness, name).await);
    flag_and_lease_items(table, name, key).await.unwrap()
}

fn attributes(version: &str, state: &str) -> Item {
    [("version".to_owned(), Value::N(Num::parse(version).unwrap())), ("write".to_owned(), Value::S(state.into()))]
        .into()
}

fn plan(harness: &Harness, cutover: &str) -> Plan {
    let region = std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned());
    let text = format!(
        "[migration]\nname = \"rename\"\n[table]\nname = \"shop\"\nregion = \"{region}\"\nendpoint_url = \"{}\"\n\
         [[change]]\nmove = \"a\"\nto = \"b\"\n[cutover]\n{cutover}\n",
        harness.endpoint()
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

async fn opened(harness: &Harness, cutover: &str) -> FlagAccess {
    open(&plan(harness, cutover), clock::wall_clock(), None).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_item_is_written_only_if_it_is_as_expected() {
    let harness = Harness::start();
    let single = harness.create_flag_table().await;
    let double = harness.create_table().await;
    let pair = FlagKey::Attributes(vec![("pk".into(), "FLAG".into()), ("sk".into(), "x".into())]);
    for (name, key) in [(&single, FlagKey::Partition("x".into())), (&double, pair)] {
        let (item, beside) = control_items(&harness, name, &key).await;
        assert_eq!(item.get().await, Ok(None));
        let first = item.put(attributes("1", "old"), None).await.unwrap();
        assert_eq!(item.get().await, Ok(Some(first.clone())));
        assert_eq!(beside.get().await, Ok(None));
        for wrong in [None, Some(attributes("2", "old")), Some(attributes("1", "both"))] {
            let refused = item.put(attributes("2", "both"), wrong.as_ref()).await;
            assert!(
                matches!(&refused, Err(ControlError::Changed { found: Some(found), .. }) if *found == first),
                "{refused:?}"
            );
        }
        // The condition compares numbers by value. The put replaces the whole item.
        item.put(Item::from([("version".to_owned(), Value::Null)]), Some(&attributes("1.0", "old"))).await.unwrap();
        assert!(!item.get().await.unwrap().unwrap().contains_key("write"));
        let refused = beside.put(attributes("2", "both"), Some(&attributes("1", "old"))).await;
        assert!(matches!(refused, Err(ControlError::Changed { found: None, .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_write_survives_lost_replies() {
    let harness = Harness::start();
    let name = harness.create_flag_table().await;
    let (item, _) = control_items(&harness, &name, &FlagKey::Partition("x".into())).await;
    item.put(attributes("1", "old"), None).await.unwrap();
    harness.proxy().set_faults(Some(Arc::new(|request| {
        if request.operation == "PutItem" && request.operation_sequence < 2 { Fault::DropReply } else { Fault::Pass }
    })));
    let written = item.put(attributes("2", "both"), Some(&attributes("1", "old"))).await.unwrap();
    assert_eq!(item.get().await, Ok(Some(written)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_control_table_name_the_remedy() {
    let harness = Harness::start();
    let kind_of = |error: ControlError| match &error {
        ControlError::Unusable { kind, .. } => (*kind, error.to_string()),
        _ => panic!("{error}"),
    };
    let key = FlagKey::Attributes(vec![("id".into(), "x".into())]);
    let (missing, _) = control_items(&harness, "no-such-table", &key).await;
    for error in [missing.get().await.unwrap_err(), missing.put(Item::new(), None).await.unwrap_err()] {
        let (kind, text) = kind_of(error);
        assert!(kind == FatalKind::TableMissing && text.contains("Create the table"), "{text}");
    }
    // This table also has a sort key.
    let (other, _) = control_items(&harness, &harness.create_table().await, &key).await;
    for error in [other.get().await.unwrap_err(), other.put(Item::new(), None).await.unwrap_err()] {
        let (kind, text) = kind_of(error);
        assert!(kind == FatalKind::Request && text.contains("[cutover]"), "{text}");
    }
    let refused = open(&plan(&harness, "table = \"no-such-table\""), clock::wall_clock(), None).await.err().unwrap();
    assert!(matches!(refused, FlagStoreError::Control(ControlError::Unusable { kind: FatalKind::TableMissing, .. })));
}

/// One process creates the flag of a plan. A second process reads and changes it. The server refuses a later change by
/// the first process, because that change is based on the old flag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_can_be_created_moved_and_read_by_another_process() {
    let harness = Harness::start();
    let cutover = format!("table = \"{}\"\nmax_cache_seconds = 1", harness.create_flag_table().await);
    let ours = opened(&harness, &cutover).await.flag;
    let theirs = opened(&harness, &cutover).await.flag;
    assert!(ours.read().await.unwrap().is_none());
    let meta =
        FlagMeta { plan: "f".repeat(64).into(), report: Some("r".into()), actor: "jo@laptop".into(), reason: None };
    let now = jiff::Timestamp::now();
    let first = ours.change(None, &Flag::new(1, now), &meta).await.unwrap();
    assert!(first.changed_at > now);
    assert_eq!(theirs.read().await.unwrap(), Some((first.clone(), meta.clone())));
    let next = first.next(FlagChange::DualWrite, first.settled_at(), Duration::ZERO).unwrap();
    let kept = theirs.change(Some(&first), &next, &meta).await.unwrap();
    assert_eq!((kept.version, kept.write, kept.read), (2, WriteTo::Both, ReadFrom::Old));
    let late = ours.change(Some(&first), &next, &meta).await.unwrap_err();
    assert!(matches!(&late, FlagStoreError::Changed { found: Some(found), .. } if **found == kept), "{late}");
    assert_eq!(ours.read().await.unwrap(), Some((kept, meta)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_plan_has_one_holder() {
    let harness = Harness::start();
    let cutover = format!("table = \"{}\"", harness.create_flag_table().await);
    let lease = opened(&harness, &cutover).await.lease.unwrap();
    let long = Duration::from_secs(6);
    let short = Duration::from_millis(500);
    let first = Lease::acquire(lease.clone(), "a", None, long, |_, _| ()).await.unwrap();
    let refused = Lease::acquire(lease.clone(), "b", None, short, |_, _| ()).await.unwrap_err();
    assert!(matches!(&refused, LeaseError::Held { owner, .. } if owner.as_raw() == "a"), "{refused}");
    first.release().await;
    let second = Lease::acquire(lease.clone(), "b", None, short, |_, _| ()).await.unwrap();
    assert_eq!(second.fence(), 2);
    drop(second);
    // The second holder never releases the lease, but the lease expires.
    assert_eq!(Lease::acquire(lease, "c", None, long, |_, _| ()).await.unwrap().fence(), 3);
}
