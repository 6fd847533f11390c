//! Tests default values for missing attributes. Also tests repairs that need an explicit option.

use std::sync::Mutex;
use std::time::Instant;

use super::*;
use backfill::internals::item::Value;

const CUTOVER: &str = "[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n";

const SET: &str = "[[change]]\nset = \"expires\"\nvalue = \"never\"\n";

/// Creates a table of 80 items. Every fourth item already has its own value.
async fn sessions() -> (Harness, String) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let one = |n: usize| {
        let mut one = item(&format!("S#{n:03}"), "x", [("kept", secret(n))]);
        if n.is_multiple_of(4) {
            one.insert("expires".to_owned(), secret(format!("own {n}")));
        }
        one
    };
    harness.load(&table, (0..80).map(one)).await;
    (harness, table)
}

/// Returns the next command that `status` prints, or `None` if nothing is left to do.
fn next(harness: &Harness, plan: &std::path::Path) -> Option<String> {
    let status = tool(harness, &["status", text(plan), "--output", "json"]).exits(0).json();
    Some(status["playbook"]["next"].as_str()?.replace(&format!(" {}", text(plan)), ""))
}

/// RUNBOOK: "no reader and no writer has to move"
#[tokio::test(flavor = "multi_thread")]
async fn a_default_is_written_only_to_items_without_the_value() {
    for strategy in ["expand-contract", "in-place"] {
        let (harness, table) = sessions().await;
        let before = harness.dump(&table).await;
        let settings = format!("strategy = \"{strategy}\"\non_existing = \"skip\"");
        let plan = harness.plan("defaults", &table, &settings, SET);
        let dry = tool(&harness, &["run", text(&plan), "--dry-run", "--output", "json"]).exits(0).json();
        assert_eq!(
            (&dry["would_change"], &dry["skipped"], &dry["diverged"]),
            (&json!(60), &json!(20), &json!(0)),
            "{dry}"
        );
        tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
        let with_default = |before: &Item| {
            let mut after = before.clone();
            after.entry("expires".to_owned()).or_insert_with(|| Value::S("never".into()));
            after
        };
        let after = before.iter().map(|(key, one)| (key.clone(), with_default(one))).collect();
        assert_eq!(harness.dump(&table).await, after, "{strategy}");
        // A second pass, a verification and a repair find nothing to do.
        let writes = harness.proxy().tally().operation("UpdateItem").requests;
        assert_eq!((writes, next(&harness, &plan).as_deref()), (60, Some("backfill verify --all")), "{strategy}");
        let report = tool(&harness, &["verify", text(&plan), "--all", "--output", "json"]).exits(0).json();
        assert_eq!(
            (&report["matching"], &report["skipped"], &report["mismatches"]),
            (&json!(60), &json!(20), &json!(0))
        );
        assert_eq!(next(&harness, &plan), None, "{strategy}: nothing is left to do");
        tool(&harness, &["run", text(&plan), "--again", "--yes"]).exits(0);
        tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes"]).exits(0);
        assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, writes, "{strategy}");
        let why = if strategy == "in-place" { "works in place" } else { "only writes values" };
        refused(&harness, 3, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).says(&[why, "ends at verify"]);
        tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
        assert_eq!(harness.dump(&table).await, before, "{strategy}");
    }
}

/// With `on_existing = "keep"`, items that already have a different value are diverged. A repair first lists the values
/// that it would overwrite, and asks for confirmation.
/// RUNBOOK: "Without a terminal, pass `--yes`; otherwise the command refuses before it reads the table."
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_says_what_it_overwrites_and_asks() {
    let (harness, table) = sessions().await;
    let plan = harness.plan("kept", &table, "", SET);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(5);
    let before = harness.dump(&table).await;
    let due = next(&harness, &plan);
    let scans = harness.proxy().tally().operation("Scan").requests;
    // No verification has run yet, so the command would first have to read the table. Without a terminal, no operator
    // can confirm the repair. So the command refuses before it reads the table.
    for scope in ["--all", "--sample=4"] {
        refused(&harness, 3, &["verify", text(&plan), scope, "--repair"]).says(&["--yes", "no terminal to ask"]);
        assert_eq!(harness.proxy().tally().operation("Scan").requests, scans, "{scope}: nothing was read");
    }
    assert_eq!((harness.dump(&table).await, next(&harness, &plan)), (before, due), "nothing was confirmed");
    let ran = tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes", "--output", "json"]).exits(0);
    for part in [
        "comparing the table first",
        "stale",
        "20  the value differs at a path that the plan changes: the repair overwrites it",
    ] {
        assert!(ran.messages().contains(part), "{part}: {}", ran.messages());
    }
    let report = ran.json();
    assert_eq!((&report["repaired"], &report["mismatches"]), (&json!(20), &json!(0)), "{report}");
    assert_eq!(next(&harness, &plan), None);
}

/// An application has replaced a value that the run had written. A repair announces that it will overwrite the
/// application's value, and then overwrites it. Then a rollback restores the item. The report and the failure list name
/// the item, and the journal contains the application's value.
/// RUNBOOK: "the report of the rollback and `failures list` name each of them"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_names_the_values_that_a_repair_replaced() {
    let (harness, table) = sessions().await;
    let plan = harness.plan("replaced", &table, "", SET);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(5);
    let before = harness.dump(&table).await;
    let own = item("S#001", "x", [("kept", secret(1)), ("expires", Value::S("tomorrow".into()))]);
    harness.load(&table, [own.clone()].into_iter()).await;
    let verified = tool(&harness, &["verify", text(&plan), "--all", "--output", "json"]).exits(5).json();
    assert_eq!((&verified["stale"], &verified["forecast"]["replaces"]), (&json!(21), &json!(21)), "{verified:#}");
    let repaired = tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes"]).exits(0);
    let said = repaired.messages();
    assert!(said.contains("In 21 of the items to repair, the repair replaces or removes a value"), "{said}");
    let predicted = tool(&harness, &["rollback", text(&plan), "--dry-run", "--output", "json"]).exits(0).json();
    assert_eq!(predicted["repaired_over"]["items"], 1, "{predicted:#}");
    let ran = tool(&harness, &["rollback", text(&plan), "--yes", "--output", "json"]).exits(0).json();
    let over = &ran["runs"][0]["repaired_over"];
    assert_eq!((&over["count"], &over["items"][0]["path"]), (&json!(1), &json!("expires")), "{ran:#}");
    let mut restored = before;
    // The rollback restores the values that only the repair replaced, and removes the values that the run wrote.
    restored.values_mut().for_each(|one| {
        if one.get("expires") == Some(&Value::S("never".into())) {
            one.remove("expires");
        }
    });
    assert_eq!(harness.dump(&table).await, restored);
    let listed = tool(&harness, &["failures", "list", text(&plan)]).exits(0).stdout;
    assert!(listed.contains("replaced by a repair") && listed.contains("S#001"), "{listed}");
    assert!(!listed.contains("tomorrow"), "{listed}");
    let journal = tool(&harness, &["journal", text(&plan)]).exits(0).stdout;
    assert!(journal.contains("S#001"), "{journal}");
}

/// Like the previous test, but the application changed the item once more after the repair. The rollback does not write
/// the item, and still names it.
/// RUNBOOK: "also if the rollback does not write the item"
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_names_a_replaced_value_of_an_item_that_it_does_not_write() {
    let (harness, table) = sessions().await;
    let plan = harness.plan("left", &table, "", SET);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(5);
    let own = |expires: &str| item("S#001", "x", [("kept", secret(1)), ("expires", Value::S(expires.into()))]);
    harness.load(&table, [own("tomorrow")].into_iter()).await;
    tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes"]).exits(0);
    harness.load(&table, [own("next week")].into_iter()).await;
    let predicted = tool(&harness, &["rollback", text(&plan), "--dry-run", "--output", "json"]).exits(5).json();
    assert_eq!((&predicted["repaired_over"]["items"], &predicted["diverged"]), (&json!(1), &json!(1)), "{predicted:#}");
    let ran = tool(&harness, &["rollback", text(&plan), "--yes", "--output", "json"]).exits(5).json();
    let over = &ran["runs"][0]["repaired_over"];
    assert_eq!((&over["count"], &over["items"][0]["path"]), (&json!(1), &json!("expires")), "{ran:#}");
    let listed = tool(&harness, &["failures", "list", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(listed["repaired_over"]["count"], 1, "{listed:#}");
    let listed = tool(&harness, &["failures", "list", text(&plan)]).exits(0).stdout;
    assert!(listed.contains("replaced by a repair: 1 item:") && listed.contains("S#001"), "{listed}");
    let key = item("S#001", "x", []);
    assert_eq!(harness.dump(&table).await[&harness::key_of(&key).to_text()]["expires"], Value::S("next week".into()));
}

/// The verification treated old values as correct, and compared new values with them. The later repair treats new
/// values as correct, so it compares the table again before it announces its changes.
/// RUNBOOK: "If the last `verify --all` used the same truth, the repair uses its result."
#[tokio::test(flavor = "multi_thread")]
async fn findings_for_the_other_side_do_not_describe_a_repair() {
    let (harness, table, plan) = setup(10, CUTOVER).await;
    let to = ["cutover", text(&plan), "--yes", "--to"];
    let since = ["dual-write", "--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&harness, &[&to[..], &since].concat()).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let alone = |n: usize| item(&format!("alone-{n}"), "x", [("new", secret(n))]);
    harness.load(&table, (0..3).map(alone)).await;
    tool(&harness, &["verify", text(&plan), "--all"]).exits(5);
    tool(&harness, &[&to[..], &["read-new", "--readers-moved", "--force", "the new ones are right"]].concat()).exits(0);
    let ran = tool(&harness, &["verify", text(&plan), "--all", "--repair", "--yes"]).exits(0);
    let said = ran.messages();
    for part in
        ["comparing the table first", "3  the value is missing in one of the two attributes: the repair writes it"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("3  leaves"), "{said}");
    assert!(harness.dump(&table).await.values().all(|one| one.get("old") == one.get("new")));
}

/// If an item has a new value and no old value, an application could have written the new value. So a repair removes
/// such a value only with `--repair-remove`.
/// RUNBOOK: "`--repair-remove` removes those values too, even if an application wrote them."
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_removes_nothing_without_repair_remove() {
    let (harness, table, plan) = setup(10, CUTOVER).await;
    let since = ["--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&harness, &[&["cutover", text(&plan), "--yes", "--to", "dual-write"], &since[..]].concat()).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let alone = item("alone", "x", [("new", secret("alone"))]);
    harness.load(&table, [alone.clone()].into_iter()).await;
    let before = harness.dump(&table).await;
    tool(&harness, &["verify", text(&plan), "--all"]).exits(5);
    let repair = ["verify", text(&plan), "--all", "--repair", "--yes"];
    let ran = tool(&harness, &repair).exits(5);
    assert!(
        ran.messages().contains("1  the plan does not imply the value in the new attribute: it stays"),
        "{}",
        ran.messages()
    );
    for part in ["found 1, repaired 0, left 1", "--repair-remove removes them", "--repair-remove was not given"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert_eq!(harness.dump(&table).await, before);
    // A second repair without `--repair-remove` would also leave the value in place, so `status` does not suggest a
    // repair.
    assert_eq!(next(&harness, &plan).as_deref(), Some("backfill failures list"));
    let listed = tool(&harness, &["failures", "list", text(&plan)]).exits(0);
    assert!(listed.stdout.contains("unexpected") && listed.stdout.contains("alone"), "{}", listed.stdout);
    let to = ["cutover", text(&plan), "--yes", "--to", "read-new", "--readers-moved"];
    refused(&harness, 3, &to).says(&[
        "First look at these items",
        "`failures list`",
        "The last resort is",
        "--force REASON",
    ]);
    tool(&harness, &[&repair[..], &["--repair-remove"]].concat()).exits(0);
    let key = crate::harness::key_of(&alone).to_text();
    assert!(!harness.dump(&table).await[&key].contains_key("new"));
    let journal = tool(&harness, &["journal", text(&plan), "--output", "json"]).exits(0).json();
    assert!(journal.to_string().contains("alone"), "{journal}");
}

/// `verify --all` rereads open diverged items concurrently. If it read them one after the other, it would send the
/// second read only after the reply to the first.
#[tokio::test(flavor = "multi_thread")]
async fn diverged_items_are_read_again_concurrently() {
    const REPLY_DELAY: Duration = Duration::from_millis(500);
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let items = |new: fn(usize) -> Value| {
        (0..64).map(move |n| item(&format!("P#{n}"), "x", [("old", secret(n)), ("new", new(n))]))
    };
    harness.load(&table, items(|n| secret(format!("own {n}")))).await;
    let plan = harness.plan("diverged", &table, "", MOVE);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(5);
    harness.load(&table, items(secret)).await;
    let read_times = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&read_times);
    inject_fault(&harness, move |request| {
        if request.operation != "GetItem" {
            return Fault::Pass;
        }
        recorder.lock().unwrap().push(Instant::now());
        Fault::Delay(REPLY_DELAY)
    });
    let report = tool(&harness, &["verify", text(&plan), "--all", "--output", "json"]).exits(0).json();
    assert_eq!((&report["diverged_closed"], &report["mismatches"]), (&json!(64), &json!(0)), "{report}");
    let read_times = read_times.lock().unwrap();
    let before_an_answer = read_times.iter().filter(|at| at.duration_since(read_times[0]) < REPLY_DELAY).count();
    assert_eq!(read_times.len(), 64);
    assert!(before_an_answer >= 4, "{before_an_answer} of 64 were read before the first answer");
}
