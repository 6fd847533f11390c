//! What can go after a migration. This module is pure.

use crate::change::Strategy;
use crate::plan::{FlagLocation, LEASE_SUFFIX, Plan, least_privilege_policy};

/// A thing that the migration needed, and that can go afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupEntry {
    /// The thing.
    pub what: String,
    /// The condition under which it can go.
    pub when: String,
}

impl CleanupEntry {
    fn new(what: impl Into<String>, when: impl Into<String>) -> CleanupEntry {
        CleanupEntry { what: what.into(), when: when.into() }
    }

    /// Returns everything that this plan needs only during the migration.
    pub fn all(plan: &Plan) -> Vec<CleanupEntry> {
        let mut entries = Vec::new();
        let old: Vec<String> =
            plan.changes.iter().flat_map(|change| change.paths().removes).map(ToString::to_string).collect();
        if plan.strategy == Strategy::ExpandContract && !old.is_empty() {
            entries.push(CleanupEntry::new(
                format!("code that reads or writes {}", old.join(", ")),
                "no application needs the old attribute",
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
        if !old.is_empty() {
            entries.push(CleanupEntry::new(
                format!("indexes whose key or projection contains {}", old.join(", ")),
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
