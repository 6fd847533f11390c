//! Puts a run of the real binary into each activity, and checks that all displays show this activity and no other: the
//! progress line on a terminal, `status --output json`, the metrics and the log.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::unistd::Pid;

use super::metrics::LOOPBACK;
use super::metrics::exposition::{Samples, scrape};
use super::*;

/// The time for which all displays must show the same activity. It is less than five seconds, because a request without
/// an answer times out after five seconds.
const HOLD: Duration = Duration::from_millis(2_500);

const PATIENCE: Duration = Duration::from_secs(60);

/// The text of the progress line for each activity. No progress line contains the texts of two activities.
const LINES: [(&str, &str); 9] = [
    ("starting", "starting"),
    ("scanning", "scanning"),
    ("waiting", "waiting for the budget"),
    ("throttled", "throttled: "),
    ("backing_off", "backing off: "),
    ("paused", "paused: "),
    ("outside_window", "waiting for the window until "),
    ("draining", "draining: "),
    ("stalled", "stalled: "),
];

/// The text of the log line that reports that the process was asleep.
const ASLEEP: (&str, &str) = ("asleep", "this process did not run for ");

/// The log levels, which precede the message in a log line.
const LEVELS: [&str; 4] = ["Z DEBUG ", "Z  INFO ", "Z  WARN ", "Z ERROR "];

/// The parts of a run's output to a terminal, each with the time at which it arrived.
type Arrived = Arc<Mutex<Vec<(Instant, Vec<u8>)>>>;

/// A run whose stderr is a terminal.
struct Shown<'a> {
    harness: &'a Harness,
    plan: &'a Path,
    child: Child,
    /// Each part of the run's output to the terminal, with the time at which it arrived.
    terminal: Arrived,
    address: String,
    began: Instant,
}

impl<'a> Shown<'a> {
    async fn start(harness: &'a Harness, plan: &'a Path) -> Shown<'a> {
        let size = Winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let mut command = harness.command();
        command.args(["run", text(plan), "--yes", "--output", "json", "-v", "--color", "never"]);
        command.args(["--metrics", LOOPBACK]).env("TERM", "xterm");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(pty.slave));
        let child = command.spawn().unwrap();
        let terminal = Arc::new(Mutex::new(Vec::new()));
        read_in_background(pty.master, Arc::clone(&terminal));
        let began = Instant::now();
        let mut shown = Shown { harness, plan, child, terminal, address: String::new(), began };
        shown.address = loop {
            let text = shown.terminal_since(began);
            if let Some(rest) = text.split("metrics  http://").nth(1)
                && let Some((address, _)) = rest.split_once("/metrics")
            {
                break address.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "no address in: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        shown
    }

    fn terminal_since(&self, since: Instant) -> String {
        let parts = self.terminal.lock().unwrap();
        let bytes: Vec<u8> = parts.iter().filter(|(at, _)| *at >= since).flat_map(|(_, part)| part).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the activities that the log contains so far. The log announces an activity with the text of the progress
    /// line.
    fn logged(&self, since: Instant) -> Vec<&'static str> {
        let text = self.terminal_since(since);
        let activity = |line: &str| {
            let message = LEVELS.iter().find_map(|level| Some(line.split_once(level)?.1))?;
            let (name, _) = LINES.iter().chain([&ASLEEP]).find(|(_, text)| message.starts_with(text))?;
            Some(*name)
        };
        text.split(['\r', '\n']).filter_map(activity).collect()
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn status(&self) -> Json {
        tool(self.harness, &["status", text(self.plan), "--output", "json"]).exits(0).json()
    }

    /// Waits until the metrics show an activity. Panics if they show an activity that is not in `before` first.
    async fn wait_for(&self, activity: &str, before: &[&str]) {
        let began = Instant::now();
        loop {
            let Some(samples) = scrape(&self.address).await else {
                panic!("the run has ended: {}", self.terminal_since(self.began));
            };
            match shown_by(&samples).as_deref() {
                Some(shown) if shown == activity => return,
                Some(shown) => assert!(before.contains(&shown), "{shown} is shown before {activity}"),
                None => {}
            }
            assert!(began.elapsed() < PATIENCE, "no {activity}: {}", self.terminal_since(began));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks that every display shows this activity and no other during the time [`HOLD`].
    async fn all_show(&self, activity: &str) {
        let began = Instant::now();
        while began.elapsed() < HOLD {
            let Some(samples) = scrape(&self.address).await else {
                panic!("the run has ended: {}", self.terminal_since(self.began));
            };
            assert_eq!(shown_by(&samples).as_deref(), Some(activity), "after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let shown = &self.status()["process"];
        assert_eq!((&shown["state"], &shown["activity"]["state"]), (&json!("running"), &json!(activity)), "{shown:#}");
        // The progress line can show a new activity about a second later than the metrics. So the check ignores the
        // output of the first 1.2 seconds.
        let screen = self.terminal_since(began + Duration::from_millis(1_200));
        let screen: String = screen.split('\n').map(without_log_line).collect();
        for (name, line) in LINES {
            assert_eq!(screen.contains(line), name == activity, "{line:?} on the terminal, {activity}: {screen}");
        }
        // The log contains each change of activity. A pass begins with `starting`.
        let logged = self.logged(self.began);
        assert_eq!(logged.last().copied().unwrap_or("starting"), activity, "{logged:?}");
        for logged in logged {
            assert!(
                logged == activity || ["starting", "scanning"].contains(&logged),
                "{activity} is logged as {logged}"
            );
        }
    }

    /// Ends the run, and returns its document.
    async fn end(mut self, code: Option<i32>) -> Json {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("the run does not end");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(status.code(), code, "{stdout}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// Interrupts the run, and checks the times of the activities in its document.
    async fn interrupt(self, activity: &str) {
        self.harness.proxy().set_faults(None);
        self.signal(Signal::SIGINT);
        check_clocks(&self.end(Some(130)).await, activity);
    }
}

/// Kills the run even if the test fails.
impl Drop for Shown<'_> {
    fn drop(&mut self) {
        // Ignore the error: it means that the run has already ended.
        let _ = self.child.kill();
    }
}

/// Removes the log line at the end of a terminal line. Before the log line, the terminal line often contains the
/// progress line.
fn without_log_line(line: &str) -> &str {
    /// The length of a log line's timestamp without its `Z`.
    const TIME: usize = "2026-01-01T00:00:00.000000".len();
    let level = LEVELS.iter().filter_map(|level| line.find(level)).min();
    level.map_or(line, |at| &line[..at.saturating_sub(TIME)])
}

/// Returns the activity that the metrics show. Returns `None` if the pass has not begun.
fn shown_by(samples: &Samples) -> Option<String> {
    let shown: Vec<&str> =
        samples.named("backfill_activity").filter(|(_, value)| *value > 0.0).map(|(sample, _)| sample).collect();
    assert!(shown.len() <= 1, "{shown:?}");
    Some(shown.first()?.split('"').nth(1)?.to_owned())
}

/// Checks that the document records time in this activity, and no time in activities that did not occur, such as
/// `stalled`.
fn check_clocks(document: &Json, activity: &str) {
    let seconds = &document["activity_seconds"];
    assert!(seconds[activity].as_f64().unwrap() >= 2.0, "{seconds}");
    for never in ["stalled", "asleep", "paused", "outside_window", "throttled", "backing_off"] {
        assert!(never == activity || seconds.get(never).is_none(), "{never} in {seconds}, during {activity}");
    }
}

fn read_in_background(master: OwnedFd, parts: Arrived) {
    std::thread::spawn(move || {
        let mut terminal = std::fs::File::from(master);
        let mut part = [0; 4096];
        // On Linux, reading fails when the last process has closed the terminal.
        while let Ok(read @ 1..) = terminal.read(&mut part) {
            parts.lock().unwrap().push((Instant::now(), part[..read].to_vec()));
        }
    });
}

fn delay(harness: &Harness, operation: &'static str, time: Duration) {
    inject_fault(harness, move |request| if request.operation == operation { Fault::Delay(time) } else { Fault::Pass });
}

const HANGS: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_answer_it_is_starting() {
    let (harness, _, plan) = setup(20, "[scan]\nsegments = 1\n").await;
    delay(&harness, "Scan", Duration::from_millis(4_900));
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("starting", &[]).await;
    run.all_show("starting").await;
    run.interrupt("starting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_any_obstacle_is_scanning() {
    let (harness, _, plan) = setup(600, "[scan]\nsegments = 1\npage_limit = 2\n[capacity]\nwrite = 4000\n").await;
    delay(&harness, "Scan", Duration::from_millis(100));
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("scanning", &["starting"]).await;
    run.all_show("scanning").await;
    run.interrupt("scanning").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_its_budget_is_waiting() {
    let (harness, _, plan) = setup(600, "[capacity]\nwrite = 10\n").await;
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("waiting", &["starting", "scanning"]).await;
    run.all_show("waiting").await;
    run.interrupt("waiting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dynamodb_throttles_is_throttled() {
    let (harness, _, plan) = setup(50, "[scan]\nsegments = 2\n").await;
    answer(&harness, "UpdateItem", 400, "ThrottlingException", "slow down");
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("throttled", &["starting", "scanning"]).await;
    run.all_show("throttled").await;
    run.interrupt("throttled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_requests_fail_is_backing_off() {
    let (harness, _, plan) = setup(50, "[scan]\nsegments = 2\n").await;
    answer(&harness, "UpdateItem", 500, "InternalServerError", "it failed");
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("backing_off", &["starting", "scanning"]).await;
    run.all_show("backing_off").await;
    run.interrupt("backing_off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_an_operator_or_a_file_pauses_is_paused() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(600)).await;
    let file = harness.dir().join("pause");
    let steering = format!("[capacity]\nwrite = 10\n[steering]\npause_file = \"{}\"\n", file.display());
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{steering}"));
    tokio::fs::write(&file, "").await.unwrap();
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("paused", &["starting"]).await;
    run.all_show("paused").await;
    tool(&harness, &["ctl", "pause", text(&plan), "--reason", "a test"]).exits(0);
    tokio::fs::remove_file(&file).await.unwrap();
    run.all_show("paused").await;
    assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, 0);
    run.interrupt("paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_the_wrong_time_of_day_is_outside_its_window() {
    let hour = |ahead: i64| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(ahead);
        format!("{:02}:00", time.to_zoned(jiff::tz::TimeZone::UTC).hour())
    };
    let window = format!("[limits]\nwindow = \"{}-{} Etc/UTC\"\n", hour(6), hour(8));
    let (harness, _, plan) = setup(50, &window).await;
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("outside_window", &["starting"]).await;
    run.all_show("outside_window").await;
    run.interrupt("outside_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_its_requests_is_draining() {
    let (harness, _, plan) = setup(50, "[scan]\nsegments = 1\n").await;
    let gate = backfill::internals::local::proxy::RequestGate::closed();
    let held = gate.clone();
    inject_fault(&harness, move |request| match request.operation.as_str() {
        "UpdateItem" => Fault::Hold(held.clone()),
        _ => Fault::Pass,
    });
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("scanning", &["starting"]).await;
    run.signal(Signal::SIGTERM);
    run.wait_for("draining", &["scanning"]).await;
    run.all_show("draining").await;
    gate.open();
    check_clocks(&run.end(Some(130)).await, "draining");
}

/// A signal stops the process. After the process continues, it counts the stopped time as sleep and not as a stall.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_is_asleep() {
    let (harness, _, plan) = setup(2_000, "[capacity]\nwrite = 10\n[alerts]\nstall_after = \"10s\"\n").await;
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("waiting", &["starting", "scanning"]).await;
    let stopped = Instant::now();
    run.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(14)).await;
    let shown = &run.status()["process"];
    assert_eq!(shown["state"], "stopped", "{shown:#}");
    run.signal(Signal::SIGCONT);
    while run.logged(stopped).is_empty() {
        assert!(stopped.elapsed() < PATIENCE, "{}", run.terminal_since(stopped));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(run.logged(stopped)[0], "asleep");
    run.wait_for("waiting", &["scanning"]).await;
    let samples = scrape(&run.address).await.unwrap();
    assert!(samples.of("backfill_activity_seconds_total{activity=\"asleep\"}") >= 10.0, "{}", samples.text);
    run.signal(Signal::SIGINT);
    let document = run.end(Some(130)).await;
    let seconds = &document["activity_seconds"];
    assert!(seconds["asleep"].as_f64().unwrap() >= 10.0 && seconds.get("stalled").is_none(), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_answers_is_stalled() {
    let (harness, _, plan) = setup(20, "[scan]\nsegments = 1\n[alerts]\nstall_after = \"10s\"\n").await;
    delay(&harness, "UpdateItem", HANGS);
    let run = Shown::start(&harness, &plan).await;
    run.wait_for("stalled", &["starting", "scanning"]).await;
    run.all_show("stalled").await;
    harness.proxy().set_faults(None);
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGINT);
    run.end(Some(130)).await;
}

/// After the run has ended, no display shows a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_ended_is_done() {
    let (harness, _, plan) = setup(20, "").await;
    let run = Shown::start(&harness, &plan).await;
    let (address, terminal) = (run.address.clone(), Arc::clone(&run.terminal));
    let document = run.end(Some(0)).await;
    assert_eq!(document["stopped"], Json::Null, "{document:#}");
    assert!(scrape(&address).await.is_none());
    let last: Vec<u8> = terminal.lock().unwrap().iter().flat_map(|(_, part)| part.clone()).collect();
    let screen = String::from_utf8_lossy(&last).into_owned();
    assert!(!screen.contains("stalled"), "{screen}");
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(status["process"], Json::Null, "{status:#}");
}
