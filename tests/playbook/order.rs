//! Tests commands out of order, and bad input. In each case, the tool refuses, prints a remedy, and changes nothing.
//! The tests in src/playbook check all states and commands. The tests here run some of the commands with the real
//! binary.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::item::{Num, Value};
use backfill::internals::local::Fault;
use serde_json::json;

use crate::harness::Harness;
use crate::scene::{MOVE, QUICKLY, Scene, items};

const DUAL_WRITE: &str = "cutover --to dual-write --yes";
const READ_NEW: &str = "cutover --to read-new --yes";
const WRITE_NEW: &str = "cutover --to write-new --yes";

async fn scene() -> Scene {
    Scene::flagged(Harness::start(), items(30), "", &format!("{MOVE}{QUICKLY}")).await
}

/// Checks that the tool refuses each of these commands, prints the next step, and changes nothing.
async fn all_refused(scene: &Scene, state: &str, commands: &[(&str, &str)]) {
    let before = scene.dump().await;
    for (words, next) in commands {
        println!("{state}:");
        scene.run_refused(words, next).await;
    }
    assert_eq!(scene.dump().await, before, "{state}");
}

/// Replaces text in the plan.
pub(crate) fn edit(scene: &Scene, from: &str, to: &str) {
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&scene.plan, text.replace(from, to)).unwrap();
}

/// Every command refuses to run out of order, and prints the next step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_out_of_order_names_the_next_step() {
    let scene = scene().await;
    let state = "nothing was done";
    let begin = "cutover --to dual-write";
    all_refused(
        &scene,
        state,
        &[("verify --all", begin), ("verify --sample 10", begin), (READ_NEW, begin), (WRITE_NEW, begin)],
    )
    .await;
    for words in ["contract --yes", "cutover --back", "run --again --yes"] {
        let ran = scene.run_command(words).await.exits(3);
        assert!(ran.messages().contains("backfill ") || words.starts_with("run"), "{words}: {}", ran.messages());
    }

    scene.run_ok(DUAL_WRITE).await;
    all_refused(
        &scene,
        "dual writes",
        &[("verify --all", "run"), (READ_NEW, "run"), (WRITE_NEW, "run"), ("contract --yes", "run")],
    )
    .await;

    scene.run_ok("run --yes").await;
    all_refused(
        &scene,
        "expanded",
        &[(READ_NEW, "verify --all"), (WRITE_NEW, "verify --all"), ("contract --yes", "verify --all")],
    )
    .await;
    // A sampled verification opens the gate only if the plan accepts samples.
    scene.run_ok("verify --sample 5").await;
    all_refused(&scene, "sampled", &[(READ_NEW, "verify --all")]).await;

    scene.run_ok("verify --all").await;
    let first = "cutover --to read-new --percent 10";
    all_refused(&scene, "verified", &[(WRITE_NEW, first), ("contract --yes", first)]).await;

    scene.run_ok("cutover --to read-new --percent 10 --yes").await;
    let next = "cutover --to read-new";
    all_refused(
        &scene,
        "ten percent",
        &[(WRITE_NEW, next), ("contract --yes", next), (DUAL_WRITE, next), ("run --again --yes", next)],
    )
    .await;

    scene.run_ok(READ_NEW).await;
    let next = "cutover --to write-new";
    all_refused(&scene, "all readers", &[("contract --yes", next), (DUAL_WRITE, next), ("run --again --yes", next)])
        .await;

    scene.run_ok(WRITE_NEW).await;
    let next = "contract";
    all_refused(&scene, "new only", &[(DUAL_WRITE, next), (READ_NEW, next), ("run --again --yes", next)]).await;

    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.run_ok("contract --yes").await;
    for words in ["run --again --yes", READ_NEW, "cutover --back", "rollback --yes"] {
        let ran = scene.run_refused(words, "status").await;
        assert!(ran.messages().contains("over"), "{words}: {}", ran.messages());
    }
    scene.run_ok("contract --yes").await;
    // After contract, a verification still checks the items. But the items have only one attribute, so a repair cannot
    // restore a value.
    let verify = scene.run_ok("verify --all").await;
    assert!(verify.stdout.contains("matching"), "{}", verify.stdout);
    scene.run_ok("verify --sample 5").await;
    scene.run_refused("verify --all --repair", "verify --all").await;
    let back = scene.harness.client().update_item().table_name(&scene.table).update_expression("SET #o = :v");
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let back = back.key("pk", text("P#0000")).key("sk", text("x")).expression_attribute_names("#o", "old");
    back.expression_attribute_values(":v", text("S3CRET-9")).send().await.unwrap();
    scene.run_command("verify --all").await.exits(5);
    scene.run_refused("rollback --yes", "status").await;
}

/// After a rollback, no command continues the migration, and no new migration can begin with the same state file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_continues_after_a_rollback() {
    let scene = scene().await;
    let before = scene.dump().await;
    for words in [DUAL_WRITE, "run --yes", "rollback --yes"] {
        scene.run_ok(words).await;
    }
    assert_eq!(scene.dump().await, before);
    let next = "cutover --to dual-write --state .backfill/rename-2.db";
    let all = [
        ("run --yes", next),
        ("run --again --yes", next),
        ("verify --all", next),
        (DUAL_WRITE, next),
        (READ_NEW, next),
        (WRITE_NEW, next),
        ("contract --yes", next),
    ];
    all_refused(&scene, "rolled back", &all).await;
    scene.run_ok("rollback --yes").await;
}

/// The migration of an in-place plan ends at verify, and can still be rolled back. `cutover` and `contract` refuse such
/// a plan and say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_in_place_plan_has_no_cutover() {
    let scene =
        Scene::unflagged(Harness::start(), items(30), "strategy = \"in-place\"", &format!("{MOVE}{QUICKLY}")).await;
    let before = scene.dump().await;
    for words in ["run --yes", "verify --all"] {
        scene.run_ok(words).await;
    }
    for words in [DUAL_WRITE, READ_NEW, WRITE_NEW, "cutover --back", "contract --yes"] {
        let ran = scene.run_command(words).await.exits(3);
        assert!(
            ran.messages().contains("in place") && ran.messages().contains("rollback"),
            "{words}: {}",
            ran.messages()
        );
    }
    scene.run_ok("rollback --yes").await;
    assert_eq!(scene.dump().await, before);
}

/// Plans that only remove attributes go directly to `contract`, with `--readers-moved` and `--old-writes-stopped`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_only_removes_goes_to_contract() {
    let rest = format!("[[change]]\nremove = \"old\"\n{QUICKLY}[cutover]\nsoak = \"1s\"\n");
    let scene = Scene::unflagged(Harness::start(), items(30), "", &rest).await;
    let next = "contract --readers-moved --old-writes-stopped";
    all_refused(&scene, "only removes", &[(DUAL_WRITE, next), ("verify --all", next)]).await;
    let run = scene.run_command("run --yes").await.exits(3);
    assert!(run.messages().contains("backfill contract"), "{}", run.messages());
    // A refused command records no confirmation. If a command passes only one of the two confirmations, the next
    // command must repeat it.
    all_refused(
        &scene,
        "not all confirmed",
        &[("contract --yes", next), ("contract --yes --readers-moved", next), ("contract --yes", next)],
    )
    .await;
    // A refusal because of the soak is the exception: it records the confirmations, because the soak begins with them.
    let stated = "contract --yes --readers-moved --old-writes-stopped";
    all_refused(&scene, "not soaked", &[(stated, "contract"), ("contract --yes", "contract")]).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    scene.run_ok("contract --yes").await;
    assert!(scene.dump().await.values().all(|item| !item.contains_key("old") && item.contains_key("kept")));
    assert_eq!(scene.journal("P#0000").await.len(), 1);
}

/// Runs `contract` before the soak is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_waits_for_the_soak() {
    let scene = scene().await;
    edit(&scene, "soak = \"1s\"", "soak = \"1h\"");
    for words in [DUAL_WRITE, "run --yes", "verify --all", READ_NEW, WRITE_NEW] {
        scene.run_ok(words).await;
    }
    let before = scene.dump().await;
    let ran = scene.run_refused("contract --yes", "contract").await;
    assert!(ran.messages().contains("soaks until"), "{}", ran.messages());
    assert_eq!(scene.dump().await, before);
}

/// Tries the gate with four kinds of bad input: no verification report, an expired report, a report with mismatches,
/// and a report of a different plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_valid_report_opens_the_gate() {
    let scene = scene().await;
    for words in [DUAL_WRITE, "run --yes"] {
        scene.run_ok(words).await;
    }
    let said = |ran: crate::harness::tool::ToolOutput| ran.messages();
    assert!(said(scene.run_refused(READ_NEW, "verify --all").await).contains("nothing has been verified"));

    edit(&scene, "max_age = \"1h\"", "max_age = \"1s\"");
    scene.run_ok("verify --all").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(said(scene.run_refused(READ_NEW, "verify --all").await).contains("max_age"));
    edit(&scene, "max_age = \"1s\"", "max_age = \"1h\"");

    // An application writes only the new attribute of an item.
    let put = scene.harness.client().update_item().table_name(&scene.table).update_expression("SET #n = :v");
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let put = put.key("pk", text("P#0000")).key("sk", text("x")).expression_attribute_names("#n", "new");
    put.expression_attribute_values(":v", text("S3CRET-77")).send().await.unwrap();
    scene.run_command("verify --all").await.exits(5);
    assert!(said(scene.run_refused(READ_NEW, "verify --all --repair").await).contains("1 "));
    // Only `--force` with a reason overrides the gate. The flag records the reason.
    scene.run_ok("cutover --to read-new --yes --force because").await;
    assert_eq!(scene.raw_flag().await.unwrap()["reason"], Value::S("because".into()));
    all_refused(&scene, "forced", &[(WRITE_NEW, "verify --all --repair")]).await;
    scene.run_ok("cutover --back").await;

    // If the plan's meaning has changed, commands do not touch the old plan's migration.
    edit(&scene, "to = \"new\"", "to = \"newer\"");
    let ran = scene.run_command(READ_NEW).await;
    assert!([3, 7].contains(&ran.code), "{}", ran.messages());
    assert!(ran.messages().contains("--state") || ran.messages().contains("another"), "{}", ran.messages());
    let back = scene.run_command("cutover --back").await.exits(3);
    assert!(back.messages().contains("another plan"), "{}", back.messages());
}

/// The table has no point-in-time recovery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_point_in_time_recovery_nothing_begins() {
    let scene = scene().await;
    scene.harness.use_remote_endpoint(&scene.plan);
    let off = json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": "DISABLED" } } });
    scene.harness.proxy().set_faults(Some(Arc::new(move |request| match request.operation.as_str() {
        "DescribeContinuousBackups" => Fault::Reply {
            status: 200,
            error: "Made.Up".into(),
            message: String::new(),
            extra: off.as_object().unwrap().clone(),
        },
        _ => Fault::Pass,
    })));
    for words in ["run --yes", DUAL_WRITE] {
        let ran = scene.run_command(words).await.exits(3);
        assert!(ran.messages().contains("--accept no-pitr"), "{words}: {}", ran.messages());
        assert_eq!(scene.raw_flag().await, None, "{words}");
    }
    for words in ["cutover --to dual-write --yes --accept no-pitr", "run --yes --accept no-pitr", "verify --all"] {
        scene.run_ok(words).await;
    }
}

/// Another host has changed the flag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_refuses_a_flag_that_somebody_else_changed() {
    let scene = scene().await;
    for words in [DUAL_WRITE, "run --yes", "verify --all"] {
        scene.run_ok(words).await;
    }
    let flag = scene.raw_flag().await.unwrap();
    let table = scene.dump().await;
    let text = |text: &str| Value::S(text.to_owned());
    let number = |n: &str| Value::N(Num::parse(n).unwrap());
    let changes: [(&str, &str, Value, &str); 4] = [
        ("an impossible state", "read", text("new"), "changed it by hand"),
        ("another plan", "plan", text(&"0".repeat(64)), "another plan"),
        ("another schema", "schema_version", number("2"), "schema_version 2"),
        ("no word", "write", text("perhaps"), "`write`"),
    ];
    for (what, name, value, says) in changes {
        scene.tamper(|item| drop(item.insert(name.to_owned(), value))).await;
        for words in [READ_NEW, "cutover --back", "run --again --yes", "contract --yes", "rollback --yes"] {
            let before = scene.raw_flag().await;
            let ran = scene.run_command(words).await;
            assert_eq!(ran.code, 3, "{what}: {words}: {}", ran.messages());
            assert!(ran.messages().contains(says), "{what}: {words}: {}", ran.messages());
            assert_eq!(scene.raw_flag().await, before, "{what}: {words}");
        }
        scene.tamper(|item| *item = flag.clone()).await;
    }
    assert_eq!(scene.dump().await, table);

    // Another host changes the flag while a command is waiting. The command ends without a further change of the flag.
    let words = "cutover --to read-new --percent 10 --yes";
    scene.run_ok(words).await;
    let (moving, ()) = tokio::join!(scene.run_command(READ_NEW), async {
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = scene.raw_flag().await.unwrap();
            if now["read_percent"] == number("100") {
                scene.run_ok("cutover --back").await;
                return;
            }
        }
        panic!("the flag has not moved");
    });
    // Exit code 0 means that the command completed before the other change. Exit code 3 means that it noticed the other
    // change.
    assert!([0, 3].contains(&moving.code), "{}", moving.messages());
    assert_eq!(scene.raw_flag().await.unwrap()["read"], text("old"), "the command must not undo `--back`");
}

/// A phase rereads the flag every `max_cache_seconds` and stops if the flag has changed. In this test, an operator on
/// another host moves readers during a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phase_stops_when_the_flag_moves() {
    let scene = Scene::flagged(Harness::start(), items(300), "", &format!("{MOVE}{QUICKLY}")).await;
    let number = |n: u64| Value::N(Num::parse(&n.to_string()).unwrap());
    scene.run_ok(DUAL_WRITE).await;
    scene.slow_pages(Some(Duration::from_millis(600)));
    let version = scene.flag().await.version;
    let (run, ()) = tokio::join!(scene.run_command("run --yes"), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let moved = |item: &mut backfill::internals::item::Item| {
            item.insert("read".to_owned(), Value::S("new".to_owned()));
            item.insert("read_percent".to_owned(), number(100));
            item.insert("version".to_owned(), number(version + 1));
            item.insert("changed_at".to_owned(), Value::S(jiff::Timestamp::now().to_string()));
        };
        scene.tamper(moved).await;
    });
    assert_eq!(run.code, 6, "{}", run.messages());
    assert!(format!("{}{}", run.stdout, run.messages()).contains("flag"), "{run:?}");
    scene.slow_pages(None);
    scene.run_refused("run --yes", "cutover --back").await;
    scene.run_ok("cutover --back").await;
    scene.run_ok("run --yes").await;

    // `contract` also stops if another host has changed the flag.
    for words in ["verify --all", READ_NEW, WRITE_NEW] {
        scene.run_ok(words).await;
    }
    scene.slow_pages(Some(Duration::from_millis(600)));
    let (contract, ()) = tokio::join!(scene.run_command("contract --yes"), async {
        while !scene.flag().await.contracting {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // `contract` waits until caches have expired, and only then reads the first pages.
        tokio::time::sleep(Duration::from_millis(2_700)).await;
        let version = scene.flag().await.version;
        scene.tamper(|item| drop(item.insert("version".to_owned(), number(version + 1)))).await;
    });
    assert_eq!(contract.code, 6, "{}", contract.messages());
    scene.slow_pages(None);
    let next = "contract";
    let all = [("cutover --back", next), ("rollback --yes", next), ("run --again --yes", next), (READ_NEW, next)];
    all_refused(&scene, "contracting", &all).await;
    scene.run_ok("contract --yes").await;
    assert!(scene.dump().await.values().all(|item| !item.contains_key("old")));
}

/// If the plan has a flag, the tool rejects the options with which an operator confirms facts, because the flag proves
/// these facts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_with_a_flag_takes_no_confirmation_options() {
    let scene = scene().await;
    scene.run_ok(DUAL_WRITE).await;
    for words in [
        "cutover --to read-new --yes --readers-moved",
        "cutover --to write-new --yes --old-writes-stopped",
        "contract --yes --old-writes-stopped",
        "rollback --yes --readers-back --new-writes-stopped",
    ] {
        let ran = scene.run_command(words).await.exits(3);
        assert!(ran.messages().contains("for plans without a flag"), "{words}: {}", ran.messages());
    }
}
