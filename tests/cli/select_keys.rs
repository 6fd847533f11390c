//! Tests plans that select the items in a file of keys (`[select] keys`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

const SET: &str = "[[change]]\nset = \"reviewed\"\nvalue = true\n";

/// A table of `count` items with the attributes `n` and `old`, and a plan with a file of keys.
struct Listed {
    harness: Harness,
    table: String,
    plan: PathBuf,
    before: std::collections::BTreeMap<String, Item>,
}

impl Listed {
    async fn new(count: usize, file: &str, keys: &str, migration: &str, rest: &str) -> Listed {
        let harness = Harness::start();
        let table = harness.create_table().await;
        let item = |n: usize| {
            backfill::internals::item::item_from_json(&json!({
                "pk": { "S": format!("p{}", n % 7) }, "sk": { "S": format!("s{n}") },
                "n": { "N": n.to_string() }, "old": { "S": format!("v{n}") },
            }))
            .unwrap()
        };
        harness.load(&table, (0..count).map(item)).await;
        std::fs::write(harness.dir().join(file), keys).unwrap();
        let plan = harness.plan("listed", &table, migration, rest);
        let before = harness.dump(&table).await;
        Listed { harness, table, plan, before }
    }

    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        let args = [&[words[0], text(&self.plan)], &words[1..], &["--output", "json"]].concat();
        tool(&self.harness, &args).exits(code).json()
    }

    /// Asserts that `is_changed` is true for exactly the items with the attribute, and that all other items are
    /// unchanged.
    async fn assert_changed(&self, attribute: &str, is_changed: impl Fn(u64) -> bool) {
        let after = self.harness.dump(&self.table).await;
        assert_eq!(after.len(), self.before.len());
        for (key, item) in &after {
            let backfill::internals::item::Value::N(n) = &item["n"] else { panic!("{key}") };
            let expected = is_changed(n.as_str().parse().unwrap());
            assert_eq!(item.contains_key(attribute), expected, "{key}");
            if !expected {
                assert_eq!(bytes_of(item), bytes_of(&self.before[key]), "{key}");
            }
        }
    }
}

fn json_key(n: u64) -> String {
    format!("{{\"pk\": {{\"S\": \"p{}\"}}, \"sk\": {{\"S\": \"s{n}\"}}}}\n", n % 7)
}

fn csv(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut lines = "pk,sk\n".to_owned();
    numbers.into_iter().for_each(|n| writeln!(lines, "p{},s{n}", n % 7).unwrap());
    lines
}

/// The file also contains keys of missing items and repeated keys. `where` applies to its items as well.
#[tokio::test(flavor = "multi_thread")]
async fn only_listed_items_change_and_a_rollback_restores_them() {
    let mut keys: String = (0..300).filter(|n| n % 3 == 0).chain(900..905).map(json_key).collect();
    keys += &(0..30).filter(|n| n % 3 == 0).map(json_key).collect::<String>();
    let rest =
        format!("[select]\nkeys = \"keys.ndjson\"\nwhere = 'has(item.n) && item.n != 9'\n[scan]\nsegments = 4\n{SET}");
    let listed = Listed::new(300, "keys.ndjson", &keys, "on_not_computable = \"fail\"", &rest).await;
    let is_listed = |n: u64| n.is_multiple_of(3) && n != 9;

    let checked = listed.command(&["check"], 0);
    assert_eq!((&checked["keys"]["lines"], &checked["keys"]["keys"]), (&json!(115), &json!(105)), "{checked:#}");
    assert_eq!(checked["estimate"]["basis"], "keys", "{checked:#}");
    let sampled = listed.command(&["run", "--dry-run", "--sample", "60%"], 0);
    assert_eq!(sampled["sample"]["complete"], true, "{sampled:#}");
    let scans = || listed.harness.proxy().tally().operation("Scan").requests;
    let before = scans();
    let dry = listed.command(&["run", "--dry-run"], 0);
    assert_eq!((&dry["would_change"], &dry["missing_items"]), (&json!(99), &json!(5)), "{dry:#}");
    let ran = listed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["gone"], &counts["scanned"]), (&json!(99), &json!(5), &json!(105)));
    assert_eq!(scans(), before, "a plan with keys never scans the table");
    listed.assert_changed("reviewed", is_listed).await;
    let before = scans();
    let again = listed.command(&["run", "--again", "--yes"], 0);
    assert_eq!(again["totals"]["counts"]["write_units"], 0.0, "{again:#}");
    let verified = listed.command(&["verify", "--all"], 0);
    assert_eq!(verified["mismatches"], 0, "{verified:#}");
    // Keys of missing items count neither as compared nor as excluded by `where`.
    assert_eq!((&verified["compared"], &verified["not_selected"]), (&json!(99), &json!(1)), "{verified:#}");
    assert_eq!(scans(), before, "a plan with keys never scans the table");

    let inside = listed.command(&["explain", "--key", &json_key(3)], 0).to_string();
    assert!(!inside.contains("file of keys"), "{inside}");
    let outside = listed.command(&["explain", "--key", &json_key(4)], 0).to_string();
    assert!(outside.contains("file of keys does not contain the item's key"), "{outside}");

    listed.command(&["rollback", "--yes"], 0);
    listed.assert_changed("reviewed", |_| false).await;
}

/// RUNBOOK: "Every command that takes the migration forward refuses a file of keys that is missing or has changed."
#[tokio::test(flavor = "multi_thread")]
async fn a_run_resumes_in_the_middle_of_the_file_and_refuses_another_file() {
    let limits = "[limits]\nmax_items = 40\n";
    let rest = format!("[select]\nkeys = \"keys.csv\"\n[scan]\nsegments = 2\npage_limit = 7\n{limits}{SET}");
    let listed = Listed::new(200, "keys.csv", &csv(0..150), "", &rest).await;
    let stopped = listed.command(&["run", "--yes", "--accept", "no-pitr"], 6);
    let scanned = stopped["totals"]["counts"]["scanned"].as_u64().unwrap();
    assert!((1..=40).contains(&scanned), "{stopped:#}");

    let file = listed.harness.dir().join("keys.csv");
    std::fs::write(&file, csv(0..151)).unwrap();
    for command in [&["run", "--yes"][..], &["verify", "--all"]] {
        let foreign = listed.command(command, 7).to_string();
        assert!(foreign.contains("SHA-256"), "{foreign}");
    }
    std::fs::remove_file(&file).unwrap();
    for command in [&["run", "--yes"][..], &["verify", "--all"], &["check"]] {
        let missing = listed.command(command, 2).to_string();
        assert!(missing.contains("keys.csv") && missing.contains("keep the file next to the plan"), "{missing}");
    }
    std::fs::write(&file, csv(0..150)).unwrap();

    let plan = std::fs::read_to_string(&listed.plan).unwrap();
    std::fs::write(&listed.plan, plan.replace(limits, "")).unwrap();
    let resumed = listed.command(&["run", "--yes"], 0);
    let counts = &resumed["totals"]["counts"];
    assert_eq!((&counts["scanned"], &counts["applied"]), (&json!(150), &json!(150)), "{resumed:#}");
    listed.assert_changed("reviewed", |n| n < 150).await;
}

/// RUNBOOK: "`rollback` and `cutover --back` need neither the file of keys nor a program, as long as the state file and its
/// `.keys` copy exist."
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_need_the_file_of_keys() {
    let rest = format!("[select]\nkeys = \"keys.csv\"\n{SET}");
    for is_missing in [true, false] {
        let listed = Listed::new(120, "keys.csv", &csv(0..80), "", &rest).await;
        listed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
        listed.assert_changed("reviewed", |n| n < 80).await;
        let (file, copy) = (listed.harness.dir().join("keys.csv"), ".backfill/listed.db.keys");
        match is_missing {
            true => std::fs::remove_file(&file).unwrap(),
            false => std::fs::write(&file, csv(0..3)).unwrap(),
        }
        let status = tool(&listed.harness, &["status", text(&listed.plan)]).exits(0).stdout;
        assert_eq!(status.contains("`rollback` is still possible"), !is_missing, "{status}");
        let copy = listed.harness.dir().join(copy);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions()) & 0o777,
            0o600
        );
        // A changed plan does not match the state file, so the tool refuses it, with or without the file of keys.
        let plan = std::fs::read_to_string(&listed.plan).unwrap();
        std::fs::write(&listed.plan, plan.replace("reviewed", "checked")).unwrap();
        listed.command(&["rollback", "--yes"], 7);
        std::fs::write(&listed.plan, plan).unwrap();
        // A damaged copy is refused, too.
        std::fs::write(&copy, csv(0..5)).unwrap();
        listed.command(&["rollback", "--yes"], 7);
        std::fs::write(&copy, csv(0..80)).unwrap();
        let predicted = listed.command(&["rollback", "--dry-run"], 0);
        assert_eq!(predicted["would_change"], 80, "{predicted:#}");
        let key = listed.before.keys().next().unwrap();
        let explained = listed.command(&["explain", "--pass", "undo", "--key", key], 0);
        assert_eq!(explained["items"].as_array().unwrap().len(), 1, "{explained:#}");
        let notice = tool(&listed.harness, &["rollback", text(&listed.plan), "--yes"]).exits(0).messages();
        assert_eq!(notice.matches("reads the keys from the copy").count(), 1, "{notice}");
        listed.assert_changed("reviewed", |_| false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_continues_and_counts_each_key_once() {
    let rest = format!("[select]\nkeys = \"keys.csv\"\n{SLOWLY}{SET}");
    let listed = Listed::new(80, "keys.csv", &csv(0..70), "", &rest).await;
    let mut command = listed.harness.command();
    command.args(["run", text(&listed.plan), "--yes", "--accept", "no-pitr"]);
    let run = RunningTool::start(command);
    while listed.harness.proxy().tally().operation("UpdateItem").ok < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.signal(Signal::SIGKILL);
    run.end();
    let resumed = listed.command(&["run", "--yes"], 0);
    assert_eq!(resumed["totals"]["counts"]["scanned"], 70, "{resumed:#}");
    listed.assert_changed("reviewed", |n| n < 70).await;
}

/// All passes of a migration with a cutover read the same keys, so the migration is complete for these items.
#[tokio::test(flavor = "multi_thread")]
async fn a_listed_selection_can_have_a_cutover() {
    let is_listed = |n: u64| n < 60 && n.is_multiple_of(2);
    let keys = csv((0..60).filter(|n| is_listed(*n)));
    for back in [true, false] {
        let rest = format!("[select]\nkeys = \"keys.csv\"\n[cutover]\nsoak = \"0s\"\nmax_cache_seconds = 1\n{MOVE}");
        let listed = Listed::new(90, "keys.csv", &keys, "", &rest).await;
        let yes = |words: &[&str]| listed.command(&[words, &["--yes"]].concat(), 0);
        yes(&["cutover", "--to", "dual-write", "--dual-writes-since", "2026-01-01T00:00:00Z"]);
        yes(&["run", "--accept", "no-pitr"]);
        listed.assert_changed("new", is_listed).await;
        listed.command(&["verify", "--all"], 0);
        yes(&["cutover", "--to", "read-new", "--readers-moved"]);
        if back {
            std::fs::remove_file(listed.harness.dir().join("keys.csv")).unwrap();
            let back = ["cutover", text(&listed.plan), "--back", "--readers-back", "--yes"];
            let notice = tool(&listed.harness, &back).exits(0).messages();
            assert_eq!(notice.matches("reads the keys from the copy").count(), 1, "{notice}");
            yes(&["rollback", "--readers-back", "--new-writes-stopped"]);
            assert_eq!(listed.harness.dump(&listed.table).await, listed.before);
        } else {
            yes(&["cutover", "--to", "write-new", "--old-writes-stopped"]);
            yes(&["contract", "--readers-moved", "--old-writes-stopped"]);
            let after = listed.harness.dump(&listed.table).await;
            let moved = after.values().filter(|item| !item.contains_key("old")).count();
            assert_eq!(moved, 30);
            assert!(after.values().all(|item| item.contains_key("old") != item.contains_key("new")));
        }
    }
}

/// The error names line numbers and no values. No run has begun.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_lines_are_refused_before_anything_is_read() {
    let keys = "{\"pk\": \"a\", \"sk\": \"b\"}\n{\"pk\": \"secret\"}\n{\"pk\": \"secret\", \"sk\": 5}\nsecret\n";
    let rest = format!("[select]\nkeys = \"keys.ndjson\"\n{SET}");
    let listed = Listed::new(1, "keys.ndjson", keys, "", &rest).await;
    let reads = || ["Scan", "GetItem"].map(|operation| listed.harness.proxy().tally().operation(operation).requests);
    let before = reads();
    let refused = listed.command(&["check"], 2).to_string();
    assert!(refused.contains("line 4: it is not a JSON object"), "{refused}");
    let keys = keys.replace("secret\n", "");
    std::fs::write(listed.harness.dir().join("keys.ndjson"), keys).unwrap();
    let refused = listed.command(&["run", "--yes"], 2).to_string();
    for line in ["2 lines are not keys", "line 2: it must contain exactly", "line 3: `sk` must be a string"] {
        assert!(refused.contains(line), "{line}: {refused}");
    }
    assert!(!refused.contains("secret"), "{refused}");
    assert_eq!(reads(), before);
    assert!(!listed.harness.dir().join(".backfill").exists());
}

/// The tool recognises repeated keys in different notations, and reads each item once.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_is_read_once() {
    let keys: BTreeSet<u64> = (0..20).collect();
    let lines: String = keys.iter().chain(&keys).map(|n| json_key(*n)).collect();
    let plain = "{\"sk\":\"s1\",\"pk\":\"p1\"}\n";
    let rest = format!("[select]\nkeys = \"keys.jsonl\"\n{SET}");
    let listed = Listed::new(30, "keys.jsonl", &(lines + plain), "", &rest).await;
    let human = tool(&listed.harness, &["check", text(&listed.plan)]).exits(0).stdout;
    assert!(human.contains("20 keys, 21 repeated lines read only once"), "{human}");
    let before = listed.harness.proxy().tally().operation("GetItem").requests;
    listed.command(&["run", "--yes", "--accept", "no-pitr"], 0);
    assert_eq!(listed.harness.proxy().tally().operation("GetItem").requests - before, 20);
    listed.assert_changed("reviewed", |n| n < 20).await;
}
