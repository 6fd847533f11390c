//! Tests `init`, `check`, `status` and `failures list` in normal cases.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_a_plan_that_loads_and_never_overwrites() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let said = tool(&harness, &["init", "new.toml", "--table", &table, "--endpoint-url", &harness.endpoint()])
        .exits(0)
        .messages();
    assert!(said.contains("wrote new.toml") && said.contains("backfill check new.toml"), "{said}");
    let written = std::fs::read_to_string(harness.dir().join("new.toml")).unwrap();
    let plan = backfill::internals::plan::load("new.toml", &written).unwrap().plan;
    assert_eq!((plan.table.name.as_str(), plan.table.key), (table.as_str(), Some(vec!["pk".into(), "sk".into()])));
    let checked = tool(&harness, &["check", "new.toml", "--endpoint-url", &harness.endpoint(), "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(checked["key"], json!(["pk", "sk"]));
    let ids: Vec<&str> = checked["findings"].as_array().unwrap().iter().filter_map(|f| f["id"].as_str()).collect();
    assert!(ids.contains(&"example-change"), "nobody has edited the plan: {ids:?}");

    let refusal = refused(&harness, 2, &["init", "new.toml", "--table", &table, "--endpoint-url", &harness.endpoint()]);
    refusal.in_one_paragraph().says(&["new.toml exists already", "Name another file"]);
    assert_eq!(std::fs::read_to_string(harness.dir().join("new.toml")).unwrap(), written);

    // Runs `init` in five cases: no table is given, the table cannot be described, there is no such table, the output
    // is stdout, and no file can be created at the given path.
    tool(&harness, &["init"]).exits(0);
    backfill::internals::plan::load("plan.toml", &std::fs::read_to_string(harness.dir().join("plan.toml")).unwrap())
        .unwrap();
    answer(
        &harness,
        "DescribeTable",
        400,
        "AccessDeniedException",
        "not authorized to perform: dynamodb:DescribeTable",
    );
    let denied =
        tool(&harness, &["init", "denied.toml", "--table", "orders", "--endpoint-url", &harness.endpoint()]).exits(0);
    assert!(denied.messages().contains("the table's description could not be read"), "{}", denied.messages());
    let denied = std::fs::read_to_string(harness.dir().join("denied.toml")).unwrap();
    assert_eq!(backfill::internals::plan::load("denied.toml", &denied).unwrap().plan.table.name, "orders");
    harness.proxy().set_faults(None);
    // A plan for a misspelt table would be wrong, so `init` does not write it.
    refused(&harness, 3, &["init", "missing.toml", "--table", "ordr", "--endpoint-url", &harness.endpoint()]).says(&[
        "table `ordr` was not found",
        "No plan was written",
        "--region",
    ]);
    assert!(!harness.dir().join("missing.toml").exists());
    let piped = tool(&harness, &["init", "-"]).exits(0);
    backfill::internals::plan::load("-", &piped.stdout).unwrap();
    refused(&harness, 2, &["init", "new.toml/plan.toml"]).in_one_paragraph().says(&["cannot write"]);
}

/// RUNBOOK: "reads the plan and the table's description and writes nothing".
#[tokio::test(flavor = "multi_thread")]
async fn check_describes_the_table_and_changes_nothing() {
    let (harness, table, plan) = setup(20, "[capacity]\nwrite = 50\n").await;
    let ran = tool(&harness, &["check", text(&plan)]).exits(0);
    assert!(ran.messages().contains("is valid"), "{}", ran.messages());
    for part in [
        "move old to new",
        &table,
        "pk + sk",
        "50 WCU/s (from the plan)",
        "2,000 RCU/s",
        ".backfill/plan.db",
        "--dry-run",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let json = tool(&harness, &["check", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!((&json["type"], &json["segments"]), (&json!("check"), &json!(16)));
    assert!(json["table_arn"].as_str().unwrap().ends_with(&table), "{json}");
    let tally = harness.proxy().tally();
    assert_eq!(tally.operation("Scan").requests, 0);
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists());
}

/// RUNBOOK: "reads the state file, from any terminal on the machine, even after the process died".
#[tokio::test(flavor = "multi_thread")]
async fn status_and_failures_work_during_a_run_after_a_kill_and_at_the_end() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let odd = (0..4).map(|n| item("ODD", &format!("S#{n}\u{1b}[31m"), [("old", secret(n)), ("new", secret("other"))]));
    harness.load(&table, items(60).chain(odd)).await;
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{SLOWLY}"));
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes"]);
    let running = RunningTool::start(command);
    while harness.proxy().tally().operation("UpdateItem").ok < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = tool(&harness, &["status", text(&plan)]).exits(0);
    for part in ["migration plan on arn:", "move old to new", "running: process", "segments", "items scanned"] {
        assert!(status.stdout.contains(part), "{part}: {}", status.stdout);
    }
    running.signal(Signal::SIGKILL);
    assert_eq!(tokio::task::block_in_place(|| running.end()).code, -1);
    let status = tool(&harness, &["status", text(&plan)]).exits(0);
    assert!(status.stdout.contains("its process died; `run` resumes it"), "{}", status.stdout);
    assert!(status.stdout.contains("at least"), "counts that a kill made uncertain are labelled: {}", status.stdout);
    let json = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!((&json["state"]["current"]["died"], &json["same_plan"]), (&json!(true), &json!(true)));

    let text_of = std::fs::read_to_string(&plan).unwrap().replace("write = 20", "write = 1000");
    std::fs::write(&plan, text_of).unwrap();
    let ran = tool(&harness, &["run", text(&plan)]).exits(5);
    for part in
        ["Run 1 (expand) is complete", "has written both attributes since", "backfill failures", "at least", "diverged"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let status = tool(&harness, &["status", text(&plan)]).exits(0);
    assert!(status.stdout.contains("complete") && status.stdout.contains("4 diverged items"), "{}", status.stdout);
    assert!(status.stdout.contains("about 100 % of 64 items"), "{}", status.stdout);
    let listed = tool(&harness, &["failures", text(&plan), "list"]).exits(0);
    assert_eq!(listed.stdout.matches("pk=ODD").count(), 4, "{}", listed.stdout);
    assert!(listed.stdout.contains("\\u{1b}"), "control characters of keys are escaped: {}", listed.stdout);
    let one = tool(&harness, &["failures", text(&plan), "list", "--limit", "1", "--output", "json"]).exits(0).json();
    assert_eq!((one["diverged"].as_array().unwrap().len(), &one["open_diverged"]), (1, &json!(4)));
}

/// Log lines contain no attribute values, whatever the log level. This applies to the tool's own log lines and to those
/// of its dependencies.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_level_shows_values() {
    for (more, log) in [
        (vec!["-v"], None),
        (vec!["-vvv"], None),
        (vec!["--log-format", "json"], Some("trace")),
        (vec![], Some("aws_smithy_runtime=trace,hyper=trace")),
    ] {
        let (harness, _, plan) = setup(10, "").await;
        inject_fault(&harness, |request| match request.operation.as_str() {
            "UpdateItem" if request.operation_sequence == 0 => Fault::DropReply,
            _ => Fault::Pass,
        });
        let mut command = harness.command();
        command.args(["run", text(&plan), "--yes"]).args(&more);
        if let Some(log) = log {
            command.env("BACKFILL_LOG", log);
        }
        // The harness checks the output of every run for values.
        let ran = tool::run(command).exits(0);
        if more.contains(&"json") {
            let lines: Vec<Json> = ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{}", ran.stderr);
        }
    }
}
