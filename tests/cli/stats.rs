//! Tests `stats`, and the sample of `init --table`.

use std::time::Instant;

use backfill::internals::item::{Path, Projection, Value};
use backfill::internals::plan::load;

use super::*;
use crate::harness::index;

/// Creates a table of 10,000 items. Every item has `always`, every second item has `half`, every tenth item has the map
/// `doc`, and one item has `rare`. The first partition key has 500 items. Each of the other keys has five.
async fn known_table(harness: &Harness) -> String {
    let by_half = index("by-half", &[("half", "S")], Projection::All, false);
    let table = harness.create_indexed_table(&[by_half]).await;
    let items = (0..10_000_usize).map(|n| {
        let pk = if n < 500 { "P#first".to_owned() } else { format!("P#{}", n / 5) };
        let mut item = item(&pk, &format!("S#{n}"), [("always", secret(n))]);
        if n % 3 == 0 {
            item.insert("always".into(), tool::secret_number(n));
        }
        if n % 2 == 0 {
            item.insert("half".into(), secret(n));
        }
        if n % 10 == 0 {
            item.insert("doc".into(), Value::M([("zip".to_owned(), secret(n))].into()));
        }
        if n == 7_777 {
            item.insert("rare".into(), Value::Bool(true));
        }
        item
    });
    harness.load(&table, items).await;
    table
}

/// Runs `stats` on a table and returns its document.
fn stats(harness: &Harness, table: &str, options: &[&str]) -> Json {
    let endpoint = harness.endpoint();
    let args = ["stats", "--table", table, "--endpoint-url", &endpoint, "--output", "json"];
    tool(harness, &[&args[..], options].concat()).exits(0).json()
}

fn attribute<'a>(document: &'a Json, path: &str) -> &'a Json {
    let attributes = document["attributes"].as_array().unwrap();
    attributes.iter().find(|attribute| attribute["path"] == path).unwrap_or_else(|| panic!("{path}: {document:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_counts_a_whole_table_and_estimates_from_a_sample() {
    let harness = Harness::embedded();
    let table = known_table(&harness).await;
    // The default sample is as large as the table.
    let whole = stats(&harness, &table, &[]);
    assert_eq!((&whole["plan"], &whole["sample"]["coverage"]), (&Json::Null, &json!("whole_table")), "{whole:#}");
    assert_eq!((&whole["item_count_estimate"], &whole["sample"]["items"]), (&json!(10_000), &json!(10_000)));
    for (path, items) in
        [("pk", 10_000), ("always", 10_000), ("half", 5_000), ("doc", 1_000), ("doc.zip", 1_000), ("rare", 1)]
    {
        let found = attribute(&whole, path);
        assert_eq!(found["items"], items, "{found}");
        let share = found["share"]["likely"].as_f64().unwrap();
        assert!((share - f64::from(items) / 10_000.0).abs() < 1e-9, "{found}");
        assert_eq!(found["share"]["low"], found["share"]["high"], "{found}");
    }
    assert_eq!(attribute(&whole, "always")["types"], json!({ "N": 3_334, "S": 6_666 }));
    assert_eq!(attribute(&whole, "half")["roles"], json!(["key of index by-half"]));
    assert_eq!(attribute(&whole, "pk")["roles"], json!(["partition key"]));
    assert_eq!(whole["partition_keys"]["count"]["likely"], 1_901.0, "{whole:#}");
    assert_eq!(
        (&whole["partition_keys"]["items"]["max"], &whole["partition_keys"]["items"]["p50"]),
        (&json!(500), &json!(5))
    );
    let read = harness.proxy().tally().read_units();
    assert_eq!(whole["sample"]["read_units"].as_f64(), Some(read), "every read unit is reported");
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists(), "stats needs no state");

    harness.proxy().reset_tally();
    let sample = stats(&harness, &table, &["--sample", "20%"]);
    assert_eq!((&sample["sample"]["coverage"], &sample["sample"]["total_clusters"]), (&json!("clusters"), &json!(400)));
    assert_eq!(sample["sample"]["clusters"], 80);
    let items = sample["sample"]["items"].as_f64().unwrap();
    assert!((500.0..5_000.0).contains(&items) && harness.proxy().tally().read_units() < read / 1.5, "{sample:#}");
    // The tolerance is wide, because the sample is random.
    for (path, share) in [("always", 1.0), ("half", 0.5), ("doc", 0.1)] {
        let range = &attribute(&sample, path)["share"];
        let [low, high] = ["low", "high"].map(|bound| range[bound].as_f64().unwrap());
        assert!(low - 0.1 <= share && share <= high + 0.1, "{path}: {range}");
        assert!(low <= high && high - low < 0.6, "{path}: {range}");
    }
    let text = tool(&harness, &["stats", "--table", &table, "--endpoint-url", &harness.endpoint(), "--sample", "20%"]);
    let text = text.exits(0);
    assert!(
        text.messages().contains("sample   reads about 2,000 items, in 80 of 400 clusters: about "),
        "{}",
        text.messages()
    );
    for part in
        ["10,000 items", "drawn at random", "95 % confidence", "key of index by-half", "doc.zip", "95th percentile"]
    {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_of_a_plan_uses_its_table_even_if_run_has_nothing_to_do() {
    let (harness, table, _) = setup(60, "").await;
    let plan = harness.plan("removes", &table, "strategy = \"expand-contract\"", "[[change]]\nremove = \"old\"\n");
    let document = tool(&harness, &["stats", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!((&document["table"], &document["plan"]), (&json!(table), &json!(text(&plan))));
    assert_eq!(attribute(&document, "old")["items"], 60);
    // The command needs either a plan or a table.
    for args in [vec!["stats"], vec!["stats", text(&plan), "--table", "t"]] {
        let mut command = harness.command();
        command.args(&args);
        assert!(tool::run(command).exits(2).stderr.contains("--table"), "{args:?}");
    }
    refused(&harness, 3, &["stats", "--table", "missing", "--endpoint-url", &harness.endpoint()])
        .in_one_paragraph()
        .says(&["`missing`", "Nothing was done"]);
    nothing_was_written(&harness);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_of_an_empty_table_and_of_one_item() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let none = stats(&harness, &table, &[]);
    assert_eq!((&none["sample"]["coverage"], &none["attributes"]), (&json!("whole_table"), &json!([])), "{none:#}");
    assert_eq!(none["item_bytes"]["mean"], Json::Null);
    let human = tool(&harness, &["stats", "--table", &table, "--endpoint-url", &harness.endpoint()]).exits(0).stdout;
    assert!(human.contains("the sample contains no items"), "{human}");
    harness.load(&table, std::iter::once(item("P", "S", [("old", secret(1))]))).await;
    let one = stats(&harness, &table, &[]);
    assert_eq!((&one["sample"]["items"], &one["partition_keys"]["items"]["max"]), (&json!(1), &json!(1)), "{one:#}");
    assert_eq!(attribute(&one, "old")["share"]["likely"], 1.0);
}

/// If DynamoDB has not yet counted the items, `stats` reads the first items of the table. It estimates nothing about
/// the other items.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_count_only_the_first_items_are_read() {
    let (harness, table, _) = setup(300, "").await;
    let mut fresh = description(&table, "arn:aws:dynamodb:us-east-1:000000000000:table/t", "ACTIVE");
    fresh["ItemCount"] = json!(0);
    fresh["TableSizeBytes"] = json!(0);
    answer_describe_table(&harness, fresh);
    let first = stats(&harness, &table, &["--sample", "40"]);
    assert_eq!((&first["sample"]["coverage"], &first["sample"]["items"]), (&json!("part"), &json!(40)), "{first:#}");
    assert_eq!((&attribute(&first, "old")["items"], &attribute(&first, "old")["share"]), (&json!(40), &Json::Null));
    let all = stats(&harness, &table, &["--sample", "10000"]);
    assert_eq!((&all["sample"]["coverage"], &all["sample"]["items"]), (&json!("whole_table"), &json!(300)), "{all:#}");
}

const HOSTILE: [&str; 4] =
    ["a\"b'c\n[[change]]\nremove = \"old\"\n", "\u{1b}[31mred\u{202e}", "e-mail.home", "\"\"\"\n#"];

#[tokio::test(flavor = "multi_thread")]
async fn init_lists_real_attributes_and_hostile_names_do_no_harm() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let hostile = |n: usize| {
        let mut item = item(&format!("P#{n}"), "S", [("old", secret(n)), ("old_name", secret(n))]);
        item.extend(HOSTILE.map(|name| (name.to_owned(), secret(n))));
        item.insert("doc".into(), Value::M([(HOSTILE[0].to_owned(), secret(n))].into()));
        item
    };
    harness.load(&table, (0..50).map(hostile)).await;
    let endpoint = harness.endpoint();
    let endpoint = ["--endpoint-url", endpoint.as_str()];
    let init = |plan: &str, options: &[&str]| {
        tool(&harness, &[&["init", plan, "--table", &table], &endpoint[..], options].concat()).exits(0)
    };
    let read_plan = |name: &str| std::fs::read_to_string(harness.dir().join(name)).unwrap();

    let said = init("sampled.toml", &[]).messages();
    assert!(said.contains("sample   reads about 50 items") && said.contains("50 items"), "{said}");
    let written = read_plan("sampled.toml");
    let plan = load("sampled.toml", &written).unwrap().plan;
    assert_eq!(plan.changes.len(), 1, "{written}");
    let change = plan.changes[0].paths();
    let names = change.reads.iter().chain(&change.writes).map(|path| path.root());
    assert_eq!(names.collect::<Vec<_>>(), ["old_name_", "new_name"], "the example change touches no attribute");
    for part in [
        "# 50 items were read (every item of the table).",
        "partition key",
        "#   \"old\"",
        "'\"e-mail.home\"'",
        "# move = \"",
    ] {
        assert!(written.contains(part), "{part}: {written}");
    }
    assert!(!written.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{written:?}");
    assert!(!written.contains(tool::SECRET), "{written}");
    tool(&harness, &[&["check", "sampled.toml"], &endpoint[..]].concat()).exits(0);

    // `stats` also escapes these names.
    let document = stats(&harness, &table, &[]);
    for name in HOSTILE {
        assert_eq!(attribute(&document, &Path::attribute(name).to_string())["items"], 50);
    }
    let human = tool(&harness, &[&["stats", "--table", &table], &endpoint[..]].concat()).exits(0).stdout;
    assert!(human.contains("\\u{1b}[31mred\\u{202e}") && !human.contains("\nremove"), "{human}");

    // An existing file is refused before anything is read.
    harness.proxy().reset_tally();
    refused(&harness, 2, &[&["init", "sampled.toml", "--table", &table], &endpoint[..]].concat())
        .in_one_paragraph()
        .says(&["exists already"]);
    init("unsampled.toml", &["--no-sample"]);
    assert_eq!(harness.proxy().tally().operation("Scan").requests, 0);
    assert!(!read_plan("unsampled.toml").contains("were read"));

    let piped = init("-", &["--output", "json"]).json();
    assert_eq!((&piped["sample"]["items"], &piped["sample"]["coverage"]), (&json!(50), &json!("whole_table")));
    load("-", piped["text"].as_str().unwrap()).unwrap();

    // If `init` cannot read the items, the plan contains only the table's description.
    answer(&harness, "Scan", 400, "AccessDeniedException", "User is not authorized to perform: dynamodb:Scan");
    let denied = init("denied.toml", &[]).messages();
    assert!(denied.contains("the sample was stopped") && denied.contains("dynamodb:Scan"), "{denied}");
    let denied = read_plan("denied.toml");
    assert_eq!(load("denied.toml", &denied).unwrap().plan.table.key, Some(vec!["pk".into(), "sk".into()]));
    assert!(!denied.contains("were read"), "{denied}");
    nothing_was_written(&harness);
}

/// If the operator interrupts the sampling, `init` writes no plan.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_init_writes_nothing() {
    let (harness, table, _) = setup(50, "").await;
    inject_fault(&harness, |request| match request.operation.as_str() {
        "Scan" => Fault::Delay(Duration::from_secs(2)),
        _ => Fault::Pass,
    });
    let mut command = harness.command();
    command.args(["init", "new.toml", "--table", &table, "--endpoint-url", &harness.endpoint(), "--output", "json"]);
    let running = RunningTool::start(command);
    let deadline = Instant::now() + Duration::from_secs(60);
    while harness.proxy().tally().operation("Scan").requests == 0 {
        assert!(Instant::now() < deadline, "the tool reads no items");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.signal(Signal::SIGINT);
    let ended = tokio::task::block_in_place(|| running.end()).exits(130);
    assert_eq!(ended.json()["error"]["kind"], "interrupted");
    assert!(ended.messages().contains("no plan was written"), "{ended:?}");
    assert!(!harness.dir().join("new.toml").exists());
}
