//! Tests plans that put derived items, with the real binary and a real engine: the items that a run puts, races with
//! live writers, the findings of a verification, and the rollback.

mod counts;
mod elsewhere;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backfill::internals::item::{Item, Value, item_from_json};

use super::harness::key_of;
use super::*;

const PLAN: &str = "[select]\nwhere = 'item.sk == \"PROFILE\" && has(item.email)'\n[scan]\nsegments = 1\n[[change]]\n\
                    put = { key = { pk = '\"EMAIL#\" + item.email', sk = '\"LOOKUP\"' }, \
                    attributes = { user = \"item.pk\", rank = \"item.rank\" } }\n";
const FAIL: &str = "on_not_computable = \"fail\"";
const TRANSACTION: &str = "TransactWriteItems";
const ROLLBACK: [&str; 3] = ["rollback", "--yes", "--writers-stopped"];

struct Migration {
    harness: Harness,
    table: String,
    plan: String,
    before: BTreeMap<String, Item>,
}

impl Migration {
    async fn new(items: Vec<Item>) -> Migration {
        Migration::with_plan(items, PLAN).await
    }

    async fn with_plan(items: Vec<Item>, rest: &str) -> Migration {
        let harness = Harness::start();
        let table = harness.create_table().await;
        harness.load(&table, items.into_iter()).await;
        let plan = harness.plan("derived", &table, FAIL, rest);
        let plan = plan.to_str().unwrap().to_owned();
        let before = harness.dump(&table).await;
        Migration { harness, table, plan, before }
    }

    fn args<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let split = if matches!(words, ["failures", ..] | ["journal", "purge", ..]) { 2 } else { 1 };
        let (first, options) = words.split_at(split);
        [first, &[self.plan.as_str()], options, &["--output", "json"]].concat()
    }

    #[track_caller]
    fn command(&self, words: &[&str], code: i32) -> Json {
        tool(&self.harness, &self.args(words)).exits(code).json()
    }

    #[track_caller]
    fn run(&self, more: &[&str], code: i32) -> Json {
        self.command(&[&["run", "--yes", "--accept", "no-pitr"][..], more].concat(), code)
    }

    async fn now(&self) -> BTreeMap<String, String> {
        bytes(&self.harness.dump(&self.table).await)
    }

    async fn load(&self, item: Item) {
        self.harness.load(&self.table, [item].into_iter()).await;
    }

    async fn delete(&self, item: &Item) {
        let key = harness::to_sdk(key_of(item).attributes());
        self.harness.client().delete_item().table_name(&self.table).set_key(Some(key)).send().await.unwrap();
    }

    /// The table's items after a complete run.
    fn expected(&self) -> BTreeMap<String, String> {
        let derived = self.before.values().filter(|item| item.contains_key("email")).map(lookup);
        let all = self.before.values().cloned().chain(derived);
        all.map(|item| (key_of(&item).to_text(), bytes_of(&item))).collect()
    }

    fn user(&self, n: usize) -> Item {
        let pk = Value::S(format!("USER#{n}"));
        self.before.values().find(|item| item["pk"] == pk && item.contains_key("email")).unwrap().clone()
    }
}

fn bytes(items: &BTreeMap<String, Item>) -> BTreeMap<String, String> {
    items.iter().map(|(key, item)| (key.clone(), bytes_of(item))).collect()
}

fn user(n: usize, email: &str) -> Item {
    item_from_json(&json!({
        "pk": {"S": format!("USER#{n}")}, "sk": {"S": "PROFILE"}, "email": {"S": email},
        "rank": {"N": format!("{n}.5")}, "note": {"S": format!("S3CRET-{n}")}
    }))
    .unwrap()
}

/// Returns the derived item of a user.
fn lookup(user: &Item) -> Item {
    let Value::S(email) = &user["email"] else { panic!("{user:?}") };
    let mut item = item_from_json(&json!({"pk": {"S": format!("EMAIL#{email}")}, "sk": {"S": "LOOKUP"}})).unwrap();
    item.insert("user".to_owned(), user["pk"].clone());
    item.insert("rank".to_owned(), user["rank"].clone());
    item
}

/// Returns users that each have an email address, and other items.
fn items() -> Vec<Item> {
    let users = (0..40).map(|n| user(n, &format!("u{n}@example.com")));
    let orders = (0..20).map(|n| item(&format!("ORDER-{n}"), "ORDER"));
    let without = (40..50).map(|n| item(&format!("USER#{n}"), "PROFILE"));
    users.chain(orders).chain(without).collect()
}

fn item(pk: &str, sk: &str) -> Item {
    item_from_json(&json!({"pk": {"S": pk}, "sk": {"S": sk}, "total": {"N": "1"}})).unwrap()
}

fn with(mut item: Item, name: &str, value: &str) -> Item {
    item.insert(name.to_owned(), Value::S(value.to_owned()));
    item
}

/// Each selected item gets its derived item, and nothing else changes. The dry run predicts the same. A second run
/// writes nothing. A rollback removes exactly the derived items.
#[tokio::test(flavor = "multi_thread")]
async fn each_selected_item_gets_its_derived_item() {
    let migration = Migration::new(items()).await;
    let predicted = migration.command(&["run", "--dry-run"], 0);
    let ran = migration.run(&[], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &predicted["would_change"]), (&json!(40), &json!(40)), "{ran:#}");
    assert_eq!(counts["write_units"], counts["estimated_write_units"], "{ran:#}");
    assert_eq!(counts["write_units"], predicted["estimate"]["write_units"]["low"], "{predicted:#}");
    assert_eq!(migration.now().await, migration.expected());
    let again = migration.run(&["--again"], 0);
    let counts = &again["totals"]["counts"];
    assert_eq!((&counts["write_units"], &counts["already_applied"]), (&json!(0.0), &json!(40)), "{again:#}");
    let predicted = migration.command(&["run", "--dry-run"], 0);
    assert_eq!((&predicted["would_change"], &predicted["already_applied"]), (&json!(0), &json!(40)), "{predicted:#}");
    let verified = migration.command(&["verify", "--all"], 0);
    assert_eq!((&verified["mismatches"], &verified["matching"]), (&json!(0), &json!(40)), "{verified:#}");
    let refused = migration.command(&["rollback", "--yes"], 3).to_string();
    assert!(refused.contains("--writers-stopped"), "{refused}");
    assert_eq!(migration.now().await, migration.expected());
    migration.command(&ROLLBACK, 0);
    assert_eq!(migration.now().await, bytes(&migration.before));
}

/// Two users have the same address. An application has already put the lookup items of two other users: one of these
/// items is correct, and one is wrong. The run overwrites nothing, and a rollback deletes only items that the migration
/// put.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_item_is_never_replaced() {
    let (right, wrong) =
        (lookup(&user(1, "u1@example.com")), with(lookup(&user(2, "u2@example.com")), "user", "USER#9"));
    let second = user(99, "u3@example.com");
    let migration = Migration::new([items(), vec![right, wrong, second]].concat()).await;
    let ran = migration.run(&[], 5);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(38), &json!(1)), "{ran:#}");
    assert_eq!(counts["diverged"], 2, "{ran:#}");
    // The list names each source, and the derived item that differs.
    let listed = migration.command(&["failures", "list"], 0);
    let keys: BTreeSet<&str> =
        listed["diverged"].as_array().unwrap().iter().map(|row| row["derived"]["pk"]["S"].as_str().unwrap()).collect();
    assert_eq!(keys, BTreeSet::from(["EMAIL#u2@example.com", "EMAIL#u3@example.com"]), "{listed:#}");
    let text = tool(&migration.harness, &["failures", "list", &migration.plan]).exits(0).stdout;
    assert!(text.contains("its derived item") && text.contains("EMAIL#u2@example.com"), "{text}");
    let after = migration.now().await;
    assert!(migration.before.iter().all(|(key, item)| after[key] == bytes_of(item)));
    let verified = migration.command(&["verify", "--all"], 5);
    assert_eq!((&verified["stale"], &verified["missing"]), (&json!(2), &json!(0)), "{verified:#}");
    migration.command(&ROLLBACK, 0);
    assert_eq!(migration.now().await, bytes(&migration.before));
}

/// Writers act between the read and the transaction. They change an address, delete a user, put a lookup item, and
/// change an attribute that the plan does not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_win_every_race() {
    let migration = Migration::new(items()).await;
    let moved = with(migration.user(1), "email", "new@example.com");
    let deselected = with(migration.user(2), "email", "x");
    let gone = migration.user(3);
    let own = with(lookup(&migration.user(4)), "user", "USER#4-by-the-application");
    let equal = lookup(&migration.user(5));
    let noted = with(migration.user(6), "note", "changed");
    let mut without = deselected.clone();
    without.remove("email");
    let writes = [&moved, &without, &own, &equal, &noted].map(Item::clone).to_vec();
    before_the_first(&migration, TRANSACTION, writes, vec![gone.clone()]);
    let ran = migration.run(&[], 5);
    migration.harness.proxy().set_faults(None);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["gone"], &counts["diverged"]), (&json!(1), &json!(1)), "{ran:#}");
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(36), &json!(1)), "{ran:#}");
    let after = migration.now().await;
    let text = |item: &Item| key_of(item).to_text();
    assert_eq!(after[&text(&lookup(&moved))], bytes_of(&lookup(&moved)));
    for absent in [&lookup(&migration.user(1)), &lookup(&migration.user(2)), &lookup(&gone), &gone] {
        assert!(!after.contains_key(&text(absent)), "{absent:?}");
    }
    for kept in [&own, &equal, &noted, &moved, &without] {
        assert_eq!(after[&text(kept)], bytes_of(kept));
    }
    // The application put the equal item, so a rollback keeps it.
    migration.command(&ROLLBACK, 0);
    let mut expected = bytes(&migration.before);
    expected.remove(&text(&gone));
    expected.extend([&moved, &without, &own, &equal, &noted].map(|item| (text(item), bytes_of(item))));
    assert_eq!(migration.now().await, expected);
}

/// A transaction conflict or a throttle does not make an item a failure. The tool resends the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_and_throttles_are_retried() {
    let migration = Migration::new(items()).await;
    let seen = AtomicU64::new(0);
    let canceled = |code: &str| Fault::Reply {
        status: 400,
        error: "TransactionCanceledException".to_owned(),
        message: "Transaction cancelled".to_owned(),
        extra: json!({"CancellationReasons": [{"Code": "None"}, {"Code": code, "Message": "S3CRET"}]})
            .as_object()
            .unwrap()
            .clone(),
    };
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| match request.operation.as_str() {
        TRANSACTION => match seen.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => canceled("TransactionConflict"),
            1 => canceled("ThrottlingError"),
            _ => Fault::Pass,
        },
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(rule));
    let ran = migration.run(&[], 0);
    migration.harness.proxy().set_faults(None);
    assert_eq!(ran["totals"]["counts"]["applied"], 40, "{ran:#}");
    assert_eq!(migration.now().await, migration.expected());
}

/// After a lost reply, the tool reads the derived item. It cannot know who put the item, so a rollback keeps and
/// reports the item.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_resolves_a_lost_reply() {
    let migration = Migration::new(items()).await;
    let seen = AtomicU64::new(0);
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| match request.operation.as_str() {
        TRANSACTION if seen.fetch_add(1, Ordering::Relaxed) == 0 => Fault::DropReply,
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(rule));
    let ran = migration.run(&[], 0);
    migration.harness.proxy().set_faults(None);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &counts["already_applied"]), (&json!(39), &json!(1)), "{ran:#}");
    assert_eq!(migration.now().await, migration.expected());
    migration.command(&ROLLBACK, 4);
    let listed = migration.command(&["failures", "list"], 0).to_string();
    assert!(listed.contains("unknown whether") && listed.contains("EMAIL#"), "{listed}");
    let left = migration.now().await.len();
    assert_eq!(left, migration.before.len() + 1);
}

/// RUNBOOK: "A rollback deletes a derived item only if the newest confirmation in the journal is of exactly this item."
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_what_an_application_changed() {
    let migration = Migration::new(items()).await;
    migration.run(&[], 0);
    let changed = with(lookup(&migration.user(1)), "note", "by the application");
    let deleted = lookup(&migration.user(2));
    migration.load(changed.clone()).await;
    migration.delete(&deleted).await;
    let rolled_back = migration.command(&ROLLBACK, 5);
    assert!(rolled_back.to_string().contains("\"diverged\":1"), "{rolled_back:#}");
    // The list names the attribute that differs, and shows no values.
    let listed = migration.command(&["failures", "list"], 0).to_string();
    assert!(listed.contains("note") && !listed.contains("by the application"), "{listed}");
    let mut expected = bytes(&migration.before);
    expected.insert(key_of(&changed).to_text(), bytes_of(&changed));
    assert_eq!(migration.now().await, expected);
}

/// A writer adds an attribute just before a rollback deletes the item, although all writers should have stopped. The
/// item is a failure, and the journal contains it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollback_notices_a_writer_that_did_not_stop() {
    let migration = Migration::new(items()).await;
    migration.run(&[], 0);
    let noted = with(lookup(&migration.user(1)), "note", "added late");
    before_the_first(&migration, "DeleteItem", vec![noted.clone()], Vec::new());
    migration.command(&ROLLBACK, 4);
    migration.harness.proxy().set_faults(None);
    let failures = migration.command(&["failures", "list"], 0).to_string();
    assert!(failures.contains("`note`") && !failures.contains("added late"), "{failures}");
    assert_eq!(migration.now().await, bytes(&migration.before));
    let listed = migration.command(&["journal", "--show-values"], 0).to_string();
    assert!(listed.contains("added late"), "{listed}");
}

/// A writer adds an attribute just before a rollback deletes the item, and the reply to the delete is lost. The tool
/// can no longer see whether the item had changed. So the report and the list name the item, and the rollback
/// completes.
/// RUNBOOK: "If the reply to the delete is lost, nothing shows such a change."
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_delete_without_a_reply_is_reported() {
    let migration = Migration::new(vec![user(1, "u1@example.com")]).await;
    migration.run(&[], 0);
    let noted = with(lookup(&migration.user(1)), "note", "added late");
    let (endpoint, table) = (migration.harness.server_endpoint(), migration.table.clone());
    let key = key_of(&noted).to_text();
    let is_done = Mutex::new(false);
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| {
        let mut is_done = is_done.lock().unwrap();
        if request.operation != "DeleteItem" || *is_done {
            return Fault::Pass;
        }
        change(&endpoint, &table, vec![noted.clone()], Vec::new());
        *is_done = true;
        Fault::DropReply
    });
    migration.harness.proxy().set_faults(Some(rule));
    let ended = migration.command(&ROLLBACK, 0);
    migration.harness.proxy().set_faults(None);
    assert_eq!(migration.now().await, bytes(&migration.before));
    let lost = &ended["runs"][0]["reply_lost"];
    assert_eq!(lost["count"], 1, "{ended:#}");
    let listed = migration.command(&["failures", "list"], 0);
    assert_eq!(listed["reply_lost"], *lost, "{listed:#}");
    let text = tool(&migration.harness, &["failures", "list", &migration.plan]).exits(0).stdout;
    assert!(text.contains("deleted without a reply") && text.contains("EMAIL#"), "{key}: {text}");
    // The rollback is complete.
    migration.command(&ROLLBACK, 0);
}

/// RUNBOOK: "`verify --all` finds missing derived items, and derived items that differ from the plan."
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_finds_planted_defects() {
    let migration = Migration::new(items()).await;
    migration.run(&[], 0);
    migration.delete(&lookup(&migration.user(1))).await;
    migration.load(with(lookup(&migration.user(2)), "user", "USER#77")).await;
    // Three orphans: one user was deleted, one is no longer selected, and one has a new address.
    migration.delete(&migration.user(3)).await;
    let mut without = migration.user(4);
    without.remove("email");
    migration.load(without).await;
    migration.load(with(migration.user(5), "email", "u5-new@example.com")).await;
    // An application's item under another user's key is not an orphan.
    migration.load(with(item("EMAIL#none", "LOOKUP"), "user", "USER#3")).await;
    let verified = migration.command(&["verify", "--all"], 5);
    let found = (&verified["missing"], &verified["stale"], &verified["unexpected"]);
    assert_eq!(found, (&json!(2), &json!(1), &json!(3)), "{verified:#}");
    assert!(verified.to_string().contains("another source could imply it"), "{verified:#}");
    // Each mismatch names the derived item, and what differs in it.
    let examples = verified["examples"].to_string();
    for part in ["its derived item", "EMAIL#u1@example.com", "does not exist", "differs in `user`"] {
        assert!(examples.contains(part), "{part}: {examples}");
    }
    let shown = tool(&migration.harness, &["verify", "--all", &migration.plan]).exits(5).stdout;
    assert!(!shown.lines().any(|line| line.trim_end().ends_with(": ()") || line.contains(":  (")), "{shown}");
    let refused = migration.command(&["verify", "--all", "--repair", "--yes"], 3).to_string();
    assert!(refused.contains("A further pass") && refused.contains("--again"), "{refused}");
    // Another pass puts the missing items. The orphans stay until an operator deletes them.
    migration.run(&["--again"], 5);
    let verified = migration.command(&["verify", "--all"], 5);
    let found = (&verified["missing"], &verified["stale"], &verified["unexpected"]);
    assert_eq!(found, (&json!(0), &json!(1), &json!(3)), "{verified:#}");
}

/// The run is killed between transactions and resumes. Afterwards, each user has one lookup item. The rollback is also
/// killed and resumes. Afterwards, the only remaining lookup items are those whose transactions were in flight when the
/// run was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_run_and_a_killed_rollback_resume() {
    let migration = Migration::new((0..300).map(|n| user(n, &format!("u{n}@example.com"))).collect()).await;
    let run = ["run", "--yes", "--accept", "no-pitr"];
    kill_after(&migration, &run, TRANSACTION, 60);
    assert_ne!(migration.now().await, migration.expected());
    migration.run(&[], 0);
    assert_eq!(migration.now().await, migration.expected());
    kill_after(&migration, &ROLLBACK, "DeleteItem", 60);
    let mut again = ROLLBACK.to_vec();
    again.extend(["--force", "the test accepts the rest"]);
    let ended = tool(&migration.harness, &migration.args(&again)).json();
    let after = migration.now().await;
    let left: Vec<&String> = after.keys().filter(|key| !migration.before.contains_key(*key)).collect();
    assert!(left.len() <= 64, "{} are left: {ended:#}", left.len());
    let expected = migration.expected();
    assert!(after.iter().all(|(key, item)| expected[key] == *item), "{ended:#}");
}

/// `check` says who must keep the derived items correct, `iam` lists the actions, and `explain` shows both requests.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_what_will_happen() {
    let migration = Migration::new(items()).await;
    let checked = tool(&migration.harness, &migration.args(&["check"])).json().to_string();
    assert!(checked.contains("derived-items") && checked.contains("in one transaction"), "{checked}");
    let policy = migration.command(&["iam"], 0).to_string();
    for action in ["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:GetItem"] {
        assert!(policy.contains(action), "{policy}");
    }
    assert!(!policy.contains("dynamodb:UpdateItem"), "{policy}");
    let key = key_of(&migration.user(1)).to_text();
    let explained = migration.command(&["explain", "--key", &key], 0);
    let write = &explained["items"][0]["write"];
    assert_eq!((&write["request"], &write["update_expression"]), (&json!("TransactWriteItems"), &json!("")));
    let condition = write["condition_expression"].as_str().unwrap();
    assert!(condition.starts_with("attribute_exists(#") && condition.matches(" = ").count() == 2, "{condition}");
    let put = &write["derived"];
    assert_eq!(put["condition_expression"], "attribute_not_exists(#0)", "{explained:#}");
    assert_eq!(put["attributes"].as_array().unwrap().len(), 4, "{explained:#}");
    assert!(!put.to_string().contains("example.com"), "{put}");
    let shown = migration.command(&["explain", "--key", &key, "--show-values"], 0).to_string();
    assert!(shown.contains("EMAIL#u1@example.com"), "{shown}");
}

/// RUNBOOK: "one line for each derived item, with its source and whether DynamoDB
/// confirmed the put"
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_lists_each_put_once() {
    let migration = Migration::new(items()).await;
    let ran = migration.run(&[], 0);
    let applied = ran["totals"]["counts"]["applied"].as_u64().unwrap();
    let listed = migration.command(&["journal"], 0);
    let values = listed["values"].as_array().unwrap();
    assert_eq!(values.len() as u64, applied, "{listed:#}");
    for value in values {
        assert_eq!(value["write"], "put", "{value:#}");
        assert!(value["confirmed_at"].is_string() && value["source"]["sk"] == json!({"S": "PROFILE"}), "{value:#}");
    }
    // With `--limit`, the list is divided into pages, which together contain each record once.
    let mut after = "0".to_owned();
    let mut ids = Vec::new();
    loop {
        let page = migration.command(&["journal", "--limit", "2", "--after", &after], 0);
        let found = page["values"].as_array().unwrap();
        ids.extend(found.iter().map(|value| value["id"].clone()));
        match (page["more"] == true, found.last()) {
            (true, Some(last)) => after = last["id"].to_string(),
            (_, _) => break,
        }
    }
    assert_eq!(ids, values.iter().map(|value| value["id"].clone()).collect::<Vec<_>>());
    let text = tool(&migration.harness, &["journal", &migration.plan]).exits(0).stdout;
    assert_eq!(text.lines().count() as u64, applied, "{text}");
    assert!(text.lines().all(|line| line.contains("put for the item pk=") && line.contains(", confirmed 2")), "{text}");
}

/// Two kinds of sources are failures and get no derived item: sources whose derived item would itself be selected, and
/// sources whose derived key equals their own key.
#[tokio::test(flavor = "multi_thread")]
async fn derived_items_stay_outside_the_selection() {
    let harness = Harness::start();
    let table = harness.create_table().await;
    let itself = with(item("EMAIL#a", "LOOKUP"), "email", "a");
    let other = with(item("USER#b", "PROFILE"), "email", "b");
    harness.load(&table, [itself, other].into_iter()).await;
    let before = bytes(&harness.dump(&table).await);
    let rest = "[select]\nwhere = 'has(item.email)'\n[[change]]\nput = { key = { pk = '\"EMAIL#\" + item.email', sk = \
                '\"LOOKUP\"' }, attributes = { email = \"item.email\" } }\n";
    let plan = harness.plan("selected", &table, FAIL, rest);
    let plan = plan.to_str().unwrap();
    let run = ["run", plan, "--yes", "--accept", "no-pitr", "--output", "json"];
    let ran = tool(&harness, &run).exits(4).json();
    assert_eq!(ran["totals"]["counts"]["rejected"], 2, "{ran:#}");
    let listed = tool(&harness, &["failures", "list", plan, "--output", "json"]).exits(0).json().to_string();
    assert!(listed.contains("would include the derived item") && listed.contains("key of the item itself"), "{listed}");
    assert_eq!(bytes(&harness.dump(&table).await), before);
}

/// Forwards this number of requests of an operation, delays all later ones, and kills the tool.
fn kill_after(migration: &Migration, words: &[&str], operation: &'static str, requests: u64) {
    let seen = AtomicU64::new(0);
    let done = migration.harness.proxy().tally().operation(operation).ok;
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| match request.operation.as_str() {
        name if name == operation && seen.fetch_add(1, Ordering::Relaxed) >= requests => {
            Fault::Delay(Duration::from_secs(3))
        }
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(rule));
    let mut command = migration.harness.command();
    command.args(migration.args(words));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut process = command.spawn().unwrap();
    // A rollback can first wait up to a minute for transactions of the killed run.
    let deadline = Instant::now() + Duration::from_secs(180);
    while migration.harness.proxy().tally().operation(operation).ok < done + requests {
        assert!(
            Instant::now() < deadline && process.try_wait().unwrap().is_none(),
            "the command sent too few requests"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    migration.harness.proxy().set_faults(None);
}

/// Writes and deletes these items just before the first request of this operation arrives.
fn before_the_first(migration: &Migration, operation: &'static str, puts: Vec<Item>, deletes: Vec<Item>) {
    let endpoint = migration.harness.server_endpoint();
    let table = migration.table.clone();
    let is_done = Mutex::new(false);
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| {
        if request.operation == operation {
            let mut is_done = is_done.lock().unwrap();
            if !*is_done {
                change(&endpoint, &table, puts.clone(), deletes.clone());
                *is_done = true;
            }
        }
        Fault::Pass
    });
    migration.harness.proxy().set_faults(Some(rule));
}

/// Writes and deletes items. Returns after the last write.
fn change(endpoint: &str, table: &str, puts: Vec<Item>, deletes: Vec<Item>) {
    let (endpoint, table) = (endpoint.to_owned(), table.to_owned());
    let written = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = harness::client(&endpoint);
            for item in puts {
                client.put_item().table_name(&table).set_item(Some(harness::to_sdk(&item))).send().await.unwrap();
            }
            for item in deletes {
                let key = harness::to_sdk(key_of(&item).attributes());
                client.delete_item().table_name(&table).set_key(Some(key)).send().await.unwrap();
            }
        });
    });
    written.join().unwrap();
}
