//! A plan with `put` whose sources a file of keys lists. The scan of the selection reads no derived items, so a
//! verification finds those without a source by the keys in the journal.

use super::*;

const KEYS: &str =
    "[select]\nkeys = \"keys.csv\"\nwhere = 'item.sk == \"PROFILE\" && has(item.email)'\n[scan]\nsegments = 2\n";

impl Migration {
    /// Creates a migration of the users with these numbers.
    async fn of_listed_users(numbers: impl IntoIterator<Item = usize>) -> Migration {
        Migration::of_listed(items(), numbers).await
    }

    /// Creates a migration of the users with these numbers, in a table with these items.
    async fn of_listed(items: Vec<Item>, numbers: impl IntoIterator<Item = usize>) -> Migration {
        let change = PLAN.split_once("[[change]]").unwrap().1;
        let rest = format!("{KEYS}[[change]]{change}");
        let migration = Migration::with_plan(items, &rest).await;
        let keys: String = numbers.into_iter().map(|n| format!("USER#{n},PROFILE\n")).collect();
        std::fs::write(migration.harness.dir().join("keys.csv"), format!("pk,sk\n{keys}")).unwrap();
        migration
    }
}

/// Only the listed users get a derived item. A verification finds exactly the planted orphans, without a scan, and a
/// rollback removes what the run put.
#[tokio::test(flavor = "multi_thread")]
async fn listed_sources_get_derived_items_and_orphans_are_found() {
    let migration = Migration::of_listed_users((0..20).chain([45, 700])).await;
    let scans = || migration.harness.proxy().tally().operation("Scan").requests;
    let before = scans();
    let predicted = migration.command(&["run", "--dry-run"], 0);
    let ran = migration.run(&[], 0);
    let counts = &ran["totals"]["counts"];
    assert_eq!((&counts["applied"], &predicted["would_change"]), (&json!(20), &json!(20)), "{ran:#}");
    assert_eq!((&counts["gone"], &counts["nothing_to_do"]), (&json!(1), &json!(1)), "{ran:#}");
    assert_eq!(scans(), before, "a run with keys never scans the table");
    let put = lookup(&migration.user(3));
    assert!(migration.now().await.contains_key(&key_of(&put).to_text()));
    assert!(!migration.now().await.contains_key(&key_of(&lookup(&migration.user(25))).to_text()));
    let before = scans();
    let verified = migration.command(&["verify", "--all"], 0);
    let found = (&verified["matching"], &verified["not_selected"], &verified["derived_items_read"]);
    assert_eq!(found, (&json!(20), &json!(1), &json!(20)), "{verified:#}");

    // Three orphans: the user is gone, is not selected any more, or has another address.
    migration.delete(&migration.user(3)).await;
    let mut without = migration.user(4);
    without.remove("email");
    migration.load(without).await;
    migration.load(with(migration.user(5), "email", "u5-new@example.com")).await;
    // Somebody has changed the derived item of this user, or deleted it. Nothing shows that they were derived.
    migration.load(with(lookup(&migration.user(6)), "note", "by the application")).await;
    migration.delete(&migration.user(6)).await;
    migration.delete(&lookup(&migration.user(7))).await;
    migration.delete(&migration.user(7)).await;
    // The application has put a lookup item for a user that is gone.
    migration.load(with(item("EMAIL#none", "LOOKUP"), "user", "USER#3")).await;
    let verified = migration.command(&["verify", "--all"], 5);
    let found = (&verified["missing"], &verified["stale"], &verified["unexpected"]);
    assert_eq!(found, (&json!(1), &json!(0), &json!(3)), "{verified:#}");
    let examples = verified["examples"].as_array().unwrap();
    let orphans: Vec<&Json> = examples.iter().filter(|example| example["verdict"] == "unexpected").collect();
    for n in [3, 4, 5] {
        let key = json!({"S": format!("EMAIL#u{n}@example.com")});
        assert!(orphans.iter().any(|orphan| orphan["key"]["pk"] == key), "{n}: {orphans:?}");
    }
    assert!(orphans.iter().all(|orphan| orphan["why"].as_str().unwrap().contains("recorded source")), "{orphans:?}");
    assert_eq!(scans(), before, "a verification with keys never scans the table");
    let text = tool(&migration.harness, &["verify", "--all", &migration.plan]).exits(5).stdout;
    assert!(text.contains("read by the keys in the journal"), "{text}");
    assert!(text.contains("cannot prove anything about derived items whose source is gone"), "{text}");
    // A sample does not look for orphans, and says so.
    let text = tool(&migration.harness, &["verify", "--sample", "50", &migration.plan]).stdout;
    assert!(text.contains("a sample does not look for them"), "{text}");
    migration.command(&ROLLBACK, 5);
    let left: Vec<String> = migration.now().await.into_keys().filter(|key| key.contains("EMAIL#")).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A verification that is stopped in the journal continues there, and counts each derived item once. The journal has more
/// than one page of records, so the second session begins in the middle of the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_verification_continues_in_the_journal() {
    const USERS: usize = 250;
    let users = (0..USERS).map(|n| user(n, &format!("u{n}@example.com"))).collect();
    let migration = Migration::of_listed(users, 0..USERS).await;
    migration.run(&[], 0);
    let seen = AtomicU64::new(0);
    // The scan of the list reads each source and its derived item. Then each record of the journal causes two reads.
    let in_the_journal = 4 * USERS as u64 - 250;
    let rule: FaultRule = Arc::new(move |request: &RequestInfo| match request.operation.as_str() {
        "GetItem" if seen.fetch_add(1, Ordering::Relaxed) >= in_the_journal => Fault::Reply {
            status: 400,
            error: "AccessDeniedException".to_owned(),
            message: "denied".to_owned(),
            extra: serde_json::Map::new(),
        },
        _ => Fault::Pass,
    });
    migration.harness.proxy().set_faults(Some(rule));
    migration.command(&["verify", "--all"], 6);
    migration.harness.proxy().set_faults(None);
    let reads = || migration.harness.proxy().tally().operation("GetItem").requests;
    let before = reads();
    let verified = migration.command(&["verify", "--all"], 0);
    let found = (&verified["matching"], &verified["compared"], &verified["derived_items_read"]);
    assert_eq!(found, (&json!(USERS), &json!(USERS), &json!(USERS)), "{verified:#}");
    // From the first record of the journal, two reads of each record would be necessary.
    let again = reads() - before;
    assert!((1..2 * USERS as u64).contains(&again), "{again} reads");
}
