//! Tests that the tool exits with 2 if the plan or the command line is not valid.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement, KeyType, LocalSecondaryIndex, Projection,
    ProjectionType, ProvisionedThroughput, ScalarAttributeType,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_plan_reports_all_errors_at_once() {
    let harness = Harness::embedded();
    let path = harness.dir().join("bad.toml");
    let bad = "[migration]\nname = \"a b\"\n[table]\nname = \"orders\"\nregoin = \"eu-west-1\"\n[[change]]\nmove = \"email\"\n\
               to = \"email\"\n[capacity]\nwrite = -5\n";
    std::fs::write(&path, bad).unwrap();
    for command in [vec!["check", "bad.toml"], vec!["run", "bad.toml", "--yes"], vec!["status", "bad.toml"]] {
        let refused = refused(&harness, 2, &command);
        // Each error shows a line number, the text of this line, a caret below the text, and a remedy.
        for (place, title) in [
            ("bad.toml:2:8", "name"),
            ("bad.toml:5:1", "regoin"),
            ("bad.toml:8:6", "target"),
            ("bad.toml:10:9", "write"),
        ] {
            assert!(refused.text.contains(place) && refused.text.contains(title), "{place}: {}", refused.text);
        }
        assert!(
            refused.text.matches('^').count() >= 4 && refused.text.matches("help").count() >= 4,
            "{}",
            refused.text
        );
    }
    assert_eq!(harness.proxy().tally().requests(), 0, "an invalid plan never reaches the table");
    assert!(!harness.dir().join(".backfill").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_plan_is_refused() {
    let harness = Harness::embedded();
    for command in [
        vec!["check", "none.toml"],
        vec!["run", "none.toml", "--yes"],
        vec!["status", "none.toml"],
        vec!["failures", "none.toml", "list"],
    ] {
        refused(&harness, 2, &command).in_one_paragraph().says(&["none.toml", "No such file", "backfill init"]);
    }
    refused(&harness, 2, &["check", "."]).in_one_paragraph().says(&["directory"]);
    std::fs::write(harness.dir().join("binary.toml"), [0xff, 0xfe, 0, 1]).unwrap();
    refused(&harness, 2, &["check", "binary.toml"]).says(&["not a plan", "UTF-8"]);
    std::fs::write(harness.dir().join("empty.toml"), "").unwrap();
    refused(&harness, 2, &["check", "empty.toml"]).says(&["[migration]", "[table]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_fit_the_tables_key_is_refused() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let other = harness.plan("other", &table, "", &format!("key = [\"id\"]\n{MOVE}"));
    let written = harness.plan("written", &table, "", "[[change]]\nset = \"sk\"\nvalue = \"x\"\n");
    let moved = harness.plan("moved", &table, "strategy = \"in-place\"", "[[change]]\nmove = \"pk\"\nto = \"id\"\n");
    for command in ["check", "run"] {
        let args = |plan| if command == "run" { vec![command, text(plan), "--yes"] } else { vec![command, text(plan)] };
        refused(&harness, 2, &args(&other)).says(&[
            "has a different key",
            "other.toml:",
            "^",
            "key = [\"pk\", \"sk\"]",
        ]);
        refused(&harness, 2, &args(&written)).says(&[
            "`sk` is a key attribute and cannot be written",
            "^",
            "choose another",
        ]);
        refused(&harness, 2, &args(&moved)).says(&[
            "`pk` is a key attribute and cannot be moved away",
            "^",
            "use `copy` instead",
        ]);
    }
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists());
}

/// Creates a provisioned table (40 RCU/s, 20 WCU/s) with the global index `by-old` (8 WCU/s) and the local index
/// `by-new`.
pub(super) async fn provisioned_table(harness: &Harness) -> String {
    let name = "provisioned".to_owned();
    let throughput = |read: i64, write: i64| {
        ProvisionedThroughput::builder().read_capacity_units(read).write_capacity_units(write).build().unwrap()
    };
    let element =
        |attribute, role| KeySchemaElement::builder().attribute_name(attribute).key_type(role).build().unwrap();
    let keys_only = || Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let mut request = harness.client().create_table().table_name(&name).provisioned_throughput(throughput(40, 20));
    for attribute in ["pk", "sk", "old", "new"] {
        let kind = ScalarAttributeType::S;
        request = request.attribute_definitions(
            AttributeDefinition::builder().attribute_name(attribute).attribute_type(kind).build().unwrap(),
        );
    }
    let global = GlobalSecondaryIndex::builder()
        .index_name("by-old")
        .key_schema(element("old", KeyType::Hash))
        .projection(keys_only())
        .provisioned_throughput(throughput(8, 8));
    let local = LocalSecondaryIndex::builder()
        .index_name("by-new")
        .key_schema(element("pk", KeyType::Hash))
        .key_schema(element("new", KeyType::Range))
        .projection(keys_only());
    let request = request
        .key_schema(element("pk", KeyType::Hash))
        .key_schema(element("sk", KeyType::Range))
        .global_secondary_indexes(global.build().unwrap())
        .local_secondary_indexes(local.build().unwrap());
    request.send().await.unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_above_the_tables_capacity_is_refused() {
    let harness = Harness::embedded();
    let table = provisioned_table(&harness).await;
    let capacity = "[capacity]\nwrite = 21\nread = 40\nper_key_range = { write = 500 }\n\
                    [capacity.index]\nby-old = 9\nby-new = 1\nby_old = \"50%\"\n";
    let wrong = harness.plan("wrong", &table, "", &format!("{MOVE}{capacity}"));
    for args in [vec!["check", text(&wrong)], vec!["run", text(&wrong), "--yes"]] {
        refused(&harness, 2, &args).says(&[
            "wrong.toml:11:9",
            "more than the 20 WCU/s that the table is provisioned with",
            "wrong.toml:13:27",
            "wrong.toml:15:10",
            "more than the 8 WCU/s that index `by-old` is provisioned with",
            "the local index `by-new` has no capacity of its own",
            "table `provisioned` has no index `by_old`",
            "its global indexes: \"by-old\"",
            "^",
            "5 errors; nothing was written",
        ]);
    }
    // An on-demand table without a maximum, from an engine that reports no warm throughput.
    let bare = harness.create_table().await;
    let percent = harness.plan("percent", &bare, "", &format!("{MOVE}[capacity]\nwrite = \"40%\"\n"));
    refused(&harness, 2, &["check", text(&percent)]).says(&[
        "percent.toml:11:9",
        "40% of",
        "^",
        "on demand",
        "number of WCU/s",
    ]);
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_run_say_where_each_budget_comes_from() {
    let harness = Harness::embedded();
    let table = provisioned_table(&harness).await;
    let capacity = "[capacity]\nwrite = \"40%\"\nper_partition_key = { read = 5 }\n";
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{capacity}"));
    let of_the_table = "8 WCU/s (from the plan: 40% of the 20 WCU/s that the table is provisioned with), \
                        10 RCU/s (default: a quarter of the 40 RCU/s that the table is provisioned with)";
    let of_the_index = "2 WCU/s (default: a quarter of the 8 WCU/s that index `by-old` is provisioned with)";
    let checked = tool(&harness, &["check", text(&plan)]).exits(0).stdout;
    for part in [of_the_table, of_the_index, "5 RCU/s (from the plan)", "by-new (local: uses the table's capacity)"] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
    let json = tool(&harness, &["check", text(&plan), "--output", "json"]).exits(0).json();
    let budgets = json["budgets"].as_array().unwrap();
    assert_eq!((budgets.len(), &budgets[0]["units_per_second"]), (7, &json!(8.0)), "{json}");
    assert_eq!((&budgets[6]["index"], &budgets[6]["units_per_second"]), (&json!("by-old"), &json!(2.0)), "{json}");
    let ran = tool(&harness, &["run", text(&plan), "--yes"]).exits(0).messages();
    assert!(ran.contains(of_the_table) && ran.contains(of_the_index), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_usage_is_refused() {
    let (harness, _, plan) = setup(3, "").await;
    let plan = text(&plan);
    for (args, says) in [
        (vec!["run", plan, "--force"], "--force"),
        (vec!["walk", plan], "walk"),
        (vec!["run"], "<PLAN>"),
        (vec!["run", plan, "--again", "--restart"], "--restart"),
        (vec!["run", plan, "--dry-run", "--yes"], "--yes"),
        (vec!["run", plan, "--output", "xml"], "xml"),
        (vec!["failures", plan], "failures"),
        (vec!["failures", plan, "list", "--limit", "-1"], "-1"),
        (vec!["local", "--items", "0"], "0"),
    ] {
        let mut command = harness.command();
        command.args(&args);
        let ran = tool::run(command).exits(2);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("--help"), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(harness.proxy().tally().requests(), harness.proxy().tally().operation("CreateTable").requests);
}

/// Checks the list of exit codes in `--help`.
#[tokio::test(flavor = "multi_thread")]
async fn help_documents_the_exit_codes() {
    let harness = Harness::embedded();
    let mut command = harness.command();
    command.arg("--help");
    let help = tool::run(command).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in [
        "0 done",
        "1 unexpected",
        "2 bad usage or bad plan",
        "3 refused, nothing begun",
        "4 finished, with failures",
        "5 diverged items",
        "6 stopped by a limit",
        "7 state is locked, damaged, or of another plan or table",
        "130 interrupted, resumable",
    ] {
        assert!(help.contains(code), "{code}: {help}");
    }
}
