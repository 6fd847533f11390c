//! Tests items that DynamoDB rejects. The tool counts such items, lists them with key and reason, limits their number
//! by `max_failures`, and can retry them.

use super::*;

/// An item that a second copy of `old` would make larger than 400 KB.
fn too_large(n: usize) -> Item {
    let filler = "x".repeat(250 * 1024);
    item(&format!("LARGE#{n}"), &format!("S#{n}"), [("old", Value::S(format!("{}-{filler}", tool::SECRET)))])
}

const FEW: &str = "[limits]\nmax_failures = 5\n";

#[tokio::test(flavor = "multi_thread")]
async fn more_failures_than_allowed_stop_the_run_and_a_retry_resolves_them() {
    let all = items(100).chain((0..20).map(too_large));
    let scene = Scene::new(all, "", &format!("{MOVE}[scan]\nsegments = 2\npage_limit = 4\n{FEW}")).await;
    let ran = scene.run().exits(6);
    let stopped = ran.json()["stopped"].as_str().unwrap().to_owned();
    assert!(stopped.contains("max_failures is 5") && stopped.contains("backfill failures"), "{stopped}");
    let recorded = scene.state().summary().unwrap().open_failures;
    // The failures of a page are recorded together, and each segment can have a page in progress. So the number of
    // failures can slightly exceed the limit.
    assert!((6..=12).contains(&recorded), "{recorded}");

    // The limit can change between restarts. With the old limit, the run would stop at the next failure.
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    std::fs::write(&scene.plan, text.replace(FEW, "")).unwrap();
    let json = scene.run().exits(4).json();
    assert_eq!((&counts(&json)["scanned"], failed(&json)), (&json!(120), 20));

    let listed = tool(&scene.harness, &["failures", scene.plan(), "list"]).exits(0);
    assert_eq!(listed.stdout.lines().filter(|l| l.contains("pk=LARGE#") && l.contains("sk=S#")).count(), 20);
    assert!(listed.stdout.contains("size") && listed.stdout.contains("20 open failures"), "{}", listed.stdout);
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list", "--output", "json"]).exits(0).json();
    assert_eq!((listed["failures"].as_array().unwrap().len(), &listed["open_failures"]), (20, &json!(20)));

    // The items are not fixed yet, so they fail once more.
    let again = tool(&scene.harness, &["failures", scene.plan(), "retry", "--yes", "--output", "json"]).exits(4).json();
    assert_eq!((&again["counts"]["scanned"], &again["counts"]["rejected"]), (&json!(20), &json!(20)), "{again}");

    // Delete one item, write the new attribute of a second item directly, and make the remaining items smaller.
    let mut after: BTreeMap<String, Item> = scene.before.iter().map(|(k, i)| (k.clone(), moved(i))).collect();
    for n in 0..20 {
        let mut small = too_large(n);
        small.insert("old".into(), secret(n));
        let key = key_of(&small);
        after.insert(key.to_text(), moved(&small));
        match n {
            0 => {
                let delete = scene.harness.client().delete_item().table_name(&scene.table);
                delete.set_key(Some(crate::harness::to_sdk(key.attributes()))).send().await.unwrap();
                after.remove(&key.to_text());
                continue;
            }
            1 => small = moved(&small),
            _ => {}
        }
        let put = scene.harness.client().put_item().table_name(&scene.table);
        put.set_item(Some(crate::harness::to_sdk(&small))).send().await.unwrap();
    }
    let settled =
        tool(&scene.harness, &["failures", scene.plan(), "retry", "--yes", "--output", "json"]).exits(0).json();
    let outcomes = &settled["counts"];
    assert_eq!(
        (&outcomes["applied"], &outcomes["already_applied"], &outcomes["gone"]),
        (&json!(18), &json!(1), &json!(1)),
        "{settled}"
    );
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list", "--output", "json"]).exits(0).json();
    assert_eq!((&listed["open_failures"], &listed["failures"]), (&json!(0), &json!([])));
    let now = scene.harness.dump(&scene.table).await;
    assert_eq!(now.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(now.iter().all(|(key, item)| bytes_of(item) == bytes_of(&after[key])));
    // No failure is open, so the complete run reports no failures.
    let json = scene.run().exits(0).json();
    assert_eq!(
        (failed(&json), &json["open_failures"]),
        (20, &json!(0)),
        "the counts of failed items stay after the retry"
    );
}

/// RUNBOOK: "Items that a retry resolves no longer count against `max_failures`".
///
/// Resolved failures no longer count against the limit, so the resumed run can record more failures.
#[tokio::test(flavor = "multi_thread")]
async fn resolved_failures_leave_room_under_the_limit() {
    let all = items(10).chain((0..11).map(too_large));
    let scene = Scene::new(all, "", &format!("{MOVE}[scan]\nsegments = 1\npage_limit = 1\n{FEW}")).await;
    scene.run().exits(6);
    let stopped_at =
        scene.state().failures(ListQuery { run: None, open_only: true, after: Cursor::START, limit: 100 }).unwrap();
    assert_eq!(stopped_at.len(), 6);
    for failure in stopped_at {
        let mut item = scene.before[&failure.key.to_text()].clone();
        item.insert("old".into(), secret("smaller"));
        let put = scene.harness.client().put_item().table_name(&scene.table);
        put.set_item(Some(crate::harness::to_sdk(&item))).send().await.unwrap();
    }
    tool(&scene.harness, &["failures", scene.plan(), "retry", "--yes"]).exits(0);
    let json = scene.run().exits(4).json();
    assert_eq!((&json["run"]["status"], &json["open_failures"]), (&json!("complete"), &json!(5)), "{json}");
}

/// A run with a new state file finds only items that the plan cannot change. Even though all of these items fail, the
/// tool does not conclude that the plan is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_new_state_file_completes_despite_many_failures() {
    let odd = (0..120).map(|n| item("ODD", &format!("S#{n}"), [("old", secret(n)), ("doc", secret("not a map"))]));
    let plan = format!("[[change]]\nmove = \"old\"\nto = \"doc.new\"\n{SMALL_PAGES}");
    let scene = Scene::new(odd, "", &plan).await;
    let json = scene.run().exits(4).json();
    assert_eq!((&json["run"]["status"], failed(&json)), (&json!("complete"), 120));
}

/// If an item's shape makes the change impossible, the item fails with a reason, and the tool sends no request for it.
/// No other item fails.
#[tokio::test(flavor = "multi_thread")]
async fn only_items_of_the_wrong_shape_fail() {
    let odd = (0..3).map(|n| item("ODD", &format!("S#{n}"), [("old", secret(n)), ("doc", secret("not a map"))]));
    let plan = format!("[[change]]\nmove = \"old\"\nto = \"doc.new\"\n{SMALL_PAGES}");
    let scene = Scene::new(items(20).chain(odd), "", &plan).await;
    let json = scene.run().exits(4).json();
    assert_eq!((&counts(&json)["applied"], failed(&json)), (&json!(20), 3));
    assert_eq!(scene.harness.proxy().tally().operation("UpdateItem").requests, 20);
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list"]).exits(0);
    assert!(listed.stdout.contains("`doc.new` cannot be set: `doc` is of type S, not M"), "{}", listed.stdout);
}

/// In a second pass, many items fail a second time, and no other item needs a write. The tool does not conclude that
/// the plan fails for every item, because the first pass wrote items successfully.
#[tokio::test(flavor = "multi_thread")]
async fn another_pass_over_many_failures_completes() {
    let odd = (0..120)
        .map(|n| item(&format!("ODD#{n}"), &format!("S#{n}"), [("old", secret(n)), ("doc", secret("not a map"))]));
    let plan = format!("[[change]]\nmove = \"old\"\nto = \"doc.new\"\n{SMALL_PAGES}");
    let scene = Scene::new(items(600).chain(odd), "", &plan).await;
    assert_eq!(failed(&scene.run().exits(4).json()), 120);
    let args = ["run", scene.plan(), "--again", "--yes", "--output", "json"];
    let json = tool(&scene.harness, &args).exits(4).json();
    assert_eq!((failed(&json), &counts(&json)["already_applied"]), (120, &json!(600)), "{json}");
}

/// If an item's attribute has the wrong type for an index key, DynamoDB rejects every write to the item, even a write
/// that changes only other attributes. Such items fail with a reason, and fail once more when they are retried. All
/// other items are done.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_reject_every_write_are_failures_and_the_others_are_done() {
    const WHY: &str =
        "One or more parameter values were invalid: Type mismatch for Index Key kind Expected: S Actual: N";
    let read_only = (0..120).map(|n| item(&format!("READ-ONLY#{n}"), "x", [("old", secret(n))]));
    let scene = Scene::new(items(180).chain(read_only), "", &format!("{MOVE}{SMALL_PAGES}{QUICK}")).await;
    scene.fault(|request| match request.body()["Key"]["pk"]["S"].as_str() {
        Some(pk) if request.operation == "UpdateItem" && pk.starts_with("READ-ONLY") => {
            reply(400, "ValidationException", WHY)
        }
        _ => Fault::Pass,
    });
    let json = scene.run().exits(4).json();
    assert_eq!((&counts(&json)["applied"], &counts(&json)["rejected"]), (&json!(180), &json!(120)));
    let again = tool(&scene.harness, &["failures", scene.plan(), "retry", "--yes", "--output", "json"]).exits(4).json();
    assert_eq!(again["counts"]["rejected"], 120, "{again}");
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list", "--output", "json"]).exits(0).json();
    for failure in listed["failures"].as_array().unwrap() {
        assert!(failure["key"].to_string().contains("READ-ONLY#"), "{failure}");
        assert!(failure["reason"].as_str().unwrap().contains("Type mismatch for Index Key"), "{failure}");
    }
    let read_only = |item: &Item| matches!(&item["pk"], Value::S(pk) if pk.starts_with("READ-ONLY"));
    scene.assert_table(|item| if read_only(item) { item.clone() } else { moved(item) }).await;
    // Writes now succeed, but one reply is lost. When the tool resends this write, it finds that the item is done. The
    // report mentions this.
    scene.fault(|request| match request.operation.as_str() {
        "UpdateItem" if request.operation_sequence == 0 => Fault::DropReply,
        _ => Fault::Pass,
    });
    let settled = tool(&scene.harness, &["failures", scene.plan(), "retry", "--yes"]).exits(0).stdout;
    assert!(settled.contains("at least: a write whose reply was lost"), "{settled}");
    scene.assert_table(moved).await;
}
