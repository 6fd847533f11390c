//! Tests plans that select by attributes that never change (`[select] stable`), with writers that change such an
//! attribute anyway.

use super::*;

/// A table with 20 orders and 10 invoices, and a plan with a cutover that selects the orders.
struct Orders {
    harness: Harness,
    table: String,
    plan: PathBuf,
}

fn s(text: &str) -> backfill::internals::item::Value {
    backfill::internals::item::Value::S(text.to_owned())
}

fn order(n: usize, kind: &str) -> Item {
    item(&format!("P#{n}"), "x", [("kind", s(kind)), ("old", s("v"))])
}

/// Returns an item that had the new attribute before the migration.
fn with_both(n: usize, kind: &str) -> Item {
    item(&format!("P#{n}"), "x", [("kind", s(kind)), ("old", s("v")), ("new", s("v"))])
}

impl Orders {
    async fn new() -> Orders {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        harness.load(&table, (0..20).map(|n| order(n, "order"))).await;
        harness.load(&table, (20..30).map(|n| with_both(n, "invoice"))).await;
        let rest = format!(
            "[select]\nwhere = 'type(item.kind) == \"S\" && item.kind == \"order\"'\nstable = [\"kind\"]\n\
             [cutover]\nsoak = \"0s\"\nmax_cache_seconds = 1\n{MOVE}"
        );
        let plan = harness.plan("orders", &table, "", &rest);
        let orders = Orders { harness, table, plan };
        orders.yes(&["cutover", "--to", "dual-write", "--dual-writes-since", "2026-01-01T00:00:00Z"], 0);
        orders.yes(&["run", "--accept", "no-pitr"], 0);
        orders.command(&["verify", "--all"], 0);
        orders
    }

    fn command(&self, words: &[&str], code: i32) -> Json {
        let all = [&words[..1], &[text(&self.plan)], &words[1..], &["--output", "json"]].concat();
        tool(&self.harness, &all).exits(code).json()
    }

    fn yes(&self, words: &[&str], code: i32) -> Json {
        self.command(&[words, &["--yes"]].concat(), code)
    }

    /// Writers break the promise: an order becomes an invoice, and an invoice becomes an order.
    async fn break_promise(&self) {
        let left = [order(0, "invoice"), with_both(20, "order")];
        let left = left.map(|mut item| {
            item.insert("new".to_owned(), s("v"));
            item
        });
        self.harness.load(&self.table, left.into_iter()).await;
    }

    /// Returns the list of failures as text.
    fn failures(&self) -> String {
        tool(&self.harness, &["failures", text(&self.plan), "list"]).exits(0).stdout
    }

    async fn count(&self, holds: impl Fn(&Item) -> bool) -> usize {
        self.harness.dump(&self.table).await.values().filter(|item| holds(item)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_and_contract_report_a_changed_attribute() {
    let orders = Orders::new().await;
    orders.break_promise().await;
    let verified = orders.command(&["verify", "--all"], 5);
    assert_eq!(verified["stale"], 2, "{verified:#}");
    for found in verified["examples"].as_array().unwrap() {
        assert_eq!(found["paths"], json!(["kind"]), "{found:#}");
        assert!(found["why"].as_str().unwrap().starts_with("stable-changed: `kind`"), "{found:#}");
    }
    let repaired = orders.yes(&["verify", "--all", "--repair"], 5);
    assert_eq!((&repaired["repaired"], &repaired["mismatches"]), (&json!(0), &json!(2)), "{repaired:#}");
    let force = ["--force", "two items are known to be wrong"];
    orders.yes(&[&["cutover", "--to", "read-new", "--readers-moved"][..], &force].concat(), 0);
    orders.yes(&[&["cutover", "--to", "write-new", "--old-writes-stopped"][..], &force].concat(), 0);
    orders.yes(&[&["contract", "--readers-moved", "--old-writes-stopped"][..], &force].concat(), 4);
    let failures = orders.failures();
    assert!(failures.contains("stable-changed: `kind`") && !failures.contains("order\""), "{failures}");
    assert_eq!(failures.matches("stable-changed").count(), 2, "{failures}");
    // The 19 other orders have only the new attribute. The contract did not write the two items whose kind had changed.
    assert_eq!(orders.count(|item| !item.contains_key("old")).await, 19);
}

/// One order became an invoice. A rollback restores it, because a record shows that the run wrote it. One invoice
/// became an order. A rollback reports it, because its selection has changed and no record shows that the run wrote it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_acts_only_on_records() {
    let orders = Orders::new().await;
    orders.break_promise().await;
    orders.yes(&["rollback", "--readers-back", "--new-writes-stopped"], 4);
    let failures = orders.failures();
    assert!(failures.contains("stable-changed: `kind`") && failures.contains("P#20"), "{failures}");
    let stays = |item: &Item| item.contains_key("new") && item["kind"] == s("order");
    assert_eq!((orders.count(|item| item.contains_key("new")).await, orders.count(stays).await), (10, 1));
    orders.yes(&["rollback", "--force", "the item was never an order"], 0);
    assert_eq!(orders.count(stays).await, 1, "an item that is left for a reason stays as it is");
}
