//! Proofs of a review: each of these fails.

use super::*;

const STEPS: &str = "max_cache_seconds = 1\nsoak = \"0s\"\n";

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

/// What a live writer made of an item's shape is reported, and the rollback of all others has an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_has_an_end_although_a_parent_is_no_map_any_more() {
    let bed = Bed::embedded();
    let table = bed.create_table().await;
    let doc = || backfill::item::Value::M(Item::from([("x".to_owned(), s("v"))]));
    bed.load(&table, (0..5).map(|n| item(&format!("P#{n}"), "x", [("doc", doc())]))).await;
    let plan = bed.plan("ends", &table, "strategy = \"in-place\"", "[[change]]\nremove = \"doc.x\"\n");
    tool(&bed, &["run", text(&plan), "--yes"]).exits(0);
    put(&bed, &table, |item| {
        if item["pk"] == s("P#0") {
            item.insert("doc".into(), s("rewritten by the application"));
        }
    })
    .await;
    for _ in 0..2 {
        println!("{}", tool(&bed, &["rollback", text(&plan), "--yes"]).code);
    }
    assert_eq!(stands(&bed, &plan), "rolled back");
}

/// While only some keys read the new value, a repair takes no key's value from the side that it does not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_below_100_percent_keeps_what_readers_of_old_values_read() {
    let bed = Bed::embedded();
    let (table, flags) = (bed.create_table().await, bed.create_table().await);
    // Another `new` was there before: kept, and reported as diverged.
    bed.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("current")), ("new", s("junk"))]))).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{STEPS}");
    let plan = bed.plan("percent", &table, "", &format!("{MOVE}{flag}"));
    tool(&bed, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    println!("{}", tool(&bed, &["run", text(&plan), "--yes"]).code);
    let forced = ["cutover", text(&plan), "--to", "read-new", "--percent", "1", "--yes", "--force", "a canary"];
    tool(&bed, &forced).exits(0);
    println!("{}", tool(&bed, &["verify", text(&plan), "--all", "--repair"]).code);
    let lost = bed.dump(&table).await.values().filter(|item| item["old"] != s("current")).count();
    assert!(lost <= 1, "{lost} of 20 items that are read by `old` have another value now");
}

fn stands(bed: &Bed, plan: &std::path::Path) -> String {
    let status = tool(bed, &["status", text(plan), "--output", "json"]).exits(0).json();
    status["playbook"]["phase"].as_str().unwrap_or("nothing").to_owned()
}
