//! Tests the CloudWatch metrics of `--emf`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use super::*;

/// The JSON schema of the format (CloudWatch user guide, "Specification: Embedded metric format", "Embedded metric
/// format JSON schema"), with the names of all units (API reference, `MetricDatum`).
fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let sizes = [
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Count",
    ];
    let mut units: Vec<String> =
        ["Seconds", "Microseconds", "Milliseconds", "Percent", "None"].map(str::to_owned).into();
    units.extend(sizes.iter().flat_map(|size| [(*size).to_owned(), format!("{size}/Second")]));
    let text = |max: u32| json!({ "type": "string", "minLength": 1, "maxLength": max });
    let metric = json!({ "type": "object", "required": ["Name"], "properties": {
        "Name": text(1024), "Unit": { "enum": units }, "StorageResolution": { "enum": [1, 60] } } });
    let directive = json!({ "type": "object", "required": ["Namespace", "Dimensions", "Metrics"], "properties": {
        "Namespace": text(1024),
        "Dimensions": { "type": "array", "minItems": 1, "items": { "type": "array", "maxItems": 30, "items": text(250) } },
        "Metrics": { "type": "array", "maxItems": 100, "items": metric } } });
    let metadata = json!({ "type": "object", "required": ["Timestamp", "CloudWatchMetrics"], "properties": {
        "Timestamp": { "type": "integer" }, "CloudWatchMetrics": { "type": "array", "items": directive } } });
    let root = json!({ "type": "object", "required": ["_aws"], "properties": { "_aws": metadata } });
    SCHEMA.get_or_init(|| jsonschema::validator_for(&root).unwrap())
}

/// Reads the lines in a text, and checks each of them against the specification.
fn lines(text: &str) -> Vec<Json> {
    for never in [tool::SECRET, tool::SECRET_NUMBER, "P#", "S#", "AKIA"] {
        assert!(!text.contains(never), "a line contains {never}: {text}");
    }
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    for line in &lines {
        schema().validate(line).unwrap_or_else(|error| panic!("{error} in {line:#}"));
        let at = u128::from(line["_aws"]["Timestamp"].as_u64().unwrap());
        assert!(at <= now && now - at < 600_000, "{at} is not in milliseconds");
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(
                (&directive["Namespace"], &directive["Dimensions"]),
                (&json!("backfill"), &json!([["Migration", "Table"]]))
            );
            let names = directive["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap());
            names.for_each(|name| assert!(line[name].is_f64(), "{name} in {line:#}"));
            assert!(["Migration", "Table"].iter().all(|name| line[*name].is_string()), "{line:#}");
        }
    }
    assert!(lines.is_sorted_by_key(|line| line["_aws"]["Timestamp"].as_u64()), "{text}");
    lines
}

fn sum(lines: &[Json], name: &str) -> f64 {
    lines.iter().filter_map(|line| line[name].as_f64()).sum()
}

fn emf_in(stderr: &str) -> String {
    stderr.lines().filter(|line| line.contains("\"_aws\"")).map(|line| format!("{line}\n")).collect()
}

/// The sums of the lines of all sessions equal the run's report. The last line has the final figures.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_stopped_and_resumed_run_add_up_to_its_report() {
    let limits = "[limits]\nmax_wcu = 100000\n";
    let (harness, table, plan) = setup(80, &format!("{SLOWLY}{limits}")).await;
    let file = harness.dir().join("metrics.json");
    let arguments = ["run", text(&plan), "--yes", "--emf", "metrics.json", "--emf-interval", "1"];
    let mut first = start(&harness, &arguments);
    let address = address_of(&mut first).await;
    let applied = "backfill_items_total{outcome=\"applied\"}";
    scrape_until(&address, "40 items", |samples| samples.find(applied).is_some_and(|items| items >= 40.0)).await;
    first.signal(SIGINT);
    let stopped = tokio::task::block_in_place(|| first.end()).exits(130).json();
    let before = lines(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(Some(sum(&before, "ItemsApplied")), stopped["totals"]["counts"]["applied"].as_f64());
    assert!(before.len() >= 2, "one line each second, and one at the end: {}", before.len());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // The second session writes its lines to stderr, and its document to stdout.
    let mut command = harness.command();
    command.args(["run", text(&plan), "--emf", "/dev/stderr", "--emf-interval", "1", "--output", "json"]);
    let second = tokio::task::block_in_place(|| tool::run(command)).exits(0);
    let after = lines(&emf_in(&second.stderr));
    let report = second.json();
    assert_eq!(report["totals"]["counts"]["scanned"], 80);
    let all = [before, after].concat();
    for (name, expected) in [
        ("ItemsApplied", &report["totals"]["counts"]["applied"]),
        ("ItemsAlreadyApplied", &report["totals"]["counts"]["already_applied"]),
        ("ItemsScanned", &report["totals"]["counts"]["scanned"]),
    ] {
        assert_eq!(Some(sum(&all, name)), expected.as_f64(), "{name}");
    }
    let waiting = sum(&all, "ActivitySecondsWaiting");
    assert!((waiting - report["activity_seconds"]["waiting"].as_f64().unwrap()).abs() < 0.01, "{waiting} {report:#}");
    let last = all.last().unwrap();
    assert_eq!(
        (&last["PassActive"], &last["Activity"], &last["Phase"]),
        (&json!(0.0), &json!("done"), &json!("expand"))
    );
    assert_eq!(
        (&last["SegmentsDone"], &last["OpenFailures"], &last["Table"]),
        (&json!(2.0), &json!(0.0), &json!(table))
    );
    assert_eq!(last["SpentCapacityUnitsWrite"], report["spend"]["write_units"]);
    assert!(all.iter().any(|line| line["PassActive"] == 1.0 && line["Activity"] == "waiting"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_to_stdout_only_without_a_document() {
    let (harness, _, plan) = setup(10, "").await;
    let refused = refused(&harness, 2, &["run", text(&plan), "--yes", "--emf", "-"]);
    refused.in_one_paragraph().says(&["exactly one document", "--emf /dev/stderr", "Nothing was done"]);
    nothing_was_written(&harness);
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--emf", "-"]).exits(0);
    let written = emf_in(&ran.stdout);
    assert_eq!(sum(&lines(&written), "ItemsApplied"), 10.0);
    assert!(ran.stdout.contains("Run 1 (expand) is complete"), "the result for people follows: {}", ran.stdout);
    for arguments in
        [vec!["--dry-run", "--emf", "-"], vec!["--emf-interval", "5"], vec!["--emf", "x", "--emf-interval", "0"]]
    {
        super::refused(&harness, 2, &[&["run", text(&plan)], &arguments[..]].concat());
    }
}

/// RUNBOOK: "`rollback` and `cutover --back` only warn, and continue"
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_refuses_the_command_but_not_the_way_back() {
    let (harness, _, plan) = setup(10, "").await;
    for (file, why) in [("missing/metrics.json", "its folder does not exist"), (".", "it is a folder")] {
        let refused = refused(&harness, 3, &["run", text(&plan), "--yes", "--emf", file]);
        refused.in_one_paragraph().says(&[file, why, "Nothing was done", "--emf"]);
    }
    // A wrong path must not damage the plan or another file.
    let before = std::fs::read(&plan).unwrap();
    let refused = refused(&harness, 3, &["run", text(&plan), "--yes", "--emf", text(&plan)]);
    refused.in_one_paragraph().says(&["contains something other than EMF lines", "Nothing was done"]);
    assert_eq!(std::fs::read(&plan).unwrap(), before);
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists(), "a refused command creates nothing");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let back =
        ["rollback", text(&plan), "--yes", "--readers-back", "--new-writes-stopped", "--emf", "missing/metrics.json"];
    let messages = tool(&harness, &back).exits(0).messages();
    assert!(messages.contains("The command continues without it"), "{messages}");
}

/// If nobody reads stdout, the EMF lines wait, but the run and its log continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_stdout_does_not_stop_the_run() {
    let (harness, _, plan) = setup(60, SLOWLY).await;
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes", "--emf", "-", "--emf-interval", "1"]);
    let (reads, writes) = std::io::pipe().unwrap();
    // Fill the pipe, so that the first line blocks.
    let mut full = writes.try_clone().unwrap();
    full.write_all(&[b'x'; 65_536]).unwrap();
    let mut child =
        command.stdin(std::process::Stdio::null()).stdout(writes).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while harness.proxy().tally().operation("UpdateItem").ok < 60 {
        assert!(began.elapsed() < Duration::from_secs(60), "the run does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop((full, reads));
    child.wait().unwrap();
}

/// A destination that accepts no line only delays the end of the command by a few seconds. The run is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_or_fails_does_not_disturb_the_run() {
    let (harness, _, plan) = setup(10, "").await;
    let pipe = harness.dir().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--emf", text(&pipe), "--output", "json"]).exits(0);
    assert_eq!(ran.json()["totals"]["counts"]["applied"], 10);
    assert!(ran.stderr.contains("the last metrics could not be sent within 3 s"), "{}", ran.stderr);
    if Path::new("/dev/full").exists() {
        let ran = tool(&harness, &["run", text(&plan), "--again", "--yes", "--emf", "/dev/full"]).exits(0);
        assert_eq!(ran.stderr.matches("EMF metrics cannot be written").count(), 1, "{}", ran.stderr);
    }
}
