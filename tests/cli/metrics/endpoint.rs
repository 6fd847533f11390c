//! Tests the endpoint itself: its address, its health checks, its formats, and the commands that serve it.

use super::*;

/// RUNBOOK: "A pass that is throttled, paused or outside its window never fails `/livez`"
#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_pass_is_alive_and_ready() {
    let (harness, _, plan) = setup(50, "[scan]\nsegments = 2\n").await;
    let extra =
        json!([{ "reason": "TableWriteProvisionedThroughputExceeded", "resource": "arn:aws:dynamodb:::table/t" }]);
    inject_fault(&harness, move |request| match request.operation.as_str() {
        "UpdateItem" => Fault::Reply {
            status: 400,
            error: "ThrottlingException".into(),
            message: "slow down".into(),
            extra: Map::from_iter([("throttlingReasons".to_owned(), extra.clone())]),
        },
        _ => Fault::Pass,
    });
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let is_throttled = |samples: &Samples| samples.find("backfill_activity{activity=\"throttled\"}") == Some(1.0);
    let samples = scrape_until(&address, "throttled", is_throttled).await;
    check(&samples);
    for path in ["/livez", "/readyz"] {
        let answer = get(&address, path).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "throttled\n"), "{path}");
    }
    let errors = samples.of("backfill_request_errors_total{error=\"throttle\"}");
    assert!(errors >= 1.0 && samples.of("backfill_throttled_requests_total") >= 1.0, "{}", samples.text);
    let table = r#"{access="write",index="",scope="table"}"#;
    assert!(samples.of(&format!("backfill_throttles_total{table}")) >= 1.0, "{}", samples.text);
    let slowed = samples.of(&format!("backfill_rate_units_per_second{table}"));
    assert!(slowed < samples.of(&format!("backfill_budget_units_per_second{table}")), "{}", samples.text);
    assert_eq!(samples.of("backfill_items_scanned_total"), 0.0, "nothing is committed");
    stop(running);
}

/// RUNBOOK: "A stalled pass fails `/readyz` but not `/livez`, because a restart would stall again"
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_pass_is_alive_but_not_ready() {
    let (harness, _, plan) = setup(20, "[scan]\nsegments = 1\n[alerts]\nstall_after = \"10s\"\n").await;
    inject_fault(&harness, |request| match request.operation.as_str() {
        "UpdateItem" => Fault::Delay(Duration::from_secs(300)),
        _ => Fault::Pass,
    });
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let is_stalled = |samples: &Samples| samples.find("backfill_activity{activity=\"stalled\"}") == Some(1.0);
    let samples = scrape_until(&address, "stalled", is_stalled).await;
    check(&samples);
    assert_eq!(samples.of("backfill_hung_segments"), 1.0);
    assert!(samples.of("backfill_requests_in_flight{access=\"write\"}") >= 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let progress = now - samples.of("backfill_last_progress_timestamp_seconds");
    assert!((9.0..60.0).contains(&progress), "the last answer is {progress} s old");
    let answer = get(&address, "/livez").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "stalled\n"));
    let answer = get(&address, "/readyz").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "stalled\n"));
    harness.proxy().set_faults(None);
    running.signal(SIGTERM);
    running.signal(SIGTERM);
    tokio::task::block_in_place(|| running.end());
}

/// RUNBOOK: "Before the pass begins, `/readyz` answers 503"
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_before_its_pass_is_alive_but_not_ready() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, items(20)).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"x\" }}\nmax_cache_seconds = 60\n");
    let plan = harness.plan("waits", &table, "", &format!("{MOVE}{flag}"));
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    // The endpoint answers before the state file is open, so wait for the state file.
    let is_open = |samples: &Samples| samples.find("backfill_open_failures") == Some(0.0);
    let samples = scrape_until(&address, "the state file", is_open).await;
    assert_eq!(samples.of("backfill_pass_active"), 0.0);
    assert_eq!(samples.named("backfill_activity").count(), 0, "{}", samples.text);
    let answer = get(&address, "/livez").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "no pass is running\n"));
    let answer = get(&address, "/readyz").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "no pass is running\n"));
    stop(running);
}

/// RUNBOOK: "also while the command waits for the lease of another process"
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_for_the_lease_is_alive_and_says_why_it_is_not_ready() {
    let harness = Harness::embedded();
    let (copy, plan) = copy_with_a_held_lease(&harness).await;
    let ctl = |args: &[&str]| tool(&harness, &[&["ctl"], args, &[text(&plan), "--state", text(&copy)]].concat());
    // This rate will no longer apply after the change to [capacity] below.
    ctl(&["rate", "--write", "20"]).exits(0);
    std::fs::write(&plan, std::fs::read_to_string(&plan).unwrap() + "[capacity]\nwrite = 900\n").unwrap();
    let mut waiting = start(&harness, &["run", text(&plan), "--yes", "--state", text(&copy)]);
    let address = address_of(&mut waiting).await;
    let began = Instant::now();
    let ready = loop {
        let Some(live) = get(&address, "/livez").await else { panic!("it ended: {}", waiting.stderr_so_far()) };
        assert_eq!(live.status, 200, "{live:?}");
        let ready = get(&address, "/readyz").await.unwrap();
        assert_eq!(ready.status, 503, "{ready:?}");
        if ready.body.contains("another process holds the lease") {
            break ready;
        }
        assert!(ready.body.starts_with("no pass is running") && began.elapsed() < Duration::from_secs(50), "{ready:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(ready.body.contains("the command waits for it"), "{ready:?}");

    // `ctl` reaches the waiting process.
    let status = ctl(&["status"]).exits(0).stdout;
    assert!(status.contains("this process waits for the lease of the migration, which "), "{status}");
    let paused = ctl(&["pause", "--reason", "not yet"]).exits(0).stdout;
    assert!(paused.contains("stored for the first pass: this process waits for the lease"), "{paused}");
    let drain = ctl(&["drain"]).exits(3).messages();
    assert!(
        drain.contains("nothing to drain yet") && drain.contains("SIGINT") && drain.contains("Nothing was done"),
        "{drain}"
    );
    waiting.signal(SIGINT);
    tokio::task::block_in_place(|| waiting.end()).exits(130);
    let status = ctl(&["status"]).exits(0).stdout;
    assert!(status.contains("paused by ") && status.contains("not yet"), "{status}");
    // The waiting process never began its pass, so it did not remove the stored rate. The next `ctl` command says that
    // the stored rate no longer applies.
    let resumed = ctl(&["resume"]).exits(0).stdout;
    assert!(resumed.contains("20 WCU/s, set by ") && resumed.contains("no longer applies"), "{resumed}");
    let again = ctl(&["pause"]).exits(0).stdout;
    assert!(!again.contains("no longer applies"), "{again}");
}

/// The endpoint answers while the command still waits for the table's description.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reads_the_table_is_alive() {
    let (harness, _, plan) = setup(5, "").await;
    inject_fault(&harness, |request| match request.operation.as_str() {
        "DescribeTable" => Fault::Delay(Duration::from_secs(300)),
        _ => Fault::Pass,
    });
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let answer = get(&address, "/livez").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = get(&address, "/readyz").await.unwrap();
    assert_eq!((answer.status, answer.body.contains("the command checks the table")), (503, true), "{answer:?}");
    let samples = scrape(&address).await.unwrap();
    assert_eq!((samples.of("backfill_pass_active"), samples.find("backfill_open_failures")), (0.0, None));
    stop(running);
    assert!(!harness.dir().join(".backfill").exists(), "nothing was created");
}

/// Returns a copy of the state file of a process that was killed while it held the lease. Another process cannot know
/// that the holder is dead, so it waits. Also returns the plan.
async fn copy_with_a_held_lease(harness: &Harness) -> (std::path::PathBuf, std::path::PathBuf) {
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, items(20)).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"x\" }}\nmax_cache_seconds = 60\n");
    let plan = harness.plan("waits", &table, "", &format!("{MOVE}{flag}"));
    let mut holder = start(harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut holder).await;
    scrape_until(&address, "the state file", |samples| samples.find("backfill_open_failures").is_some()).await;
    holder.signal(Signal::SIGKILL);
    tokio::task::block_in_place(|| holder.end());
    let state = harness.dir().join(".backfill/waits.db");
    let copy = harness.dir().join("copy.db");
    std::fs::copy(&state, &copy).unwrap();
    if state.with_extension("db-wal").exists() {
        std::fs::copy(state.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    }
    (copy, plan)
}

/// RUNBOOK: "Even many idle connections never delay `/livez`."
#[tokio::test(flavor = "multi_thread")]
async fn idle_and_slow_connections_do_not_delay_a_probe() {
    let (harness, _, plan) = setup(60, SLOWLY).await;
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let connect = |_| std::net::TcpStream::connect(&address).unwrap();
    let mut open: Vec<_> = (0..100).map(connect).collect();
    for round in 0..5 {
        let began = Instant::now();
        let answer = get(&address, "/livez").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        // The server closes a connection after 15 seconds. A probe that waited for this would exceed the bound.
        assert!(began.elapsed() < Duration::from_secs(8), "round {round}: {:?}", began.elapsed());
        // The next connections send an incomplete request, and never complete it.
        for mut slow in (0..40).map(connect) {
            slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
            open.push(slow);
        }
    }
    drop(open);
    stop(running);
}

/// RUNBOOK: "If the address is in use, the command is refused and nothing is done"
#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_refuses_the_command() {
    let (harness, _, plan) = setup(5, "").await;
    let taken = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = refused(&harness, 3, &["run", text(&plan), "--yes", "--metrics", &address]);
    refusal.in_one_paragraph().says(&[&address, "cannot be bound", "Nothing was done", "--metrics"]);
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists(), "a refused command creates nothing");
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--metrics", LOOPBACK]).exits(0);
    assert!(!ran.messages().contains("everyone who can reach"), "{}", ran.messages());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_other_than_loopback_prints_a_warning() {
    let (harness, _, plan) = setup(5, "").await;
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--metrics", "0.0.0.0:0"]).exits(0);
    let messages = ran.messages();
    assert!(messages.contains("metrics  http://0.0.0.0:") && messages.contains("everyone who can reach"), "{messages}");
    refused(&harness, 2, &["run", text(&plan), "--metrics", "nowhere"]);
    refused(&harness, 2, &["run", text(&plan), "--dry-run", "--metrics", LOOPBACK]);
}

/// Every command that can run a pass has the option `--metrics`.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_with_a_pass_serves_metrics() {
    let (harness, _, plan) = setup(10, "").await;
    let plan = text(&plan);
    tool(&harness, &["run", plan, "--yes", "--metrics", LOOPBACK]).exits(0);
    for (code, args) in [
        (0, vec!["failures", "retry", "--yes", plan]),
        (0, vec!["failures", plan, "retry", "--yes"]),
        (0, vec!["verify", plan, "--sample", "5"]),
        (0, vec!["rollback", plan, "--yes", "--readers-back", "--new-writes-stopped"]),
    ] {
        let ran = tool(&harness, &[&args[..], &["--metrics", LOOPBACK]].concat()).exits(code);
        assert!(ran.messages().contains("metrics  http://127.0.0.1:"), "{args:?}: {}", ran.messages());
    }
    // The tool refuses these commands because they are out of order, not because of `--metrics`.
    for args in [vec!["cutover", plan, "--to", "write-new", "--yes"], vec!["contract", plan, "--yes"]] {
        refused(&harness, 3, &[&args[..], &["--metrics", LOOPBACK]].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_are_served_and_other_hosts_are_refused() {
    let (harness, _, plan) = setup(60, SLOWLY).await;
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    scrape_until(&address, "a pass", |samples| samples.find("backfill_pass_active") == Some(1.0)).await;
    let host = format!("Host: {address}\r\n");
    let open = format!("{host}Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5\r\n");
    let open = get_with(&address, "/metrics", &open).await.unwrap();
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE backfill_items counter\n"), "{}", open.body);
    check(&Samples::parse(&open.body));
    let plain = get(&address, "/metrics").await.unwrap();
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    assert!(!plain.body.contains("# EOF"), "{}", plain.body);
    assert!(plain.head.contains("connection: close"), "{}", plain.head);
    let names = |text: &str| Samples::parse(text).values.into_keys().collect::<Vec<_>>();
    let (open, plain) = (names(&open.body), names(&plain.body));
    assert!(open.len() > 120 && open.len().abs_diff(plain.len()) < 10, "{} and {} samples", open.len(), plain.len());
    assert_eq!(get(&address, "/").await.unwrap().status, 404);
    let rebound = get_with(&address, "/metrics", "Host: evil.example\r\n").await.unwrap();
    assert_eq!(rebound.status, 403, "{rebound:?}");
    // A client that sends nothing does not delay other clients.
    let idle: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(get(&address, "/livez").await.unwrap().status, 200);
    drop(idle);
    stop(running);
}

/// `promtool check metrics` checks the conventions for names, types and help texts.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_exposition() {
    let Some(mut promtool) = promtool() else { return };
    let (harness, _, plan) =
        setup(40, &format!("{SLOWLY}[limits]\nmax_wcu = 100000\nmax_cost_usd = 5\nmax_items = 1000\n")).await;
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let has_items = |samples: &Samples| samples.find("backfill_items_scanned_total").is_some_and(|items| items > 0.0);
    let samples = scrape_until(&address, "items", has_items).await;
    let limits: Vec<_> = samples.named("backfill_limit").collect();
    assert_eq!(limits.len(), 3, "{limits:?}");
    assert!(samples.of("backfill_limit_left{limit=\"max_items\"}") < 1000.0);
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(samples.text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}\n{}", String::from_utf8_lossy(&checked.stderr), samples.text);
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "");
    stop(running);
}
