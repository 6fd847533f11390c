//! Tests the report and the live page in a real browser. `tests/browser.sh` installs what these tests need, and runs
//! them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::serve::Served;
use super::*;

/// The environment variable with the path of the browser.
const BROWSER: &str = "BACKFILL_TEST_BROWSER";

/// The environment variable with the folder for screenshots of the pages.
const SHOTS: &str = "BACKFILL_TEST_SHOTS";

/// Returns a command that runs a script of `tests/browser/`.
fn script(name: &str) -> Command {
    assert!(std::env::var_os(BROWSER).is_some(), "run this test with tests/browser.sh");
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name));
    command
}

/// Returns the figures that a page must show. They come from the state file and from `status`.
fn expected_figures(harness: &Harness, plan: &str) -> Vec<Json> {
    let status = tool(harness, &["status", plan, "--offline", "--output", "json"]).exits(0).json();
    let state = &status["state"];
    let mut expected = Vec::new();
    let mut expect = |part: &str, label: &str, value: String| {
        expected.push(json!({ "part": part, "label": label, "value": value }));
    };
    expect("#summary", "Open failures", grouped(&state["open_failures"]));
    expect("#summary", "Open diverged items", grouped(&state["open_diverged"]));
    expect("#summary", "Stage", status["playbook"]["phase"].as_str().unwrap().to_owned());
    expect("#summary", "Next step", status["playbook"]["next"].as_str().unwrap().to_owned());
    for run in state["runs"].as_array().unwrap() {
        let id = run["id"].as_i64().unwrap();
        let part = format!("#run-{id}");
        let counts = run_counts(harness, id);
        let labels = match run["phase"].as_str().unwrap() {
            "verify" => vec![("matching", "already_applied"), ("repaired", "applied")],
            _ => vec![
                ("applied", "applied"),
                ("already applied", "already_applied"),
                ("nothing to do", "nothing_to_do"),
                ("diverged", "diverged"),
                ("rejected", "rejected"),
                ("not computable", "not_computable"),
            ],
        };
        for (label, outcome) in labels {
            expect(&part, label, grouped(&counts[outcome]));
        }
        expect(&part, "items scanned", grouped(&counts["scanned"]));
        expect(&part, "Begun", run["started_at"].as_str().unwrap().to_owned());
        expect(&part, "Sessions", grouped(&run["sessions"]));
        expect(&part, "segments", run["total_segments"].to_string());
        let units = backfill::internals::figure::units;
        expect(&part, "WCU consumed", units(counts["write_units"].as_f64().unwrap()));
        expect(&part, "RCU consumed", units(counts["read_units"].as_f64().unwrap()));
    }
    assert!(expected.len() > 20, "{expected:?}");
    expected
}

/// Both pages show the figures in the state file. Their content never overflows, at any width, in any colour scheme or
/// in print. Every control is reachable with the keyboard, axe finds no problem, and hostile names have no effect.
/// RUNBOOK: "Without JavaScript, the page works, but you must reload it"
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser: tests/browser.sh cargo test --test cli browser:: -- --ignored"]
async fn the_pages_are_correct_readable_and_harmless() {
    let (eventful, running) = Eventful::begin().await;
    eventful.crash(running);
    eventful.finish();
    let Eventful { harness, plan } = &eventful;
    let plan = text(plan);
    tool(harness, &["report", plan, "--show-keys"]).exits(0);
    let served = Served::start(harness, &[plan, "--serve", "127.0.0.1:0", "--show-keys"]);
    let live = format!("http://{}/", served.address);
    let file = format!("file://{}", harness.dir().join(".backfill/plan.db.report.html").display());
    let shots = std::env::var(SHOTS).ok();
    let input =
        json!({ "pages": [live, file], "live": live, "expected": expected_figures(harness, plan), "shots": shots });
    let checked = tokio::task::block_in_place(|| script("looks.js").arg(input.to_string()).status().unwrap());
    assert!(checked.success(), "the problems are above");
    served.stop(Signal::SIGTERM);
}

/// A script that observes a page, and requests the actions that it needs from this test.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(url: &str) -> Watcher {
        let mut child = script("live.js").arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watcher { child, lines }
    }

    /// Returns the next line of the script's output. Panics if the script has ended.
    fn line(&mut self) -> String {
        let line = self.lines.next();
        line.unwrap_or_else(|| panic!("the script ended: {:?}; its problems are above", self.child.wait())).unwrap()
    }

    /// Waits until the script requests this action.
    fn expect(&mut self, what: &str) {
        assert_eq!(self.line(), format!("want: {what}"));
    }

    /// Tells the script that the requested action is done.
    fn answer(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "done").unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // If the script is still running at this point, the test has failed.
        let _ = self.child.kill();
    }
}

/// During a run, the figures of an open page change without a reload. The focus, the selection and the scroll position
/// stay. At the end, the figures equal those in the state file. After its server has ended, the page says that it is
/// not connected.
/// RUNBOOK: "If the connection to the server is lost, the page says *Not connected*, keeps its figures with their time"
/// RUNBOOK: "A page in a hidden tab does not count"
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser: tests/browser.sh cargo test --test cli browser:: -- --ignored"]
async fn an_open_page_follows_a_run() {
    let (harness, _, plan) = setup(250, SLOWLY).await;
    let plan = text(&plan);
    let mut command = harness.command();
    command.args(["run", plan, "--yes"]);
    let running = RunningTool::start(command);
    while harness.proxy().tally().operation("UpdateItem").ok < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let served = Served::start(&harness, &[plan, "--serve", "127.0.0.1:0"]);
    let address = served.address.clone();
    let mut watcher = Watcher::start(&format!("http://{address}/"));
    let figures = tokio::task::block_in_place(|| {
        watcher.expect("the end of the run and a verification");
        running.end().exits(0);
        tool(&harness, &["verify", plan, "--all"]).exits(0);
        watcher.answer();
        let mut served = Some(served);
        for _ in 0..2 {
            watcher.expect("stop the server");
            served.take().unwrap().stop(Signal::SIGTERM);
            watcher.answer();
            watcher.expect("start the server");
            served = Some(Served::start(&harness, &[plan, "--serve", &address]));
            watcher.answer();
        }
        let line = watcher.line();
        assert!(watcher.child.wait().unwrap().success(), "the problems are above");
        served.unwrap().stop(Signal::SIGTERM);
        let figures = line.strip_prefix("figures: ").unwrap_or_else(|| panic!("{line}"));
        serde_json::from_str::<Json>(figures).unwrap()
    });
    let counts = run_counts(&harness, 1);
    assert_eq!(counts["scanned"], 250);
    for (label, count) in [("items scanned", "scanned"), ("applied", "applied"), ("rejected", "rejected")] {
        assert_eq!(figures[label], grouped(&counts[count]), "{label} in {figures}");
    }
    assert_eq!(figures["State"], "complete");
}
