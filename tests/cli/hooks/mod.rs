//! Tests a plan's hooks. Real programs and a real HTTP server receive the events, and cannot affect a pass. Only
//! `before_step` can refuse a step.

mod delivery;
mod events;
mod veto;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value as Json;

use super::*;
use crate::harness::tool::{SECRET, SECRET_NUMBER, run, secret_number};

/// A credential that must not appear in any document.
const CREDENTIAL: &str = "PLANTEDCREDENTIAL";

/// The maximum time that a test waits for an event. It is long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(80);

/// A migration with hooks.
struct Hooked {
    harness: Harness,
    table: String,
    plan: PathBuf,
    /// The file to which the hooks append their documents.
    events: PathBuf,
}

impl Hooked {
    /// Creates a table, and a plan with these sections. In `more`, `$log` is a program that appends its document to a
    /// file, `$dir` is the folder of the test, and `$flags` is a table for a flag.
    async fn new(count: usize, more: &str) -> Hooked {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        let numbered = items(count).enumerate().map(|(n, mut item)| {
            item.insert("number".to_owned(), secret_number(n));
            item
        });
        harness.load(&table, numbered).await;
        let dir = text(harness.dir()).to_owned();
        let events = harness.dir().join("events");
        // Several processes can append at the same time. Their lines do not mix, because `cat` reads a complete line
        // from the pipe and appends it with one write.
        let log = script(&harness, "log", &format!("cat >>{dir}/events"));
        let more = more.replace("$log", text(&log)).replace("$dir", &dir);
        let more =
            if more.contains("$flags") { more.replace("$flags", &harness.create_flag_table().await) } else { more };
        let plan = harness.plan("plan", &table, "", &format!("{MOVE}{more}"));
        Hooked { harness, table, plan, events }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.harness.command();
        command.args(args).arg(text(&self.plan)).arg("-vv");
        command.env("AWS_ACCESS_KEY_ID", "AKIDPLANTED").env("AWS_SECRET_ACCESS_KEY", CREDENTIAL);
        command.env("AWS_SESSION_TOKEN", CREDENTIAL).env("AWS_REGION", "us-east-1");
        command
    }

    fn tool(&self, args: &[&str]) -> tool::ToolOutput {
        let command = self.command(args);
        tokio::task::block_in_place(|| run(command))
    }

    fn start(&self, args: &[&str]) -> RunningTool {
        RunningTool::start(self.command(args))
    }

    /// Returns all documents so far, and checks each of them.
    fn documents(&self) -> Vec<Json> {
        let all = std::fs::read_to_string(&self.events).unwrap_or_default();
        for never in [SECRET, SECRET_NUMBER, "P#", "S#", CREDENTIAL, "AKIDPLANTED", "PLANTEDTOKEN"] {
            assert!(!all.contains(never), "a hook received {never}: {all}");
        }
        let complete = all.rfind('\n').map_or("", |end| &all[..end]);
        let documents = complete.lines().map(|line| serde_json::from_str(line).unwrap());
        documents.inspect(check).collect()
    }

    /// Returns the name of each document's event. Adds `over` at the end of a condition, and the outcome at the end of
    /// a pass, because the event has the same name in these cases.
    fn events(&self) -> Vec<String> {
        let name = |document: &Json| {
            let event = document["event"].as_str().unwrap();
            match event {
                "stall" | "pause" | "long_throttling" if document["over"] == true => format!("{event} over"),
                "pass_end" => format!("{event} {}", document["outcome"].as_str().unwrap()),
                _ => event.to_owned(),
            }
        };
        self.documents().iter().map(name).collect()
    }

    /// Waits until a hook has received this event. Returns its document.
    async fn wait_for(&self, event: &str, over: Option<bool>) -> Json {
        let began = Instant::now();
        loop {
            let is = |document: &Json| {
                document["event"] == event && over.is_none_or(|over| document["over"].as_bool() == Some(over))
            };
            if let Some(found) = self.documents().into_iter().find(is) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "no hook received {event}: {:?}", self.events());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Writes a shell script, which a plan can run.
fn script(harness: &Harness, name: &str, body: &str) -> PathBuf {
    let path = harness.dir().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Rejects every write to items with this partition key.
fn reject_writes(harness: &Harness, partition: &'static str) {
    inject_fault(harness, move |request| {
        let fails = request.operation == "UpdateItem" && request.body()["Key"]["pk"]["S"] == partition;
        match fails {
            true => Fault::Reply {
                status: 400,
                error: "ValidationException".into(),
                message: "Item size to update has exceeded the maximum allowed size".into(),
                extra: Map::new(),
            },
            false => Fault::Pass,
        }
    });
}

/// Returns a `[hooks]` section with the program `$log` for every event.
fn log_everything() -> String {
    let names = ["start", "stall", "pause", "long_throttling", "failures", "step_due", "pass_end", "flag_change"];
    format!("[hooks]\n{}", names.map(|name| format!("on_{name} = [\"$log\", {name:?}]\n")).concat())
}

/// Checks a document against the published schema.
#[track_caller]
fn check(document: &Json) {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let text = include_str!("../../../docs/hook.schema.json");
        jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
    });
    let wrong: Vec<String> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "docs/hook.schema.json: {wrong:?} in {document:#}");
}
