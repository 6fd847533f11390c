//! Tests that the plan's health checks pause or slow down a run of the real binary. Also tests that the output never
//! shows data from the application: every URL, body, header and output in these tests contains a secret.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};

use super::metrics::address_of;
use super::metrics::exposition::scrape;
use super::{setup, text};
use crate::harness::Harness;
use crate::harness::tool::{RunningTool, SECRET, tool};

/// A rate at which a run of 2,000 items takes several seconds.
const BUSY: &str = "[capacity]\nwrite = 250\n";

const OK: usize = 200;
const SICK: usize = 503;
/// The application does not answer.
const HANGS: usize = 0;
/// The answers alternate between the healthy and the unhealthy status.
const FLAPS: usize = 1;

/// An application with a health check.
#[derive(Default)]
struct Application {
    mode: AtomicUsize,
    asked: AtomicU64,
}

impl Application {
    fn set(&self, mode: usize) {
        self.mode.store(mode, Ordering::Relaxed);
    }
}

/// Starts an application. Returns it, and the URL of its health check.
async fn application(mode: usize) -> (Arc<Application>, String) {
    let application = Arc::new(Application { mode: AtomicUsize::new(mode), ..Application::default() });
    let shared = Arc::clone(&application);
    let answer = get(move || async move {
        let asked = shared.asked.fetch_add(1, Ordering::Relaxed);
        let status = match shared.mode.load(Ordering::Relaxed) {
            HANGS => std::future::pending().await,
            FLAPS => [OK, SICK][usize::from(!asked.is_multiple_of(2))],
            status => status,
        };
        (StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap(), [("x-error", SECRET)], SECRET)
    });
    let url = serve(Router::new().route("/health", answer)).await;
    (application, format!("{url}/health?token={SECRET}"))
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Returns a health check that requests this URL once a second.
fn check(url: &str, more: &str) -> String {
    format!(
        "[[health_check]]\nname = \"api\"\nurl = \"{url}\"\ninterval = \"1s\"\nunhealthy_after = 2\nhealthy_after = 2\n{more}\n"
    )
}

fn add(plan: &Path, more: &str) {
    let text = std::fs::read_to_string(plan).unwrap();
    std::fs::write(plan, format!("{text}{more}")).unwrap();
}

fn start(harness: &Harness, plan: &Path, more: &[&str]) -> RunningTool {
    let mut command = harness.command();
    command.args(["run", text(plan), "--yes", "--output", "json"]).args(more).env("BACKFILL_LOG", "trace");
    RunningTool::start(command)
}

fn writes(harness: &Harness) -> u64 {
    harness.proxy().tally().operation("UpdateItem").requests
}

async fn wait_for_writes(harness: &Harness, more_than: u64) {
    let began = Instant::now();
    while writes(harness) <= more_than {
        assert!(began.elapsed() < Duration::from_secs(60), "no more than {more_than} writes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn writes_within(harness: &Harness, time: Duration) -> u64 {
    let before = writes(harness);
    tokio::time::sleep(time).await;
    writes(harness) - before
}

fn ctl(harness: &Harness, args: &[&str]) -> Json {
    tool(harness, &[&["ctl"], args, &["--output", "json"]].concat()).exits(0).json()
}

/// Waits until `ctl status` shows an activity that fulfils a condition. Returns its text.
async fn activity_until(harness: &Harness, plan: &Path, what: &str, is_met: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let ran = tokio::task::block_in_place(|| tool(harness, &["ctl", "status", text(plan), "--output", "json"]));
        // Before the run has created its state file, `ctl` refuses.
        let shown = if ran.code == 0 { ran.json()["text"].as_str().unwrap().to_owned() } else { ran.stderr };
        if is_met(&shown) {
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not met: {what}: {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// RUNBOOK: "While a check is unhealthy, the pass sends nothing, and it continues by itself"
#[tokio::test(flavor = "multi_thread")]
async fn a_run_pauses_while_the_application_is_unhealthy() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let (application, url) = application(SICK).await;
    add(&plan, &check(&url, ""));
    let mut running = start(&harness, &plan, &["--metrics", "127.0.0.1:0"]);
    let address = address_of(&mut running).await;
    let paused = "paused: the health check \"api\" failed: HTTP 503";
    activity_until(&harness, &plan, "paused from the start", |shown| shown == paused).await;
    assert_eq!(writes(&harness), 0, "nothing is sent before the application is healthy");
    let healthy = async || scrape(&address).await.unwrap().find("backfill_health_check_healthy{check=\"api\"}");
    assert_eq!(healthy().await, Some(0.0));
    application.set(OK);
    wait_for_writes(&harness, 50).await;
    // The figures in the output of `ctl status` can be a second old.
    activity_until(&harness, &plan, "not paused", |shown| shown != paused).await;
    assert_eq!(healthy().await, Some(1.0));
    application.set(SICK);
    activity_until(&harness, &plan, "paused again", |shown| shown == paused).await;
    assert_eq!(writes_within(&harness, Duration::from_secs(2)).await, 0, "a paused run sends nothing");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = tokio::task::block_in_place(|| tool(&harness, &["status", text(&plan), "--output", "json"]));
    let status = status.exits(0).json();
    assert_eq!(status["process"]["activity"]["state"], "paused", "{status:#}");
    assert_eq!(status["process"]["activity"]["detail"], "the health check \"api\" failed: HTTP 503");
    let resumed = tokio::task::block_in_place(|| ctl(&harness, &["resume", text(&plan)]));
    assert!(resumed["text"].as_str().unwrap().contains("still paused: the health check \"api\""), "{resumed}");
    application.set(OK);
    let ended = tokio::task::block_in_place(|| running.end()).exits(0);
    for line in [
        "the health check \"api\" failed: HTTP 503. The pass is paused until 2 healthy answers in a row",
        "the health check \"api\" is healthy again",
    ] {
        assert!(ended.stderr.matches(line).count() >= 2, "{line}: {}", ended.stderr);
    }
    assert!(ended.json()["activity_seconds"].get("stalled").is_none(), "a pause is no stall");
    // Check that no file of the migration contains the URL.
    let mut files = 0;
    for file in std::fs::read_dir(harness.dir().join(".backfill")).unwrap().map(|file| file.unwrap().path()) {
        let Ok(content) = std::fs::read(&file) else { continue };
        files += 1;
        assert!(!content.windows(6).any(|part| part == b"token="), "{}", file.display());
    }
    assert!(files >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_times_out_behaves_as_its_fail_mode_says() {
    for fails_open in [false, true] {
        let (harness, _, plan) = setup(400, BUSY).await;
        let (application, url) = application(OK).await;
        let mode = if fails_open { "open" } else { "closed" };
        add(&plan, &check(&url, &format!("timeout = \"500ms\"\nfail_mode = \"{mode}\"")));
        application.set(HANGS);
        let running = start(&harness, &plan, &[]);
        if fails_open {
            let ended = tokio::task::block_in_place(|| running.end()).exits(0);
            let warning = "the health check \"api\" did not answer within 0.5 s. It fails open";
            assert_eq!(ended.stderr.matches(warning).count(), 1, "one warning for each change: {}", ended.stderr);
            assert_eq!(writes(&harness), 400);
        } else {
            let paused = "paused: the health check \"api\" did not answer within 0.5 s";
            activity_until(&harness, &plan, "paused", |shown| shown == paused).await;
            assert_eq!(writes_within(&harness, Duration::from_secs(2)).await, 0);
            application.set(OK);
            tokio::task::block_in_place(|| running.end()).exits(0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_flaps_does_not_make_the_run_flap() {
    let (harness, _, plan) = setup(1_500, BUSY).await;
    let (application, url) = application(FLAPS).await;
    add(&plan, &check(&url, ""));
    let ended = tokio::task::block_in_place(|| start(&harness, &plan, &[]).end()).exits(0);
    let asked = application.asked.load(Ordering::Relaxed);
    assert!(asked >= 4, "the check was asked {asked} times, so it has failed at least twice");
    assert!(!ended.stderr.contains("The pass is paused"), "{}", ended.stderr);
    assert!(ended.json()["activity_seconds"].get("paused").is_none(), "{}", ended.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_application_can_slow_the_run_down() {
    let (harness, _, plan) = setup(3_000, BUSY).await;
    let (application, url) = application(OK).await;
    add(&plan, &check(&url, "on_unhealthy = \"slow\"\nslow_to = \"4%\""));
    let running = start(&harness, &plan, &[]);
    wait_for_writes(&harness, 100).await;
    application.set(SICK);
    let slowed = "slowed to 4% of the budgets: the health check \"api\" failed: HTTP 503";
    let shown = activity_until(&harness, &plan, "slow", |shown| shown.contains(slowed)).await;
    assert!(shown.starts_with("waiting for the budget of "), "{shown}");
    // Wait for the requests that acquired their permits before the slowdown.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slow = writes_within(&harness, Duration::from_secs(3)).await;
    assert!((1..=60).contains(&slow), "{slow} writes in three seconds at 10 WCU/s");
    let rate = tokio::task::block_in_place(|| ctl(&harness, &["rate", text(&plan), "--write", "500"]));
    let told = rate["text"].as_str().unwrap();
    assert!(told.contains("table: 20 WCU/s") && told.contains(slowed), "a part of the operator's rate: {told}");
    // The process stores its new budgets a moment later.
    let basis = "4% of 500 WCU/s, because the health check \"api\" failed: HTTP 503";
    let began = Instant::now();
    loop {
        let status = tokio::task::block_in_place(|| tool(&harness, &["status", text(&plan)])).exits(0).stdout;
        if status.contains(basis) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status}");
    }
    application.set(OK);
    let ended = tokio::task::block_in_place(|| running.end()).exits(0);
    assert!(ended.stderr.contains("The pass is slowed to 4% of its budgets until 2 healthy answers in a row"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_a_health_check_and_its_output_is_never_shown() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let healthy = harness.dir().join("healthy");
    let script = format!("echo {SECRET}; echo {SECRET} >&2; test -e '{}'", text(&healthy));
    let command = json!(["/bin/sh", "-c", script]);
    let more = "interval = \"1s\"\nunhealthy_after = 1\nhealthy_after = 1\n";
    add(&plan, &format!("[[health_check]]\nname = \"script\"\ncommand = {command}\n{more}"));
    let running = start(&harness, &plan, &[]);
    let paused = "paused: the health check \"script\" failed: exit status 1";
    activity_until(&harness, &plan, "paused", |shown| shown == paused).await;
    assert_eq!(writes(&harness), 0);
    std::fs::write(&healthy, "").unwrap();
    wait_for_writes(&harness, 50).await;
    activity_until(&harness, &plan, "not paused", |shown| shown != paused).await;
    std::fs::remove_file(&healthy).unwrap();
    activity_until(&harness, &plan, "paused", |shown| shown == paused).await;
    // A paused run can be stopped.
    running.signal(Signal::SIGTERM);
    tokio::task::block_in_place(|| running.end()).exits(130);
    std::fs::write(&healthy, "").unwrap();
    tokio::task::block_in_place(|| start(&harness, &plan, &[]).end()).exits(0);
}

/// RUNBOOK: "`rollback` and `cutover --back` do not ask the checks"
/// RUNBOOK: "`--ignore-health-checks` lets one command work without the checks"
#[tokio::test(flavor = "multi_thread")]
async fn nothing_blocks_the_way_back_or_an_operator_who_ignores_the_checks() {
    let (harness, _, plan) = setup(200, BUSY).await;
    let (application, url) = application(SICK).await;
    add(&plan, &check(&url, ""));
    let plan = text(&plan);
    let run = |args: &[&str]| tokio::task::block_in_place(|| tool(&harness, args));
    let ran = run(&["run", plan, "--yes", "--ignore-health-checks"]).exits(0);
    assert!(ran.stderr.contains("do not run, because of --ignore-health-checks"), "{}", ran.stderr);
    run(&["verify", plan, "--all", "--ignore-health-checks"]).exits(0);
    run(&["failures", "retry", "--yes", plan, "--ignore-health-checks"]).exits(0);
    assert_eq!(writes(&harness), 200);
    let back = run(&["rollback", plan, "--readers-back", "--new-writes-stopped", "--yes"]).exits(0);
    assert!(
        back.stderr.contains("do not run, because they must not block a rollback or a step back"),
        "{}",
        back.stderr
    );
    assert_eq!((writes(&harness), application.asked.load(Ordering::Relaxed)), (400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_each_check_once() {
    let (harness, _, plan) = setup(10, BUSY).await;
    let (application, url) = application(OK).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = check(&format!("http://{free}/?token={SECRET}"), "").replace("\"api\"", "\"closed\"");
    add(&plan, &format!("{}{closed}", check(&url, "")));
    let findings = || {
        let ran = tokio::task::block_in_place(|| tool(&harness, &["check", text(&plan), "--output", "json"]));
        let report = ran.exits(0).json();
        let found = report["findings"].as_array().unwrap().iter().filter(|found| found["id"] == "health-check");
        found.map(|found| (found["severity"].clone(), found["what"].clone())).collect::<Vec<_>>()
    };
    let found = findings();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1], (json!("note"), json!("The health check \"api\" is healthy")));
    assert_eq!(found[0].0, "warning");
    assert!(
        found[0].1.as_str().unwrap().starts_with("The health check \"closed\" could not be reached ("),
        "{found:?}"
    );
    application.set(SICK);
    assert!(findings().contains(&(json!("warning"), json!("The health check \"api\" failed: HTTP 503"))));
    assert_eq!(application.asked.load(Ordering::Relaxed), 2);
}

/// Returns CloudWatch's answer to `DescribeAlarms` in CBOR (RFC 8949): one alarm with this state.
fn described_alarm(state: &str) -> Vec<u8> {
    let text = |text: &str| [&[0x60 + u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let alarm = [text("AlarmName"), text("latency"), text("StateValue"), text(state)].concat();
    [vec![0xa1], text("MetricAlarms"), vec![0x81, 0xa2], alarm].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloudwatch_alarm_is_a_health_check() {
    let (harness, _, plan) = setup(2_000, BUSY).await;
    let alarms = Arc::new(AtomicUsize::new(1));
    let shared = Arc::clone(&alarms);
    let answer = post(move || async move {
        let state = ["OK", "ALARM"][shared.load(Ordering::Relaxed)];
        ([("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")], described_alarm(state))
    });
    let path = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms";
    let endpoint = serve(Router::new().route(path, answer)).await;
    let more = "interval = \"1s\"\nunhealthy_after = 1\nhealthy_after = 1\n";
    add(&plan, &format!("[[health_check]]\nname = \"cw\"\nalarm = \"latency\"\nendpoint_url = \"{endpoint}\"\n{more}"));
    let running = start(&harness, &plan, &[]);
    let paused = "paused: the health check \"cw\" failed: the alarm is in the state ALARM";
    activity_until(&harness, &plan, "paused", |shown| shown == paused).await;
    assert_eq!(writes(&harness), 0);
    alarms.store(0, Ordering::Relaxed);
    tokio::task::block_in_place(|| running.end()).exits(0);
    let policy = tokio::task::block_in_place(|| tool(&harness, &["iam", text(&plan)])).exits(0).stdout;
    assert!(policy.contains("cloudwatch:DescribeAlarms"), "{policy}");
}
