//! Lists what can be removed after a migration or its rollback. This module is pure.

use crate::change::{Change, Strategy};
use crate::figure::count;
use crate::plan::{FlagLocation, LEASE_SUFFIX, Plan, least_privilege_policy};
use crate::playbook::{MigrationStage, MigrationStatus};

/// A thing that only the migration needed, and that can be removed after the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupEntry {
    /// The thing.
    pub what: String,
    /// The condition for removing it.
    pub when: String,
}

/// Returns whether a migration is over, so that everything in [`CleanupEntry::all`] can be removed. A migration without
/// a cutover is over when it is verified and no work is left. `has_work` is true if there is a next step, or if a
/// process works on the migration.
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
    /// true while a process works on the migration. `journaled` is the number of values in the journal.
    pub fn due(plan: &Plan, status: &MigrationStatus, is_held: bool, journaled: u64) -> Vec<CleanupEntry> {
        match is_over(status.stage, status.next.is_some() || is_held) {
            true => CleanupEntry::all(plan, status.stage == MigrationStage::RolledBack, journaled),
            false => Vec::new(),
        }
    }

    /// Returns everything that is needed only until the migration is over. After a rollback, the new attributes can be
    /// removed instead of the old ones.
    pub fn all(plan: &Plan, rolled_back: bool, journaled: u64) -> Vec<CleanupEntry> {
        let mut entries = Vec::new();
        let paths = plan.changes.iter().filter(|change| has_own_attributes(change)).map(Change::paths);
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
            match journaled {
                0 => "you no longer need its records (its journal has no values)".to_owned(),
                values => format!(
                    "you no longer need its records and the {} in its journal: the journal may have the only copy of \
                     values and items that were overwritten, removed or deleted",
                    count(values, "value", "values")
                ),
            },
        ));
        entries
    }
}

/// Returns whether the application can stop using an attribute of this change after the migration or its rollback. The
/// attributes of the other changes stay in use.
fn has_own_attributes(change: &Change) -> bool {
    match change {
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Exec { .. } => true,
        Change::Convert { .. }
        | Change::Append { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version attribute and the elements of a list stay in use, so the clean-up entries do not contain them.
    #[test]
    fn attributes_that_stay_in_use_are_not_listed() {
        let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nset = \"tier\"\nvalue = \"free\"\n\
                    [[change]]\nbump = \"version\"\n";
        let plan = Plan::parse("plan.toml", text).unwrap();
        let whats: Vec<String> = CleanupEntry::all(&plan, true, 0).into_iter().map(|entry| entry.what).collect();
        let unused = whats.iter().find(|what| what.starts_with("code that reads")).unwrap();
        assert_eq!(unused, "code that reads or writes tier", "{whats:?}");
        assert!(!whats.iter().any(|what| what.contains("version")), "{whats:?}");
    }

    /// The entry for the state file depends on whether its journal has values.
    #[test]
    fn the_state_file_is_described_by_its_journal() {
        let text =
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nset = \"tier\"\nvalue = \"free\"\n";
        let plan = Plan::parse("plan.toml", text).unwrap();
        let when = |journaled| CleanupEntry::all(&plan, false, journaled).pop().unwrap().when;
        assert!(when(0).contains("no values") && !when(0).contains("only copy"), "{}", when(0));
        assert!(when(1).contains("the 1 value in its journal") && when(2).contains("only copy"), "{}", when(2));
    }
}
