//! Tests `backfill local --capacity` from the operator's point of view.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::local::capacity::ModelSpec;

use crate::harness::tool;
use crate::harness::{Harness, client};

#[test]
fn a_bad_model_is_refused_with_a_line_number() {
    let harness = Harness::embedded();
    let file = harness.dir().join("model.toml");
    for (text, wanted) in [
        ("scale = 1\nprovisioned = { read = 1, write = 0 }", vec!["model.toml", "line 2", "more than 0"]),
        ("speed = 3", vec!["line 1", "unknown field `speed`"]),
        ("provisioned = { read = 1, write = 1 }\non_demand = {}", vec!["not both"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = tool::tool(&harness, &["local", "--port", "0", "--capacity", "model.toml"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(wanted.iter().all(|part| ran.stderr.contains(part)), "{wanted:?}\n{}", ran.stderr);
    }
    let ran = tool::tool(&harness, &["local", "--port", "0", "--capacity", "nowhere.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("nowhere.toml"), "{}", ran.stderr);
}

/// The capacity model in the README can be loaded.
#[test]
fn the_readme_shows_a_model_that_loads() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, after) = readme.split_once("an example of a capacity model.").unwrap();
    let (_, toml) = after.split_once("```toml\n").unwrap();
    let spec = ModelSpec::from_toml(toml.split_once("```").unwrap().0).unwrap();
    assert_eq!((spec.table.as_str(), spec.indexes.len(), spec.storms.len()), ("shop", 1, 1));
    assert!(spec.traffic.is_some());
}

/// `local --capacity` throttles requests and runs the application. At the end, it prints the counts of the table and of
/// the application.
#[test]
fn the_command_serves_the_model_and_its_application() {
    let harness = Harness::embedded();
    let model = "provisioned = { read = 1000, write = 5 }\n[burst]\nseconds = 0\n[traffic]\nwrites_per_second = 200\n";
    std::fs::write(harness.dir().join("model.toml"), model).unwrap();
    let mut command = harness.command();
    command.args(["local", "--port", "0", "--items", "10", "--capacity", "model.toml"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut server = ServerProcess(child);
    let child = &mut server.0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let endpoint = lines.find_map(|line| line.unwrap().split("API on ").nth(1).map(str::to_owned)).unwrap();
    let endpoint = endpoint.split(' ').next().unwrap().to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The application sends two hundred writes per second, and the table serves five per second. So when eight of the
    // application's items exist, the table has certainly throttled some writes.
    runtime.block_on(async {
        let client = client(&endpoint);
        let throttled_writes = async {
            loop {
                let page = client.scan().table_name("shop").send().await.unwrap();
                let is_application_key = |pk: &AttributeValue| pk.as_s().is_ok_and(|pk| pk.starts_with("app#"));
                if page.items().iter().filter(|item| is_application_key(&item["pk"])).count() >= 8 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), throttled_writes).await.unwrap();
        client.scan().table_name("nowhere").send().await.unwrap_err();
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    for part in ["application writes: ", "TableWriteProvisionedThroughputExceeded", "the table served "] {
        assert!(stderr.contains(part), "{part}\n{stderr}");
    }
    // The engine's own log lines about refused requests must not reach the operator.
    assert!(!stderr.contains("WARN"), "{stderr}");
}

/// A server process that is killed at the end of its test.
struct ServerProcess(std::process::Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Ignore the error: after a successful test, the process has already ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
