//! Tests the tool's predictions before a run: constants, time to live, index keys, and items that are signed on the
//! client.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::{CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate};
use backfill::internals::item::{Num, Projection, Value};

use super::preflight::{answer_with, findings};
use super::*;
use crate::harness::{definition, index, key_elements, projection};

/// RUNBOOK: "`check` shows constants as the plan has them"
#[tokio::test(flavor = "multi_thread")]
async fn check_shows_constants_and_warns_about_templates() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(3)).await;
    let set =
        |value: &str| harness.plan("plan", &table, "", &format!("[[change]]\nset = \"greeting\"\nvalue = {value}\n"));
    let plan = set("\"Hello ${name}\\u001B[2J\"");
    let check = tool(&harness, &["check", text(&plan)]).exits(0).stdout;
    for part in [
        "set greeting to \"Hello ${name}\\u{1b}[2J\"",
        "warning      The constant of `greeting` looks like a template: \"Hello ${name}\\u{1b}[2J\" (constant-template)",
    ] {
        assert!(check.contains(part), "{part}: {check}");
    }
    let run = tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert!(run.messages().contains("looks like a template"), "{}", run.messages());
    let plan = set("7");
    assert_eq!(findings(&harness, text(&plan), 0, &[]).get("constant-template"), None);
    refused(&harness, 7, &["run", text(&plan), "--yes"]).in_one_paragraph().says(&[
        "belongs to another plan",
        "set greeting to \"Hello ${name}\\u{1b}[2J\"",
        "set greeting to 7",
    ]);
}

fn number(text: &str) -> Value {
    Value::N(Num::parse(text).unwrap())
}

/// RUNBOOK: "if a time to live is in milliseconds or a string, the item never expires"
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_live_attribute_is_named_and_wrong_units_are_noticed() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let ttl_value = |n: usize| match n {
        0..12 => number(&(1_900_000_000 + n).to_string()),
        12..15 => number("1900000000000"),
        _ => Value::S("2030-01-01T00:00:00Z".into()),
    };
    harness.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("ttl", ttl_value(n))]))).await;
    answer_with(
        &harness,
        vec![(
            "DescribeTimeToLive",
            json!({ "TimeToLiveDescription": { "TimeToLiveStatus": "ENABLED", "AttributeName": "ttl" } }),
        )],
    );
    let move_it = harness.plan("moves", &table, "", "[[change]]\nmove = \"ttl\"\nto = \"expires_at\"\n");
    let ttl = |plan: &std::path::Path, options: &[&str]| findings(&harness, text(plan), 0, options)["ttl"].clone();
    let said = |finding: &Json, parts: &[&str]| {
        let text = ["what", "why", "do"].map(|part| finding[part].as_str().unwrap()).join(" ");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let moved = ttl(&move_it, &["--sample", "100%"]);
    assert_eq!(moved["severity"], "warning");
    said(
        &moved,
        &[
            "touches `ttl`, which expires items",
            "to `expires_at`",
            "3 of 20 values",
            "milliseconds",
            "5 of 20",
            "not numbers",
        ],
    );
    said(&ttl(&move_it, &[]), &["--sample", "milliseconds"]);

    let set = |value: &str| {
        let path = harness.plan("sets", &table, "", &format!("[[change]]\nset = \"ttl\"\nvalue = {value}\n"));
        ttl(&path, &[])
    };
    said(&set("1900000000000"), &["milliseconds", "never expire"]);
    said(&set("\"2030-01-01T00:00:00Z\""), &["of type S", "never expire"]);
    said(&set("1000000000"), &["more than five years", "never expire"]);
    let past = backfill::internals::clock::now();
    let yesterday = past.parse::<jiff::Timestamp>().unwrap().as_second() - 86_400;
    said(&set(&yesterday.to_string()), &["in the past", "deletes every item"]);
    said(&set("4000000000"), &["touches `ttl`"]);
}

/// If a plan removes or moves an index key attribute, the index entries disappear. The tool warns about such a change,
/// and counts the index writes.
#[tokio::test(flavor = "multi_thread")]
async fn check_warns_about_removed_index_keys_and_counts_their_cost() {
    let harness = Harness::embedded();
    let by_customer = index("by-customer", &[("customer", "S"), ("placed", "S")], Projection::All, false);
    let by_status = index("by-status", &[("status", "S")], Projection::KeysOnly, false);
    let table = harness.create_indexed_table(&[by_customer, by_status]).await;
    let orders = (0..60).map(|n| {
        let value = |text: String| Value::S(text);
        item(
            &format!("O#{n}"),
            "x",
            [
                ("customer", value(format!("C#{}", n % 3))),
                ("placed", value(format!("{n:03}"))),
                ("status", value("NEW".into())),
            ],
        )
    });
    harness.load(&table, orders).await;
    let changes = "[[change]]\nremove = \"customer\"\n[[change]]\nmove = \"status\"\nto = \"state\"\n";
    let plan = harness.plan("drops", &table, "strategy = \"in-place\"", changes);
    let check = tool(&harness, &["check", text(&plan)]).exits(0).stdout;
    for part in [
        "`customer` is in the key of the global index `by-customer`",
        "`status` is in the key of the global index `by-status`",
    ] {
        assert!(check.contains(&format!("warning      {part}")), "{part}: {check}");
    }
    let dry = tool(&harness, &["run", text(&plan), "--dry-run", "--output", "json"]).exits(0).json();
    // Each removed entry costs one write.
    assert_eq!(dry["estimated_index_write_units"], json!({ "by-customer": 60.0, "by-status": 60.0 }), "{dry:#}");
    harness.proxy().reset_tally();
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert_eq!(harness.proxy().tally().write_units(), dry["estimated_write_units"].as_f64().unwrap());
}

/// Returns items in the formats of two client-side encryption libraries, and some unencrypted items.
fn signed(count: usize) -> impl Iterator<Item = Item> {
    (0..count).map(|n| {
        let bytes = |text: &str| Value::B(text.as_bytes().to_vec());
        let mut item = item(&format!("P#{n}"), "x", [("old", secret(n))]);
        let names = match n % 5 {
            0 | 1 => ["aws_dbe_head", "aws_dbe_foot"],
            2 | 3 => ["*amzn-ddb-map-desc*", "*amzn-ddb-map-sig*"],
            _ => return item,
        };
        item.extend(names.map(|name| (name.to_owned(), bytes("signature"))));
        item
    })
}

fn is_signed(item: &Item) -> bool {
    item.contains_key("aws_dbe_head") || item.contains_key("*amzn-ddb-map-sig*")
}

/// RUNBOOK: "Items that are signed or encrypted on the client break when they are edited"
#[tokio::test(flavor = "multi_thread")]
async fn items_signed_on_the_client_are_edited_only_after_acceptance() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, signed(50)).await;
    let plan = harness.plan("signed", &table, "", &format!("{MOVE}[scan]\nsegments = 1\npage_limit = 10\n"));
    let plan = text(&plan);
    let finding = &findings(&harness, plan, 3, &["--sample", "100%"])["client-encryption"];
    assert_eq!((&finding["severity"], &finding["accept"]), (&json!("refuses"), &json!("client-encryption")));
    assert!(finding["what"].as_str().unwrap().contains("40 of 50 items"), "{finding}");
    findings(&harness, plan, 0, &["--sample", "100%", "--accept", "client-encryption"]);
    let dry = tool(&harness, &["run", plan, "--dry-run", "--output", "json"]).exits(4).json();
    assert_eq!((&dry["would_change"], &dry["rejected"]), (&json!(10), &json!(40)), "{dry:#}");
    nothing_was_written(&harness);

    // The run finds signed items on its first page, records them as failures, and stops. The next session resumes after
    // the first page. It stops after the second page for the same reason.
    for pages in 1..=2 {
        let ran = tool(&harness, &["run", plan, "--yes", "--output", "json"]).exits(6).json();
        let stopped = ran["stopped"].as_str().unwrap();
        assert!(
            stopped.contains("signed or encrypted on the client") && stopped.contains("--accept client-encryption")
        );
        assert_eq!(ran["totals"]["counts"]["scanned"], 10 * pages, "{ran:#}");
        let now = harness.dump(&table).await;
        assert!(now.values().all(|item| !is_signed(item) || !item.contains_key("new")), "no signed item is edited");
    }
    let listed = tool(&harness, &["failures", plan, "list", "--output", "json"]).exits(0).json();
    let reasons: BTreeSet<&str> =
        listed["failures"].as_array().unwrap().iter().map(|failure| failure["reason"].as_str().unwrap()).collect();
    assert!(reasons.iter().all(|reason| reason.contains("signed or encrypted on the client")), "{reasons:?}");
    tool(&harness, &["failures", plan, "retry", "--yes"]).exits(4);

    // With `--accept`, the run continues and reads all items. The acceptance applies to the recorded failures and to
    // all remaining items.
    tool(&harness, &["run", plan, "--yes", "--accept", "client-encryption"]).exits(4);
    let status = tool(&harness, &["status", plan]).exits(0).stdout;
    assert!(status.contains("client-encryption"), "{status}");
    tool(&harness, &["failures", plan, "retry", "--yes"]).exits(0);
    assert!(harness.dump(&table).await.values().all(|item| item.contains_key("new")));
    tool(&harness, &["verify", plan, "--all"]).exits(0);
    // A second pass is a new run, so the operator must pass `--accept` a second time.
    harness
        .load(&table, std::iter::once(item("P#LATE", "x", [("old", secret(1)), ("aws_dbe_head", Value::B(vec![1]))])))
        .await;
    tool(&harness, &["run", plan, "--again", "--yes"]).exits(6);
    tool(&harness, &["run", plan, "--again", "--yes", "--accept", "client-encryption"]).exits(4);
    tool(&harness, &["failures", plan, "retry", "--yes"]).exits(0);
    // A rollback does not need `--accept`.
    tool(&harness, &["rollback", plan, "--yes", "--readers-back", "--new-writes-stopped"]).exits(0);
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("new")));
}

/// If the signed item is on the last page, the run records the item as a failure. The run has then read every item, so
/// a later `run` does not read this item a second time. With `--accept client-encryption`, `failures retry` and
/// `verify --repair` can still change the item. `failures list` shows this option with the item.
///
/// RUNBOOK: "`failures retry` and `verify --repair` take `--accept client-encryption` too"
#[tokio::test(flavor = "multi_thread")]
async fn signed_items_on_the_last_page_can_be_accepted_by_a_retry_or_a_repair() {
    let harness = Harness::embedded();
    for repairs in [false, true] {
        let table = harness.create_table().await;
        harness.load(&table, signed(5)).await;
        // The scan has one page, so the stopped run has read every item.
        let plan = harness.plan(&format!("last-{repairs}"), &table, "", &format!("{MOVE}[scan]\nsegments = 1\n"));
        let plan = text(&plan);
        tool(&harness, &["run", plan, "--yes"]).exits(6);
        tool(&harness, &["run", plan, "--yes", "--accept", "client-encryption"]).exits(4);
        let accepting = if repairs {
            tool(&harness, &["verify", plan, "--all", "--repair", "--yes"]).exits(5);
            vec!["verify", plan, "--all", "--repair", "--yes", "--accept", "client-encryption"]
        } else {
            let retried = tool(&harness, &["failures", plan, "retry", "--yes"]).exits(4).stdout;
            let next = format!("Next: backfill failures retry {plan} --accept client-encryption");
            assert!(retried.contains("4 items are signed or encrypted") && retried.contains(&next), "{retried}");
            let json = tool(&harness, &["failures", plan, "retry", "--yes", "--output", "json"]).exits(4).json();
            assert_eq!(json["signed_or_encrypted"], 4, "{json:#}");
            vec!["failures", plan, "retry", "--yes", "--accept", "client-encryption"]
        };
        let listed = tool(&harness, &["failures", plan, "list"]).exits(0).stdout;
        assert_eq!(listed.matches("--accept client-encryption").count(), 4, "{listed}");
        assert!(harness.dump(&table).await.values().all(|item| !is_signed(item) || !item.contains_key("new")));

        tool(&harness, &accepting).exits(0);
        assert!(harness.dump(&table).await.values().all(|item| item.contains_key("new")));
        // The acceptance is recorded, and applies to later commands.
        let status = tool(&harness, &["status", plan]).exits(0).stdout;
        assert!(repairs || status.contains("accepted: client-encryption"), "{status}");
        tool(&harness, &["failures", plan, "retry", "--yes"]).exits(0);
        tool(&harness, &["verify", plan, "--all"]).exits(0);
        harness
            .load(
                &table,
                std::iter::once(item("P#LATE", "x", [("old", secret(1)), ("aws_dbe_head", Value::B(vec![1]))])),
            )
            .await;
        tool(&harness, &["verify", plan, "--all", "--repair", "--yes"]).exits(0);
    }
}

/// The acceptance for one run does not apply to a new run.
/// RUNBOOK: "a new run (`--again`, `--restart`) needs it again"
#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_needs_its_own_acceptance_of_signed_items() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, signed(50)).await;
    let plan = |limits: &str| {
        harness.plan("anew", &table, "", &format!("{MOVE}[scan]\nsegments = 1\npage_limit = 10\n{limits}"))
    };
    let edited = async || harness.dump(&table).await.values().filter(|i| is_signed(i) && i.contains_key("new")).count();
    let limited = plan("[limits]\nmax_items = 10\n");
    let accepting = ["run", text(&limited), "--yes", "--accept", "client-encryption"];
    tool(&harness, &accepting).exits(6);
    let before = edited().await;
    assert!((1..40).contains(&before), "{before} of 40");
    let plan = plan("");
    // Stop the command while it completes the baseline. After that, no command can resume the first run, so the next
    // `run` begins a new run.
    let pages = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&pages);
    inject_fault(&harness, move |request| {
        if request.operation != "Scan" {
            return Fault::Pass;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        Fault::Delay(Duration::from_millis(400))
    });
    let mut command = harness.command();
    command.args(["run", text(&plan), "--restart", "--yes"]);
    let running = RunningTool::start(command);
    while pages.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.signal(Signal::SIGTERM);
    tokio::task::block_in_place(|| running.end()).exits(130);
    harness.proxy().set_faults(None);
    for options in [&[][..], &["--restart"]] {
        tool(&harness, &[&["run", text(&plan), "--yes"], options].concat()).exits(6);
        assert_eq!(edited().await, before, "{options:?}");
    }
    tool(&harness, &["run", text(&plan), "--restart", "--yes", "--accept", "client-encryption"]).exits(0);
    assert_eq!(edited().await, 40);
}

/// After the migration has run, the table gets an index. The type of the index key differs from the type of the plan's
/// constant. From then on, `run` refuses, but `rollback` does not.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_added_later_does_not_block_the_way_back() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(5)).await;
    let before = harness.dump(&table).await;
    let plan = harness.plan("later", &table, "", "[[change]]\nset = \"marker\"\nvalue = \"v1\"\n");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);

    let by_marker = index("by-marker", &[("marker", "N")], Projection::KeysOnly, false);
    let create = CreateGlobalSecondaryIndexAction::builder()
        .index_name("by-marker")
        .set_key_schema(Some(key_elements(&by_marker.key)))
        .projection(projection(&by_marker));
    let update = GlobalSecondaryIndexUpdate::builder().create(create.build().unwrap()).build();
    let request =
        harness.client().update_table().table_name(&table).attribute_definitions(definition(&by_marker.key[0]));
    request.global_secondary_index_updates(update).send().await.unwrap();

    let again = tool(&harness, &["run", text(&plan), "--again", "--yes"]).exits(2);
    assert!(again.messages().contains("DynamoDB would reject this change for every item"), "{}", again.messages());
    tool(&harness, &["rollback", text(&plan), "--dry-run"]).exits(0);
    tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
    assert_eq!(harness.dump(&table).await, before);
}

/// A dry run predicts that the run stops at `max_failures`. It names the failure that reaches the limit, and a remedy.
/// A dry run over a sample says "may" if the limit is within the estimated range.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_that_the_run_would_stop_at_max_failures() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let wrong = (0..6).map(|n| item(&format!("P#{n}"), "x", [("n", Value::S("five".into()))]));
    harness.load(&table, wrong).await;
    let plan = |limit: u64| {
        let rest =
            format!("[limits]\nmax_failures = {limit}\n[[change]]\ncompute = \"twice\"\nas = 'item.n + item.n + 0'\n");
        harness.plan(&format!("limit-{limit}"), &table, "on_not_computable = \"fail\"", &rest)
    };
    let dry_run = |plan: &std::path::Path| {
        let text = tool(&harness, &["run", text(plan), "--dry-run"]).exits(4).stdout;
        let json = tool(&harness, &["run", self::text(plan), "--dry-run", "--output", "json"]).exits(4).json();
        (text, json["exceeds_max_failures"].clone())
    };
    let (said, json) = dry_run(&plan(5));
    for part in
        ["A run would stop early with exit code 6, at failure number 6", "6 items would fail", "max_failures is 5"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(json, json!({"max_failures": 5, "failures": {"low": 6, "high": 6}, "certain": true}));
    let (said, json) = dry_run(&plan(6));
    assert!(!said.contains("max_failures") && json.is_null(), "{said} {json:#}");
    // The run stops as the dry run predicted.
    let stopped = tool(&harness, &["run", text(&plan(5)), "--yes"]).exits(6);
    assert!(
        stopped.messages().contains("max_failures") || stopped.stdout.contains("max_failures"),
        "{}",
        stopped.stdout
    );
}
