//! Tests the delivery of events: hooks that hang, fail or are missing, and the webhook.

use std::sync::{Arc, Mutex};

use super::*;

/// The path of a webhook, which is a secret.
const WEBHOOK_PATH: &str = "/services/T00/B00/PLANTEDTOKEN";

/// The messages that a webhook has received. The webhook refuses the first `refused` messages.
async fn webhook(refused: usize) -> (String, Arc<Mutex<Vec<Json>>>) {
    use axum::http::StatusCode;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{WEBHOOK_PATH}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let (messages, left) = (Arc::clone(&received), Arc::new(Mutex::new(refused)));
    let answer = move |body: String| {
        let mut left = left.lock().unwrap();
        let status = if *left > 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        *left = left.saturating_sub(1);
        if status == StatusCode::OK {
            messages.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        }
        std::future::ready(status)
    };
    let router = axum::Router::new().route(WEBHOOK_PATH, axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

/// RUNBOOK: "A hook never delays a pass, and a hook that fails, hangs or is missing never stops it: the log contains a warning."
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_or_fails_does_not_affect_the_pass() {
    let hooks = "[hooks]\non_start = [\"$dir/hangs\"]\non_pass_end = [\"$dir/fails\"]\non_step_due = [\"$dir/missing\"]\ntimeout = \"5m\"\n";
    let hooked = Hooked::new(300, hooks).await;
    let dir = text(hooked.harness.dir());
    script(&hooked.harness, "hangs", &format!("while [ ! -e {dir}/release ]; do sleep 0.05; done"));
    script(&hooked.harness, "fails", "printf 'no \\033[2Jluck' >&2; exit 7");
    let running = hooked.start(&["run", "--yes"]);
    let began = Instant::now();
    // The pass completes and releases its lock while the first hook still runs.
    loop {
        let status = hooked.tool(&["status", "--output", "json"]);
        let is_done = |status: Json| {
            status["state"]["current"]["run"]["status"] == "complete" && status["state"]["holder"].is_null()
        };
        if status.code == 0 && is_done(status.json()) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the hook delays the pass: {status:?}");
    }
    assert!(hooked.harness.dump(&hooked.table).await.values().all(|item| item.contains_key("new")));
    std::fs::write(hooked.harness.dir().join("release"), "").unwrap();
    let ended = tokio::task::block_in_place(|| running.end()).exits(0);
    for warning in [
        "the hook `on_pass_end` (\"$dir/fails\") failed (exit status: 7), saying: no \\u{1b}[2Jluck. The migration continues",
        "the hook `on_step_due` (\"$dir/missing\") could not be started",
        "`on_step_due` in [hooks] does not exist",
    ] {
        assert!(ended.stderr.contains(&warning.replace("$dir", dir)), "{warning} is missing in: {}", ended.stderr);
    }
}

/// RUNBOOK: "At its end, a command waits for its hooks, at most for `timeout` in `[hooks]`."
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_command_waits_for_hooks_only_briefly() {
    let hooks = "[hooks]\non_start = [\"$dir/hangs\"]\non_pass_end = [\"$log\"]\ntimeout = \"5s\"\n";
    let hooked = Hooked::new(5, hooks).await;
    let pid = hooked.harness.dir().join("pid");
    script(&hooked.harness, "hangs", &format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", text(&pid)));
    let ended = hooked.tool(&["run", "--yes"]).exits(0);
    let said = &ended.stderr;
    let given_up = "the announcement `start` was given up, because the command has ended";
    assert!(said.contains("did not end within its `timeout` (5 s)") || said.contains(given_up), "{said}");
    assert_eq!(hooked.events(), ["pass_end done"], "a hook that hangs leaves time for the later ones");
    is_killed(&pid).await;
}

/// Waits until the process whose number is in this file is killed.
async fn is_killed(pid: &std::path::Path) {
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let began = Instant::now();
    // A killed process remains as a zombie until its new parent has waited for it.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_secs(20), "the hook {pid} still runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// RUNBOOK: "After Ctrl-C, SIGTERM or `ctl drain`, it waits at most 2 s longer"
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_delays_an_interrupted_command_only_briefly() {
    let hooks =
        "[hooks]\non_start = [\"$dir/hangs\"]\non_pass_end = [\"$log\"]\ntimeout = \"10m\"\n[capacity]\nwrite = 250\n";
    let hooked = Hooked::new(2_000, hooks).await;
    let begun = hooked.harness.dir().join("begun");
    script(&hooked.harness, "hangs", &format!("touch {}; exec sleep 1000", text(&begun)));
    let running = hooked.start(&["run", "--yes"]);
    let began = Instant::now();
    while !begun.exists() {
        assert!(began.elapsed() < PATIENCE, "the hook did not begin: {}", running.stderr_so_far());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    running.signal(Signal::SIGTERM);
    let ended = tokio::task::block_in_place(|| running.end()).exits(130);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}: {}", began.elapsed(), ended.stderr);
    assert_eq!(hooked.events(), ["pass_end stopped"], "{}", ended.stderr);
}

/// If a signal makes the process exit at once, the process kills its programs, because Ctrl-C does not reach their
/// process groups.
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_that_ends_the_process_kills_its_programs() {
    let hooked = Hooked::new(5, "[hooks]\nbefore_step = [\"$dir/hangs\"]\ntimeout = \"10m\"\n").await;
    let pid = hooked.harness.dir().join("pid");
    let body = format!("sleep 1000 &\necho $! >{0}.new; mv {0}.new {0}; wait", text(&pid));
    script(&hooked.harness, "hangs", &body);
    let running = hooked.start(&["run", "--yes"]);
    let began = Instant::now();
    while !pid.exists() {
        assert!(began.elapsed() < PATIENCE, "the hook never ran: {}", running.stderr_so_far());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.signal(Signal::SIGINT);
    running.end().exits(130);
    is_killed(&pid).await;
    nothing_was_written(&hooked.harness);
}

/// RUNBOOK: "The address comes only from this environment variable. No log line, error, document or state file contains it."
#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_gets_one_line_for_each_event_and_its_address_stays_secret() {
    let hooks = format!("{}webhook_env = \"TEST_WEBHOOK\"\n[capacity]\nwrite = 250\n", log_everything());
    let hooked = Hooked::new(1_500, &hooks).await;
    let (url, received) = webhook(1).await;
    let mut command = hooked.command(&["run", "--yes"]);
    command.env("TEST_WEBHOOK", &url);
    let running = RunningTool::start(command);
    hooked.wait_for("start", None).await;
    hooked.tool(&["ctl", "pause", "--reason", "<!channel> a & b"]).exits(0);
    hooked.wait_for("pause", Some(false)).await;
    hooked.tool(&["ctl", "resume"]).exits(0);
    let ended = tokio::task::block_in_place(|| running.end()).exits(0);
    let messages = received.lock().unwrap().clone();
    let texts: Vec<&str> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert!(messages.iter().all(|message| message.as_object().unwrap().len() == 1), "{messages:?}");
    let documents = hooked.documents();
    let expected = documents.iter().map(|document| document["text"].as_str().unwrap());
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    assert_eq!(texts, expected.map(escape).collect::<Vec<_>>(), "the first message was sent again");
    assert!(texts.iter().any(|text| text.contains("&lt;!channel&gt; a &amp; b")), "{texts:?}");

    // A webhook that refuses every message or does not exist causes only a warning.
    let (broken, _) = webhook(usize::MAX).await;
    let mut warned = Vec::new();
    for address in [broken.as_str(), &format!("http://127.0.0.1:9{WEBHOOK_PATH}"), &format!("ftp://x{WEBHOOK_PATH}")] {
        let mut command = hooked.command(&["run", "--again", "--yes"]);
        command.env("TEST_WEBHOOK", address);
        warned.push(tokio::task::block_in_place(|| run(command)).exits(0));
    }
    let warnings = ["answered with HTTP status 503", "could not be reached", "TEST_WEBHOOK is not valid"];
    for (ran, warning) in warned.iter().zip(warnings) {
        assert!(ran.stderr.contains(warning), "{warning} is missing in: {}", ran.stderr);
    }
    let state = std::fs::read(hooked.harness.dir().join(".backfill/plan.db")).unwrap();
    let said = warned.iter().chain([&ended]).map(|ran| format!("{}{}", ran.stdout, ran.stderr));
    for text in said.chain([String::from_utf8_lossy(&state).into_owned(), format!("{documents:?}")]) {
        assert!(!text.contains("PLANTEDTOKEN") && !text.contains("T00"), "the address is in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_hooks_that_cannot_work() {
    let hooks = "[hooks]\non_start = [\"$dir/missing\"]\non_stall = [\"$dir/plain\"]\non_pause = [\"$log\"]\nbefore_step = [\"backfill-no-such-program\"]\nwebhook_env = \"TEST_WEBHOOK\"\n";
    let hooked = Hooked::new(5, hooks).await;
    std::fs::write(hooked.harness.dir().join("plain"), "").unwrap();
    let findings = |variable: Option<&str>| {
        let mut command = hooked.command(&["check", "--output", "json"]);
        command.envs(variable.map(|value| ("TEST_WEBHOOK", value)));
        let checked = tokio::task::block_in_place(|| run(command)).exits(0).json();
        let findings = checked["findings"].as_array().unwrap().clone();
        let hooks = findings.into_iter().filter(|finding| finding["id"].as_str().unwrap().starts_with("hook-"));
        hooks.map(|finding| finding["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = findings(None);
    for part in [
        "`on_start` in [hooks] does not exist",
        "`on_stall` in [hooks] is not executable",
        "`before_step` in [hooks] was not found in PATH",
        "TEST_WEBHOOK of `webhook_env` in [hooks] contains no address: it is not set",
    ] {
        assert!(found.iter().any(|what| what.contains(part)), "{part} is missing in: {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(findings(Some("https://example.com/x")).len(), 3);
    let wrong = findings(Some("user:PLANTEDTOKEN")).join(" ");
    assert!(wrong.contains("it must begin with http://") && !wrong.contains("PLANTEDTOKEN"), "{wrong}");
}
