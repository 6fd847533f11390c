//! Tests the advice of the commands: the next command, the time before which it is refused, and what a question says.

use std::path::Path;
use std::sync::Mutex;

use backfill::{Answer, Migration, Notice, Observer, Options, Question, RunOptions, StepOptions};

use super::*;

/// Creates a harness with a table, and a plan whose flag is an item of another table.
async fn flagged(count: usize, soak: &str) -> (Harness, PathBuf) {
    let (harness, table, _) = setup(count, "").await;
    let flags = harness.create_flag_table().await;
    let cutover = format!("[cutover]\ntable = \"{flags}\"\nmax_cache_seconds = 1\nsoak = \"{soak}\"\n");
    let plan = harness.plan("life", &table, "", &format!("{MOVE}{cutover}"));
    (harness, plan)
}

/// Runs commands that must succeed. `PLAN` stands for the plan's path.
fn all(harness: &Harness, plan: &Path, lines: &[&str]) {
    for line in lines {
        tool(harness, &words(line, plan)).exits(0);
    }
}

fn words<'a>(line: &'a str, plan: &'a Path) -> Vec<&'a str> {
    line.split(' ').map(|word| if word == "PLAN" { text(plan) } else { word }).collect()
}

const TO_SOAK: [&str; 5] = [
    "cutover PLAN --to dual-write --yes",
    "run PLAN --yes",
    "verify PLAN --all",
    "cutover PLAN --to read-new --yes",
    "cutover PLAN --to write-new --yes",
];

/// RUNBOOK: "the line begins with `Next, not before` and the time"
#[tokio::test(flavor = "multi_thread")]
async fn a_contract_during_the_soak_says_when_it_is_possible() {
    let (harness, plan) = flagged(5, "1h").await;
    all(&harness, &plan, &TO_SOAK);
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    let until = status["not_before"].as_str().unwrap();
    let contract = ["contract", text(&plan), "--yes"];
    let document = tool(&harness, &[&contract[..], &["--output", "json"]].concat()).exits(3).json();
    assert_eq!((&document["not_before"], &document["next"]), (&json!(until), &status["next"]), "{document:#}");
    let error = &document["error"];
    assert_eq!(error["remedy"], "Run the command in `next` after the time in `not_before`.", "{error:#}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(until) && !message.contains("Next"), "{message}");
    let line = format!("Next, not before {until}: backfill contract ");
    assert!(tool(&harness, &contract).exits(3).messages().contains(&line));
    // `check` and the dry run of `contract` know the stage too.
    for args in [vec!["check", text(&plan)], vec!["contract", text(&plan), "--dry-run"]] {
        let ran = tool(&harness, &args).exits(0);
        assert!(ran.stdout.contains(&line), "{}", ran.stdout);
        let document = tool(&harness, &[&args[..], &["--output", "json"]].concat()).exits(0).json();
        assert_eq!((&document["not_before"], &document["next"]), (&json!(until), &status["next"]), "{document:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_the_dry_run_of_contract_suggest_the_next_step_of_the_migration() {
    let (harness, plan) = flagged(5, "0s").await;
    all(&harness, &plan, &TO_SOAK[..3]);
    let next = format!("Next: backfill cutover {} --to read-new --percent 10", text(&plan));
    for args in [vec!["check", text(&plan)], vec!["contract", text(&plan), "--dry-run"]] {
        let ran = tool(&harness, &args).exits(0);
        assert!(ran.stdout.trim_end().ends_with(&next), "{}", ran.stdout);
    }
    all(&harness, &plan, &TO_SOAK[3..]);
    let over = tool(&harness, &["contract", text(&plan), "--yes"]).exits(0).stdout;
    assert!(over.contains("The migration is over") && over.contains("backfill status "), "{over}");
    let checked = tool(&harness, &["check", text(&plan)]).exits(0).stdout;
    assert!(checked.contains("Next: nothing.") && !checked.contains("--dry-run"), "{checked}");
}

/// A run without dual writes misses items, so dual writes are the first step of every kind of advice.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_migration_begins_with_dual_writes() {
    let (harness, plan) = flagged(5, "0s").await;
    let next = format!("Next: backfill cutover {} --to dual-write", text(&plan));
    for line in ["verify PLAN --all", "contract PLAN --yes", "cutover PLAN --to read-new --yes", "failures retry PLAN"]
    {
        let refusal = refused(&harness, 3, &words(line, &plan));
        assert!(refusal.says(&["not begun"]).text.trim_end().ends_with(&next), "{line}");
    }
    let ran = tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
    assert!(ran.stdout.contains("There is nothing to roll back"), "{}", ran.stdout);
    refused(&harness, 3, &["verify", text(&plan), "--all"]).says(&["not begun", &next]);
    nothing_was_written(&harness);
    assert!(!harness.dir().join(".backfill").exists(), "no file was created");

    let stated = harness.plan("stated", "t", "", MOVE);
    let stated_next = format!("Next: backfill cutover {} --to dual-write --dual-writes-since TIME", text(&stated));
    let table = std::fs::read_to_string(&plan).unwrap();
    let table = table.lines().filter(|line| line.starts_with("name = ")).nth(1).unwrap();
    let said = std::fs::read_to_string(&stated).unwrap();
    std::fs::write(&stated, said.replace("name = \"t\"", table)).unwrap();
    refused(&harness, 3, &["verify", text(&stated), "--all"]).says(&["not begun", &stated_next]);
}

/// RUNBOOK: "Its header and its question then say that dual writes are off, and that the pass must be repeated."
#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_dual_writes_says_that_it_must_be_repeated() {
    let (harness, plan) = flagged(5, "0s").await;
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes", "-q"]);
    let ran = tool::run(command).exits(0);
    for part in ["warning  dual writes are off", "misses items", "must then be repeated", "--to dual-write"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let report = &ran.stdout;
    assert!(report.contains("Dual writes are off, so this pass must be repeated"), "{report}");
    assert!(!report.contains("complete only if"), "{report}");
    assert!(report.trim_end().ends_with("--to dual-write"), "{report}");
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    let again = tool(&harness, &["run", text(&plan), "--again", "--yes"]).exits(0);
    assert!(!again.stderr.contains("dual writes are off") && again.stdout.contains("complete only if"), "{again:?}");
}

/// After a rollback, the suggested command names a new state file, and begins with dual writes.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_rollback_the_next_migration_has_a_new_state_file() {
    let (harness, plan) = flagged(5, "0s").await;
    all(&harness, &plan, &TO_SOAK[..2]);
    tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
    let next = format!("backfill cutover {} --to dual-write --state .backfill/life-2.db", text(&plan));
    let document = tool(&harness, &["run", text(&plan), "--yes", "--output", "json"]).exits(3).json();
    assert_eq!(document["next"], next.as_str(), "{document:#}");
    let words: Vec<&str> = next.split(' ').skip(1).collect();
    tool(&harness, &[&words[..], &["--yes"]].concat()).exits(0);
    tool(&harness, &["run", text(&plan), "--yes", "--state", ".backfill/life-2.db"]).exits(0);
    let document = tool(&harness, &["run", text(&plan), "--yes", "--output", "json"]).exits(3).json();
    assert!(document["next"].as_str().unwrap().ends_with("--state .backfill/life-3.db"), "{document:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_before_dual_writes_began_again_does_not_count() {
    let (harness, plan) = flagged(5, "0s").await;
    all(&harness, &plan, &TO_SOAK[..3]);
    let back = tool(&harness, &["cutover", text(&plan), "--back"]).exits(0).stdout;
    assert!(back.contains("this was the last step back") && back.contains("Next: backfill status "), "{back}");
    all(&harness, &plan, &TO_SOAK[..1]);
    refused(&harness, 3, &["cutover", text(&plan), "--to", "read-new", "--yes"])
        .says(&["nothing has been verified since dual writes began again", "Next: backfill verify "]);
}

/// README: "readers read the old attribute again, and writers write both"
#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_says_what_a_further_step_back_does() {
    let (harness, plan) = flagged(5, "0s").await;
    all(&harness, &plan, &TO_SOAK);
    for says in ["A further `cutover --back` ends dual writes", "this was the last step back"] {
        let back = tool(&harness, &["cutover", text(&plan), "--back"]).exits(0).stdout;
        assert!(
            back.contains(says) && back.trim_end().ends_with(&format!("backfill status {}", text(&plan))),
            "{back}"
        );
    }
}

/// Before a flag change, the tool waits until no application obeys an earlier state of the flag. It says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_before_a_change_of_the_flag_gives_its_reason() {
    let (harness, plan) = flagged(1, "0s").await;
    let said = tool(&harness, &words(TO_SOAK[0], &plan)).exits(0).messages();
    let before = said.find("before the flag changes: until then, applications may still use an earlier state").unwrap();
    let change = said.find("flag     version 2").unwrap();
    let after = said.find("for application caches of the flag to expire").unwrap();
    assert!(before < change && change < after, "{said}");
}

/// `status` of another plan's state file must not suggest a command that this plan refuses.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_another_plan_says_so_first() {
    let (harness, plan) = flagged(5, "0s").await;
    all(&harness, &plan, &TO_SOAK[..2]);
    let said = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(harness.dir().join("other.toml"), said.replace("\"new\"", "\"newer\"")).unwrap();
    let args = ["status", "other.toml", "--state", ".backfill/life.db"];
    let human = tool(&harness, &args).exits(0).stdout;
    assert!(human.starts_with("warning: this state belongs to another plan"), "{human}");
    assert!(human.contains("next: nothing with this plan") && !human.contains("next: backfill"), "{human}");
    let document = tool(&harness, &[&args[..], &["--output", "json"]].concat()).exits(0).json();
    assert!(document["next"].is_null() && document["playbook"]["next"].is_null(), "{document:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_failures_leads_to_the_next_command() {
    let (harness, _, plan) = setup(5, "").await;
    let since = "cutover PLAN --to dual-write --dual-writes-since 2026-01-01T00:00:00Z --yes";
    all(&harness, &plan, &[since]);
    answer(&harness, "UpdateItem", 400, "ValidationException", "Item size has exceeded the maximum allowed size");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(4);
    harness.proxy().set_faults(None);
    let list = tool(&harness, &["failures", "list", text(&plan)]).exits(0).stdout;
    let explain = format!("backfill explain {} --key KEY --show-values", text(&plan));
    let retry = format!("backfill failures retry {}", text(&plan));
    assert!(list.contains(&explain) && list.trim_end().ends_with(&retry), "{list}");
    let document = tool(&harness, &["failures", "list", text(&plan), "--output", "json"]).exits(0).json();
    assert_eq!(document["next"], retry.as_str(), "{document:#}");

    // The plan without `list`, and an option that another command has.
    let usage = tool(&harness, &["failures", text(&plan), "--output", "json"]).exits(2);
    assert!(usage.messages().contains(&format!("backfill failures list {}", text(&plan))), "{usage:?}");
    assert!(usage.json()["error"]["message"].as_str().unwrap().contains("failures list"), "{usage:?}");
    let values = tool(&harness, &["failures", "list", text(&plan), "--show-values"]).exits(2).messages();
    assert!(values.contains("backfill explain PLAN --key KEY --show-values"), "{values}");

    // A retry writes, so it asks first.
    harness.proxy().reset_tally();
    let refusal = refused(&harness, 3, &["failures", "retry", text(&plan)]);
    refusal.in_one_paragraph().says(&["--yes"]);
    nothing_was_written(&harness);
    tool(&harness, &["failures", "retry", text(&plan), "--yes"]).exits(0);
    assert_eq!(harness.proxy().tally().operation("UpdateItem").ok, 5);
    let list = tool(&harness, &["failures", "list", text(&plan)]).exits(0).stdout;
    assert!(!list.contains("explain") && list.contains("Next: backfill verify "), "{list}");
}

/// A key without its name is completed with the name of the table's key.
#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_how_to_write_a_key() {
    let harness = Harness::embedded();
    let table = harness.create_flag_table().await;
    let plan = harness.plan("one", &table, "", MOVE);
    refused(&harness, 2, &["explain", text(&plan), "--key", "o-00005"]).says(&["Write --key 'id=o-00005'"]);
    let (harness, _, plan) = setup(1, "").await;
    refused(&harness, 2, &["explain", text(&plan), "--key", "o-00005"]).says(&["Write --key 'pk=TEXT sk=TEXT'"]);
}

/// Once the flag exists, nobody can change its cache time. So the advice to choose another time is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn advice_that_comes_too_late_is_not_repeated() {
    let (harness, plan) = flagged(5, "0s").await;
    let quiet = |line: &str| {
        let mut command = harness.command();
        command.args(words(line, &plan)).arg("-q");
        tool::run(command).exits(0).stderr
    };
    let first = quiet("cutover PLAN --to dual-write --yes");
    let finding: Vec<&str> = first.lines().filter(|line| line.contains("small-cache")).collect();
    assert_eq!(finding.len(), 1, "{first}");
    assert!(!first.contains("why:") && !first.contains("do:"), "with -q, a finding has one line: {first}");
    assert!(!quiet("run PLAN --yes").contains("small-cache"));
    let checked = tool(&harness, &["check", text(&plan)]).exits(0).stdout;
    assert!(
        checked.contains("this value stays for the whole migration") && !checked.contains("Choose 30"),
        "{checked}"
    );
}

/// An operator who agrees to every question. Records the questions.
#[derive(Default)]
struct Recorder {
    questions: Mutex<Vec<String>>,
}

impl Observer for Recorder {
    fn notice(&self, _: &Notice<'_>) {}

    fn confirm(&self, question: &Question<'_>) -> Answer {
        self.questions.lock().unwrap().push(question.to_string());
        Answer::Yes
    }
}

/// RUNBOOK: "The question contains the table, the state file, and how the flag moves."
#[tokio::test(flavor = "multi_thread")]
async fn the_questions_say_what_changes() {
    let (harness, plan) = flagged(5, "0s").await;
    let recorder = Arc::new(Recorder::default());
    let state = harness.dir().join("state.db");
    let open = || {
        let mut options = Options::default();
        options.state = Some(state.clone());
        options.observer = Arc::clone(&recorder) as Arc<dyn Observer>;
        Migration::open(&plan, options).unwrap()
    };
    let last = || recorder.questions.lock().unwrap().last().cloned().unwrap();
    answer(&harness, "UpdateItem", 400, "ValidationException", "Item size has exceeded the maximum allowed size");
    open().run(&RunOptions::default()).await.unwrap();
    assert!(last().starts_with("Dual writes are off, so this pass must be repeated"), "{}", last());
    harness.proxy().set_faults(None);
    open().retry_failures(&[]).await.unwrap();
    let retry = last();
    for part in ["5 failed items", "arn:aws:dynamodb:", "account ", text(&state), "move old to new"] {
        assert!(retry.contains(part), "{part}: {retry}");
    }
    open().cutover(backfill::CutoverStep::DualWrite, &StepOptions::default()).await.unwrap();
    open().rollback(&StepOptions::default()).await.unwrap();
    let rollback = last();
    for part in ["The cutover flag goes from [", "write = both", "→ write = old, read = old", text(&state)] {
        assert!(rollback.contains(part), "{part}: {rollback}");
    }
}
