//! Tests `[safety] backup`. The embedded engine has no backups, so the proxy answers the requests for them.

use super::preflight::answer_with;
use super::*;

const SAFE: &str = "[safety]\nbackup = true\n";

const ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/t/backup/01700000000000-0a1b2c3d";

/// Answers both backup requests with a backup that has this status.
fn answer_backups(harness: &Harness, status: &str) {
    let details = json!({
        "BackupArn": ARN, "BackupName": "b", "BackupStatus": status, "BackupType": "USER",
        "BackupCreationDateTime": 1_700_000_000,
    });
    let described = json!({ "BackupDescription": { "BackupDetails": details } });
    answer_with(harness, vec![("CreateBackup", json!({ "BackupDetails": details })), ("DescribeBackup", described)]);
}

async fn in_place(more: &str) -> (Harness, PathBuf) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(30)).await;
    let plan = harness.plan("plan", &table, "strategy = \"in-place\"", &format!("{MOVE}{more}"));
    (harness, plan)
}

fn requests(harness: &Harness, operation: &str) -> u64 {
    harness.proxy().tally().operation(operation).requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_before_an_in_place_run_and_recorded() {
    let (harness, plan) = in_place(SAFE).await;
    answer_backups(&harness, "AVAILABLE");
    let ran = tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert!(ran.stderr.contains(&format!("complete: {ARN}. AWS bills it until you delete it")), "{}", ran.stderr);
    assert_eq!((requests(&harness, "CreateBackup"), requests(&harness, "DescribeBackup")), (1, 1));

    let status = tool(&harness, &["status", text(&plan)]).exits(0).stdout;
    assert!(status.contains("backup made at 20") && status.contains(ARN), "{status}");
    let status = tool(&harness, &["status", text(&plan), "--output", "json"]).exits(0).json();
    let backups = &status["playbook"]["backups"];
    assert_eq!((&backups[0]["phase"], &backups[0]["arn"], &backups[1]), (&json!("expand"), &json!(ARN), &Json::Null));
    let report = tool(&harness, &["report", text(&plan), "--format", "md", "--out", "-"]).exits(0).stdout;
    assert!(report.contains("Backup made before: expand") && report.contains("0a1b2c3d"), "{report}");

    // If the run is already complete, `run` makes no backup. A rollback never makes one.
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    tool(&harness, &["rollback", text(&plan), "--yes"]).exits(0);
    assert_eq!(requests(&harness, "CreateBackup"), 1);
}

/// If the backup fails, the tool refuses the run and writes nothing. Without the option, the run succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_backup_a_run_is_refused() {
    let (harness, plan) = in_place(SAFE).await;
    answer(&harness, "CreateBackup", 400, "AccessDeniedException", "not authorized to perform: dynamodb:CreateBackup");
    let refusal = refused(&harness, 3, &["run", text(&plan), "--yes"]);
    refusal.says(&["not authorized", "Grant dynamodb:CreateBackup", "Nothing was written", "backfill run"]);
    nothing_was_written(&harness);

    // The embedded engine does not support the request.
    harness.proxy().set_faults(None);
    let refusal = refused(&harness, 3, &["run", text(&plan), "--yes"]);
    refusal.says(&["UnknownOperationException", "--set safety.backup=false"]);
    nothing_was_written(&harness);
    tool(&harness, &["run", text(&plan), "--yes", "--set", "safety.backup=false"]).exits(0);
}

/// A signal ends the wait for a backup. The next start requests a new backup.
#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_a_backup_can_be_stopped() {
    let (harness, plan) = in_place(SAFE).await;
    answer_backups(&harness, "CREATING");
    let mut command = harness.command();
    command.args(["run", text(&plan), "--yes"]);
    let running = RunningTool::start(command);
    while requests(&harness, "DescribeBackup") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let shown = tool(&harness, &["ctl", "status", text(&plan)]).exits(0);
    assert!(shown.stdout.contains("waits until DynamoDB has completed the backup"), "{}", shown.stdout);
    running.signal(Signal::SIGTERM);
    let ended = tokio::task::block_in_place(|| running.end()).exits(130);
    assert!(ended.stderr.contains("nothing is written before that"), "{}", ended.stderr);
    nothing_was_written(&harness);
    answer_backups(&harness, "AVAILABLE");
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    assert_eq!(requests(&harness, "CreateBackup"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_announces_the_backup_and_iam_allows_it() {
    let (harness, plan) = in_place(SAFE).await;
    let checked = tool(&harness, &["check", text(&plan), "--output", "json"]).exits(0).json();
    let findings = checked["findings"].as_array().unwrap();
    let backup = findings.iter().find(|finding| finding["id"] == "backup").unwrap();
    assert!(backup["what"].as_str().unwrap().ends_with("before `run` and `verify --repair`"), "{backup}");
    let policy = tool(&harness, &["iam", text(&plan)]).exits(0).stdout;
    assert!(policy.contains("dynamodb:CreateBackup") && policy.contains("/backup/*"), "{policy}");
}
