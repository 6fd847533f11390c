//! Tests which options `run` accepts at each stage of the migration.

use super::*;

/// RUNBOOK: "`run` prints the account, the table ARN, the state file, and whether it starts or resumes."
#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_without_confirmation_is_refused() {
    let (harness, table, plan) = setup(5, "").await;
    let refusal = refused(&harness, 3, &["run", text(&plan)]);
    refusal.in_one_paragraph().says(&["no terminal to ask", "not written", "--yes", "--dry-run"]);
    nothing_was_written(&harness);
    // No run has begun, so the operator can still change the plan.
    let changed = harness.plan("plan", &table, "", "[[change]]\nmove = \"old\"\nto = \"newer\"\n");
    tool(&harness, &["run", text(&changed), "--yes"]).exits(0);
    // The tool does not ask for confirmation when it resumes a run, or when the run is already complete.
    tool(&harness, &["run", text(&changed)]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_run_allows_another_pass_and_a_restart() {
    let (harness, table, plan) = setup(40, "[scan]\nsegments = 3\n").await;
    let plan = text(&plan);
    let again = refused(&harness, 3, &["run", plan, "--again", "--yes"]);
    again.in_one_paragraph().says(&["--again"]);
    nothing_was_written(&harness);

    let first = tool(&harness, &["run", plan, "--yes", "--output", "json"]).exits(0).json();
    assert_eq!((&first["run"]["id"], &first["totals"]["counts"]["applied"]), (&json!(1), &json!(40)));
    harness.proxy().reset_tally();
    let complete = tool(&harness, &["run", plan, "--yes", "--output", "json"]).exits(0);
    assert!(complete.messages().contains("already complete"), "{}", complete.messages());
    assert!(complete.messages().contains("--again"), "{}", complete.messages());
    assert_eq!(complete.json()["run"]["status"], "complete");
    assert_eq!(harness.proxy().tally().operation("Scan").requests, 0);
    let human = tool(&harness, &["run", plan]).exits(0);
    assert!(human.stdout.contains("--again") && human.stdout.contains("40"), "{}", human.stdout);

    // After the first pass, a writer that knows only the old attribute inserts items.
    harness.load(&table, (0..3).map(|n| item("late", &n.to_string(), [("old", secret(n))]))).await;
    refused(&harness, 3, &["run", plan, "--again"]).in_one_paragraph().says(&["--yes"]);
    let second = tool(&harness, &["run", plan, "--again", "--yes", "--output", "json"]).exits(0).json();
    assert_eq!((&second["run"]["id"], &second["run"]["pass"]), (&json!(2), &json!(2)));
    let counts = &second["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(3), &json!(40)));

    let third = tool(&harness, &["run", plan, "--restart", "--yes", "--output", "json"]).exits(0).json();
    assert_eq!((&third["run"]["id"], &third["totals"]["counts"]["already_applied"]), (&json!(3), &json!(43)));
    let status = tool(&harness, &["status", plan, "--output", "json"]).exits(0).json();
    let runs: Vec<_> =
        status["state"]["runs"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(runs, ["complete", "complete", "complete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_run_allows_a_restart_but_not_another_pass() {
    let (harness, table, plan) = setup(60, SLOWLY).await;
    let plan_text = text(&plan);
    let mut command = harness.command();
    command.args(["run", plan_text, "--yes", "--output", "json"]);
    let first = RunningTool::start(command);
    while harness.proxy().tally().operation("UpdateItem").ok < 15 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.signal(Signal::SIGINT);
    tokio::task::block_in_place(|| first.end()).exits(130);
    let refusal = refused(&harness, 3, &["run", plan_text, "--again", "--yes"]).in_one_paragraph();
    refusal.says(&["--again", "requires a complete pass", "resume"]);
    let quick = harness.plan("plan", &table, "", &format!("{MOVE}[scan]\nsegments = 3\n"));
    let restarted = tool(&harness, &["run", text(&quick), "--restart", "--yes", "--output", "json"]).exits(0).json();
    assert_eq!((&restarted["run"]["id"], &restarted["run"]["total_segments"]), (&json!(2), &json!(3)));
    let counts = &restarted["totals"]["counts"];
    assert_eq!(counts["scanned"], 60);
    assert!(counts["already_applied"].as_u64().unwrap() >= 15, "{counts}");
    let status = tool(&harness, &["status", plan_text, "--output", "json"]).exits(0).json();
    assert_eq!(status["state"]["runs"][0]["status"], "superseded", "the old run stays in the list");
}

/// A new run first completes the baseline: it reads the items that the stopped run has not read. If the command is
/// stopped or killed during these reads, the next `run` still writes all of these items.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_baseline_leaves_no_item_unwritten() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let limits = "[scan]\nsegments = 1\npage_limit = 5\n[limits]\nmax_items = 10\n";
        let (harness, table, plan) = setup(60, limits).await;
        tool(&harness, &["run", text(&plan), "--yes"]).exits(6);
        let said = std::fs::read_to_string(&plan).unwrap();
        std::fs::write(&plan, said.replace("max_items = 10", "max_items = 1000")).unwrap();
        inject_fault(&harness, |request| match request.operation.as_str() {
            "Scan" => Fault::Delay(Duration::from_millis(100)),
            _ => Fault::Pass,
        });
        harness.proxy().reset_tally();
        let mut restart = harness.command();
        restart.args(["run", text(&plan), "--yes", "--restart"]);
        let running = RunningTool::start(restart);
        while harness.proxy().tally().operation("Scan").ok < 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.signal(signal);
        let ended = tokio::task::block_in_place(|| running.end());
        assert_eq!(ended.code, if signal == Signal::SIGTERM { 130 } else { -1 }, "{ended:?}");
        assert_eq!(
            harness.proxy().tally().operation("UpdateItem").requests,
            0,
            "the completion of the baseline writes nothing"
        );
        harness.proxy().set_faults(None);
        let status = tool(&harness, &["status", text(&plan)]).exits(0).stdout;
        assert!(status.contains("a read-only pass counts the items on its remaining pages"), "{status}");
        let ran = tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
        let without = harness.dump(&table).await.values().filter(|item| !item.contains_key("new")).count();
        assert_eq!(without, 0, "of 60 items were not written, but the output is: {}", ran.stdout);
        assert_eq!(
            harness.proxy().tally().operation("UpdateItem").ok,
            50,
            "items that were written before need no write"
        );
    }
}

/// The first run waits until the applications' flag caches have expired. If it is stopped during this wait, it has
/// written nothing, and the output must not say that the run is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_that_is_stopped_while_it_waits_is_not_done() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", secret(0))]))).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\nmax_cache_seconds = 40\n");
    let plan = harness.plan("waits", &table, "", &format!("{MOVE}{flag}"));
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes"]);
    let running = RunningTool::start(command);
    // The flag exists, but applications might not have read it yet.
    while harness.dump(&flags).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    running.signal(Signal::SIGTERM);
    let ran = tokio::task::block_in_place(|| running.end());
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("new")), "nothing was written");
    assert_eq!(ran.code, 130, "stdout {:?}, stderr {:?}", ran.stdout, ran.stderr);
}

/// All sessions that complete the baseline share one spending limit. A command that resumes the completion of the
/// baseline does not get a new limit.
#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_keeps_its_limit_over_all_sessions() {
    let (harness, _, plan) = setup(
        2_000,
        "[scan]\nsegments = 2\npage_limit = 10\n[prices]\nwrite_per_million = 1\nread_per_million = 1000000\n[limits]\n\
         max_cost_usd = 30\n",
    )
    .await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(6);
    let read = || harness.proxy().tally().read_units();
    let before = read();
    let mut spent = Vec::new();
    for args in [&["--restart", "--yes"][..], &["--yes"], &["--yes"], &["--yes"]] {
        let began = read();
        let ran = tool(&harness, &[&["run", text(&plan)], args].concat());
        spent.push((ran.code, read() - began));
    }
    let all = read() - before;
    assert!(all <= 31.0, "the limit is 30 read units; the baseline took {all}: {spent:?}");
}

/// RUNBOOK: "The way back (`rollback`, and `cutover --back` after new-only writes) is exempt from all limits".
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_on_a_few_items_can_be_rolled_back() {
    let limits = "[scan]\nsegments = 1\npage_limit = 5\n[limits]\nmax_items = 10\n";
    let (harness, table, plan) = setup(60, limits).await;
    let before = harness.dump(&table).await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(6);
    tool(&harness, &["rollback", text(&plan), "--yes", "--readers-back", "--new-writes-stopped"]).exits(0);
    assert!(harness.dump(&table).await == before);
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(status["playbook"]["phase"], "rolled back", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_only_removes_needs_the_in_place_strategy() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(5)).await;
    let remove = "[[change]]\nremove = \"old\"\n";
    let plan = harness.plan("remove", &table, "", remove);
    for args in [vec!["check", text(&plan)], vec!["run", text(&plan), "--yes"], vec!["run", text(&plan), "--dry-run"]] {
        let refusal = refused(&harness, 3, &args).in_one_paragraph();
        refusal.says(&["only removes", "contract", "strategy = \"in-place\""]);
    }
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists());
    let plan = harness.plan("remove", &table, "strategy = \"in-place\"", remove);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("old")));
}

/// One item in a hundred has the attribute. The other items need no write.
#[tokio::test(flavor = "multi_thread")]
async fn only_items_with_the_attribute_are_written() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let one = |n: usize| {
        let mut one = item(&format!("P#{n:04}"), "x", []);
        if n.is_multiple_of(100) {
            one.insert("old".to_owned(), secret(n));
        }
        one
    };
    harness.load(&table, (0..1_000).map(one)).await;
    let plan = harness.plan("sparse", &table, "", MOVE);
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--output", "json"]).exits(0).json();
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["nothing_to_do"]), (&json!(10), &json!(990)), "{counts}");
    assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, 10);
}

/// A run does exactly what the dry run predicts. The dry run sends no write request.
/// RUNBOOK: "how many items would change, how many are done, how many diverge, and how many would grow past 400 KB".
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_predicts_the_run() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let filler = "x".repeat(250 * 1024);
    let mixed = (0..70).map(|n| {
        let attributes = match n % 7 {
            0..=2 => vec![("old", secret(n))],
            3 => vec![("old", secret(n)), ("doc", secret("no map"))],
            4 => vec![("old", secret(n)), ("doc", doc(secret(n)))],
            5 => vec![("old", secret(n)), ("doc", doc(secret("other")))],
            _ => vec![],
        };
        let mut item = item(&format!("P#{}", n % 5), &format!("S#{n}"), []);
        item.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        if n == 7 {
            item.insert("old".into(), secret(&filler));
        }
        item
    });
    harness.load(&table, mixed).await;
    let before = harness.dump(&table).await;
    harness.proxy().reset_tally();
    let plan = harness.plan("mixed", &table, "", "[[change]]\nmove = \"old\"\nto = \"doc.new\"\n");
    let plan = text(&plan);
    let dry = tool(&harness, &["run", plan, "--dry-run", "--output", "json"]).exits(4).json();
    nothing_was_written(&harness);
    assert_eq!(dry["complete"], true);
    assert!(!harness.dir().join(".backfill").exists(), "a dry run leaves no state behind");
    let shapes = dry["shapes"].as_array().unwrap();
    assert!(!shapes.is_empty() && shapes.len() <= 10, "{shapes:?}");
    let human = tool(&harness, &["run", plan, "--dry-run"]).exits(4);
    assert!(
        human.stdout.contains("nothing was written") && human.stdout.contains("{ doc: - } → { doc: M }"),
        "{}",
        human.stdout
    );
    let after = harness.dump(&table).await;
    assert!(before.iter().all(|(key, item)| bytes_of(item) == bytes_of(&after[key])), "a dry run changed something");

    let run = tool(&harness, &["run", plan, "--yes", "--output", "json"]).exits(4).json();
    let counts = &run["totals"]["counts"];
    for (predicted, counted) in [
        ("scanned", "scanned"),
        ("would_change", "applied"),
        ("already_applied", "already_applied"),
        ("nothing_to_do", "nothing_to_do"),
        ("diverged", "diverged"),
    ] {
        assert_eq!(dry[predicted], counts[counted], "{predicted}: {dry} {counts}");
        assert_ne!(dry[predicted], 0, "{predicted}");
    }
    let failing = dry["rejected"].as_u64().unwrap() + dry["would_exceed_400_kb"].as_u64().unwrap();
    assert_eq!((failing, &dry["would_exceed_400_kb"]), (counts["rejected"].as_u64().unwrap(), &json!(1)));
    let difference = dry["estimated_write_units"].as_f64().unwrap() - counts["write_units"].as_f64().unwrap();
    assert!(difference.abs() < 0.01, "{dry} {counts}");
}

fn doc(value: backfill::internals::item::Value) -> backfill::internals::item::Value {
    backfill::internals::item::Value::M([("new".to_owned(), value)].into())
}
