//! Tests `split = true` with the real binary and a real engine: items with too many changes for one write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use backfill::internals::item::Item;

use super::*;

/// Number of attributes that each plan changes.
const ATTRIBUTES: usize = 144;

const RUN: [&str; 4] = ["run", "--yes", "--accept", "no-pitr"];

struct Scene {
    harness: Harness,
    table: String,
    plan: String,
    before: BTreeMap<String, Item>,
}

fn moves() -> String {
    (0..ATTRIBUTES).map(|n| format!("[[change]]\nmove = \"old{n}\"\nto = \"new{n}\"\n")).collect()
}

fn constants() -> String {
    (0..ATTRIBUTES).map(|n| format!("[[change]]\nset = \"new{n}\"\nvalue = {n}\n")).collect()
}

/// Returns an item with all old attributes.
fn wide(n: usize) -> Item {
    let mut wide = item(&format!("{n:03}"), "x", []);
    wide.extend((0..ATTRIBUTES).map(|at| (format!("old{at}"), secret(format!("{n}-{at}")))));
    wide
}

/// Returns the item after the moves.
fn moved(before: &Item) -> Item {
    let renamed = |name: &String| name.strip_prefix("old").map_or_else(|| name.clone(), |at| format!("new{at}"));
    before.iter().map(|(name, value)| (renamed(name), value.clone())).collect()
}

fn has_new(item: &Item) -> usize {
    item.keys().filter(|name| name.starts_with("new")).count()
}

impl Scene {
    async fn new(items: usize, settings: &str, changes: &str) -> Scene {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        harness.load(&table, (0..items).map(wide)).await;
        let rest = format!("{changes}[scan]\nsegments = 1\n");
        let plan = harness.plan("wide", &table, &format!("split = true\n{settings}"), &rest);
        let before = harness.dump(&table).await;
        Scene { plan: plan.to_str().unwrap().to_owned(), harness, table, before }
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let (first, options) = words.split_first().unwrap();
        [&[*first, self.plan.as_str()], options, &["--output", "json"]].concat()
    }

    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        tool(&self.harness, &self.words(words)).exits(code).json()
    }

    fn start(&self, words: &[&str]) -> RunningTool {
        let mut command = self.harness.command();
        command.args(self.words(words));
        RunningTool::start(command)
    }

    async fn now(&self) -> BTreeMap<String, Item> {
        self.harness.dump(&self.table).await
    }

    /// Delays every write to an item except the item's first one, until the gate opens. The returned flag is true as
    /// soon as such a write has arrived.
    fn hold_a_second_write(&self) -> (backfill::internals::local::RequestGate, Arc<AtomicBool>) {
        let gate = backfill::internals::local::RequestGate::closed();
        let held = gate.clone();
        let waits = Arc::new(AtomicBool::new(false));
        let arrived = Arc::clone(&waits);
        let written = std::sync::Mutex::new(BTreeSet::new());
        let rule: FaultRule = Arc::new(move |request: &RequestInfo| {
            let is_second =
                request.operation == "UpdateItem" && !written.lock().unwrap().insert(request.body()["Key"].to_string());
            arrived.fetch_or(is_second, Ordering::SeqCst);
            if is_second { Fault::Hold(held.clone()) } else { Fault::Pass }
        });
        self.harness.proxy().set_faults(Some(rule));
        (gate, waits)
    }
}

impl Scene {
    /// Waits until the only item has received the first of its two writes, and returns the item. The tool has also sent
    /// the second write, so the journal contains it.
    async fn half_written(&self, waits: &AtomicBool) -> Item {
        for _ in 0..600 {
            let now = self.now().await.into_values().next().unwrap();
            if has_new(&now) > 0 && waits.load(Ordering::SeqCst) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no item is between its two writes");
    }

    async fn put(&self, item: &Item) {
        let put = self.harness.client().put_item().table_name(&self.table);
        put.set_item(Some(harness::to_sdk(item))).send().await.unwrap();
    }

    fn reason_of_failure(&self) -> String {
        let listed = tool(&self.harness, &["failures", "list", &self.plan, "--output", "json"]).exits(0).json();
        listed["failures"][0]["reason"].as_str().unwrap().to_owned()
    }
}

fn bytes(items: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    items.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

/// Makes 144 moves, and then 144 constants. Each item gets two writes, as the forecast says. A second run writes
/// nothing, the verification finds no mismatch, and a rollback restores every byte.
#[tokio::test(flavor = "multi_thread")]
async fn items_with_many_changes_get_several_writes() {
    for (settings, changes) in [("strategy = \"in-place\"", moves()), ("", constants())] {
        let scene = Scene::new(20, settings, &changes).await;
        let check = scene.command(&["check", "--sample", "100%"], 0);
        let text = check.to_string();
        assert!(text.contains("\"split\"") && text.contains("Readers may see"), "{check:#}");
        let predicted = scene.command(&["run", "--dry-run"], 0);
        assert_eq!((&predicted["would_change"], &predicted["writes"]), (&json!(20), &json!(40)), "{predicted:#}");
        scene.harness.proxy().reset_tally();
        let ran = scene.command(&RUN, 0);
        let counts = &ran["totals"]["counts"];
        assert_eq!(counts["applied"], 20, "an item counts once: {ran:#}");
        assert_eq!(scene.harness.proxy().tally().operation("UpdateItem").ok, 40);
        assert_eq!(counts["write_units"], predicted["estimated_write_units"], "{ran:#}");
        assert_eq!(counts["write_units"], counts["estimated_write_units"], "{ran:#}");
        for (key, after) in scene.now().await {
            assert_eq!(has_new(&after), ATTRIBUTES);
            if !settings.is_empty() {
                assert_eq!(bytes_of(&after), bytes_of(&moved(&scene.before[&key])));
            }
        }
        let again = scene.command(&["run", "--again", "--yes"], 0);
        assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
        scene.command(&["verify", "--all"], 0);
        scene.command(&["rollback", "--yes"], 0);
        assert_eq!(bytes(&scene.now().await), bytes(&scene.before));
    }
}

/// The process is killed between the two writes of an item. Afterwards, either the next start makes the remaining
/// changes and repeats no write, or a rollback restores the item.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_two_writes_does_no_harm() {
    for goes_back in [false, true] {
        let scene = Scene::new(8, "strategy = \"in-place\"", &moves()).await;
        let (gate, _) = scene.hold_a_second_write();
        let run = scene.start(&RUN);
        let half = |items: &BTreeMap<String, Item>| {
            items.values().filter(|item| (1..ATTRIBUTES).contains(&has_new(item))).count()
        };
        let mut found = 0;
        for _ in 0..600 {
            found = half(&scene.now().await);
            if found > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(found > 0, "no item is between its two writes");
        run.signal(Signal::SIGKILL);
        run.end();
        scene.harness.proxy().set_faults(None);
        gate.open();
        // The delayed request can still arrive.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if goes_back {
            scene.command(&["rollback", "--yes"], 0);
            assert_eq!(bytes(&scene.now().await), bytes(&scene.before));
            continue;
        }
        scene.command(&RUN, 0);
        let expected: BTreeMap<String, Item> =
            scene.before.iter().map(|(key, item)| (key.clone(), moved(item))).collect();
        assert_eq!(bytes(&scene.now().await), bytes(&expected));
        scene.command(&["verify", "--all"], 0);
        scene.command(&["rollback", "--yes"], 0);
        assert_eq!(bytes(&scene.now().await), bytes(&scene.before));
    }
}

/// RUNBOOK: "the earlier writes stay, and the reason names the attributes that were written"
///
/// Between the two writes of an item, a writer sets a target of the second write. The writer's value stays, and so do
/// the values of the first write. The item is a failure, and its reason names the written attributes.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_between_two_writes_keeps_its_value() {
    let scene = Scene::new(1, "", &constants()).await;
    let (gate, waits) = scene.hold_a_second_write();
    let run = scene.start(&RUN);
    let now = scene.half_written(&waits).await;
    let missing = (0..ATTRIBUTES).map(|n| format!("new{n}")).find(|name| !now.contains_key(name)).unwrap();
    let first = has_new(&now);
    let mut theirs = now.clone();
    theirs.insert(missing.clone(), secret("theirs"));
    scene.put(&theirs).await;
    gate.open();
    let ran = run.end().exits(4).json();
    assert_eq!(ran["totals"]["counts"]["conflict"], 1, "{ran:#}");
    let after = scene.now().await.into_values().next().unwrap();
    assert_eq!(bytes_of(&after), bytes_of(&theirs));
    let reason = scene.reason_of_failure();
    let more = format!("1 write changed `new0`, `new1`, `new2`, `new3`, `new4`, {} more", first - 5);
    assert!(reason.contains(&format!("`{missing}` does not have the value")) && reason.contains(&more), "{reason}");
    scene.harness.proxy().set_faults(None);
    scene.command(&["rollback", "--yes"], 0);
    let restored = scene.now().await.into_values().next().unwrap();
    let mut expected = scene.before.values().next().unwrap().clone();
    expected.insert(missing, secret("theirs"));
    assert_eq!(bytes_of(&restored), bytes_of(&expected), "a value of somebody else stays");
}

/// The process is killed between the two writes of an item. Then a writer makes the second write impossible. The next
/// process finds the first write in the journal: the item is a failure, and its reason names the first write. It is
/// possible that the second write was applied before the writer changed the item. So if a target contains the writer's
/// value, a rollback leaves the item as it is. Otherwise, the rollback undoes exactly the first write.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_finds_the_write_of_a_killed_process() {
    for (select, is_corrected) in [(false, false), (false, true), (true, false)] {
        let selected = if select { "[select]\nwhere = \"!has(item.done)\"\n" } else { "" };
        let scene = Scene::new(1, "", &(constants() + selected)).await;
        let (gate, waits) = scene.hold_a_second_write();
        let run = scene.start(&RUN);
        let mut theirs = scene.half_written(&waits).await;
        run.signal(Signal::SIGKILL);
        run.end();
        let missing = (0..ATTRIBUTES).map(|n| format!("new{n}")).find(|name| !theirs.contains_key(name)).unwrap();
        let first = has_new(&theirs);
        let foreign = if select { "done".to_owned() } else { missing };
        theirs.insert(foreign.clone(), secret("theirs"));
        scene.put(&theirs).await;
        scene.harness.proxy().set_faults(None);
        gate.open();
        let ran = scene.command(&RUN, 4);
        let counts = &ran["totals"]["counts"];
        assert_eq!((&counts["conflict"], &counts["diverged"]), (&json!(1), &json!(0)), "{ran:#}");
        let after = scene.now().await.into_values().next().unwrap();
        assert_eq!(bytes_of(&after), bytes_of(&theirs));
        let reason = scene.reason_of_failure();
        let part = format!("an earlier process changed `new0`, `new1`, `new2`, `new3`, `new4`, {} more", first - 5);
        assert!(reason.contains(&part) && reason.contains("That part stays"), "{reason}");
        if is_corrected {
            theirs.remove(&foreign);
            scene.put(&theirs).await;
        }
        let is_unclear = !select && !is_corrected;
        scene.command(&["rollback", "--yes"], if is_unclear { 5 } else { 0 });
        let restored = scene.now().await.into_values().next().unwrap();
        let mut expected = scene.before.values().next().unwrap().clone();
        if is_unclear {
            assert_eq!(bytes_of(&restored), bytes_of(&theirs), "nobody knows who wrote {foreign} last");
            continue;
        }
        if select {
            expected.insert(foreign, secret("theirs"));
        }
        assert_eq!(bytes_of(&restored), bytes_of(&expected));
    }
}

/// Between the two writes of an item, a writer changes an attribute that the selection reads. Only the first write was
/// made, so the item is a failure.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_leaves_the_selection_between_two_writes_is_a_failure() {
    let selected = constants() + "[select]\nwhere = \"!has(item.done)\"\n";
    let scene = Scene::new(1, "", &selected).await;
    let (gate, waits) = scene.hold_a_second_write();
    let run = scene.start(&RUN);
    let mut theirs = scene.half_written(&waits).await;
    let first = has_new(&theirs);
    theirs.insert("done".to_owned(), secret("yes"));
    scene.put(&theirs).await;
    gate.open();
    let ran = run.end().exits(4).json();
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["conflict"], &counts["applied"]), (&json!(1), &json!(0)), "{ran:#}");
    let reason = scene.reason_of_failure();
    assert!(reason.contains("left the selection") && reason.contains("1 write changed `new0`"), "{reason}");
    assert_eq!(has_new(&scene.now().await.into_values().next().unwrap()), first);
}

/// `explain` shows each write.
#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_every_write() {
    let scene = Scene::new(1, "", &moves()).await;
    let key = r#"{"pk": "000", "sk": "x"}"#;
    let explained = scene.command(&["explain", "--key", key], 0);
    let item = &explained["items"][0];
    assert!(item["summary"].as_str().unwrap().contains("2 conditional writes"), "{item:#}");
    assert_eq!(item["later_writes"].as_array().unwrap().len(), 1);
    let text = tool(&scene.harness, &["explain", &scene.plan, "--key", key]).exits(0).stdout;
    assert!(text.contains("1 of 2") && text.contains("2 of 2"), "{text}");
}
