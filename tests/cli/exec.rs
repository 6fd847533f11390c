//! Tests `exec` with the real binary, a real engine and real Python programs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backfill::internals::change::input_digest;
use backfill::internals::item::{Item, Num, Value};
use nix::sys::signal::Signal;
use serde_json::Value as Json;

use crate::harness::tool::{RunningTool, tool};
use crate::harness::{Harness, bytes_of, key_of, to_sdk};

/// A program that answers with the length of `text`. `{work}` is code that runs for each item.
const PROGRAM: &str = r#"import json, os, sys, time
for line in sys.stdin:
    if not line.strip():
        print(flush=True)
        continue
    asked = json.loads(line)
    text = asked["item"]["text"]["S"]
    {work}
    print(json.dumps({"id": asked["id"], "outputs": {"length": {"N": str(len(text))}}}))
"#;

const CHANGE: &str = "[[change]]\nexec = [\"python3\", \"program.py\"]\ninputs = [\"text\"]\noutputs = [\"length\"]\n\
                      marker = \"length_of\"\n";

struct Scene {
    harness: Harness,
    table: String,
    plan: String,
}

fn item(n: usize, text: &str) -> Item {
    let value = |text: &str| Value::S(text.to_owned());
    Item::from(
        [("pk", value(&n.to_string())), ("sk", value("x")), ("text", value(text))].map(|(k, v)| (k.to_owned(), v)),
    )
}

/// Returns the item that the table must contain after the run.
fn done(before: &Item) -> Item {
    let mut item = before.clone();
    if let Some(text @ Value::S(value)) = before.get("text") {
        let inputs = Item::from([("text".to_owned(), text.clone())]);
        item.insert("length".to_owned(), Value::N(Num::parse(&value.chars().count().to_string()).unwrap()));
        item.insert("length_of".to_owned(), Value::S(input_digest(&inputs)));
    }
    item
}

impl Scene {
    /// Creates a table with this number of items, and a plan whose program runs `work` for each item.
    async fn new(items: usize, work: &str, more: &str) -> Scene {
        Scene::of_change(items, work, &format!("{CHANGE}{more}")).await
    }

    async fn of_change(items: usize, work: &str, change: &str) -> Scene {
        let harness = Harness::start();
        let table = harness.create_table().await;
        harness.load(&table, (0..items).map(|n| item(n, &format!("secret {n}")))).await;
        let plan = harness.plan("lengths", &table, "", change);
        let scene = Scene { harness, table, plan: plan.to_str().unwrap().to_owned() };
        std::fs::write(scene.file("program.py"), PROGRAM.replace("{work}", work)).unwrap();
        scene
    }

    fn file(&self, name: &str) -> PathBuf {
        self.harness.dir().join(name)
    }

    async fn dump(&self) -> BTreeMap<String, Item> {
        self.harness.dump(&self.table).await
    }

    async fn put(&self, item: &Item) {
        let put = self.harness.client().put_item().table_name(&self.table);
        put.set_item(Some(to_sdk(item))).send().await.unwrap();
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

    /// Waits for a file, and returns its content.
    async fn content(&self, name: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.file(name).exists() {
            assert!(Instant::now() < deadline, "{name} was not written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::read_to_string(self.file(name)).unwrap()
    }
}

const RUN: [&str; 4] = ["run", "--yes", "--accept", "no-pitr"];

/// Covers a complete migration: dry run, run, a second run without writes, verification without the program, and
/// rollback.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_program_are_written_verified_and_rolled_back() {
    let scene = Scene::new(250, "pass", "").await;
    let mut other = item(1_000, "");
    other.remove("text");
    scene.put(&other).await;
    let before = scene.dump().await;
    let check = scene.command(&["check", "--sample", "100%"], 0);
    assert!(check.to_string().contains("exec-interpreter") && check.to_string().contains("exec-cost"), "{check:#}");
    let predicted = scene.command(&["run", "--dry-run"], 0);
    assert_eq!((&predicted["would_change"], &predicted["nothing_to_do"]), (&250.into(), &1.into()), "{predicted:#}");
    let ran = scene.command(&RUN, 0);
    assert_eq!(ran["totals"]["counts"]["applied"], 250, "{ran:#}");
    let units = &ran["totals"]["counts"]["write_units"];
    assert_eq!(*units, predicted["estimated_write_units"], "the dry run knew the sizes");
    let after = scene.dump().await;
    for (key, before) in &before {
        assert_eq!(bytes_of(&after[key]), bytes_of(&done(before)), "{key}");
    }
    // Verification and rollback do not need the program. A run without it is refused.
    let again = scene.command(&["run", "--again", "--yes"], 0);
    assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
    scene.command(&["verify", "--all"], 0);
    let mut stale = after.values().next().unwrap().clone();
    stale.insert("text".to_owned(), Value::S("changed by the application".to_owned()));
    scene.put(&stale).await;
    let found = scene.command(&["verify", "--all"], 5);
    assert!(found.to_string().contains("length_of"), "{found:#}");
    let left = scene.command(&["verify", "--all", "--repair", "--yes"], 5);
    let why = left["examples"][0]["why"].as_str().unwrap();
    assert!(why.contains("a repair starts no program") && why.contains("run --again"), "{why}");
    let mut theirs = after.values().nth(1).unwrap().clone();
    theirs.insert("length".to_owned(), Value::N(Num::parse("7").unwrap()));
    scene.put(&theirs).await;
    scene.command(&["rollback", "--yes"], 5);
    let restored = scene.dump().await;
    for (key, before) in &before {
        if *key == key_of(&theirs).to_text() {
            assert_eq!(bytes_of(&restored[key]), bytes_of(&theirs), "a value of somebody else stays");
        } else if *key == key_of(&stale).to_text() {
            assert_eq!(restored[key].keys().collect::<Vec<_>>(), ["pk", "sk", "text"]);
        } else {
            assert_eq!(bytes_of(&restored[key]), bytes_of(before), "{key}");
        }
    }
}

/// A writer changes an input while the program computes. The write's condition fails, and the tool sends the new input
/// to the program.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_computed_from_stale_inputs() {
    let wait = "open(\"asked\", \"w\").close()\n    \
                while not os.path.exists(\"changed\"): time.sleep(0.01)";
    let scene = Scene::new(40, wait, "workers = 1\n").await;
    let run = scene.start(&RUN);
    scene.content("asked").await;
    let changed: Vec<Item> = (0..20).map(|n| item(n, &format!("a new text of item {n}"))).collect();
    for item in &changed {
        scene.put(item).await;
    }
    std::fs::write(scene.file("changed"), "").unwrap();
    let ran = run.end().exits(0).json();
    assert_eq!(ran["totals"]["counts"]["applied"], 40, "{ran:#}");
    let after = scene.dump().await;
    assert_eq!(after.len(), 40);
    for after in after.values() {
        let mut before = after.clone();
        before.remove("length");
        before.remove("length_of");
        assert_eq!(bytes_of(after), bytes_of(&done(&before)));
    }
    for item in &changed {
        assert_eq!(bytes_of(&after[&key_of(item).to_text()]), bytes_of(&done(item)), "the new text was lost");
    }
    scene.command(&["verify", "--all"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_exist_is_refused_before_anything_is_read() {
    let scene = Scene::new(3, "pass", "").await;
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    std::fs::write(&scene.plan, text.replace("[\"python3\",", "[\"./no-such-program\",")).unwrap();
    scene.harness.proxy().reset_tally();
    let refused = tool(&scene.harness, &scene.words(&RUN)).exits(3);
    assert!(refused.messages().contains("`./no-such-program` cannot be started: it does not exist"));
    assert_eq!(scene.harness.proxy().tally().operation("Scan").ok, 0);
    assert!(!scene.file(".backfill/lengths.db").exists(), "nothing was begun");
}

/// RUNBOOK: "If the program fails for everything, the run stops after ten batches and can be resumed."
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_always_fails_stops_the_run() {
    let scene = Scene::new(3_000, "sys.exit(0 if os.path.exists(\"fixed\") else 1)", "batch = 20\n").await;
    let stopped = tool(&scene.harness, &scene.words(&RUN)).exits(6);
    assert!(!stopped.messages().contains("secret"), "values are in the messages");
    let error = &stopped.json()["error"];
    assert_eq!(error["kind"], "program");
    assert!(error["message"].as_str().unwrap().contains("gave no valid answer in 10 batches in a row"), "{error}");
    assert!(scene.dump().await.values().all(|item| !item.contains_key("length")));
}

/// RUNBOOK: "`failures retry` asks the program about each failed item alone."
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_crashes_the_program_is_a_failure_and_a_retry_isolates_it() {
    let scene = Scene::new(100, "if text == \"secret 50\": os._exit(3)", "").await;
    let ran = scene.command(&RUN, 4);
    let failed = ran["totals"]["counts"]["rejected"].as_u64().unwrap();
    assert!((1..=100).contains(&failed), "{ran:#}");
    let listed = scene.command(&["failures", "list"], 0).to_string();
    assert!(listed.contains("the program that computes `length` ended"), "{listed}");
    assert!(!listed.contains("secret"), "{listed}");
    scene.command(&["failures", "retry", "--yes"], 4);
    let missing = scene.dump().await.into_values().filter(|item| !item.contains_key("length")).count();
    assert_eq!(missing, 1);
}

/// A signal ends the run even though its program hangs. No process remains.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_run_whose_program_hangs() {
    let hang = "open(\"new\", \"w\").write(str(os.getpid())); os.rename(\"new\", \"pid\"); time.sleep(1000)";
    let scene = Scene::new(3, hang, "timeout = \"10m\"\n").await;
    let run = scene.start(&RUN);
    let pid = scene.content("pid").await;
    let began = Instant::now();
    run.signal(Signal::SIGTERM);
    run.end().exits(130);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let stat = format!("/proc/{pid}/stat");
    let is_gone = || match std::fs::read_to_string(&stat) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_gone() {
        assert!(Instant::now() < deadline, "process {pid} remains");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The plan's fingerprint covers the program, but a rollback works without the program.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_another_plan() {
    let scene = Scene::new(3, "pass", "").await;
    scene.command(&RUN, 0);
    let program = std::fs::read_to_string(scene.file("program.py")).unwrap();
    std::fs::write(scene.file("program.py"), format!("# changed\n{program}")).unwrap();
    let refused = tool(&scene.harness, &scene.words(&["run", "--again", "--yes"])).exits(7);
    assert!(
        refused.messages().contains("with the program \"python3\" \"program.py\" (SHA-256"),
        "{}",
        refused.messages()
    );
    tool(&scene.harness, &scene.words(&["verify", "--all"])).exits(7);
    // If another part of the plan has also changed, the rollback is refused.
    let plan = std::fs::read_to_string(&scene.plan).unwrap();
    std::fs::write(&scene.plan, plan.replace("marker = \"length_of\"", "marker = \"other\"")).unwrap();
    tool(&scene.harness, &scene.words(&["rollback", "--yes"])).exits(7);
    std::fs::write(&scene.plan, plan).unwrap();
    std::fs::remove_file(scene.file("program.py")).unwrap();
    let rolled_back = tool(&scene.harness, &scene.words(&["rollback", "--yes"])).exits(0);
    assert!(rolled_back.messages().contains("command starts no program"), "{}", rolled_back.messages());
    assert!(scene.dump().await.values().all(|item| item.keys().eq(["pk", "sk", "text"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_does_not_start_the_program() {
    let scene = Scene::new(3, "open(\"asked\", \"w\").close()", "").await;
    let explained = scene.command(&["explain", "--key", "pk=1 sk=x"], 0);
    assert!(explained.to_string().contains("the program of an `exec` decides"), "{explained:#}");
    assert!(!scene.file("asked").exists());
}

/// An item has two mismatches. To repair one of them, the tool would need the program. So a repair changes neither, and
/// the report says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_says_why_it_leaves_the_whole_item() {
    let scene = Scene::new(3, "pass", "[[change]]\nset = \"reviewed\"\nvalue = true\n").await;
    scene.command(&RUN, 0);
    let mut stale = scene.dump().await.into_values().next().unwrap();
    stale.insert("text".to_owned(), Value::S("changed".to_owned()));
    stale.remove("reviewed");
    scene.put(&stale).await;
    let left = scene.command(&["verify", "--all", "--repair", "--yes"], 5);
    let why = left["examples"][0]["why"].as_str().unwrap();
    assert!(why.contains("together with its other mismatches") && why.contains("run --again"), "{why}");
    assert!(!scene.dump().await.values().any(|item| item == &done(&stale)));
    // The plan has no file of keys, so the notice does not mention one.
    std::fs::write(scene.file("program.py"), "changed").unwrap();
    let notice = tool(&scene.harness, &["rollback", &scene.plan, "--dry-run"]).exits(0).messages();
    assert!(notice.contains("command starts no program") && !notice.contains("keys from the copy"), "{notice}");
    scene.command(&["explain", "--pass", "undo", "--key", &key_of(&stale).to_text()], 0);
}

const DETERMINISTIC: &str = "[[change]]\nexec = [\"python3\", \"program.py\"]\ninputs = [\"text\"]\noutputs = [\"length\"]\n\
                             deterministic = true\n";

/// Without a marker, each run and each verification uses the program to compute the values. A rollback needs no
/// program.
#[tokio::test(flavor = "multi_thread")]
async fn a_deterministic_program_needs_no_marker() {
    let scene = Scene::of_change(150, "pass", DETERMINISTIC).await;
    let before = scene.dump().await;
    let predicted = scene.command(&["run", "--dry-run"], 0);
    let ran = scene.command(&RUN, 0);
    assert_eq!((&predicted["would_change"], &ran["totals"]["counts"]["applied"]), (&150.into(), &150.into()));
    let after = scene.dump().await;
    for (key, before) in &before {
        let mut expected = done(before);
        expected.remove("length_of");
        assert_eq!(bytes_of(&after[key]), bytes_of(&expected), "{key}");
    }
    let again = scene.command(&["run", "--again", "--yes"], 0);
    let counts = &again["totals"]["counts"];
    assert_eq!((counts["write_units"].as_f64(), &counts["already_applied"]), (Some(0.0), &150.into()), "{again:#}");
    let predicted = scene.command(&["run", "--dry-run"], 0);
    assert_eq!(predicted["would_change"], 0, "{predicted:#}");
    let checked = scene.command(&["check", "--sample", "100%"], 0);
    assert!(!checked["estimate"].is_null(), "{checked:#}");
    scene.command(&["verify", "--all"], 0);
    // An input changes, so the stored output is stale. The tool does not overwrite this output.
    let mut stale = after.values().next().unwrap().clone();
    stale.insert("text".to_owned(), Value::S("changed by the application".to_owned()));
    scene.put(&stale).await;
    let found = scene.command(&["verify", "--all"], 5);
    assert_eq!((&found["mismatches"], &found["stale"]), (&1.into(), &1.into()), "{found:#}");
    let left = scene.command(&["verify", "--all", "--repair", "--yes"], 5);
    let why = left["examples"][0]["why"].as_str().unwrap();
    assert!(why.contains("a repair starts no program"), "{why}");
    let again = scene.command(&["run", "--again", "--yes"], 5);
    assert_eq!(again["totals"]["counts"]["diverged"], 1, "{again:#}");
    assert_eq!(bytes_of(&scene.dump().await[&key_of(&stale).to_text()]), bytes_of(&stale));
    std::fs::remove_file(scene.file("program.py")).unwrap();
    scene.command(&["rollback", "--yes"], 0);
    assert!(scene.dump().await.values().all(|item| item.keys().eq(["pk", "sk", "text"])));
}

/// The plan says that the program is deterministic, but its answer is different each time. The tool overwrites nothing
/// with such an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_deterministic_overwrites_nothing() {
    let random = "text = \"x\" * (time.time_ns() % 99991)";
    let scene = Scene::of_change(20, random, DETERMINISTIC).await;
    scene.command(&RUN, 0);
    let after = scene.dump().await;
    let again = scene.command(&["run", "--again", "--yes"], 5);
    let counts = &again["totals"]["counts"];
    assert!(counts["diverged"].as_u64() >= Some(18) && counts["applied"] == 0, "{again:#}");
    assert_eq!(scene.dump().await, after);
    let found = scene.command(&["verify", "--all"], 5);
    assert!(found["stale"].as_u64() >= Some(18), "{found:#}");

    let scene = Scene::of_change(20, random, &format!("{DETERMINISTIC}on_existing = \"overwrite\"\n")).await;
    for mut item in scene.dump().await.into_values() {
        item.insert("length".to_owned(), Value::S("theirs".to_owned()));
        scene.put(&item).await;
    }
    let before = scene.dump().await;
    let ran = scene.command(&RUN, 4);
    assert!(ran["totals"]["counts"]["rejected"].as_u64() >= Some(18), "{ran:#}");
    let failures = tool(&scene.harness, &["failures", "list", &scene.plan, "--output", "json"]).exits(0).json();
    assert!(failures.to_string().contains("two different answers to the same inputs"), "{failures:#}");
    let unchanged = scene.dump().await.iter().filter(|(key, item)| before[*key] == **item).count();
    assert!(unchanged >= 18, "{unchanged}");
}
