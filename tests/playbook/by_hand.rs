//! The application on its own, with a flag that the test moves by its own rules and the plainest of migrations between: an
//! obedient one meets nothing wrong on the whole way, and each planted mistake is found.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::clock;
use backfill::internals::cutover::{Flag, FlagChange, FlagMeta, FlagStore, TableStore};
use backfill::internals::dynamodb::control::{Control, ControlItem};
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::plan::TableRef;

use crate::app::{Application, Habit, Kind, NEW, OLD, pk};
use crate::harness::Bed;
use crate::scene::{MOVE, NAME, Scene, items};

const CACHE: u32 = 1;

/// Moves the flag, and copies and removes by hand.
struct Hand<'a> {
    scene: &'a Scene,
    store: TableStore,
    flag: Flag,
    /// Whether every change's cache is waited out.
    waits: bool,
}

impl Hand<'_> {
    async fn of(scene: &Scene, waits: bool) -> Hand<'_> {
        let reference = TableRef {
            name: scene.flags.clone(),
            key: None,
            region: Some(std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned())),
            endpoint_url: Some(scene.bed.endpoint()),
            profile: None,
            account: None,
        };
        let table: Arc<dyn Control> = Arc::new(DynamoTable::new(&connect(&reference).await.unwrap(), &scene.flags));
        let key = ItemKey::new(Item::from([("id".to_owned(), Value::S(NAME.to_owned()))]));
        let store = TableStore::new(ControlItem::new(table, &scene.flags, key, "id"), clock::wall());
        let flag = store.change(None, &Flag::first(CACHE, jiff::Timestamp::now()), &meta()).await.unwrap();
        Hand { scene, store, flag, waits }
    }

    async fn moves(&mut self, change: FlagChange) {
        if self.waits {
            self.settles().await;
        }
        let next = self.flag.next(change, self.flag.settled_at(), Duration::ZERO).unwrap();
        self.flag = self.store.change(Some(&self.flag), &next, &meta()).await.unwrap();
    }

    async fn settles(&self) {
        tokio::time::sleep(Duration::from_secs(CACHE.into())).await;
    }

    /// Copies what is only at the old name, whatever it is by then.
    async fn copies(&self) {
        self.updates("SET #new = #old", "attribute_exists(#old) AND attribute_not_exists(#new)").await;
    }

    /// Removes what is at the old name.
    async fn removes(&self) {
        self.updates("REMOVE #old", "attribute_exists(#old) OR attribute_exists(#new)").await;
    }

    async fn updates(&self, update: &str, condition: &str) {
        for item in self.scene.dump().await.values() {
            let request = self.scene.bed.client().update_item().table_name(&self.scene.table);
            let request = request.key("pk", AttributeValue::S(pk(item).to_owned()));
            let request = request.key("sk", AttributeValue::S("x".to_owned()));
            let names = [("#old".to_owned(), OLD.to_owned()), ("#new".to_owned(), NEW.to_owned())];
            let names = names.into_iter().filter(|(name, _)| format!("{update} {condition}").contains(name)).collect();
            let request = request.set_expression_attribute_names(Some(names)).update_expression(update);
            // Whoever does not meet the condition needs nothing.
            let refused = request.condition_expression(condition).send().await.err();
            assert!(refused.is_none_or(|e| e.into_service_error().is_conditional_check_failed_exception()));
        }
    }

    /// The whole way.
    async fn all(&mut self, app: &Application, between: u64) {
        for change in [
            FlagChange::DualWrite,
            FlagChange::ReadNew(10),
            FlagChange::ReadNew(100),
            FlagChange::WriteNew,
            FlagChange::Contract,
        ] {
            self.moves(change).await;
            if self.waits {
                self.settles().await;
            }
            match change {
                FlagChange::DualWrite => self.copies().await,
                FlagChange::Contract => self.removes().await,
                _ => {}
            }
            app.works(between).await;
        }
    }
}

fn meta() -> FlagMeta {
    FlagMeta { plan: "f".repeat(64).into(), report: None, actor: "the test".into(), reason: None }
}

async fn scene(count: u64) -> Scene {
    Scene::flagged(Bed::start(), items(count), "", MOVE).await
}

/// The whole way, with an application of this habit; gives what it has found wrong.
async fn whole_way(habit: Habit) -> Vec<String> {
    let scene = scene(60).await;
    let mut hand = Hand::of(&scene, true).await;
    let mut app = scene.application(habit).await;
    app.works(100).await;
    hand.all(&app, 150).await;
    let figures = app.stop().await;
    println!("{habit:?}: {figures:?}, {} wrong", app.wrong().len());
    if habit == Habit::Obedient {
        for kind in [Kind::Read, Kind::Write, Kind::Replace, Kind::Remove, Kind::Insert, Kind::Delete] {
            assert!(figures.get(&kind).is_some_and(|n| *n > 10), "too few of {kind:?}");
        }
        scene.nothing_is_lost(&app).await;
        app.left(&scene.dump().await, NEW);
    }
    app.wrong()
}

/// An obedient application never reads a stale value. An instance that never looks at the flag again is found, and so is an
/// application that removes only what it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_obeys_reads_nothing_stale_and_who_does_not_is_found() {
    let (obedient, never_looks, removes_one) =
        tokio::join!(whole_way(Habit::Obedient), whole_way(Habit::NeverLooksAgain), whole_way(Habit::RemovesOneName));
    assert_eq!(obedient, Vec::<String>::new());
    assert!(!never_looks.is_empty() && !removes_one.is_empty());
}

/// Nobody waits between two changes, and instances obey what was so two changes ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_that_does_not_wait_is_found() {
    let scene = scene(20).await;
    let mut hand = Hand::of(&scene, false).await;
    let app = scene.application(Habit::Obedient).await;
    for _ in 0..10 {
        hand.moves(FlagChange::DualWrite).await;
        hand.copies().await;
        hand.moves(FlagChange::ReadNew(100)).await;
        app.works(100).await;
        hand.moves(FlagChange::ReadOld { accept_stale: false }).await;
        hand.moves(FlagChange::WriteOld).await;
        app.works(50).await;
        if !app.wrong().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("nothing was found wrong");
}

/// Only new values are written, and the test removes them where they are the only ones: each is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_without_a_copy_is_missed() {
    let scene = scene(20).await;
    let mut app = scene.application(Habit::Obedient).await;
    app.works(50).await;
    app.stop().await;
    scene.nothing_is_lost(&app).await;
    let holder = scene.dump().await.into_values().find(|item| item.contains_key(OLD)).unwrap();
    let request = scene.bed.client().update_item().table_name(&scene.table).update_expression("REMOVE #old");
    let request = request.key("pk", AttributeValue::S(pk(&holder).to_owned()));
    let request = request.key("sk", AttributeValue::S("x".to_owned()));
    request.expression_attribute_names("#old", OLD).send().await.unwrap();
    let missed = tokio::spawn(async move { scene.nothing_is_lost(&app).await }).await;
    assert!(missed.unwrap_err().is_panic());
}
