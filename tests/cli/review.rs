//! Proofs of a review: each of these fails.

use super::*;

const STEPS: &str = "max_cache_seconds = 1\nsoak = \"0s\"\n";

/// What was stated of one plan says nothing of another one that takes its state file.
#[tokio::test(flavor = "multi_thread")]
async fn facts_that_were_stated_of_another_plan_do_not_count() {
    let (bed, table, _) = scene(10, "").await;
    let of = |path: &str| format!("[[change]]\nremove = \"{path}\"\n[cutover]\nsoak = \"2s\"\n");
    let plan = bed.plan("removes", &table, "", &of("legacy"));
    let stated = ["contract", text(&plan), "--yes", "--readers-moved", "--old-writes-stopped"];
    refused(&bed, 3, &stated).says(&["it soaks until"]);
    // The operator sees a mistake: nobody has said that readers have left `old`.
    bed.plan("removes", &table, "", &of("old"));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let ran = tool(&bed, &["contract", text(&plan), "--yes"]);
    let left = bed.dump(&table).await.values().filter(|item| item.contains_key("old")).count();
    assert_eq!((ran.code, left), (3, 10), "{}{}", ran.stdout, ran.said());
}

/// The same of dual writes: they were of another attribute.
#[tokio::test(flavor = "multi_thread")]
async fn dual_writes_that_were_stated_of_another_plan_open_no_gate() {
    let (bed, table, _) = scene(10, "").await;
    let of = |to: &str| format!("[[change]]\nmove = \"old\"\nto = \"{to}\"\n[cutover]\n{STEPS}");
    let plan = bed.plan("moves", &table, "", &of("nwe"));
    let dual = ["cutover", text(&plan), "--to", "dual-write", "--yes", "--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&bed, &dual).exits(0);
    bed.plan("moves", &table, "", &of("new"));
    tool(&bed, &["run", text(&plan), "--yes"]).exits(0);
    tool(&bed, &["verify", text(&plan), "--all"]).exits(0);
    // Nobody has ever written `new` beside the tool.
    refused(&bed, 3, &["cutover", text(&plan), "--to", "read-new", "--yes", "--readers-moved"]).says(&["dual-write"]);
}

/// A sample in which defects were found and repaired says that there are more of them elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_repaired_sample_opens_no_gate() {
    let more = format!("[scan]\nsegments = 200\n[cutover]\naccept_sample = true\n{STEPS}");
    let (bed, table, plan) = scene(0, &more).await;
    bed.load(&table, (0..400).map(|n| item(&format!("P#{n}"), "x", [("old", secret(n))]))).await;
    let dual = ["cutover", text(&plan), "--to", "dual-write", "--yes", "--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&bed, &dual).exits(0);
    tool(&bed, &["run", text(&plan), "--yes"]).exits(0);
    // Every item is wrong.
    let wrong = bed.dump(&table).await.into_values().map(|mut item| {
        item.insert("new".into(), backfill::item::Value::S("corrupt".into()));
        item
    });
    bed.load(&table, wrong).await;
    let ran = tool(&bed, &["verify", text(&plan), "--sample", "100", "--repair"]);
    println!("{} {}", ran.code, ran.stdout);
    let corrupt = bed.dump(&table).await.values().filter(|item| item.get("old") != item.get("new")).count();
    assert!((1..400).contains(&corrupt), "{corrupt}");
    let read_new = ["cutover", text(&plan), "--to", "read-new", "--yes", "--readers-moved"];
    let ran = tool(&bed, &read_new);
    assert_eq!(ran.code, 3, "{corrupt} of 400 items are wrong, and the gate is open: {}{}", ran.stdout, ran.said());
}

/// A migration that has done nothing yet may be given a flag, or lose it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_may_be_named_before_anything_was_done() {
    let (bed, table, _) = scene(10, "").await;
    let plan = bed.plan("late", &table, "", &format!("{MOVE}[cutover]\n{STEPS}"));
    refused(&bed, 3, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).says(&["--dual-writes-since TIME"]);
    let flags = bed.create_table().await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{STEPS}");
    bed.plan("late", &table, "", &format!("{MOVE}{flag}"));
    let ran = tool(&bed, &["cutover", text(&plan), "--to", "dual-write", "--yes"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.said());
}

/// The same the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_may_be_left_out_before_anything_was_done() {
    let (bed, table, _) = scene(10, "").await;
    let flags = bed.create_table().await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{STEPS}");
    let plan = bed.plan("late", &table, "", &format!("{MOVE}{flag}"));
    // Nobody is here to confirm.
    refused(&bed, 2, &["cutover", text(&plan), "--to", "dual-write"]);
    bed.plan("late", &table, "", &format!("{MOVE}[cutover]\n{STEPS}"));
    let ran = tool(&bed, &["run", text(&plan), "--yes"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.said());
}

async fn put(bed: &Bed, table: &str, change: impl Fn(&mut Item)) {
    let items: Vec<Item> = bed
        .dump(table)
        .await
        .into_values()
        .map(|mut item| {
            change(&mut item);
            item
        })
        .collect();
    bed.load(table, items.into_iter()).await;
}

fn s(text: &str) -> backfill::item::Value {
    backfill::item::Value::S(text.into())
}

/// Two targets of one source, which applications write apart from one another once only new values are written.
#[tokio::test(flavor = "multi_thread")]
async fn write_new_refuses_where_a_rollback_could_not_succeed_or_it_succeeds() {
    for change in
        ["copy = \"old\"\nto = \"new\"\n[[change]]\ncopy = \"old\"\nto = \"other\"", "copy = \"list[0]\"\nto = \"new\""]
    {
        let bed = Bed::embedded();
        let table = bed.create_table().await;
        let list = || backfill::item::Value::L(vec![s("v")]);
        bed.load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("old", s("v")), ("list", list())]))).await;
        let plan = bed.plan("apart", &table, "", &format!("[[change]]\n{change}\n[cutover]\n{STEPS}"));
        let give = |words: &[&str]| tool(&bed, &[&[words[0], text(&plan)], &words[1..]].concat());
        let dual = "2026-01-01T00:00:00Z";
        give(&["cutover", "--to", "dual-write", "--yes", "--dual-writes-since", dual]).exits(0);
        give(&["run", "--yes"]).exits(0);
        give(&["verify", "--all"]).exits(0);
        give(&["cutover", "--to", "read-new", "--yes", "--readers-moved"]).exits(0);
        if give(&["cutover", "--to", "write-new", "--yes", "--old-writes-stopped"]).code == 3 {
            continue;
        }
        // The application goes on with the new attributes alone, as it may.
        put(&bed, &table, |item| drop(item.insert("new".into(), s("later")))).await;
        let since = jiff::Timestamp::now().to_string();
        let back = ["rollback", "--yes", "--dual-writes-since", &since, "--readers-back", "--new-writes-stopped"];
        for _ in 0..3 {
            let ran = give(&back);
            println!("{}: {}", ran.code, ran.said().lines().rev().take(2).collect::<Vec<_>>().join(" | "));
        }
        assert_eq!(stands(&bed, &plan), "rolled back", "{change}");
    }
}

fn stands(bed: &Bed, plan: &std::path::Path) -> String {
    let status = tool(bed, &["status", text(plan), "--output", "json"]).exits(0).json();
    status["playbook"]["phase"].as_str().unwrap_or("nothing").to_owned()
}

/// An expansion that has not begun cannot be forced past: readers would find nothing, and the way back would remove the rest.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_expanded_survives_force_and_rollback() {
    let bed = Bed::embedded();
    let (table, flags) = (bed.create_table().await, bed.create_table().await);
    bed.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("current"))]))).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{STEPS}");
    let plan = bed.plan("forced", &table, "", &format!("{MOVE}{flag}"));
    let before = bed.dump(&table).await;
    for step in ["dual-write", "read-new", "write-new"] {
        let ran = tool(&bed, &["cutover", text(&plan), "--to", step, "--yes", "--force", "in a hurry"]);
        println!("{step}: {} {}", ran.code, ran.said());
    }
    let ran = tool(&bed, &["rollback", text(&plan), "--yes"]);
    println!("rollback: {} {}", ran.code, ran.stdout);
    assert!(
        bed.dump(&table).await == before,
        "the table is not what it was: {:?}",
        bed.dump(&table).await.values().next()
    );
}
