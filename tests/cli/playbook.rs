//! Tests the playbook's commands from the operator's point of view: the output of `status` at each step, and the remedy
//! in each refusal.

use super::*;

/// A cutover section with waits that are short enough for a test.
const CUTOVER: &str = "max_cache_seconds = 1\nsoak = \"0s\"\n";

/// Creates a test harness with a table and a plan. The plan's flag is an item in another table.
async fn flagged(count: usize, more: &str) -> (Harness, String, PathBuf) {
    let (harness, table, _) = setup(count, "").await;
    let flags = harness.create_table().await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\n{CUTOVER}");
    let plan = harness.plan("life", &table, "", &format!("{MOVE}{flag}{more}"));
    (harness, table, plan)
}

/// Returns the migration's phase and the next command, as `status` reports them.
fn phase_and_next(harness: &Harness, plan: &std::path::Path) -> (String, String) {
    let status = tool(harness, &["status", text(plan), "--output", "json"]).exits(0).json();
    let field = |name: &str| status["playbook"][name].as_str().unwrap_or("nothing").to_owned();
    (field("phase"), field("next"))
}

/// RUNBOOK: "A command out of order changes nothing, exits with 3 and ends with `Next:` and the command to run."
/// RUNBOOK: "`contract` refuses until the plan's `soak` is over, and prints when the soak ends."
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_migration_with_a_flag() {
    let (harness, table, plan) = flagged(30, "").await;
    let plan_text = text(&plan).to_owned();
    let run_command = |words: &[&str]| tool(&harness, &[&[words[0], &plan_text], &words[1..]].concat()).exits(0);
    let refused_step = |words: &[&str], why: &str, next: &str| {
        let before = harness.proxy().tally().operation("UpdateItem").requests;
        let next = format!("Next: backfill {}", next.replace("PLAN", &plan_text));
        let args = [&[words[0], &plan_text], &words[1..]].concat();
        assert!(refused(&harness, 3, &args).says(&[why, &next]).text.trim_end().ends_with(&next), "{words:?}");
        assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, before, "{words:?} wrote");
    };
    let assert_status = |phase: &str, next: &str| {
        let next =
            if next.is_empty() { "nothing".into() } else { format!("backfill {}", next.replace("PLAN", &plan_text)) };
        assert_eq!(phase_and_next(&harness, &plan), (phase.to_owned(), next));
    };
    refused_step(&["contract", "--yes"], "the migration has not begun", "cutover PLAN --to dual-write");
    run_command(&["cutover", "--to", "dual-write", "--yes"]);
    assert_status("expand", "run PLAN");
    refused_step(&["verify", "--all"], "expand has not begun", "run PLAN");
    run_command(&["run", "--yes"]);
    assert_status("verify", "verify PLAN --all");
    refused_step(&["cutover", "--to", "read-new", "--yes"], "nothing has been verified", "verify PLAN --all");
    run_command(&["verify", "--all"]);
    assert_status("cutover", "cutover PLAN --to read-new --percent 10");
    run_command(&["cutover", "--to", "read-new", "--percent", "10", "--yes"]);
    refused_step(
        &["cutover", "--to", "write-new", "--yes"],
        "still read the old attribute",
        "cutover PLAN --to read-new",
    );
    run_command(&["cutover", "--to", "read-new", "--yes"]);
    refused_step(&["run", "--again", "--yes"], "readers read the new attribute", "cutover PLAN --to write-new");
    run_command(&["cutover", "--back"]);
    run_command(&["cutover", "--to", "read-new", "--yes"]);
    assert_status("cutover", "cutover PLAN --to write-new");
    refused_step(&["contract", "--yes"], "the old attribute is still written", "cutover PLAN --to write-new");
    run_command(&["cutover", "--to", "write-new", "--yes"]);
    let said = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, said.replace("soak = \"0s\"", "soak = \"1h\"")).unwrap();
    let wait = "Z: backfill contract ";
    refused(&harness, 3, &["contract", &plan_text, "--yes"]).says(&[
        "the migration soaks until",
        "Next, not before 2",
        wait,
    ]);
    let human = tool(&harness, &["status", &plan_text]).exits(0).stdout;
    for part in ["phase: soak", "flag: version ", "write = new, read = new at 100 %", "next, not before "] {
        assert!(human.contains(part), "{part}: {human}");
    }
    std::fs::write(&plan, said).unwrap();
    run_command(&["contract", "--yes"]);
    assert_status("contracted", "");
    refused_step(&["rollback", "--yes"], "the old attribute is gone", "status PLAN");
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("old") && item.contains_key("new")));
}

/// RUNBOOK: "It needs no gate, no lock and no state file, and it works while other commands run"
#[tokio::test(flavor = "multi_thread")]
async fn back_works_while_a_run_is_active() {
    let (harness, table, plan) = flagged(60, "[scan]\nsegments = 2\npage_limit = 5\n[capacity]\nwrite = 6\n").await;
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes"]);
    let running = RunningTool::start(command);
    while harness.proxy().tally().operation("UpdateItem").ok < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused(&harness, 7, &["run", text(&plan), "--yes"]);
    // To refuse this command, the tool does not need to lock the state file.
    refused(&harness, 3, &["verify", text(&plan), "--all"]).says(&["expand is not complete", "Next: backfill run"]);
    let back = tool(&harness, &["cutover", text(&plan), "--back", "--output", "json"]).exits(0).json();
    assert_eq!(back["flag"]["write"], "old", "{back}");
    // The run continues even if the flag has changed, because readers still use old values.
    tokio::task::block_in_place(|| running.end()).exits(0);
    assert!(harness.dump(&table).await.values().all(|item| item.get("old") == item.get("new")));
    let refused_step = refused(&harness, 3, &["cutover", text(&plan), "--to", "read-new", "--yes"]);
    refused_step.says(&["new values are not written yet", "--to dual-write"]);
}

/// RUNBOOK: "If the flag changed meanwhile, it waits the whole time."
#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_the_flag_has_its_own_wait() {
    let (harness, table, plan) = flagged(3, "").await;
    let dual = ["cutover", text(&plan), "--to", "dual-write", "--yes"];
    let waits = || tool(&harness, &dual).exits(0).messages().contains("waiting  ");
    assert!(waits() && !waits(), "the tool waits once");
    // Another host deleted and recreated the flag item. Its version, and the fields that applications read, are
    // unchanged. The tool must still notice the change.
    let said = std::fs::read_to_string(&plan).unwrap();
    let flags = said.lines().find_map(|line| line.strip_prefix("table = ")).unwrap().trim_matches('"').to_owned();
    assert_ne!(flags, table);
    let mut flag = harness.dump(&flags).await.into_values().next().unwrap();
    let now = jiff::Timestamp::now().to_string();
    for name in ["changed_at", "dual_since"] {
        assert!(flag.insert(name.to_owned(), backfill::internals::item::Value::S(now.clone())).is_some());
    }
    harness.load(&flags, std::iter::once(flag)).await;
    assert!(waits() && !waits(), "the tool also waits once for the other change");
}

/// RUNBOOK: "the flag's table is missing or denied"
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_flag_table_and_facts_for_a_flagged_plan_are_refused() {
    let (harness, table, plan) = flagged(3, "").await;
    let nowhere = format!("{MOVE}[cutover]\ntable = \"no-such-flags\"\n{CUTOVER}");
    let lost = harness.plan("lost", &table, "", &nowhere);
    let refusal = refused(&harness, 3, &["cutover", text(&lost), "--to", "dual-write", "--yes"]);
    refusal.says(&["no-such-flags"]);
    refused(&harness, 3, &["cutover", text(&plan), "--to", "dual-write", "--yes", "--readers-moved"])
        .says(&["`--readers-moved` is for plans without a flag"]);
    assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, 0);
    // No terminal is available to confirm.
    refused(&harness, 3, &["cutover", text(&plan), "--to", "dual-write"]).in_one_paragraph().says(&["--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_migration_without_a_flag() {
    let (harness, table, _) = setup(10, "").await;
    let plan = harness.plan("stated", &table, "", &format!("{MOVE}[cutover]\n{CUTOVER}"));
    let run_command = |words: &[&str]| tool(&harness, &[&[words[0], text(&plan)], &words[1..]].concat());
    refused(&harness, 3, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).says(&["--dual-writes-since TIME"]);
    run_command(&["cutover", "--to", "dual-write", "--yes", "--dual-writes-since", "2026-01-01T00:00:00Z"]).exits(0);
    run_command(&["run", "--yes"]).exits(0);
    run_command(&["verify", "--all"]).exits(0);
    let next = format!("backfill cutover {} --to read-new --readers-moved", text(&plan));
    assert_eq!(phase_and_next(&harness, &plan), ("cutover".into(), next));
    refused(&harness, 3, &["cutover", text(&plan), "--to", "read-new", "--yes"]).says(&["--readers-moved"]);
    run_command(&["cutover", "--to", "read-new", "--yes", "--readers-moved"]).exits(0);
    run_command(&["cutover", "--to", "write-new", "--yes", "--old-writes-stopped"]).exits(0);
    run_command(&["contract", "--yes"]).exits(0);
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("old") && item.contains_key("new")));
}

/// If the flag changes during a verification, the tool does not record the verification, and exits with 6.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_during_a_flag_change_is_not_recorded() {
    let (harness, table, _) = setup(40, "").await;
    let flags = harness.create_table().await;
    let flag = format!(
        "[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\nmax_cache_seconds = 8\nsoak = \"0s\"\n"
    );
    let plan = harness.plan("life", &table, "", &format!("{MOVE}[scan]\nsegments = 1\npage_limit = 40\n{flag}"));
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.proxy().set_faults(Some(Arc::new(|request: &RequestInfo| match request.operation.as_str() {
        "Scan" => Fault::Delay(Duration::from_millis(700)),
        _ => Fault::Pass,
    })));
    let mut command = harness.command();
    command.args(["verify", text(&plan), "--all"]);
    harness.proxy().reset_tally();
    let running = RunningTool::start(command);
    tokio::time::sleep(Duration::from_millis(500)).await;
    tool(&harness, &["cutover", text(&plan), "--back"]).exits(0);
    let ran = tokio::task::block_in_place(|| running.end());
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    assert!(status["playbook"]["full_verification"].is_null(), "the flag must move during the verification");
    assert_eq!(ran.code, 6, "the verification is not recorded: {}{}", ran.stdout, ran.messages());
}

/// Before any work has begun, the operator can add a flag to the plan, remove it, or change its location. This is
/// possible even after findings have been accepted.
#[tokio::test(flavor = "multi_thread")]
async fn before_any_work_a_flag_can_be_added_moved_and_removed() {
    let (harness, table, _) = setup(10, "").await;
    let flags = harness.create_table().await;
    let without = format!("{MOVE}[cutover]\n{CUTOVER}");
    let at = |key: &str| format!("{without}table = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"{key}\" }}\n");
    let plan = harness.plan("late", &table, "", &without);
    let name = |rest: &str| drop(harness.plan("late", &table, "", rest));
    let dual_write = ["cutover", text(&plan), "--to", "dual-write"];
    refused(&harness, 3, &[&dual_write[..], &["--yes"]].concat()).says(&["--dual-writes-since TIME"]);
    for key in ["mispelt", "late"] {
        name(&at(key));
        // No terminal is available to confirm.
        refused(&harness, 3, &dual_write);
    }
    name(&without);
    refused(&harness, 3, &["run", text(&plan)]);
    name(&at("late"));
    tool(&harness, &[&dual_write[..], &["--yes"]].concat()).exits(0);
    // From here on, applications obey the flag. So the tool refuses a plan without the flag, or with a different
    // location for it.
    name(&at("another"));
    refused(&harness, 3, &["run", text(&plan), "--yes"]).says(&["has begun with the flag in", "late", "another"]);
    name(&without);
    refused(&harness, 3, &["run", text(&plan), "--yes"]).says(&["is of another kind", "restore the original plan"]);
    name(&at("late"));
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);

    // In a second migration without a flag, the operator has confirmed facts with options. The operator cannot add a
    // flag to this migration later.
    let plan = harness.plan("stated", &table, "", &without);
    let since = ["--yes", "--dual-writes-since", "2026-01-01T00:00:00Z"];
    tool(&harness, &[&["cutover", text(&plan), "--to", "dual-write"], &since[..]].concat()).exits(0);
    harness.plan("stated", &table, "", &at("stated"));
    refused(&harness, 3, &["run", text(&plan), "--yes"]).says(&["is of another kind"]);
}

/// If a signal arrives after a verification was recorded, the output must not say that the verification was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_verification_is_not_reported_as_lost() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", secret(0))]))).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\nmax_cache_seconds = 6\n");
    let plan = harness.plan("told", &table, "", &format!("{MOVE}[scan]\nsegments = 1\n{flag}"));
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    harness.proxy().reset_tally();
    // The flag's table is slow. After the tool has compared the last page, it reads the flag a second time.
    inject_fault(&harness, |request| match request.operation.as_str() {
        "GetItem" => Fault::Delay(Duration::from_millis(1_200)),
        _ => Fault::Pass,
    });
    let mut command = harness.command();
    command.args(["verify", text(&plan), "--all"]);
    let running = RunningTool::start(command);
    while harness.proxy().tally().operation("Scan").ok == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.signal(Signal::SIGTERM);
    let ran = tokio::task::block_in_place(|| running.end());
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    let recorded = !status["playbook"]["full_verification"].is_null();
    assert!(recorded, "the signal came too early: {}", ran.stderr);
    assert!(ran.code == 0 && ran.stdout.contains("Parity holds"), "{} {} {}", ran.code, ran.stdout, ran.stderr);
}
