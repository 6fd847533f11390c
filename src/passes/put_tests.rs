//! Tests derived items against live writers, faults and kills, in virtual time. The application changes and deletes
//! sources, and puts and changes the derived items itself. Several sources share a derived key. The derived items go into
//! the table of their sources, or into another table.

mod scene;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::change::{Outcome, PreImage};
use crate::dynamodb::memory::{Author, SimulatedFault};
use crate::item::{Item, ItemKey, Value};
use crate::state::{BeginMode, NewRun, PreImageRow, phase};
use scene::{ADDRESSES, Place, Scene, USERS, user_key, user_key_of};

/// Live writers lose nothing. Every derived item is put from the values that its source had at that moment, and only if
/// no item had its key. A rollback deletes only items that the migration put. It reports items if it cannot determine
/// whether the migration put them.
#[tokio::test(start_paused = true)]
async fn live_writers_lose_nothing_and_no_derived_item_is_stale() {
    let mut seen = BTreeSet::new();
    let (mut all_puts, mut all_deletes, mut left) = (0, 0, 0);
    for (seed, place) in (0..400).zip(Place::ALL.into_iter().cycle()) {
        let mut scene = Scene::new(place, seed, 0.1, None);
        let application = scene.start_application(250);
        scene.pass(phase::EXPAND, 3).await;
        scene.check_history();
        application.await.unwrap();
        // A late write of a killed process may still arrive.
        sleep(Duration::from_secs(10)).await;
        let (puts, deletes) = scene.check_history();
        assert_eq!(deletes, 0, "seed {seed}: a run deletes nothing");
        let run = scene.store.current_run(phase::EXPAND).await.unwrap().unwrap();
        let counts = scene.store.totals(run.id).await.unwrap().counts;
        seen.extend(Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0).map(Outcome::name));
        // The writers of derived items stop.
        scene.pass(phase::ROLLBACK, 2).await;
        let (_, deletes) = scene.check_history();
        let reported = scene.reported().await;
        for address in 0..ADDRESSES {
            let key = place.lookup_key(address);
            let Some(item) = scene.left_by_tool(&key) else { continue };
            assert!(reported.contains(&key.to_text()), "seed {seed}: {item:?} stays and is not reported");
            left += 1;
        }
        all_puts += puts;
        all_deletes += deletes;
    }
    // The application changes or deletes most derived items before the rollback.
    assert!(all_deletes > 100 && left * 8 < all_deletes, "{all_puts} puts, {all_deletes} deletes, {left} left");
    for outcome in ["applied", "already_applied", "nothing_to_do", "diverged"] {
        assert!(seen.contains(outcome), "{outcome} never occurred: {seen:?}");
    }
}

/// Without an application and without faults, each address gets one lookup item, a second pass writes nothing, and a
/// rollback restores the table.
#[tokio::test(start_paused = true)]
async fn a_quiet_table_is_restored_exactly() {
    for (seed, place) in (0..60).zip(Place::ALL.into_iter().cycle()) {
        let mut scene = Scene::new(place, seed, 0.0, None);
        let before: Vec<(ItemKey, Item)> = scene.items();
        scene.pass(phase::EXPAND, 0).await;
        for n in 0..USERS {
            let user = scene.item(&user_key(n));
            let Some(expected) = user.and_then(|user| place.derived(&user)) else { continue };
            assert!(scene.lookup(&place.key_of(&expected)).is_some(), "seed {seed}: user {n} has no lookup item");
        }
        scene.pass(phase::ROLLBACK, 0).await;
        assert_eq!(scene.items(), before, "seed {seed}");
    }
}

/// After a lost reply or a late transaction, an item is never put twice, and an item that another writer put is never
/// deleted. Even if a rollback follows immediately, no late transaction puts an item after the rollback.
#[tokio::test(start_paused = true)]
async fn lost_and_late_transactions_are_settled() {
    let faults = [SimulatedFault::LostReply, SimulatedFault::LateRequest].map(|fault| Place::ALL.map(|at| (at, fault)));
    for (seed, (place, fault)) in (0..80).zip(faults.into_iter().flatten().cycle()) {
        let mut scene = Scene::new(place, seed, 0.5, Some(fault));
        scene.pass(phase::EXPAND, 2).await;
        scene.check_history();
        scene.pass(phase::ROLLBACK, 1).await;
        sleep(Duration::from_secs(10)).await;
        scene.check_history();
        let reported = scene.reported().await;
        for key in (0..ADDRESSES).map(|address| place.lookup_key(address)) {
            let left = scene.left_by_tool(&key);
            assert!(left.is_none() || reported.contains(&key.to_text()), "seed {seed}: {left:?} is not reported");
        }
    }
}

/// The first process died before its transaction arrived. The second process put the item, and DynamoDB confirmed the
/// put. If the rollback deleted the item immediately, the late transaction would put it again.
#[tokio::test(start_paused = true)]
async fn a_rollback_waits_for_a_transaction_without_its_own_confirmation() {
    let mut waited = 0;
    for (seed, place) in (0..20).zip(Place::ALL.into_iter().cycle()) {
        let mut scene = Scene::new(place, seed, 0.0, None);
        let users: Vec<Item> = (0..USERS).filter_map(|n| scene.item(&user_key(n))).collect();
        let missing = |user: &Item| {
            let item = place.derived(user)?;
            let key = place.key_of(&item);
            scene.lookup(&key).is_none().then_some((user.clone(), key, item))
        };
        let Some((user, key, item)) = users.iter().find_map(missing) else { continue };
        let source = user_key_of(match &user["pk"] {
            Value::S(pk) => pk,
            other => panic!("{other:?}"),
        });
        let partition_key = place.description().derived.map_or("pk".to_owned(), |other| other.key.partition.name);
        let new = NewRun {
            phase: phase::EXPAND.into(),
            total_segments: 3,
            tool_version: "t".into(),
            table_items_estimate: None,
        };
        let session = scene.store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.session();
        let rows = [PreImage::source_of(&partition_key, &source), PreImage::of_item(&partition_key, &item)];
        let rows = rows.map(|pre| PreImageRow { key: key.clone(), pre }).to_vec();
        scene.store.history().append_pre_images(session, rows).await.unwrap();
        // The process dies.
        scene.store = (scene.crash)();
        scene.pass(phase::EXPAND, 0).await;
        let is_own = scene.left_by_tool(&key) == Some(item.clone());
        let table = scene.lookups.clone();
        let late = {
            let (key, item) = (key.clone(), item.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                sleep(Duration::from_secs(50)).await;
                table.change(&key, Author::Tool(0), |existing| Some(existing.cloned().unwrap_or(item)));
            }))
        };
        scene.pass(phase::ROLLBACK, 0).await;
        late.await.unwrap();
        if is_own {
            waited += 1;
            assert_eq!(scene.lookup(&key), None, "seed {seed}: the late transaction put the item again");
        }
    }
    assert!(waited > 6, "{waited}");
}

/// A record belongs to the derived key, so a put records no stable attributes of its source.
#[test]
fn a_put_records_no_stable_attributes() {
    let stable = |change: &str| {
        let text = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[select]\nwhere = 'item.kind == \"USER\"'\n\
             stable = [\"kind\"]\n[[change]]\n{change}\n"
        );
        let plan = crate::plan::load("plan", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        plan.item_rules().stable.len()
    };
    let put = "attributes = { user = \"item.pk\" } }";
    assert_eq!(stable("set = \"v\"\nvalue = { N = \"2\" }"), 1);
    assert_eq!(stable(&format!("put = {{ key = {{ pk = '\"E#\" + item.pk', sk = '\"L\"' }}, {put}")), 0);
    assert_eq!(stable(&format!("put = {{ table = \"lookup\", key = {{ id = 'item.pk' }}, {put}")), 0);
}
