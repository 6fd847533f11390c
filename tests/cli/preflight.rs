//! Tests the preflight over real sockets. Injected faults replace the engine's replies with replies that DynamoDB would
//! send.

use backfill::internals::item::Value;

use super::*;

/// Injects a fault that answers each of these operations with the given body.
pub(super) fn answer_with(harness: &Harness, answers: Vec<(&'static str, Json)>) {
    inject_fault(harness, move |request| {
        let answer = answers.iter().find(|(operation, _)| *operation == request.operation);
        answer.map_or(Fault::Pass, |(_, body)| Fault::Reply {
            status: 200,
            error: "Made.Up".into(),
            message: String::new(),
            extra: body.as_object().cloned().unwrap_or_default(),
        })
    });
}

pub(super) fn backups(point_in_time: &str) -> Json {
    json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": point_in_time, "RecoveryPeriodInDays": 35,
                                            "EarliestRestorableDateTime": 1_700_000_000 } } })
}

fn with(mut description: Json, members: Json) -> Json {
    for (name, value) in members.as_object().unwrap() {
        description[name] = value.clone();
    }
    json!({ "Table": description })
}

const ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/t";

/// Returns the findings of `check` by ID. Asserts that the field `refuses` matches the exit code.
pub(super) fn findings(
    harness: &Harness,
    plan: &str,
    code: i32,
    options: &[&str],
) -> std::collections::BTreeMap<String, Json> {
    let json = tool(harness, &[&["check", plan, "--output", "json"], options].concat()).exits(code).json();
    assert_eq!(json["refuses"], json!(code == 3), "{json:#}");
    let list = json["findings"].as_array().unwrap();
    list.iter().map(|finding| (finding["id"].as_str().unwrap().to_owned(), finding.clone())).collect()
}

/// RUNBOOK: "It warns if no sampled item has an attribute that the plan reads"
///
/// One of the two changes works, so the dry run finds items to change, although the other change has a misspelt name.
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_attribute_is_found_although_another_change_works() {
    let (harness, table, _) = setup(20, "").await;
    let changes = "[[change]]\nmove = \"odl\"\nto = \"new\"\n[[change]]\nset = \"tier\"\nvalue = \"free\"\n";
    let plan = harness.plan("misspelt", &table, "", changes);
    let dry = tool(&harness, &["run", text(&plan), "--dry-run"]).exits(0);
    for part in [
        "would change               20",
        "items that each change would change:",
        "               0  move odl to new (finds nothing to change: see the warnings)",
        "              20  set tier to \"free\"",
    ] {
        assert!(dry.stdout.contains(part), "{part}: {}", dry.stdout);
    }
    let warned = dry.messages();
    assert!(warned.contains("No item that was read has `odl` (20 items)"), "{warned}");
    let json = tool(&harness, &["run", text(&plan), "--dry-run", "--output", "json"]).exits(0).json();
    let move_counts = json!({"change": "move odl to new", "would_change": 0, "concerned": 0,
                             "reads": [{"path": "odl", "items": 0}]});
    assert_eq!((&json["by_change"][0], &json["by_change"][1]["would_change"]), (&move_counts, &json!(20)));

    let sampled = tool(&harness, &["check", text(&plan), "--sample", "100%"]).exits(0).stdout;
    for part in [
        "sample       a run would change 20 of the 20 items in the sample; by change:",
        "20  set tier",
        "No item that was read has `odl` (20 items) (unseen-attribute)",
    ] {
        assert!(sampled.contains(part), "{part}: {sampled}");
    }
    let found = findings(&harness, text(&plan), 0, &["--sample", "100%"]);
    assert!(found["unseen-attribute"]["why"].as_str().unwrap().contains("move odl to new"), "{found:?}");
    assert!(!findings(&harness, text(&plan), 0, &[]).contains_key("unseen-attribute"), "no item was read");
}

/// RUNBOOK: "a refusal if the flag's table does not exist"
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_flag_table_is_refused_before_the_first_step() {
    let (harness, table, _) = setup(3, "").await;
    let flag = "[cutover]\ntable = \"no-such-flags\"\nmax_cache_seconds = 60\n";
    let plan = harness.plan("lost", &table, "", &format!("{MOVE}{flag}"));
    let found = findings(&harness, text(&plan), 3, &[]);
    let action = found["flag-table"]["do"].as_str().unwrap();
    assert!(action.contains("aws dynamodb create-table --table-name no-such-flags "), "{action}");
    assert!(action.contains("AttributeName=id,KeyType=HASH") && action.contains("--endpoint-url"), "{action}");
    // The name of the key attribute is unknown, so no message invents one.
    let refusal = refused(&harness, 3, &["cutover", text(&plan), "--to", "dual-write", "--yes"]);
    let said = refusal.text;
    assert!(!said.contains("key=") && said.contains("item \"lost\" of table no-such-flags"), "{said}");
}

/// RUNBOOK: "Without it `run` refuses, unless you pass `--accept no-pitr`, which is recorded with the run"
#[tokio::test(flavor = "multi_thread")]
async fn without_point_in_time_recovery_a_run_needs_acceptance() {
    let (harness, _, plan) = setup(20, "[limits]\nmax_items = 5\n[scan]\nsegments = 1\npage_limit = 5\n").await;
    let plan_text = text(&plan);
    harness.use_remote_endpoint(&plan);
    answer_with(&harness, vec![("DescribeContinuousBackups", backups("DISABLED"))]);
    for args in [vec!["run", plan_text, "--yes"], vec!["run", plan_text, "--yes", "--accept", "multi-region"]] {
        refused(&harness, 3, &args).in_one_paragraph().says(&[
            "the preflight refuses this run",
            "Point-in-time recovery is off",
            "update-continuous-backups",
            "--accept no-pitr",
        ]);
    }
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists(), "a refused run leaves no state behind");
    assert_eq!(findings(&harness, plan_text, 3, &[])["pitr"]["accept"], "no-pitr");
    assert_eq!(findings(&harness, plan_text, 0, &["--accept", "no-pitr"])["pitr"]["refuses"], false);
    let human = tool(&harness, &["check", plan_text]).exits(3).stdout;
    for part in ["REFUSED      Point-in-time recovery is off (pitr)", "why:", "do:", "A run would be refused"] {
        assert!(human.contains(part), "{part}: {human}");
    }
    // A dry run reports the finding but does not refuse to start.
    let dry = tool(&harness, &["run", plan_text, "--dry-run"]).exits(0);
    assert!(dry.messages().contains("REFUSED") && dry.stdout.contains("A run would be refused: pitr"), "{dry:?}");
    nothing_was_written(&harness);

    let begun = tool(&harness, &["run", plan_text, "--yes", "--accept", "no-pitr"]).exits(6);
    assert!(begun.messages().contains("accepted     Point-in-time recovery is off"), "{}", begun.messages());
    let status = tool(&harness, &["status", plan_text]).exits(0).stdout;
    assert!(status.contains("accepted: no-pitr"), "{status}");
    let status = tool(&harness, &["status", plan_text, "--output", "json"]).exits(0).json();
    assert_eq!(status["state"]["current"]["accepted"], json!(["no-pitr"]));
    // The acceptance applies until the run ends. It does not apply to the next run.
    let unlimited = std::fs::read_to_string(&plan).unwrap().replace("max_items = 5\n", "");
    std::fs::write(&plan, unlimited).unwrap();
    tool(&harness, &["run", plan_text]).exits(0);
    // A complete run writes nothing, so it needs no point-in-time recovery.
    tool(&harness, &["run", plan_text]).exits(0);
    refused(&harness, 3, &["run", plan_text, "--again", "--yes"]).says(&["--accept no-pitr"]);
    refused(&harness, 3, &["run", plan_text, "--restart", "--yes"]).says(&["--accept no-pitr"]);

    answer_with(&harness, vec![("DescribeContinuousBackups", backups("ENABLED"))]);
    let pitr = &findings(&harness, plan_text, 0, &[])["pitr"];
    assert_eq!(pitr["severity"], "note", "{pitr}");
    assert!(pitr["what"].as_str().unwrap().contains("2023-11-14"), "{pitr}");
    let again = tool(&harness, &["run", plan_text, "--again", "--yes", "--accept", "no-pitr"]).exits(0);
    assert!(!again.messages().contains("accepted"), "nothing had to be accepted: {}", again.messages());
    let status = tool(&harness, &["status", plan_text, "--output", "json"]).exits(0).json();
    assert_eq!(status["state"]["current"]["accepted"], json!([]));
}

/// RUNBOOK: "For a local engine on loopback this is only a warning. Elsewhere, an unknown state of recovery counts as
/// off."
#[tokio::test(flavor = "multi_thread")]
async fn unknown_recovery_counts_as_off_except_on_a_local_engine() {
    let (harness, table, plan) = setup(10, "").await;
    let plan_text = text(&plan);
    let unknown = &findings(&harness, plan_text, 0, &[])["pitr"];
    assert_eq!(unknown["severity"], "warning", "{unknown}");
    let ran = tool(&harness, &["run", plan_text, "--yes"]).exits(0);
    assert!(
        ran.messages().contains("warning      It is unknown whether point-in-time recovery is on"),
        "{}",
        ran.messages()
    );

    for (status, error) in [(400, "AccessDeniedException"), (400, "ValidationException")] {
        answer(&harness, "DescribeContinuousBackups", status, error, "You may not dynamodb:DescribeContinuousBackups");
        let denied = &findings(&harness, plan_text, 3, &[])["pitr"];
        assert!(denied["what"].as_str().unwrap().contains("counts as off"), "{denied}");
    }
    harness.proxy().set_faults(None);

    // The following commands use the same engine under an address that does not look like loopback.
    let elsewhere = harness.endpoint().replace("127.0.0.1", "0.0.0.0");
    let other = harness.plan("other", &table, "", &format!("region = \"us-east-1\"\n{MOVE}"));
    harness.proxy().reset_tally();
    let run = |options: &[&str]| {
        let mut command = harness.command();
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "S3CRET");
        command.args(["run", text(&other), "--endpoint-url", &elsewhere]).args(options);
        tool::run(command)
    };
    let refused = run(&["--yes"]).exits(3);
    for part in ["counts as off", "does not support this request", "--accept no-pitr"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    nothing_was_written(&harness);
    run(&["--yes", "--accept", "no-pitr"]).exits(0);
}

/// RUNBOOK: "`run` refuses a table with replicas in other regions, unless you pass `--accept multi-region`"
#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_other_regions_need_acceptance() {
    let (harness, table, plan) = setup(10, "").await;
    let plan = text(&plan);
    let replicas = json!({ "Replicas": [{ "RegionName": "eu-west-1", "ReplicaStatus": "ACTIVE" }] });
    answer_with(&harness, vec![("DescribeTable", with(description(&table, ARN, "ACTIVE"), replicas))]);
    refused(&harness, 3, &["run", plan, "--yes"]).in_one_paragraph().says(&[
        "replicated to eu-west-1",
        "last writer wins",
        "in 2 regions",
        "--accept multi-region",
    ]);
    nothing_was_written(&harness);
    let json = tool(&harness, &["check", plan, "--output", "json", "--accept", "multi-region"]).exits(0).json();
    assert_eq!((&json["estimate"]["regions"], &json["accepted"]), (&json!(2), &json!(["multi-region"])));
    tool(&harness, &["run", plan, "--yes", "--accept", "multi-region"]).exits(0);
    let status = tool(&harness, &["status", plan]).exits(0).stdout;
    assert!(status.contains("accepted: multi-region"), "{status}");
    // `--accept` accepts only values from a fixed list.
    let wrong = tool(&harness, &["run", plan, "--accept", "everything"]).exits(2);
    assert!(wrong.stderr.contains("no-pitr") && wrong.stderr.contains("multi-region"), "{}", wrong.stderr);
}

/// RUNBOOK: "`check` says how many records the run will put into the table's stream, and gives a filter"
#[tokio::test(flavor = "multi_thread")]
async fn check_reports_streams_expiry_and_indexes() {
    let (harness, table, plan) = setup(10, "").await;
    let plan = text(&plan);
    let index = json!({ "IndexName": "by-new", "IndexStatus": "ACTIVE", "Projection": { "ProjectionType": "KEYS_ONLY" },
                        "KeySchema": [{ "AttributeName": "new", "KeyType": "HASH" }] });
    let keys = ["pk", "sk", "new"].map(|name| json!({ "AttributeName": name, "AttributeType": "S" }));
    let members = json!({
        "AttributeDefinitions": keys,
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
        "GlobalSecondaryIndexes": [index], "DeletionProtectionEnabled": false,
        "TableClassSummary": { "TableClass": "STANDARD_INFREQUENT_ACCESS" },
    });
    let ttl = json!({ "TimeToLiveDescription": { "TimeToLiveStatus": "ENABLED", "AttributeName": "new" } });
    answer_with(
        &harness,
        vec![
            ("DescribeTable", with(description(&table, ARN, "UPDATING"), members)),
            ("DescribeTimeToLive", ttl),
            ("DescribeContinuousBackups", backups("ENABLED")),
        ],
    );
    let found = findings(&harness, plan, 0, &["--sample", "100%"]);
    let severity = |id: &str| found.get(id).map(|finding| finding["severity"].as_str().unwrap().to_owned());
    for (id, expected) in [
        ("stream", "warning"),
        ("ttl", "warning"),
        ("index-key", "warning"),
        ("status", "warning"),
        ("table-class", "note"),
    ] {
        assert_eq!(severity(id).as_deref(), Some(expected), "{id}: {found:#?}");
    }
    assert!(found["stream"]["what"].as_str().unwrap().contains("changes: 10"), "{}", found["stream"]);
    let filters = found["stream"]["attached"]["Filters"].as_array().unwrap();
    let patterns: Vec<Json> =
        filters.iter().map(|f| serde_json::from_str(f["Pattern"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(
        patterns,
        [
            json!({ "dynamodb": { "OldImage": { "pk": { "S": [{ "exists": false }] } } } }),
            json!({ "dynamodb": { "OldImage": { "new": { "S": [{ "exists": true }] } } } }),
            json!({ "dynamodb": { "NewImage": { "new": { "S": [{ "exists": false }] } } } }),
        ]
    );
    nothing_was_written(&harness);
}

/// RUNBOOK: "`check --sample 5%` reads part of the table and prints ranges with 95 % confidence"
#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_check_reads_and_writes_nothing() {
    let (harness, _, plan) = setup(2_000, "").await;
    let plan = text(&plan);
    let described = tool(&harness, &["check", plan, "--output", "json"]).exits(0).json();
    assert_eq!(described["estimate"]["basis"], "description");
    assert!(described["estimate"]["basis_text"].as_str().unwrap().contains("up to six hours old"), "{described:#}");
    assert_eq!(harness.proxy().tally().operation("Scan").requests, 0);

    let sampled = tool(&harness, &["check", plan, "--sample", "20%", "--output", "json"]).exits(0).json();
    let estimate = &sampled["estimate"];
    assert_eq!(estimate["basis"], "sample");
    assert_eq!(estimate["items"]["likely"], 2000.0);
    let changed = &estimate["would_change"];
    let figure = |name: &str| changed[name].as_f64().unwrap();
    assert!(figure("low") < 2000.0 && figure("high") == 2000.0, "{changed}");
    let read = harness.proxy().tally().operation("Scan").requests;
    let human = tool(&harness, &["check", plan, "--sample", "500"]).exits(0).stdout;
    for part in ["drawn at random", "95 % confidence", "duration", "WCU"] {
        assert!(human.contains(part), "{part}: {human}");
    }
    assert!((20..=400).contains(&read), "{read} requests");
    nothing_was_written(&harness);
    // The sample size can be a number of items. If the table's item count is unknown, the tool cannot convert this size
    // to a percentage.
    let empty = harness.create_table().await;
    let unknown = harness.plan("unknown", &empty, "", MOVE);
    refused(&harness, 3, &["check", text(&unknown), "--sample", "500"]).says(&["Give the sample in percent"]);
    for wrong in [["check", plan, "--sample", "lots"], ["run", plan, "--sample", "5%"]] {
        tool(&harness, &wrong).exits(2);
    }
}

/// RUNBOOK: "prints the keys of a few items of each kind"
/// RUNBOOK: "The exit code is 4 if the dry run finds items that would fail, and 5 if it finds only items that would
/// count as diverged. The limits of the plan and the findings of `check` do not change the exit code."
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_examples_and_reasons_and_writes_nothing() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let nested = "[[change]]\nmove = \"old\"\nto = \"doc.new\"\n";
    let odd = (0..8).map(|n| item("ODD\u{1b}[31m", &n.to_string(), [("old", secret(n)), ("doc", secret("no map"))]));
    let large = Value::S(format!("{}{}", tool::SECRET, "v".repeat(250_000)));
    let large = std::iter::once(item("LARGE", &"k".repeat(500), [("old", large)]));
    harness.load(&table, items(30).chain(odd).chain(large)).await;
    let plan = harness.plan("plan", &table, "", nested);
    let plan = text(&plan);
    for sample in [&[][..], &["--sample", "100%"]] {
        let args = [&["run", plan, "--dry-run"], sample].concat();
        let json = tool(&harness, &[&args[..], &["--output", "json"]].concat()).exits(4).json();
        let error = &json["error"];
        assert_eq!((&error["kind"], &error["message"]), (&json!("failures"), &json!("some items would fail")));
        let count = |name: &str| json[name].as_u64().unwrap();
        assert_eq!([count("would_change"), count("rejected"), count("would_exceed_400_kb")], [30, 8, 1], "{json:#}");
        let because = json["rejected_because"].as_array().unwrap();
        assert_eq!((because.len(), &because[0]["items"]), (1, &json!(8)), "{json:#}");
        assert_eq!(because[0]["examples"].as_array().unwrap().len(), 5);
        assert_eq!((&json["not_computable"], &json["not_computable_because"]), (&json!(0), &json!([])));
        assert_eq!(json["examples"]["would_change"].as_array().unwrap().len(), 5);
        assert_eq!(json["examples"]["would_exceed_400_kb"][0]["pk"]["S"], "LARGE");
        assert_eq!(json["estimate"]["basis"], "whole_table");
        assert!(json["estimate"]["usd"]["low"].as_f64().unwrap() > 0.0, "{json:#}");
        assert!(json["estimate"]["seconds"]["high"].as_f64().unwrap() > 0.0, "{json:#}");

        let human = tool(&harness, &args).exits(4).stdout;
        for part in [
            "rejected                    8",
            "not computable              0",
            "such as pk=ODD\\u{1b}[31m sk=",
            "such as pk=LARGE",
            "…\n",
            "WCU",
            "cost",
            "duration",
        ] {
            assert!(human.contains(part), "{part}: {human}");
        }
        assert_eq!(sample.is_empty(), !human.contains("the whole table:"), "{human}");
    }
    // The server received no write request.
    let tally = harness.proxy().tally();
    let sent: Vec<&str> = tally.operations.keys().map(String::as_str).filter(|name| *name != "CreateTable").collect();
    assert_eq!(sent, ["DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive", "Scan"]);
    assert!(!harness.dir().join(".backfill").exists());
}

/// RUNBOOK: "`check plan.toml --finish-in 2h` prints the budgets that a run needs to end in that time, what prevents
/// it, and the commands that raise and lower the table's capacity."
#[tokio::test(flavor = "multi_thread")]
async fn finish_in_names_budgets_obstacles_and_commands() {
    let (harness, table, plan) = setup(20, "[scan]\nsegments = 4\n").await;
    let plan = text(&plan);
    let provisioned = json!({
        "BillingModeSummary": { "BillingMode": "PROVISIONED" },
        "ProvisionedThroughput": { "ReadCapacityUnits": 4_000, "WriteCapacityUnits": 500, "NumberOfDecreasesToday": 0 },
        "ItemCount": 10_000_000, "TableSizeBytes": 5_000_000_000_u64,
    });
    answer_with(&harness, vec![("DescribeTable", with(description(&table, ARN, "ACTIVE"), provisioned))]);
    let said = tool(&harness, &["check", plan, "--finish-in", "2h"]).exits(0).stdout;
    for part in [
        "finish in    2 h 0 min",
        "the budget is 125: too little",
        "prevented    the table is provisioned with 500 WCU/s",
        "[capacity]",
        "raise",
        "lower again",
        &format!("aws dynamodb update-table --table-name {table}"),
        "ReadCapacityUnits=4000,WriteCapacityUnits=500",
        "sizes of single partition keys are unknown",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json = tool(&harness, &["check", plan, "--finish-in", "2h", "--output", "json"]).exits(0).json();
    let finish = &json["finish_in"];
    assert_eq!((&finish["seconds"], &finish["possible"]), (&json!(7_200.0), &json!(true)), "{finish:#}");
    assert_eq!(finish["obstacles"][0]["id"], "provisioned", "{finish:#}");
    assert_eq!(json["estimate"]["decided_by"]["longest"], "the writes of one partition key", "{json:#}");
    // Without `--finish-in`, the output does not contain this section. If the option's value is not a duration, the
    // command refuses.
    assert_eq!(tool(&harness, &["check", plan, "--output", "json"]).exits(0).json()["finish_in"], Json::Null);
    let bad = tool(&harness, &["check", plan, "--finish-in", "soon"]).exits(2);
    assert!(bad.stderr.contains("2h, 90m or 1d"), "{}", bad.stderr);
    nothing_was_written(&harness);
}
