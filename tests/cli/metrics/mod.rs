//! Tests the metrics endpoint of the real binary: `--metrics`.

mod emf;
mod endpoint;
pub(crate) mod exposition;
mod figures;
mod ops;
#[cfg(feature = "otlp")]
mod otlp;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use super::*;
use exposition::{Samples, get, get_with, scrape};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};

pub(super) const LOOPBACK: &str = "127.0.0.1:0";

/// Starts the tool with an endpoint on a free port.
fn start(harness: &Harness, args: &[&str]) -> RunningTool {
    let mut command = harness.command();
    command.args(args).args(["--metrics", LOOPBACK, "--output", "json", "-vv"]);
    command
        .env("AWS_ACCESS_KEY_ID", "AKIAS3CRET")
        .env("AWS_SECRET_ACCESS_KEY", tool::SECRET)
        .env("AWS_REGION", "eu-west-1");
    RunningTool::start(command)
}

/// Waits until the tool has printed its address, and returns it.
pub(crate) async fn address_of(tool: &mut RunningTool) -> String {
    let began = Instant::now();
    loop {
        let text = tool.stderr_so_far();
        if let Some(rest) = text.split("metrics  http://").nth(1)
            && let Some((address, _)) = rest.split_once("/metrics\n")
        {
            return address.to_owned();
        }
        assert!(!tool.has_ended() && began.elapsed() < Duration::from_secs(60), "no address in: {text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Scrapes until the samples meet a condition.
async fn scrape_until(address: &str, what: &str, is_met: impl Fn(&Samples) -> bool) -> Samples {
    let began = Instant::now();
    loop {
        let samples = scrape(address).await.unwrap_or_else(|| panic!("the endpoint is gone before: {what}"));
        if is_met(&samples) {
            return samples;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not met: {what}: {}", samples.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Checks the properties of every exposition. It shows at most one activity. Its outcomes add up to the number of
/// scanned items. It contains no secret.
#[track_caller]
fn check(samples: &Samples) {
    let activities: Vec<f64> = samples.named("backfill_activity").map(|(_, value)| value).collect();
    assert!(activities.is_empty() || activities.iter().sum::<f64>() == 1.0, "{}", samples.text);
    let outcomes: f64 = samples.sum("backfill_items_total", "");
    assert_eq!(samples.find("backfill_items_scanned_total").unwrap_or_default(), outcomes, "{}", samples.text);
    for never in [tool::SECRET, tool::SECRET_NUMBER, "P#", "S#", "AKIA", "accesskey"] {
        assert!(!samples.text.contains(never), "the exposition contains {never}: {}", samples.text);
    }
}

/// Returns Prometheus' own tool for expositions and rules, if it is installed.
fn promtool() -> Option<std::process::Command> {
    let promtool = || std::process::Command::new("promtool");
    if promtool().arg("--version").output().is_ok() {
        return Some(promtool());
    }
    // Writes to stderr directly, because the test harness hides the print macros' output if the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: promtool is missing (apt-get install prometheus)");
    None
}

/// Stops the tool, and waits until it has ended.
fn stop(running: RunningTool) -> tool::ToolOutput {
    running.signal(SIGTERM);
    let ended = tokio::task::block_in_place(|| running.end());
    ended.exits(130)
}
