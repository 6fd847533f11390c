//! Tests unusable state files. The exit code is 7 if a command cannot use the existing file, and 3 if it cannot create
//! a file at the given path.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_of_another_plan_is_refused() {
    let (harness, table, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.proxy().reset_tally();
    let changed = harness.plan("plan", &table, "", "[[change]]\nmove = \"old\"\nto = \"newer\"\n");
    for args in [
        vec!["run", text(&changed), "--yes"],
        vec!["run", text(&changed), "--restart", "--yes"],
        vec!["failures", text(&changed), "retry", "--yes"],
        vec!["verify", text(&changed), "--all"],
        // The list includes dry runs, because the tool must refuse them as well.
        vec![
            "cutover",
            text(&changed),
            "--to",
            "dual-write",
            "--dry-run",
            "--dual-writes-since",
            "2026-01-01T00:00:00Z",
        ],
        vec!["cutover", text(&changed), "--to", "read-new", "--dry-run"],
        vec!["contract", text(&changed), "--dry-run"],
        vec!["rollback", text(&changed), "--dry-run"],
    ] {
        let refused = refused(&harness, 7, &args).in_one_paragraph();
        refused.says(&["belongs to another plan", "move old to new", "move old to newer", "--state"]);
    }
    // `status` only reads the file, so it succeeds. Its output says that the file belongs to a different plan.
    let status = tool(&harness, &["status", text(&changed)]).exits(0);
    assert!(status.stdout.contains("another plan"), "{}", status.stdout);
    assert_eq!(tool(&harness, &["status", text(&changed), "--output", "json"]).exits(0).json()["same_plan"], false);
    nothing_was_written(&harness);
    // Edits that do not change the plan's meaning are allowed.
    let same =
        harness.plan("plan", &table, "", &format!("# a note\n{MOVE}[capacity]\nwrite = 5\n[scan]\nactive = 2\n"));
    tool(&harness, &["run", text(&same), "--yes"]).exits(0);
}

/// Facts that the operator confirmed for one plan do not apply to a different plan. A different plan needs its own
/// state file.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_with_confirmed_facts_of_another_plan_is_refused() {
    let (harness, table, _) = setup(10, "").await;
    let other = harness.dir().join("other.db");
    let other = ["--state", text(&other)];
    let remove = |path: &str| {
        let rest = format!("[[change]]\nremove = \"{path}\"\n[cutover]\nsoak = \"1h\"\n");
        harness.plan("removes", &table, "", &rest)
    };
    // Until the operator has confirmed a fact, the plan can still be corrected.
    let plan = remove("lgeacy");
    let contract = ["contract", text(&plan), "--yes"];
    refused(&harness, 3, &contract).says(&["--readers-moved"]);
    remove("legacy");
    let stated = ["--readers-moved", "--old-writes-stopped"];
    refused(&harness, 3, &[&contract[..], &stated].concat()).says(&["the migration soaks until"]);
    remove("old");
    refused(&harness, 7, &contract).in_one_paragraph().says(&[
        "another plan",
        "remove legacy",
        "remove old",
        "--state",
    ]);
    refused(&harness, 3, &[&contract[..], &other].concat()).says(&["--readers-moved"]);
    assert!(harness.dump(&table).await.values().all(|item| item.contains_key("old")));

    let moves = |to: &str| {
        let cutover = "[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n";
        harness.plan("moves", &table, "", &format!("[[change]]\nmove = \"old\"\nto = \"{to}\"\n{cutover}"))
    };
    let plan = moves("nwe");
    let since = ["--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&harness, &[&["cutover", text(&plan), "--to", "dual-write", "--yes"], &since[..]].concat()).exits(0);
    moves("new");
    refused(&harness, 7, &["run", text(&plan), "--yes"]).in_one_paragraph().says(&["another plan", "--state"]);
    let other = harness.dir().join("another.db");
    let state = ["--state", text(&other)];
    tool(&harness, &[&["run", text(&plan), "--yes"], &state[..]].concat()).exits(0);
    tool(&harness, &[&["verify", text(&plan), "--all"], &state[..]].concat()).exits(0);
    // In this migration, no application has ever written `new`.
    let read_new = ["cutover", text(&plan), "--to", "read-new", "--yes", "--readers-moved"];
    refused(&harness, 3, &[&read_new[..], &state].concat()).says(&["--to dual-write"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_table_or_another_table_is_refused() {
    let (harness, table, plan) = setup(5, "").await;
    let arn = "arn:aws:dynamodb:eu-west-1:111122223333:table/t";
    let with_id = |id: &str| {
        let mut table = description(&table, arn, "ACTIVE");
        table["TableId"] = id.into();
        table
    };
    answer_describe_table(&harness, with_id("id-of-the-first"));
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.proxy().reset_tally();
    answer_describe_table(&harness, with_id("id-of-the-second"));
    let args = ["run", text(&plan), "--yes"];
    refused(&harness, 7, &args).in_one_paragraph().says(&[
        "deleted and recreated",
        "id-of-the-first",
        "id-of-the-second",
        "--state",
    ]);
    refused(&harness, 7, &["cutover", text(&plan), "--to", "read-new", "--dry-run"]).says(&["deleted and recreated"]);
    answer_describe_table(&harness, description(&table, "arn:aws:dynamodb:us-east-1:111122223333:table/t", "ACTIVE"));
    refused(&harness, 7, &args).in_one_paragraph().says(&["another table", arn, "us-east-1", "region"]);
    nothing_was_written(&harness);
}

/// Like DynamoDB, the embedded engine gives a recreated table a new ID.
/// RUNBOOK: "or the table was recreated".
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_actually_recreated_is_refused() {
    let (harness, table, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.client().delete_table().table_name(&table).send().await.unwrap();
    harness
        .local()
        .unwrap()
        .engine()
        .create_table(&backfill::internals::local::sample::create_table_request(&table))
        .unwrap();
    harness.proxy().reset_tally();
    refused(&harness, 7, &["run", text(&plan), "--again", "--yes"]).in_one_paragraph().says(&["deleted and recreated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_state_file_is_refused() {
    let (harness, _, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.proxy().reset_tally();
    let good = std::fs::read(harness.dir().join(".backfill/plan.db")).unwrap();
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0x5a);
    for (name, bytes, says) in [
        ("text.db", b"not a database at all, but text".to_vec(), "not a state file"),
        ("short.db", good[..good.len() / 2].to_vec(), "damaged"),
        ("damaged.db", damaged, "damaged"),
        ("empty.db", Vec::new(), "is empty"),
    ] {
        let path = harness.dir().join(name);
        std::fs::write(&path, &bytes).unwrap();
        for args in [vec!["run", text(&plan), "--yes"], vec!["failures", text(&plan), "retry", "--yes"]] {
            let args = [args, vec!["--state", name]].concat();
            refused(&harness, 7, &args).in_one_paragraph().says(&[
                name,
                says,
                "Restore the file from a copy",
                "--state",
            ]);
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name} is left as it is");
        }
        let ran = tool(&harness, &["status", text(&plan), "--state", name]);
        assert!(matches!(ran.code, 0 | 7), "{ran:?}");
    }
    nothing_was_written(&harness);
}

/// RUNBOOK: "the message names its pid and host".
#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_another_process_holds_is_refused() {
    let (harness, _, plan) = setup(60, SLOWLY).await;
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes", "--output", "json"]);
    let first = RunningTool::start(command);
    while harness.proxy().tally().operation("UpdateItem").ok < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = first.pid().to_string();
    for args in [
        vec!["run", text(&plan), "--yes"],
        vec!["run", text(&plan), "--restart", "--yes"],
        vec!["failures", text(&plan), "retry", "--yes"],
    ] {
        let refused = refused(&harness, 7, &args).in_one_paragraph();
        refused.says(&["is in use by process", &pid, "on host", "`backfill status` works", "stop it"]);
    }
    // `status` works while a process owns the file, and its output identifies this process.
    let status = tool(&harness, &["status", text(&plan)]).exits(0);
    assert!(status.stdout.contains(&format!("running: process {pid}")), "{}", status.stdout);
    let json = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(json["state"]["holder"]["pid"], first.pid());
    tool(&harness, &["failures", text(&plan), "list"]).exits(0);
    first.signal(Signal::SIGTERM);
    tokio::task::block_in_place(|| first.end()).exits(130);
}

/// Root can create files almost anywhere, so this test uses paths where even root cannot create a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_path_that_cannot_hold_a_file_is_refused() {
    let (harness, _, plan) = setup(5, "").await;
    std::fs::write(harness.dir().join("file"), "x").unwrap();
    std::fs::create_dir(harness.dir().join("folder")).unwrap();
    std::os::unix::fs::symlink("gone", harness.dir().join("link.db")).unwrap();
    for (state, says) in [
        ("file/state.db", "ot a directory"),
        ("/proc/nowhere/state.db", "/proc/nowhere"),
        ("folder", "is a directory"),
        ("/dev/null", "not a regular file"),
        ("link.db", "symbolic link"),
        ("..", "directory"),
    ] {
        let args = ["run", text(&plan), "--yes", "--state", state];
        refused(&harness, 3, &args).in_one_paragraph().says(&[says, "--state"]);
    }
    // A dry run creates no file. If a dry run cannot read an existing file, it refuses.
    let since = ["--dual-writes-since", "2026-01-01T00:00:00Z"];
    for state in ["file/state.db", "folder", "link.db"] {
        let dry = ["cutover", text(&plan), "--to", "dual-write", "--dry-run", "--state", state];
        refused(&harness, 3, &[&dry[..], &since].concat()).says(&[state]);
    }
    nothing_was_written(&harness);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_need_a_state_file_refuse_without_one() {
    let (harness, _, plan) = setup(5, "").await;
    for args in [vec!["status", text(&plan)], vec!["failures", text(&plan), "list"]] {
        refused(&harness, 3, &args).in_one_paragraph().says(&[
            "there is no state file",
            "no run of this plan has begun",
            "--state",
        ]);
    }
    refused(&harness, 3, &["failures", text(&plan), "retry"]).says(&["nothing has failed", "Next: backfill cutover "]);
    nothing_was_written(&harness);
}

/// Makes the first row of a table in the state file unreadable.
fn damage(harness: &Harness, migration: &str, table: &str, column: &str) {
    let state = harness.dir().join(format!(".backfill/{migration}.db"));
    let connection = rusqlite::Connection::open(state).unwrap();
    // Drop the triggers first: this UPDATE would fire them, but real damage does not.
    let triggers: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1")
        .unwrap()
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    let sql = format!("UPDATE {table} SET {column} = '[' WHERE id = (SELECT min(id) FROM {table})");
    assert_eq!(connection.execute(&sql, []).unwrap(), 1);
    triggers.iter().for_each(|(_, sql)| connection.execute_batch(sql).unwrap());
}

/// RUNBOOK: "A row that cannot be read is listed as unreadable and does not hide other rows"
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_row_does_not_hide_other_rows() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let value = |text: &str| backfill::internals::item::Value::S(text.into());
    let of = |n: usize| match n {
        0..3 => item(&format!("P#{n}"), "x", [("old", value("a")), ("new", value("b"))]),
        3..6 => item(&format!("P#{n}"), "x", [("old", value(&"x".repeat(250_000)))]),
        _ => item(&format!("P#{n}"), "x", [("old", value("a")), ("legacy", value("c"))]),
    };
    harness.load(&table, (0..9).map(of)).await;
    let plan = harness.plan("lists", &table, "", MOVE);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(4);
    let removes = harness.plan("removes", &table, "strategy = \"in-place\"", "[[change]]\nremove = \"legacy\"\n");
    tool(&harness, &["run", text(&removes), "--yes"]).exits(0);

    damage(&harness, "lists", "failures", "key");
    damage(&harness, "lists", "diverged", "paths");
    damage(&harness, "removes", "pre_images", "path");
    let listed = tool(&harness, &["failures", text(&plan), "list"]).exits(0).stdout;
    let lines = |of: &str| listed.lines().filter(|line| line.starts_with(of)).count();
    assert_eq!((lines("rejected"), lines("diverged "), lines("unreadable")), (2, 2, 2), "{listed}");
    assert!(listed.contains("3 open failures, 3 diverged items"), "{listed}");
    let json = tool(&harness, &["failures", text(&plan), "list", "--output", "json"]).exits(0).json();
    for (list, member) in [("failures", "reason"), ("diverged", "paths")] {
        let rows = json[list].as_array().unwrap();
        let unreadable = rows.iter().filter(|row| row["readable"] == false && row["why"].is_string()).count();
        let others = rows.iter().filter(|row| row["key"].is_object() && !row[member].is_null()).count();
        assert_eq!((rows.len(), unreadable, others), (3, 1, 2), "{json:#}");
    }
    let journal = tool(&harness, &["journal", text(&removes)]).exits(0).stdout;
    let readable = journal.lines().filter(|line| line.contains("legacy")).count();
    assert_eq!((journal.lines().count(), readable, journal.matches("(unreadable: ").count()), (3, 2, 1), "{journal}");
    let page = tool(&harness, &["journal", text(&removes), "--limit", "1"]).exits(0).stdout;
    assert!(
        page.contains("cannot be read") && page.contains("There are more values. To list them, use --after 1"),
        "{page}"
    );

    // Commands that use these lists still process all readable rows.
    let retried = tool(&harness, &["failures", text(&plan), "retry", "--yes", "--output", "json"]).exits(4).json();
    assert_eq!(retried["counts"]["scanned"], 2, "{retried:#}");
    tool(&harness, &["verify", text(&plan), "--all"]).exits(5);
}
