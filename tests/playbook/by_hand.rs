//! Tests the application without the tool. The test itself changes the flag and makes the simplest possible migration.
//! If the application obeys the flag, no read is wrong during the whole migration. If the test plants a mistake, the
//! checks find it.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::clock;
use backfill::internals::cutover::{Flag, FlagChange, FlagMeta, FlagStore, TableStore};
use backfill::internals::dynamodb::control::{Control, ControlItem};
use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::plan::TableRef;

use crate::app::{Application, Habit, NEW, OLD, assert_many_of_each_kind, pk};
use crate::harness::Harness;
use crate::scene::{MOVE, NAME, Scene, items};

const CACHE: u32 = 1;

/// A migration without the tool. It changes the flag, and copies and removes attributes.
struct ManualMigration<'a> {
    scene: &'a Scene,
    store: TableStore,
    flag: Flag,
    /// Whether to wait after every flag change until application caches have expired.
    waits: bool,
}

impl ManualMigration<'_> {
    async fn start(scene: &Scene, waits: bool) -> ManualMigration<'_> {
        let reference = TableRef {
            name: scene.flags.clone(),
            key: None,
            region: Some(std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned())),
            endpoint_url: Some(scene.harness.endpoint()),
            profile: None,
            account: None,
            role: None,
        };
        let table: Arc<dyn Control> = Arc::new(DynamoTable::new(&connect(&reference).await.unwrap(), &scene.flags));
        let key = ItemKey::new(Item::from([("id".to_owned(), Value::S(NAME.to_owned()))]));
        let store = TableStore::new(ControlItem::new(table, &scene.flags, key, "id"), clock::wall_clock());
        let flag = store.change(None, &Flag::new(CACHE, jiff::Timestamp::now()), &meta()).await.unwrap();
        ManualMigration { scene, store, flag, waits }
    }

    async fn move_flag(&mut self, change: FlagChange) {
        if self.waits {
            self.wait_for_caches().await;
        }
        let next = self.flag.next(change, self.flag.settled_at(), Duration::ZERO).unwrap();
        self.flag = self.store.change(Some(&self.flag), &next, &meta()).await.unwrap();
    }

    async fn wait_for_caches(&self) {
        tokio::time::sleep(Duration::from_secs(CACHE.into())).await;
    }

    /// Copies the old attribute to the new one in every item that lacks the new one. Each write copies the value that
    /// the item has at that moment.
    async fn copy_old_to_new(&self) {
        self.update_items("SET #new = #old", "attribute_exists(#old) AND attribute_not_exists(#new)").await;
    }

    /// Removes the old attribute.
    async fn remove_old(&self) {
        self.update_items("REMOVE #old", "attribute_exists(#old) OR attribute_exists(#new)").await;
    }

    async fn update_items(&self, update: &str, condition: &str) {
        for item in self.scene.dump().await.values() {
            let request = self.scene.harness.client().update_item().table_name(&self.scene.table);
            let request = request.key("pk", AttributeValue::S(pk(item).to_owned()));
            let request = request.key("sk", AttributeValue::S("x".to_owned()));
            let names = [("#old".to_owned(), OLD.to_owned()), ("#new".to_owned(), NEW.to_owned())];
            let names = names.into_iter().filter(|(name, _)| format!("{update} {condition}").contains(name)).collect();
            let request = request.set_expression_attribute_names(Some(names)).update_expression(update);
            // If the condition of the update fails, the item needs no update.
            let refused = request.condition_expression(condition).send().await.err();
            assert!(refused.is_none_or(|e| e.into_service_error().is_conditional_check_failed_exception()));
        }
    }

    /// Makes all flag changes of a migration in order.
    async fn migrate(&mut self, app: &Application, between: u64) {
        for change in [
            FlagChange::DualWrite,
            FlagChange::ReadNew(10),
            FlagChange::ReadNew(100),
            FlagChange::WriteNew,
            FlagChange::Contract,
        ] {
            self.move_flag(change).await;
            if self.waits {
                self.wait_for_caches().await;
            }
            match change {
                FlagChange::DualWrite => self.copy_old_to_new().await,
                FlagChange::Contract => self.remove_old().await,
                _ => {}
            }
            app.wait_for_operations(between).await;
        }
    }
}

fn meta() -> FlagMeta {
    FlagMeta { plan: "f".repeat(64).into(), report: None, actor: "the test".into(), reason: None }
}

async fn scene(count: u64) -> Scene {
    Scene::flagged(Harness::start(), items(count), "", MOVE).await
}

/// Runs a whole migration while an application with this habit is running. Returns the wrong reads that the application
/// found.
async fn run_migration(habit: Habit) -> Vec<String> {
    let scene = scene(60).await;
    let mut manual = ManualMigration::start(&scene, true).await;
    let mut app = scene.application(habit).await;
    app.wait_for_operations(100).await;
    manual.migrate(&app, 150).await;
    let figures = app.stop().await;
    println!("{habit:?}: {figures:?}, {} wrong reads", app.wrong().len());
    if habit == Habit::Obedient {
        assert_many_of_each_kind(&figures);
        scene.assert_nothing_lost(&app).await;
        app.assert_only_at(&scene.dump().await, NEW);
    }
    app.wrong()
}

/// An obedient application never reads a stale value. The checks detect two mistakes: an instance that never rereads
/// the flag, and an application that removes only the attribute that it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_obedient_application_reads_nothing_stale_and_a_disobedient_one_is_found() {
    let (obedient, never_looks, removes_one) = tokio::join!(
        run_migration(Habit::Obedient),
        run_migration(Habit::NeverRereadsFlag),
        run_migration(Habit::RemovesOneName)
    );
    assert_eq!(obedient, Vec::<String>::new());
    assert!(!never_looks.is_empty() && !removes_one.is_empty());
}

/// The test changes the flag without waiting, so some instances obey a flag that has since changed twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_that_moves_without_waiting_is_found() {
    let scene = scene(20).await;
    let mut manual = ManualMigration::start(&scene, false).await;
    let app = scene.application(Habit::Obedient).await;
    for _ in 0..10 {
        manual.move_flag(FlagChange::DualWrite).await;
        manual.copy_old_to_new().await;
        manual.move_flag(FlagChange::ReadNew(100)).await;
        app.wait_for_operations(100).await;
        manual.move_flag(FlagChange::ReadOld { accept_stale: false }).await;
        manual.move_flag(FlagChange::WriteOld).await;
        app.wait_for_operations(50).await;
        if !app.wrong().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the checks found no wrong read");
}

/// The test removes a value without a copy. The check must detect the loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_value_without_a_copy_is_found() {
    let scene = scene(20).await;
    let mut app = scene.application(Habit::Obedient).await;
    app.wait_for_operations(50).await;
    app.stop().await;
    scene.assert_nothing_lost(&app).await;
    let holder = scene.dump().await.into_values().find(|item| item.contains_key(OLD)).unwrap();
    let request = scene.harness.client().update_item().table_name(&scene.table).update_expression("REMOVE #old");
    let request = request.key("pk", AttributeValue::S(pk(&holder).to_owned()));
    let request = request.key("sk", AttributeValue::S("x".to_owned()));
    request.expression_attribute_names("#old", OLD).send().await.unwrap();
    let missed = tokio::spawn(async move { scene.assert_nothing_lost(&app).await }).await;
    assert!(missed.unwrap_err().is_panic());
}
