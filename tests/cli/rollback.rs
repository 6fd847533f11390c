//! Tests repairs while readers move to the new attribute. Also tests how a rollback ends in difficult cases.

use super::*;

const CUTOVER: &str = "max_cache_seconds = 1\nsoak = \"0s\"\n";

fn s(text: &str) -> backfill::internals::item::Value {
    backfill::internals::item::Value::S(text.into())
}

fn phase(harness: &Harness, plan: &std::path::Path) -> String {
    let status = tool(harness, &["status", text(plan), "--output", "json"]).exits(0).json();
    status["playbook"]["phase"].as_str().unwrap_or("nothing").to_owned()
}

/// RUNBOOK: "repairs each key from the side that its readers read"
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_below_100_percent_keeps_the_values_that_readers_see() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    // Before the migration, each item had different values in `old` and `new`. The run keeps the `new` value and
    // reports the item as diverged.
    let items = || (0..40).map(|n| item(&format!("P#{n}"), "x", [("old", s("current")), ("new", s("junk"))]));
    harness.load(&table, items()).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{CUTOVER}");
    let plan = harness.plan("percent", &table, "", &format!("{MOVE}{flag}"));
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(5);
    let part = ["cutover", text(&plan), "--to", "read-new", "--percent", "50", "--yes", "--force", "a canary"];
    tool(&harness, &part).exits(0);
    let verified =
        tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes", "--output", "json"]).exits(0).json();
    assert_eq!((&verified["truth"], &verified["repaired"]), (&"percent_50".into(), &40.into()), "{verified:#}");
    let mut moved = 0;
    for found in harness.dump(&table).await.values() {
        // The percentage rule of docs/flag.md decides which attribute the readers of this key use.
        let reads_new = backfill::internals::cutover::bucket(&found["pk"]).unwrap() < 50;
        let read = s(if reads_new { "junk" } else { "current" });
        assert_eq!((&found["old"], &found["new"]), (&read, &read), "{:?}", found["pk"]);
        moved += u32::from(reads_new);
    }
    assert!((5..35).contains(&moved), "{moved} of 40 keys read the new attribute");
}

/// A live writer changed the shape of one item. The rollback reports this item and restores all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_completes_although_a_parent_is_no_longer_a_map() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let doc = || backfill::internals::item::Value::M(Item::from([("x".to_owned(), s("v"))]));
    harness.load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("doc", doc())]))).await;
    let plan = harness.plan("ends", &table, "strategy = \"in-place\"", "[[change]]\nremove = \"doc.x\"\n");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.load(&table, [item("P#0", "x", [("doc", s("rewritten by the application"))])].into_iter()).await;
    let dry = tool(&harness, &["rollback", text(&plan), "--dry-run", "--output", "json"]).exits(5).json();
    let remedy = dry["error"]["remedy"].as_str().unwrap();
    assert!(remedy.contains("Do not change the plan"), "a changed plan would block the rollback: {remedy}");
    let ran = tool(&harness, &["rollback", text(&plan), "--yes"]).exits(5);
    assert!(ran.stdout.contains("is complete"), "{}", ran.stdout);
    assert_eq!(phase(&harness, &plan), "rolled back");
    let listed = tool(&harness, &["failures", text(&plan), "list"]).exits(0).stdout;
    assert!(listed.contains("P#0") && !listed.contains("P#1"), "{listed}");
    let kept = tool(&harness, &["journal", text(&plan)]).exits(0).stdout;
    assert!(kept.lines().any(|line| line.contains("P#0") && line.contains("doc.x")), "{kept}");
}

/// An item has grown, so it has no room for the removed value. The operator either fixes the item manually, or leaves
/// it as it is with a reason.
/// RUNBOOK: "Or leave them as they are: `--force REASON`"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_completes_without_items_that_are_left_for_a_reason() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let large = || s(&"x".repeat(250_000));
    harness.load(&table, (0..3).map(|n| item(&format!("P#{n}"), "x", [("legacy", large())]))).await;
    let plan = harness.plan("grown", &table, "strategy = \"in-place\"", "[[change]]\nremove = \"legacy\"\n");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let grown = item("P#0", "x", [("grown", large())]);
    harness.load(&table, [grown.clone()].into_iter()).await;
    for _ in 0..2 {
        let ran = tool(&harness, &["rollback", text(&plan), "--yes"]).exits(4);
        assert!(ran.stdout.contains("is not complete") && ran.stdout.contains("--force REASON"), "{}", ran.stdout);
    }
    let status = tool(&harness, &["status", text(&plan)]).exits(0).stdout;
    let why = "the rollback is not complete: 1 item has failed. Fix the items and run `rollback` again, or leave them as they \
               are with `rollback --force REASON`";
    assert!(status.contains(why) && status.contains("failures list"), "{status}");
    let forced = tool(&harness, &["rollback", text(&plan), "--yes", "--force", "the item has grown"]).exits(0);
    assert!(forced.stdout.contains("is complete"), "{}", forced.stdout);
    assert_eq!(phase(&harness, &plan), "rolled back");
    let after = harness.dump(&table).await;
    assert!(after.values().any(|found| *found == grown), "the item stays as it is");
    assert_eq!(after.values().filter(|found| found.get("legacy") == Some(&large())).count(), 2);
    // `failures list` and `journal` still list the key of the item.
    for list in [&["failures", text(&plan), "list"][..], &["journal", text(&plan)]] {
        let listed = tool(&harness, list).exits(0).stdout;
        assert!(listed.contains("P#0"), "{listed}");
    }
}

/// Returns plan sections whose limits stop any run immediately: the window is closed, the deadline has passed, and the
/// spending limits are almost zero.
fn exhausted_limits() -> String {
    let hour = |ahead| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(ahead)).strftime("%H:%M").to_string();
    let window = format!("{}-{} UTC", hour(2), hour(3));
    format!(
        "[limits]\nmax_failures = 0\nmax_wcu = 0.001\nmax_cost_usd = 0.0000001\nmax_items = 1\n\
         deadline = 2026-01-01T00:00:00Z\nwindow = \"{window}\"\n"
    )
}

/// RUNBOOK: "no window, deadline, spend limit or `max_failures` stops it"
#[tokio::test(flavor = "multi_thread")]
async fn no_limit_stops_a_rollback() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let large = || s(&"x".repeat(250_000));
    harness.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("v"))]))).await;
    harness.load(&table, (20..23).map(|n| item(&format!("P#{n}"), "x", [("old", large())]))).await;
    let before = harness.dump(&table).await;
    let changes = "[[change]]\nremove = \"old\"\n";
    let plan = harness.plan("limited", &table, "strategy = \"in-place\"", changes);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    // One item has grown, so it has no room for the removed value.
    let grown = item("P#20", "x", [("grown", large())]);
    harness.load(&table, [grown.clone()].into_iter()).await;
    harness.plan("limited", &table, "strategy = \"in-place\"", &format!("{changes}{}", exhausted_limits()));
    assert_limits_stop_a_run(&harness, &plan);
    let ran = tool(&harness, &["rollback", text(&plan), "--yes"]).exits(4);
    for name in
        ["max_failures", "max_wcu", "max_cost_usd", "max_items", "deadline", "window", "rate budget still applies"]
    {
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
    }
    // A second rollback retries the item, regardless of the limits.
    tool(&harness, &["rollback", text(&plan), "--yes"]).exits(4);
    let after = harness.dump(&table).await;
    let wrong = after.iter().filter(|(key, found)| before[*key] != **found).count();
    assert_eq!((wrong, after.len()), (1, 23), "all items except the one that has grown");
}

/// Checks that the limits of [`exhausted_limits`] stop a run.
fn assert_limits_stop_a_run(harness: &Harness, plan: &std::path::Path) {
    tool(harness, &["run", text(plan), "--again", "--yes"]).exits(6);
}

/// After new-only writes, `cutover --back` makes two passes. The first one copies new values to the old attribute, and
/// the second one verifies this. The limits do not stop these passes.
#[tokio::test(flavor = "multi_thread")]
async fn no_limit_stops_the_change_back_after_new_only_writes() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("v"))]))).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"back\" }}\n{CUTOVER}");
    let plan = harness.plan("back", &table, "", &format!("{MOVE}{flag}"));
    for line in ["cutover dual-write", "run", "verify", "cutover read-new", "cutover write-new"] {
        let args = match line.split_once(' ') {
            Some((_, step)) => vec!["cutover", text(&plan), "--to", step, "--yes"],
            None if line == "run" => vec!["run", text(&plan), "--yes"],
            None => vec!["verify", text(&plan), "--all"],
        };
        tool(&harness, &args).exits(0);
    }
    harness.load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("old", s("v")), ("new", s("later"))]))).await;
    harness.plan("back", &table, "", &format!("{MOVE}{flag}{}", exhausted_limits()));
    tool(&harness, &["cutover", text(&plan), "--back"]).exits(0);
    let after = harness.dump(&table).await;
    assert!(after.values().all(|found| found["old"] == found["new"]), "{after:?}");
}

/// The table now has less capacity than the plan's `[capacity]` assumes, and an index of the plan was deleted. `verify`
/// refuses, but `rollback` and `cutover --back` do not.
///
/// RUNBOOK: "On the way back the tool lowers the budget instead of refusing"
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_never_blocks_the_way_back() {
    let harness = Harness::embedded();
    let table = super::plans::provisioned_table(&harness).await;
    harness.load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("old", s(&format!("v{n}")))]))).await;
    let before = harness.dump(&table).await;
    let plan = harness.plan("cut", &table, "", MOVE);
    let since = jiff::Timestamp::now().to_string();
    let run_command = |words: &[&str]| tool(&harness, &[&[words[0], text(&plan)], &words[1..]].concat());
    run_command(&["cutover", "--to", "dual-write", "--dual-writes-since", &since, "--yes"]).exits(0);
    run_command(&["run", "--yes"]).exits(0);
    run_command(&["verify", "--all"]).exits(0);
    run_command(&["cutover", "--to", "read-new", "--readers-moved", "--yes"]).exits(0);
    run_command(&["cutover", "--to", "write-new", "--old-writes-stopped", "--yes"]).exits(0);

    let capacity = "[capacity]\nwrite = 21\nread = 500\nper_key_range = { write = 500 }\n\
                    [capacity.index]\nby-old = 9\nby-gone = 1\n";
    harness.plan("cut", &table, "", &format!("{MOVE}{capacity}"));
    run_command(&["verify", "--all"]).exits(2);
    let since = jiff::Timestamp::now().to_string();
    let facts = ["--dual-writes-since", &since, "--readers-back", "--new-writes-stopped", "--yes"];
    for words in [
        vec!["rollback", "--dry-run"],
        [&["cutover", "--back"], &facts[..]].concat(),
        [&["rollback"], &facts[..]].concat(),
    ] {
        let said = run_command(&words).exits(0).messages();
        for part in [
            "table: 20 WCU/s (from the plan: 21, but no more than the 20 WCU/s that the table is provisioned with)",
            "table: 40 RCU/s (from the plan: 500, but no more than",
            "key range: 20 WCU/s (from the plan: 500, but no more than",
            "index by-old: 8 WCU/s (from the plan: 9, but no more than",
            "table `provisioned` has no index `by-gone`",
        ] {
            assert!(said.contains(part), "{words:?}: {part}: {said}");
        }
    }
    assert_eq!(harness.dump(&table).await, before);
}

/// RUNBOOK: "in its dry run, when it asks, and in its report"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_names_items_that_it_does_not_restore() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    let initial_item = |n: usize| match n {
        0..3 => item(&format!("P#{n}"), "x", [("old", s("v")), ("new", s("v"))]),
        3..5 => item(&format!("P#{n}"), "x", [("new", s("v"))]),
        _ => item(&format!("P#{n}"), "x", [("old", s("v"))]),
    };
    harness.load(&table, (0..10).map(initial_item)).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"named\" }}\n{CUTOVER}");
    let plan = harness.plan("named", &table, "", &format!("{MOVE}{flag}"));
    let run_command =
        |words: &[&str]| tool(&harness, &[&[words[0], text(&plan)], &words[1..], &["--output", "json"]].concat());
    run_command(&["cutover", "--to", "dual-write", "--yes"]).exits(0);
    run_command(&["run", "--yes"]).exits(0);
    // Two items had only a new value before the run. Readers see these values only after they have moved to the new
    // attribute.
    assert_eq!(run_command(&["verify", "--all"]).exits(0).json()["new_alone"], 2);
    let step = run_command(&["cutover", "--to", "read-new", "--dry-run"]).exits(0).json();
    assert_eq!(step["new_alone"]["count"], 2, "{step:#}");
    assert_eq!(step["new_alone"]["items"][0]["key"]["pk"]["S"], "P#3", "{step:#}");
    run_command(&["cutover", "--to", "write-new", "--dry-run"]).exits(3);

    let prediction = run_command(&["rollback", "--dry-run"]).exits(0).json();
    let group = &prediction["not_as_before"][0];
    assert_eq!((&group["reason"], &group["items"]), (&"new_removed".into(), &3.into()), "{prediction:#}");
    assert_eq!(prediction["not_as_before_unknown"], false, "{prediction:#}");
    let ran = run_command(&["rollback", "--yes"]).exits(0);
    assert!(ran.stderr.contains("not as before: 3 items") && ran.stderr.contains("P#0"), "{}", ran.stderr);
    let left = &ran.json()["runs"][0]["not_as_before"];
    assert_eq!((&left["reason"], &left["count"]), (&"new_removed".into(), &3.into()), "{left:#}");
    assert_eq!(left["unknown"], false, "{left:#}");
    let keys: Vec<&str> = (0..3).map(|n| left["items"][n]["key"]["pk"]["S"].as_str().unwrap()).collect();
    assert_eq!(std::collections::BTreeSet::from_iter(keys), std::collections::BTreeSet::from(["P#0", "P#1", "P#2"]));
}

/// An earlier version of the tool created a flag for a plan that only sets constants. Applications obey this flag, even
/// though the current version has no cutover for such plans.
/// RUNBOOK: "It needs no gate, no lock and no state file, and it works while other commands run"
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_for_constants_moves_back_without_the_state_file() {
    use backfill::internals::cutover::{Flag, FlagMeta, ReadFrom, WriteTo, schema};
    use backfill::internals::state::Identity;
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    let changes = "[[change]]\nset = \"marker\"\nvalue = \"v1\"\n";
    for (strategy, options) in [("expand-contract", &[][..]), ("in-place", &["--now"])] {
        let place =
            format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"{strategy}\" }}\n{CUTOVER}");
        let path = harness.plan(strategy, &table, &format!("strategy = \"{strategy}\""), &format!("{changes}{place}"));
        let plan = backfill::internals::plan::load_bytes(text(&path), &std::fs::read(&path).unwrap()).unwrap().plan;
        let fingerprint = plan.fingerprint().to_string();
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let write = WriteTo::Both;
        let read = ReadFrom::New;
        let flag = Flag { version: 3, write, read, read_percent: 100, ..Flag::new(1, then) };
        let dual_since = Some(then - jiff::SignedDuration::from_hours(1));
        let meta =
            FlagMeta { plan: fingerprint.as_str().into(), report: None, actor: "ops@elsewhere".into(), reason: None };
        let mut flag_item = schema::to_item(&Flag { dual_since, ..flag }, &meta);
        flag_item.extend([("pk".to_owned(), s("FLAG")), ("sk".to_owned(), s(strategy))]);
        harness.load(&flags, std::iter::once(flag_item)).await;
        let back = [&["cutover", text(&path), "--back", "--output", "json"], options].concat();
        // This command runs on a host without the state file.
        let moved = tool(&harness, &back).exits(0).json();
        assert_eq!((&moved["flag"]["read"], &moved["flag"]["write"]), (&"old".into(), &"both".into()), "{moved}");
        // This command runs while another process owns the state file.
        let migration = strategy.to_owned();
        let table_arn = "arn:of:another:table".to_owned();
        let identity = Identity { migration, fingerprint, table_arn, table_id: None, meaning: plan.meaning() };
        let state = harness.dir().join(format!("{strategy}.db"));
        let store = backfill::internals::state::open(&state, &identity, || "2026-01-01T00:00:00Z".into()).unwrap();
        let locked = [&back[..], &["--state", text(&state)]].concat();
        let moved = tool(&harness, &locked).exits(0).json();
        assert_eq!((&moved["flag"]["read"], &moved["flag"]["write"]), (&"old".into(), &"old".into()), "{moved}");
        store.close().await.unwrap();
    }
}
