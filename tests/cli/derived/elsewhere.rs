//! Plans that put derived items into another table. That table has another key, and items of others.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use backfill::internals::item::Item;
use backfill::{Answer, Notice, Observer, Options, Question, RunOptions, StepOptions};

use super::*;
use crate::harness::from_sdk;

/// A migration with a second table, whose key is the text `id`.
struct Elsewhere {
    migration: Migration,
    lookups: String,
}

fn change(lookups: &str) -> String {
    format!(
        "[[change]]\nput = {{ table = \"{lookups}\", key = {{ id = '\"EMAIL#\" + item.email' }}, \
         attributes = {{ user = \"item.pk\", rank = \"item.rank\" }} }}\n"
    )
}

/// The derived item of a user.
fn entry(user: &Item) -> Item {
    let Value::S(email) = &user["email"] else { panic!("{user:?}") };
    let mut item = item_from_json(&json!({"id": {"S": format!("EMAIL#{email}")}})).unwrap();
    item.insert("user".to_owned(), user["pk"].clone());
    item.insert("rank".to_owned(), user["rank"].clone());
    item
}

fn id(item: &Item) -> String {
    let Value::S(id) = &item["id"] else { panic!("{item:?}") };
    id.clone()
}

fn foreign() -> Item {
    item_from_json(&json!({"id": {"S": "SESSION#1"}, "user": {"S": "USER#3"}})).unwrap()
}

impl Elsewhere {
    async fn new(items: Vec<Item>, select: &str) -> Elsewhere {
        let harness = Harness::start();
        let table = harness.create_table().await;
        let lookups = harness.create_flag_table().await;
        harness.load(&table, items.into_iter()).await;
        let rest = format!("{select}[scan]\nsegments = 2\n{}", change(&lookups));
        let plan = harness.plan("derived", &table, FAIL, &rest).to_str().unwrap().to_owned();
        let before = harness.dump(&table).await;
        let elsewhere = Elsewhere { migration: Migration { harness, table, plan, before }, lookups };
        elsewhere.put(&foreign()).await;
        elsewhere
    }

    async fn put(&self, item: &Item) {
        let client = self.migration.harness.client();
        client.put_item().table_name(&self.lookups).set_item(Some(harness::to_sdk(item))).send().await.unwrap();
    }

    async fn remove(&self, item: &Item) {
        let key = harness::to_sdk(&Item::from([("id".to_owned(), item["id"].clone())]));
        let client = self.migration.harness.client();
        client.delete_item().table_name(&self.lookups).set_key(Some(key)).send().await.unwrap();
    }

    /// Returns the items of the other table as text, by their key.
    async fn entries(&self) -> BTreeMap<String, String> {
        let found = self.migration.harness.client().scan().table_name(&self.lookups).send().await.unwrap();
        let items = found.items.unwrap_or_default().into_iter().map(from_sdk);
        items.map(|item| (id(&item), bytes_of(&item))).collect()
    }

    /// Returns the items of the other table after a complete run.
    fn expected(&self) -> BTreeMap<String, String> {
        let derived = self.migration.before.values().filter(|item| item.contains_key("email")).map(entry);
        derived.chain([foreign()]).map(|item| (id(&item), bytes_of(&item))).collect()
    }

    async fn assert_sources_unchanged(&self) {
        assert_eq!(self.migration.now().await, bytes(&self.migration.before));
    }
}

const WITH_EMAIL: &str = "[select]\nwhere = 'item.sk == \"PROFILE\" && has(item.email)'\n";

/// Each source gets its derived item in the other table. The sources and the items of others stay as they are. The dry
/// run and the forecast agree with the run, a second run writes nothing, and a rollback removes exactly what was put.
#[tokio::test(flavor = "multi_thread")]
async fn derived_items_go_into_another_table() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let predicted = migration.command(&["run", "--dry-run"], 0);
    let ran = migration.run(&[], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &predicted["would_change"]), (&json!(40), &json!(40)), "{ran:#}");
    assert_eq!(counts["write_units"], counts["estimated_write_units"], "{ran:#}");
    assert_eq!(counts["write_units"], predicted["estimate"]["write_units"]["low"], "{predicted:#}");
    // A put and a check cost two units each.
    let of_other = &predicted["estimate"]["elsewhere"];
    assert_eq!((&of_other["table"], &of_other["write_units"]["low"]), (&json!(elsewhere.lookups), &json!(80.0)));
    assert_eq!(of_other["read_units"]["low"], json!(40.0), "{predicted:#}");
    assert_eq!(elsewhere.entries().await, elsewhere.expected());
    elsewhere.assert_sources_unchanged().await;
    let again = migration.run(&["--again"], 0);
    let counts = &again["totals"]["counts"];
    assert_eq!((&counts["write_units"], &counts["already_applied"]), (&json!(0.0), &json!(40)), "{again:#}");
    let verified = migration.command(&["verify", "--all"], 0);
    let found = (&verified["matching"], &verified["mismatches"], &verified["derived_items_read"]);
    assert_eq!(found, (&json!(40), &json!(0), &json!(40)), "{verified:#}");
    let listed = migration.command(&["journal"], 0);
    let values = listed["values"].as_array().unwrap();
    assert_eq!(values.len(), 40, "{listed:#}");
    assert!(values.iter().all(|value| value["table"] == json!(elsewhere.lookups)), "{listed:#}");
    migration.command(&ROLLBACK, 0);
    assert_eq!(elsewhere.entries().await, BTreeMap::from([(id(&foreign()), bytes_of(&foreign()))]));
    elsewhere.assert_sources_unchanged().await;
}

/// A plan with `table` needs no `where`: a run reads no derived items, so it derives nothing from them.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_may_select_every_item_or_list_keys() {
    let users: Vec<Item> = (0..30).map(|n| user(n, &format!("u{n}@example.com"))).collect();
    let elsewhere = Elsewhere::new(users.clone(), "").await;
    elsewhere.migration.run(&[], 0);
    assert_eq!(elsewhere.entries().await, elsewhere.expected());
    elsewhere.migration.command(&["verify", "--all"], 0);

    let elsewhere = Elsewhere::new(users, "[select]\nkeys = \"keys.csv\"\n").await;
    let migration = &elsewhere.migration;
    let keys: String = (0..10).map(|n| format!("USER#{n},PROFILE\n")).collect();
    std::fs::write(migration.harness.dir().join("keys.csv"), format!("pk,sk\n{keys}")).unwrap();
    let ran = migration.run(&[], 0);
    assert_eq!(ran["totals"]["counts"]["applied"], 10, "{ran:#}");
    assert_eq!(elsewhere.entries().await.len(), 11);
    let verified = migration.command(&["verify", "--all"], 0);
    assert_eq!(verified["derived_items_read"], 10, "{verified:#}");
    migration.command(&ROLLBACK, 0);
    assert_eq!(elsewhere.entries().await.len(), 1);
}

/// An item with a derived key is never replaced. Writers in the other table and in the table of the sources win.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_both_tables_win() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let own = with(entry(&migration.user(1)), "user", "USER#1-by-the-application");
    let equal = entry(&migration.user(2));
    elsewhere.put(&own).await;
    elsewhere.put(&equal).await;
    // Just before the first transaction, a source changes, and another one goes.
    let moved = with(migration.user(3), "email", "new@example.com");
    let gone = migration.user(4);
    before_the_first(migration, TRANSACTION, vec![moved.clone()], vec![gone.clone()]);
    let ran = migration.run(&[], 5);
    migration.harness.proxy().set_faults(None);
    let counts = &ran["totals"]["counts"];
    let found = (&counts["applied"], &counts["already_applied"], &counts["diverged"], &counts["gone"]);
    assert_eq!(found, (&json!(37), &json!(1), &json!(1), &json!(1)), "{ran:#}");
    let entries = elsewhere.entries().await;
    assert_eq!(entries[&id(&own)], bytes_of(&own));
    assert_eq!(entries[&id(&entry(&moved))], bytes_of(&entry(&moved)));
    for absent in [entry(&migration.user(3)), entry(&gone)] {
        assert!(!entries.contains_key(&id(&absent)), "{absent:?}");
    }
    // An application has changed a derived item, so a rollback keeps it and names its table.
    let noted = with(entry(&migration.user(6)), "note", "by the application");
    elsewhere.put(&noted).await;
    migration.command(&ROLLBACK, 5);
    let kept = [&own, &equal, &noted, &foreign()].map(|item| (id(item), bytes_of(item)));
    assert_eq!(elsewhere.entries().await, BTreeMap::from(kept));
    let listed = migration.command(&["failures", "list"], 0);
    let diverged = listed["diverged"].as_array().unwrap();
    let of_rollback = diverged.iter().find(|row| row["key"]["id"].is_object()).unwrap();
    assert_eq!(of_rollback["table"], json!(elsewhere.lookups), "{listed:#}");
    let text = tool(&migration.harness, &["failures", "list", &migration.plan]).exits(0).stdout;
    assert!(text.contains(&format!("table {}: id=", elsewhere.lookups)), "{text}");
}

/// A verification finds the planted defects in both tables. It never calls an item of others an orphan.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_finds_defects_in_the_other_table() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    migration.run(&[], 0);
    elsewhere.remove(&entry(&migration.user(1))).await;
    elsewhere.put(&with(entry(&migration.user(2)), "user", "USER#77")).await;
    migration.delete(&migration.user(3)).await;
    let mut without = migration.user(4);
    without.remove("email");
    migration.load(without).await;
    migration.load(with(migration.user(5), "email", "u5-new@example.com")).await;
    // The application has changed the derived item of a user that is gone, and put one of its own.
    elsewhere.put(&with(entry(&migration.user(6)), "note", "by the application")).await;
    migration.delete(&migration.user(6)).await;
    elsewhere.put(&with(foreign(), "id", "EMAIL#none@example.com")).await;
    let verified = migration.command(&["verify", "--all"], 5);
    let found = (&verified["missing"], &verified["stale"], &verified["unexpected"]);
    assert_eq!(found, (&json!(2), &json!(1), &json!(3)), "{verified:#}");
    let examples = verified["examples"].to_string();
    for part in [&format!("in table {}", elsewhere.lookups), "EMAIL#u3@example.com", "differs in `user`"] {
        assert!(examples.contains(part), "{part}: {examples}");
    }
    assert!(!examples.contains("SESSION#1") && !examples.contains("none@"), "{examples}");
    let refused = migration.command(&["verify", "--all", "--repair", "--yes"], 3).to_string();
    assert!(refused.contains("--again"), "{refused}");
}

/// A throttle of the other table, a conflict and a lost reply are no failures of an item. The lost reply is settled by a
/// read of the other table.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_transaction_over_two_tables_are_settled() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let seen = AtomicU64::new(0);
    let canceled = |code: &str| Fault::Reply {
        status: 400,
        error: "TransactionCanceledException".to_owned(),
        message: "Transaction cancelled".to_owned(),
        extra: json!({"CancellationReasons": [{"Code": "None"}, {"Code": code}]}).as_object().unwrap().clone(),
    };
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| match request.operation.as_str() {
        TRANSACTION => match seen.fetch_add(1, Ordering::Relaxed) {
            0 => Fault::DropReply,
            n if n % 5 == 1 => canceled("ThrottlingError"),
            n if n % 5 == 2 => canceled("TransactionConflict"),
            _ => Fault::Pass,
        },
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(rule));
    let ran = migration.run(&[], 0);
    migration.harness.proxy().set_faults(None);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(39), &json!(1)), "{ran:#}");
    assert_eq!(elsewhere.entries().await, elsewhere.expected());
    let throttles = ran["throttles"].to_string();
    assert!(throttles.contains(&format!("table {}", elsewhere.lookups)), "{ran:#}");
    assert!(!throttles.contains("\"table writes\"") && !throttles.contains("\"table\""), "{throttles}");
    // It is unknown who put the item of the lost reply, so the rollback keeps it.
    migration.command(&ROLLBACK, 4);
    assert_eq!(elsewhere.entries().await.len(), 2);
}

/// A run and a rollback that are killed resume.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_run_and_rollback_resume_in_the_other_table() {
    let users = (0..200).map(|n| user(n, &format!("u{n}@example.com"))).collect();
    let elsewhere = Elsewhere::new(users, WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    kill_after(migration, &["run", "--yes", "--accept", "no-pitr"], TRANSACTION, 60);
    assert_ne!(elsewhere.entries().await, elsewhere.expected());
    migration.run(&[], 0);
    assert_eq!(elsewhere.entries().await, elsewhere.expected());
    kill_after(migration, &ROLLBACK, "DeleteItem", 60);
    let mut again = ROLLBACK.to_vec();
    again.extend(["--force", "the test accepts the rest"]);
    let ended = tool(&migration.harness, &migration.args(&again)).json();
    let left = elsewhere.entries().await;
    assert!(left.len() <= 65, "{} are left: {ended:#}", left.len());
    let expected = elsewhere.expected();
    assert!(left.iter().all(|(key, item)| expected[key] == *item), "{ended:#}");
    elsewhere.assert_sources_unchanged().await;
}

/// `check`, `iam`, `explain` and `status` show both tables.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_both_tables() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let lookups = &elsewhere.lookups;
    let checked = migration.command(&["check"], 0);
    assert_eq!(
        (&checked["derived_table"]["name"], &checked["derived_table"]["key"]),
        (&json!(lookups), &json!(["id"]))
    );
    let budgets = checked["budgets"].as_array().unwrap();
    let of_other: Vec<&Json> = budgets.iter().filter(|budget| budget["table"] == json!(lookups)).collect();
    assert!(of_other.iter().any(|budget| budget["scope"] == "table" && budget["access"] == "write"), "{checked:#}");
    let text = tool(&migration.harness, &["check", &migration.plan]).exits(0).stdout;
    for part in [
        format!("into table {lookups}"),
        "gets the derived items".to_owned(),
        format!("table {lookups}: "),
        format!("on table {lookups}"),
        format!("Table `{lookups}`, which gets the derived items: "),
        format!("Table `{}`, which has the sources: ", migration.table),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let policy = migration.command(&["iam"], 0);
    let statements = policy["policy"]["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 2, "{policy:#}");
    assert!(statements[1]["Resource"].as_str().unwrap().ends_with(&format!("table/{lookups}")), "{policy:#}");
    let key = key_of(&migration.user(1)).to_text();
    let explained = migration.command(&["explain", "--key", &key], 0);
    let write = &explained["items"][0]["write"];
    assert_eq!((&write["derived"]["table"], &write["wcu"]), (&json!(lookups), &json!(4.0)), "{explained:#}");
    let text = tool(&migration.harness, &["explain", &migration.plan, "--key", &key]).exits(0).stdout;
    assert!(text.contains(&format!("into table {lookups}")), "{text}");
    migration.run(&[], 0);
    let text = tool(&migration.harness, &["status", &migration.plan]).exits(0).stdout;
    assert!(text.contains(lookups.as_str()), "{text}");
    // A rollback changes an item of the other table.
    let key = r#"{"id":{"S":"EMAIL#u1@example.com"}}"#;
    let explained = migration.command(&["explain", "--pass", "undo", "--key", key], 0);
    assert_eq!(explained["items"][0]["write"]["request"], "DeleteItem", "{explained:#}");
}

/// A missing table, another key, and a recreated table are clear errors, and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_other_table_is_refused() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let text = std::fs::read_to_string(&migration.plan).unwrap();
    let refused = |plan: &str, code: i32| {
        std::fs::write(&migration.plan, plan).unwrap();
        migration.command(&["check"], code).to_string()
    };
    let missing = refused(&text.replace(&elsewhere.lookups, "no-such-table"), 3);
    assert!(missing.contains("no-such-table") && missing.contains("Check `table` in `put`"), "{missing}");
    let other_key = refused(&text.replace("key = { id =", "key = { address ="), 2);
    assert!(other_key.contains("does not have the key of table") && other_key.contains("`id`"), "{other_key}");
    let number = refused(&text.replace("'\"EMAIL#\" + item.email'", "\"number(item.rank)\""), 2);
    assert!(number.contains("has type S in the key of table"), "{number}");
    let same = refused(&text.replace(&elsewhere.lookups, &migration.table), 2);
    assert!(same.contains("`table` names the table of the plan"), "{same}");

    std::fs::write(&migration.plan, &text).unwrap();
    migration.run(&["--set", "limits.max_items=10"], 6);
    let client = migration.harness.client();
    client.delete_table().table_name(&elsewhere.lookups).send().await.unwrap();
    let missing = migration.run(&[], 3).to_string();
    assert!(missing.contains(&elsewhere.lookups), "{missing}");
    let id = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let text = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let create = client.create_table().table_name(&elsewhere.lookups).billing_mode(BillingMode::PayPerRequest);
    create.key_schema(id).attribute_definitions(text.build().unwrap()).send().await.unwrap();
    migration.harness.wait_until_active(&elsewhere.lookups).await;
    for words in [&["run", "--yes", "--accept", "no-pitr"][..], &ROLLBACK, &["verify", "--all"]] {
        let recreated = migration.command(words, 7).to_string();
        assert!(recreated.contains("deleted and recreated"), "{words:?}: {recreated}");
    }
    assert_eq!(elsewhere.entries().await.len(), 0);
}

/// An operator who agrees to every question. Records the questions, and the headers of runs.
#[derive(Default)]
struct Recorder {
    questions: Mutex<Vec<String>>,
    headers: Mutex<Vec<String>>,
}

impl Observer for Recorder {
    fn notice(&self, notice: &Notice<'_>) {
        if let Notice::RunHeader(text) = notice {
            self.headers.lock().unwrap().push((*text).to_owned());
        }
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        self.questions.lock().unwrap().push(question.to_string());
        Answer::Yes
    }
}

/// The question of a run and its header name both tables. The question of a rollback names the table that it changes.
#[tokio::test(flavor = "multi_thread")]
async fn the_questions_name_the_table_that_changes() {
    let elsewhere = Elsewhere::new(items(), WITH_EMAIL).await;
    let migration = &elsewhere.migration;
    let recorder = Arc::new(Recorder::default());
    let open = || {
        let mut options = Options::default();
        options.endpoint_url = Some(migration.harness.endpoint());
        options.state = Some(migration.harness.dir().join("state.db"));
        options.observer = Arc::clone(&recorder) as Arc<dyn Observer>;
        backfill::Migration::open(&migration.plan, options).unwrap()
    };
    let last = || recorder.questions.lock().unwrap().last().cloned().unwrap();
    let (table, lookups) = (format!("table/{}", migration.table), format!("table/{}", elsewhere.lookups));
    answer(
        &migration.harness,
        TRANSACTION,
        400,
        "ValidationException",
        "Item size has exceeded the maximum allowed size",
    );
    open().run(&RunOptions::default()).await.unwrap();
    let run = last();
    let (from, into) = run.split_once(" into ").unwrap();
    assert!(from.starts_with("Put derived items of arn:") && from.contains(&table), "{run}");
    assert!(into.contains(&lookups) && !into.contains(&table), "{run}");
    let header = recorder.headers.lock().unwrap().first().cloned().unwrap();
    let line = |label: &str| header.lines().find(|line| line.starts_with(label)).unwrap_or_default().to_owned();
    assert!(line("table ").ends_with(&table) && line("derived ").ends_with(&lookups), "{header}");
    assert!(header.contains(&format!("budget   table {}: table: ", elsewhere.lookups)), "{header}");
    migration.harness.proxy().set_faults(None);
    open().retry_failures(&[]).await.unwrap();
    let retry = last();
    assert!(retry.starts_with("Put derived items into arn:") && retry.contains("40 failed items"), "{retry}");
    assert!(retry.contains(&lookups) && retry.contains(&table), "{retry}");
    assert_eq!(elsewhere.entries().await, elsewhere.expected());
    let mut stopped = StepOptions::default();
    stopped.facts = vec![backfill::Fact::WritersStopped];
    open().rollback(&stopped).await.unwrap();
    let rollback = last();
    let asked = rollback.split_once("Undo the migration on ").unwrap().1;
    let (changed, rest) = asked.split_once(' ').unwrap();
    assert!(changed.ends_with(&lookups) && rest.contains(&table), "{rollback}");
    assert_eq!(elsewhere.entries().await.len(), 1);
}
