//! Tests how the tool prints untrusted text with control characters that a terminal would interpret. The text comes
//! from the flag, a lease, a lock file and a server.
//!
//! In every test of this binary, [`ToolOutput`](crate::harness::tool::ToolOutput) checks that the output contains no
//! control characters. This test plants control characters in each of these texts, and checks that the tool prints them
//! escaped.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::Value;
use backfill::internals::local::Fault;
use backfill::internals::local::proxy::FaultRule;
use serde_json::Map;

use crate::harness::Harness;
use crate::scene::{MOVE, NAME, QUICKLY, Scene, items};

/// A text that clears the screen, sets the window title, and hides and reverses text.
const HOSTILE: &str = "mallory\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}\u{200b}\u{2066}";

/// The escaped form of [`HOSTILE`], as the tool prints it.
const ESCAPED: &str = "mallory\\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{9b}31m\\u{d}\\u{202e}\\u{200b}\\u{2066}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_from_outside_reaches_the_terminal_raw() {
    let scene = Scene::flagged(Harness::start(), items(10), "", &format!("{MOVE}{QUICKLY}")).await;
    scene.run_ok("cutover --to dual-write --yes").await;

    // The text is in attributes of the flag item.
    scene
        .tamper(|item| {
            for name in ["actor", "reason", "plan_note", "report"] {
                item.insert(name.to_owned(), Value::S(HOSTILE.to_owned()));
            }
        })
        .await;
    scene.run_ok("run --yes").await;
    for words in ["status", "status --offline", "status --output json"] {
        let status = scene.run_ok(words).await;
        assert!(status.stdout.contains("mallory"), "{words}: {}", status.stdout);
        if words == "status" {
            assert!(status.stdout.contains(ESCAPED), "{}", status.stdout);
        } else if words.ends_with("json") {
            let json = status.json();
            assert_eq!(json["playbook"]["flag_seen"]["flag"]["actor"], HOSTILE, "JSON output must not escape it");
        }
    }

    // The text is in the plan name that the flag contains.
    let item = scene.raw_flag().await.unwrap();
    scene.tamper(|item| drop(item.insert("plan".to_owned(), Value::S(HOSTILE.to_owned())))).await;
    let foreign = scene.run_command("verify --all").await;
    assert!(foreign.code == 3 && foreign.messages().contains("mallory\\u{1b}"), "{}", foreign.messages());
    scene.tamper(|now| *now = item).await;

    // The text is in the owner of a lease that nobody renews.
    let key = ("id", AttributeValue::S(format!("{NAME}#lease")));
    let update = scene.harness.client().update_item().table_name(&scene.flags).key(key.0, key.1);
    let update = update.update_expression("SET #o = :o, released = :no, duration_ms = :ms");
    let update = update.expression_attribute_names("#o", "owner");
    let update = update.expression_attribute_values(":o", AttributeValue::S(HOSTILE.to_owned()));
    let update = update.expression_attribute_values(":no", AttributeValue::Bool(false));
    update.expression_attribute_values(":ms", AttributeValue::N("500".to_owned())).send().await.unwrap();
    let waited = scene.run_ok("verify --all").await;
    assert!(waited.messages().contains(&format!("waiting  {ESCAPED} holds the lease")), "{}", waited.messages());

    // The text is in the lock file of a process that uses the state file.
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(scene.state_path().with_extension("db.lock"));
    let mut lock = lock.unwrap();
    lock.lock().unwrap();
    std::io::Write::write_all(&mut lock, format!("pid=7\nhost={HOSTILE}\nsince={HOSTILE}\n").as_bytes()).unwrap();
    let locked = scene.run_command("verify --all").await;
    assert!(
        locked.code == 7 && locked.messages().contains("process 7 on host mallory\\u{1b}"),
        "{}",
        locked.messages()
    );
    let status = scene.run_ok("status").await;
    assert!(!status.stdout.is_empty());
    drop(lock);

    // The text is in an error from a server.
    let answers: FaultRule = Arc::new(|request| {
        if request.operation != "DescribeTable" {
            return Fault::Pass;
        }
        Fault::Reply { status: 400, error: "com.x#Odd\u{202e}".into(), message: HOSTILE.into(), extra: Map::new() }
    });
    scene.harness.proxy().set_faults(Some(answers));
    let refused = scene.run_command("verify --all").await;
    scene.harness.proxy().set_faults(None);
    assert!(
        refused.code == 3 && refused.messages().contains("mallory\\u{1b}[2J"),
        "{} {}",
        refused.code,
        refused.messages()
    );
}
