//! Makes the finding about the plan's backups.

use super::facts::TableFacts;
use super::finding::Finding;
use super::finding::Severity::{Note, Warning};
use crate::plan::Plan;
use crate::playbook::{BackupPhases, PlanKind};

/// Returns the finding about `[safety] backup`, or `None` if the plan does not use backups.
pub(super) fn backup(facts: &TableFacts, plan: &Plan) -> Option<Finding> {
    if !plan.safety.backup {
        return None;
    }
    let before = commands(plan).join(" and ");
    let what = format!("The tool makes an on-demand backup of the table before {before}");
    let why = format!(
        "It waits until DynamoDB has completed the backup, and refuses the step if that fails. AWS bills the storage ({}) \
         until you delete the backup",
        gigabytes(facts.table.written().size_bytes)
    );
    let action = "Grant dynamodb:CreateBackup and dynamodb:DescribeBackup, as `iam` prints them";
    if facts.loopback {
        let found = Finding::new(Warning, "backup", what).with_reason("Many local engines do not support backups");
        return Some(
            found.with_action("Set `backup = false` for this engine, for example with --set safety.backup=false"),
        );
    }
    Some(Finding::new(Note, "backup", what).with_reason(why).with_action(action))
}

/// Returns the commands that need a backup first.
fn commands(plan: &Plan) -> Vec<&'static str> {
    let phases = BackupPhases::new(plan.strategy, &plan.changes);
    let contracts = match PlanKind::new(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) {
        PlanKind::Flagged | PlanKind::Stated | PlanKind::RemoveOnly => true,
        PlanKind::InPlace | PlanKind::SetOnly => false,
    };
    let commands = [(phases.expand, "`run`"), (true, "`verify --repair`"), (contracts, "`contract`")];
    commands.into_iter().filter(|(due, _)| *due).map(|(_, command)| command).collect()
}

fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => "less than 1 GB".to_owned(),
        bytes => format!("about {:.0} GB", bytes as f64 / 1e9),
    }
}
