//! Tests rollbacks that restore deleted items, against a live application and kills, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::change::{ItemMark, Outcome, PreImage};
use crate::dynamodb::memory::{Author, FaultPlan, MemoryTable, Version};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::{Job, SessionResult, StopReason};
use crate::item::{Item, ItemKey, Value};
use crate::passes::write_pass::deletes;
use crate::passes::{expand, undo};
use crate::plan::Plan;
use crate::ratelimit::{Budget, Budgets};
use crate::state::{
    BeginMode, DeleteCounts, DeletedItemsQuery, Identity, NewRun, PreImageRow, RunSession, State, StoredFact, phase,
};

const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                    [select]\nwhere = 'item.sk < \"900\"'\n[[change]]\ndelete = true\nwriters = \"stopped\"\n\
                    [scan]\nsegments = 2\npage_limit = 3\n";

fn key(n: usize) -> ItemKey {
    ItemKey::new([("pk", n / 2), ("sk", n)].map(|(name, n)| (name.to_owned(), Value::S(format!("{n:03}")))).into())
}

fn item(n: usize) -> Item {
    let mut item = key(n).attributes().clone();
    item.insert("a".to_owned(), Value::S(format!("value {n}")));
    item
}

struct Scene {
    table: MemoryTable,
    plan: Plan,
    store: State,
}

impl Scene {
    fn new(items: usize) -> Scene {
        Scene::with_store(items, crate::state::in_memory())
    }

    fn with_store(items: usize, store: State) -> Scene {
        let latency = (Duration::from_millis(1), Duration::from_millis(5));
        let table = MemoryTable::new(TableDescription::for_tests(), latency, FaultPlan::NONE, 1);
        let scene = Scene { table, plan: plan(), store };
        (0..items).for_each(|n| scene.put(n, Author::Seed, Some(item(n))));
        scene
    }

    fn put(&self, n: usize, author: Author, item: Option<Item>) {
        self.table.change(&key(n), author, |_| item);
    }

    fn item(&self, n: usize) -> Option<Item> {
        self.versions(n).last().and_then(|version| version.item.clone())
    }

    fn versions(&self, n: usize) -> Vec<Version> {
        self.table.history(|history| {
            let found = history.all().find(|(other, _)| **other == key(n));
            found.map(|(_, versions)| versions.to_vec()).unwrap_or_default()
        })
    }

    fn job(&self, phase: &str) -> Job {
        let description = TableDescription::for_tests();
        let changes = match phase {
            phase::EXPAND => expand::changes(&self.plan, &description),
            _ => undo::changes(&self.plan, &description),
        };
        let wide = Budget { write: 1_000.0, read: 1_000.0 };
        let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
        let tables = Tables::one(Arc::new(self.table.connect(0)));
        Job::new(self.plan.clone(), Arc::new(changes), tables, description, &budgets)
    }

    async fn begin(&self, phase: &str, mode: BeginMode) -> RunSession {
        let new =
            NewRun { phase: phase.into(), total_segments: 2, tool_version: "t".into(), table_items_estimate: None };
        self.store.begin(mode, new).await.unwrap()
    }

    async fn pass(&self, phase: &str, mode: BeginMode) -> SessionResult {
        let session = self.begin(phase, mode).await;
        let ended = self.job(phase).work(&self.store, &session).await.unwrap();
        assert_eq!(ended.stopped, None);
        ended
    }

    /// Records that the run was about to delete this item, but records no reply.
    async fn record_unconfirmed(&self, n: usize, image: &Item) {
        let run = self.store.current_run(phase::EXPAND).await.unwrap().unwrap();
        let row = PreImageRow { key: key(n), pre: PreImage::of_item("pk", image) };
        self.store.append_pre_images(run.session(), vec![row]).await.unwrap();
    }
}

fn plan() -> Plan {
    crate::plan::load("plan", PLAN).unwrap().plan
}

fn of(ended: &SessionResult, outcome: Outcome) -> u64 {
    ended.totals.counts.of(outcome)
}

/// After a rollback, the application deletes one restored item and changes another. A second rollback changes neither
/// of them. If a later run deletes restored items, the next rollback restores these items.
#[tokio::test(start_paused = true)]
async fn a_second_rollback_leaves_restored_items_alone() {
    let scene = Scene::new(8);
    assert_eq!(of(&scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await, Outcome::Applied), 8);
    scene.record_unconfirmed(20, &item(20)).await;
    let first = scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!((of(&first, Outcome::Applied), of(&first, Outcome::Rejected)), (8, 1));
    scene.put(0, Author::Application, None);
    let changed: Item = item(1).into_iter().chain([("b".to_owned(), Value::Null)]).collect();
    scene.put(1, Author::Application, Some(changed.clone()));
    let second = scene.pass(phase::ROLLBACK, BeginMode::Again).await;
    assert_eq!(scene.item(0), None, "the application deleted this item");
    assert_eq!((second.totals.counts.scanned, of(&second, Outcome::Rejected)), (1, 1), "only the unclear item is left");
    assert_eq!(scene.item(1), Some(changed.clone()));
    // Another run deletes all items except item 0, and another rollback restores them.
    assert_eq!(of(&scene.pass(phase::EXPAND, BeginMode::Again).await, Outcome::Applied), 7);
    assert_eq!(of(&scene.pass(phase::ROLLBACK, BeginMode::Again).await, Outcome::Applied), 7);
    assert_eq!((scene.item(0), scene.item(1), scene.item(2)), (None, Some(changed), Some(item(2))));
}

/// The application creates an item with the same key, and the rollback keeps this item. The application then deletes
/// it. A repeated rollback must not restore the old item.
#[tokio::test(start_paused = true)]
async fn an_item_that_stayed_is_not_replaced_later() {
    let scene = Scene::new(2);
    scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let new = key(0).attributes().clone();
    scene.put(0, Author::Application, Some(new.clone()));
    let first = scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!((of(&first, Outcome::Applied), of(&first, Outcome::Diverged)), (1, 1));
    let second = scene.pass(phase::ROLLBACK, BeginMode::Again).await;
    assert_eq!((of(&second, Outcome::Diverged), scene.item(0)), (1, Some(new)), "it is reported again");
    scene.put(0, Author::Application, None);
    let third = scene.pass(phase::ROLLBACK, BeginMode::Again).await;
    assert_eq!((of(&third, Outcome::Rejected), scene.item(0)), (1, None));
}

/// A rollback is killed at any time. The application then deletes all restored items. No session restores an item a
/// second time.
#[tokio::test(start_paused = true)]
async fn a_resumed_rollback_resurrects_no_item() {
    let (mut resumed, mut unclear) = (0, 0);
    for lifetime in 1..80 {
        let (store, mut crash) = crate::state::in_memory_with_crashes();
        let mut scene = Scene::with_store(8, store);
        scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let session = scene.begin(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        let job = scene.job(phase::ROLLBACK);
        if timeout(Duration::from_millis(lifetime), job.work(&scene.store, &session)).await.is_ok() {
            continue;
        }
        scene.store = crash();
        // Writes in flight arrive.
        sleep(Duration::from_secs(1)).await;
        let back: Vec<usize> = (0..8).filter(|n| scene.item(*n).is_some()).collect();
        back.iter().for_each(|n| scene.put(*n, Author::Application, None));
        let ended = scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        for n in &back {
            assert_eq!(scene.item(*n), None, "item {n} after {lifetime} ms");
        }
        let missing = (0..8).filter(|n| scene.item(*n).is_none() && !back.contains(n)).count() as u64;
        assert_eq!(ended.totals.counts.scanned, 8, "each item is counted once");
        assert!(missing <= of(&ended, Outcome::Rejected), "after {lifetime} ms: {missing} without a failure");
        resumed += usize::from(!back.is_empty());
        unclear += of(&ended, Outcome::Rejected);
    }
    assert!(resumed > 3 && unclear > 3, "{resumed} and {unclear}");
}

/// A run is killed at any time. The pages of some deletes were not committed, and the table no longer shows these
/// deletes. So the report takes their number from the journal. The number is at least the number of confirmed deletes,
/// and at most the number of sent deletes.
#[tokio::test(start_paused = true)]
async fn a_killed_run_counts_the_deletes_of_its_journal() {
    let (mut uncounted, mut unclear) = (0, 0);
    for lifetime in 1..60 {
        let (store, mut crash) = crate::state::in_memory_with_crashes();
        let mut scene = Scene::with_store(12, store);
        let session = scene.begin(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let job = scene.job(phase::EXPAND);
        if timeout(Duration::from_millis(lifetime), job.work(&scene.store, &session)).await.is_ok() {
            continue;
        }
        scene.store = crash();
        sleep(Duration::from_secs(1)).await;
        let ended = scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
        assert!((0..12).all(|n| scene.item(n).is_none()));
        let DeleteCounts { confirmed, unconfirmed } = ended.deletes.unwrap();
        assert!(confirmed >= of(&ended, Outcome::Applied), "after {lifetime} ms: {confirmed}");
        assert_eq!(confirmed + unconfirmed, 12, "after {lifetime} ms: nobody else deletes items");
        scene.store.set_fact(StoredFact::JournalPurged, "2026-01-01T00:00:00Z".to_owned()).await.unwrap();
        scene.store.purge_journal().await.unwrap();
        let counted = deletes(&scene.store, &scene.plan, &ended.run).await.unwrap();
        assert_eq!(counted, None, "the purged journal no longer counts deletes");
        uncounted += usize::from(confirmed > of(&ended, Outcome::Applied));
        unclear += usize::from(unconfirmed > 0);
    }
    assert!(uncounted > 3 && unclear > 3, "{uncounted} and {unclear}");
    let scene = Scene::new(3);
    assert_eq!(scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await.deletes, None, "`applied` is exact");
}

/// Tests a rollback that died before it got a reply. Afterwards, the key may have the restored item, a different item,
/// or no item.
#[tokio::test(start_paused = true)]
async fn an_unconfirmed_put_is_not_repeated() {
    let scene = Scene::new(4);
    scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let session = scene.begin(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    let row = |n| PreImageRow { key: key(n), pre: PreImage::mark("pk", ItemMark::PuttingBack) };
    scene.store.append_pre_images(session.run.session(), (0..3).map(row).collect()).await.unwrap();
    scene.put(1, Author::Tool(9), Some(item(1)));
    scene.put(2, Author::Application, Some(key(2).attributes().clone()));
    let ended = scene.job(phase::ROLLBACK).work(&scene.store, &session).await.unwrap();
    let counted = [Outcome::Applied, Outcome::AlreadyApplied, Outcome::Diverged, Outcome::Rejected];
    assert_eq!(counted.map(|outcome| of(&ended, outcome)), [1, 1, 1, 1]);
    assert_eq!([0, 1, 2, 3].map(|n| scene.item(n).map(|item| item.len())), [None, Some(3), Some(2), Some(3)]);
    let failures = scene.store.failures_of_phase(phase::ROLLBACK, crate::state::Cursor::START, 10).await.unwrap();
    let reason = &failures[0].as_ref().unwrap().reason;
    assert!(
        reason.contains("a rollback found another item with this key, or it may have put the item back"),
        "{reason}"
    );
    // The rollback found item 1 equal to the recorded item, so item 1 is done and is not restored later.
    scene.put(1, Author::Application, None);
    scene.pass(phase::ROLLBACK, BeginMode::Again).await;
    assert_eq!(scene.item(1), None);
}

/// A delete of a killed run arrives while the rollback works. The rollback does not report the deleted item as
/// untouched.
#[tokio::test(start_paused = true)]
async fn a_rollback_waits_for_late_deletes() {
    let scene = Scene::new(2);
    scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
    for n in [10, 11] {
        scene.put(n, Author::Seed, Some(item(n)));
        scene.record_unconfirmed(n, &item(n)).await;
    }
    // An item that consists only of its key counts as existing.
    scene.put(12, Author::Seed, Some(key(12).attributes().clone()));
    scene.record_unconfirmed(12, key(12).attributes()).await;
    let late = async {
        sleep(Duration::from_secs(40)).await;
        scene.put(10, Author::Tool(7), None);
    };
    let (ended, ()) = tokio::join!(scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew), late);
    let counted = [Outcome::Applied, Outcome::NothingToDo, Outcome::Rejected].map(|outcome| of(&ended, outcome));
    assert_eq!(counted, [2, 2, 1]);
    assert_eq!(scene.item(11), Some(item(11)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_for_late_deletes() {
    let scene = Scene::new(1);
    scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
    scene.put(10, Author::Seed, Some(item(10)));
    scene.record_unconfirmed(10, &item(10)).await;
    let session = scene.begin(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    let job = scene.job(phase::ROLLBACK);
    let began = Instant::now();
    let stop = async {
        sleep(Duration::from_secs(5)).await;
        job.stop.stop(StopReason::Interrupted);
    };
    let (ended, ()) = tokio::join!(job.work(&scene.store, &session), stop);
    assert_eq!(ended.unwrap().stopped, Some(StopReason::Interrupted));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Before the put of a rollback arrives, the application creates an item with the same key. So the put is refused, and
/// its mark stays. If the run then deletes the new item, the mark belongs to the earlier delete, and a rollback
/// restores the new item.
#[tokio::test(start_paused = true)]
async fn a_mark_of_a_refused_put_does_not_affect_a_later_delete() {
    let scene = Scene::new(2);
    scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
    let new: Item = item(0).into_iter().chain([("b".to_owned(), Value::Null)]).collect();
    scene.put(0, Author::Application, Some(new.clone()));
    let first = scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
    assert_eq!(of(&first, Outcome::Diverged), 1);
    // This run also deletes item 1, which the rollback had restored.
    assert_eq!(of(&scene.pass(phase::EXPAND, BeginMode::Again).await, Outcome::Applied), 2);
    let second = scene.pass(phase::ROLLBACK, BeginMode::Again).await;
    assert_eq!((of(&second, Outcome::Applied), of(&second, Outcome::Rejected)), (2, 0));
    assert_eq!((scene.item(0), scene.item(1)), (Some(new), Some(item(1))));
}

/// A damaged row of the journal becomes a failure, and every other item is restored.
#[tokio::test]
async fn a_damaged_row_fails_only_its_item() {
    for damages_key in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let identity = Identity::from_plan(&plan(), &TableDescription::for_tests());
        let open = || crate::state::open(&path, &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
        let scene = Scene::with_store(9, open());
        scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let Scene { table, plan, store } = scene;
        store.close().await.unwrap();
        crate::state::damage_journal(&path, damages_key);
        let scene = Scene { table, plan, store: open() };
        let ended = scene.pass(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        assert_eq!((of(&ended, Outcome::Applied), of(&ended, Outcome::Rejected)), (8, 1), "{damages_key}");
        let failures = scene.store.failures_of_phase(phase::ROLLBACK, crate::state::Cursor::START, 10).await.unwrap();
        let reasons: BTreeMap<String, &str> =
            failures.iter().flatten().map(|failure| (failure.key.to_text(), failure.reason.as_str())).collect();
        assert_eq!(reasons.len(), 1);
        let expected =
            if damages_key { "key cannot be read" } else { "cannot be read: one of its rows has a wrong checksum" };
        assert!(reasons.values().all(|reason| reason.contains(expected)), "{reasons:?}");
    }
}

/// A mark is damaged between two sessions of a rollback. One session has read one half of the list, and the next
/// session reads the other half. Each item is in exactly one of the two halves.
#[tokio::test]
async fn damage_between_two_sessions_hides_no_item() {
    for in_this_rollback in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let identity = Identity::from_plan(&plan(), &TableDescription::for_tests());
        let open = || crate::state::open(&path, &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
        let scene = Scene::with_store(9, open());
        scene.pass(phase::EXPAND, BeginMode::ResumeOrNew).await;
        let session = scene.begin(phase::ROLLBACK, BeginMode::ResumeOrNew).await;
        let mut rollback = session.run.clone();
        let mark = |n| PreImageRow { key: key(n), pre: PreImage::mark("pk", ItemMark::PuttingBack) };
        let marks = if in_this_rollback { (0..9).chain(0..9).map(mark).collect() } else { vec![mark(0)] };
        scene.store.append_pre_images(rollback.session(), marks).await.unwrap();
        let mut expected: Vec<usize> = (0..9).collect();
        if !in_this_rollback {
            // The first rollback does not know whether it restored item 0. The second rollback lists this item again.
            let first = scene.job(phase::ROLLBACK).work(&scene.store, &session).await.unwrap();
            assert_eq!((of(&first, Outcome::Applied), of(&first, Outcome::Rejected)), (8, 1));
            rollback = scene.begin(phase::ROLLBACK, BeginMode::Again).await.run;
            expected = vec![0];
        }
        let half = |store: &State, part| {
            let query = DeletedItemsQuery { before: rollback.id, part, parts: 2, after: None, limit: 100 };
            let history = store.history();
            async move { history.deleted_items(query).await.unwrap() }
        };
        // The mark of the earlier rollback is in the half that is read first.
        let order = if in_this_rollback { [0, 1] } else { [1, 0] };
        let mut listed = half(&scene.store, order[0]).await;
        assert_eq!(listed.is_empty(), !in_this_rollback, "{listed:?}");
        scene.store.close().await.unwrap();
        crate::state::damage_mark(&path, in_this_rollback);
        listed.extend(half(&open(), order[1]).await);
        let listed: BTreeSet<String> = listed.iter().filter_map(|item| Some(item.key.as_ref()?.to_text())).collect();
        assert_eq!(listed, expected.into_iter().map(|n| key(n).to_text()).collect(), "{in_this_rollback}");
    }
}
