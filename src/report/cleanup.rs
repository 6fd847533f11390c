//! What can go after a migration or after its rollback. This module is pure.

use crate::change::{Change, Strategy};
use crate::plan::{FlagLocation, LEASE_SUFFIX, Plan, least_privilege_policy};
use crate::playbook::{MigrationStage, MigrationStatus};

/// A thing that the migration needed, and that can go afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupEntry {
    /// The thing.
    pub what: String,
    /// The condition under which it can go.
    pub when: String,
}

/// Returns whether a migration is over, so that everything in [`CleanupEntry::all`] can be removed. A plan without a
/// cutover is over when it is verified and no work is left. `has_work` is true if there is a next step, or if a process
/// works on the migration.
pub(super) fn is_over(stage: MigrationStage, has_work: bool) -> bool {
    match stage {
        MigrationStage::Contracted | MigrationStage::RolledBack => true,
        MigrationStage::Verify => !has_work,
        MigrationStage::Preflight
        | MigrationStage::Expand
        | MigrationStage::Cutover
        | MigrationStage::Soak
        | MigrationStage::Contract
        | MigrationStage::Rollback => false,
    }
}

impl CleanupEntry {
    fn new(what: impl Into<String>, when: impl Into<String>) -> CleanupEntry {
        CleanupEntry { what: what.into(), when: when.into() }
    }

    /// Returns everything that can be removed now. The result is empty while the migration is not over. `is_held` is
    /// true while a process works on the migration.
    pub fn due(plan: &Plan, status: &MigrationStatus, is_held: bool) -> Vec<CleanupEntry> {
        match is_over(status.stage, status.next.is_some() || is_held) {
            true => CleanupEntry::all(plan, status.stage == MigrationStage::RolledBack),
            false => Vec::new(),
        }
    }

    /// Returns everything that is needed only until the migration is over. After a rollback, the new attributes can go
    /// instead of the old ones.
    pub fn all(plan: &Plan, rolled_back: bool) -> Vec<CleanupEntry> {
        let mut entries = Vec::new();
        // A list or map whose elements change has no old or new attribute.
        let paths = plan.changes.iter().filter(|change| change.each().is_none()).map(Change::paths);
        let unused: Vec<String> = match rolled_back {
            true => paths.flat_map(|paths| paths.writes).map(ToString::to_string).collect(),
            false => paths.flat_map(|paths| paths.removes).map(ToString::to_string).collect(),
        };
        if plan.strategy == Strategy::ExpandContract && !unused.is_empty() {
            let which = if rolled_back { "new" } else { "old" };
            entries.push(CleanupEntry::new(
                format!("code that reads or writes {}", unused.join(", ")),
                format!("no application needs the {which} attribute"),
            ));
        }
        match &plan.cutover.flag {
            Some(flag @ FlagLocation::Table { .. }) => {
                entries.push(CleanupEntry::new(
                    "code that obeys the cutover flag",
                    "every application is deployed without it",
                ));
                entries.push(CleanupEntry::new(
                    format!("the flag: {flag}, and its lease (the item with the suffix \"{LEASE_SUFFIX}\")"),
                    "no application reads the flag; an application that finds no flag may refuse to work",
                ));
            }
            Some(flag @ FlagLocation::Exec(_)) => {
                entries.push(CleanupEntry::new(
                    "code that obeys the cutover flag",
                    "every application is deployed without it",
                ));
                entries.push(CleanupEntry::new(format!("the flag behind {flag}"), "no application reads the flag"));
            }
            None => {}
        }
        let policy = least_privilege_policy(plan, false);
        for statement in policy["Statement"].as_array().into_iter().flatten() {
            let text = |field: &str| statement[field].as_str().unwrap_or("unknown").to_owned();
            entries.push(CleanupEntry::new(
                format!("the IAM statement {} on {}", text("Sid"), text("Resource")),
                "nobody runs this plan any more",
            ));
        }
        if !unused.is_empty() {
            entries.push(CleanupEntry::new(
                format!("indexes whose key or projection contains {}", unused.join(", ")),
                "their readers use another index. Unknown here: the state file does not record the table's indexes; \
                 `aws dynamodb describe-table` lists them",
            ));
        }
        entries.push(CleanupEntry::new(
            "the state file",
            "you no longer need its journal: it holds the only copy of overwritten and removed values",
        ));
        entries
    }
}
