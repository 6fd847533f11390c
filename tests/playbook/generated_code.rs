//! Tests the generated code of `backfill shim`. A live application uses it during all steps of a migration.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use backfill::internals::item::Value;
use serde_json::Value as Json;

use crate::app::{NEW, OLD};
use crate::harness::Harness;
use crate::scene::{MOVE, QUICKLY, Scene, items};

/// The time between two commands, in which the application works.
const BETWEEN: Duration = Duration::from_millis(500);

/// The commands of a migration, from its first to its last.
const COMMANDS: [&str; 7] = [
    "cutover --to dual-write --yes",
    "run --yes",
    "verify --all",
    "cutover --to read-new --percent 10 --yes",
    "cutover --to read-new --yes",
    "cutover --to write-new --yes",
    "contract --yes",
];

/// Every read of the application returns its last write. In the end, each value is in the new attribute.
///
/// RUNBOOK: "`backfill shim plan.toml --lang python` generates this code for your plan"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generated_code_loses_nothing() {
    let python = Command::new("python3").arg("--version").stdin(Stdio::null()).output();
    if !python.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("BACKFILL_REQUIRE_EXAMPLES").is_none(), "python3 is not installed");
        // Writes to stderr directly, because the test harness hides the print macros' output if the test passes.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: python3 is not installed: no application used the generated code");
        return;
    }
    let scene = {
        let harness = Harness::start();
        let flags = harness.create_flag_table().await;
        let rest = format!(
            "key = [\"pk\", \"sk\"]\n{MOVE}{QUICKLY}[cutover]\ntable = \"{flags}\"\nmax_cache_seconds = 3\nsoak = \"1s\"\n\
             max_age = \"1h\"\n"
        );
        Scene { flags, ..Scene::unflagged(harness, items(150), "", &rest).await }
    };
    let folder = scene.harness.dir().to_owned();
    let code = folder.join("rename_shim.py");
    scene.run_ok(&format!("shim --lang python --out {}", code.display())).await;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/playbook/live_application.py");
    std::fs::copy(program, folder.join("live_application.py")).unwrap();

    let keys: Vec<String> = (0..150).map(|n| format!("P#{n:04}")).collect();
    let mut application = Command::new("python3")
        .current_dir(&folder)
        .arg("live_application.py")
        .args([&scene.harness.server_endpoint(), &scene.table, &serde_json::to_string(&keys).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(application.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    for words in COMMANDS {
        tokio::time::sleep(BETWEEN).await;
        scene.run_ok(words).await;
    }
    tokio::time::sleep(BETWEEN).await;
    drop(application.stdin.take());
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(application.wait().unwrap().success());

    let result: Json = serde_json::from_str(&line).unwrap();
    println!("  {}", result["counts"]);
    assert_eq!(result["wrong"], Json::Array(Vec::new()));
    for kind in ["read", "write", "remove", "put"] {
        assert!(result["counts"][kind].as_u64().is_some_and(|n| n > 50), "{}", result["counts"]);
    }
    let values = result["values"].as_object().unwrap();
    assert!(values.len() > 100, "{}", values.len());
    for item in scene.dump().await.into_values() {
        assert!(!item.contains_key(OLD), "{item:?}");
        let Some(Value::S(pk)) = item.get("pk") else { panic!("{item:?}") };
        let Some(expected) = values.get(pk) else { continue };
        assert_eq!(item.get(NEW).map_or(Json::Null, Value::to_json), *expected, "{pk}");
    }
}
