//! The plan and the table that a state belongs to.

use serde::Serialize;

use crate::dynamodb::TableDescription;
use crate::plan::Plan;

/// Whose state a file keeps. A file is used only by the plan and the table that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The migration's name.
    pub migration: String,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// ARN of the table.
    pub table_arn: String,
    /// The table's unique id, where the engine has one: a recreated table has another.
    pub table_id: Option<String>,
    /// What the plan means, for people: shown when a file turns out to be of another plan.
    pub meaning: String,
}

impl Identity {
    /// That of a plan on a table.
    pub fn of(plan: &Plan, table: &TableDescription) -> Identity {
        Identity {
            migration: plan.name.clone(),
            fingerprint: plan.fingerprint().to_string(),
            table_arn: table.arn.clone(),
            table_id: table.id.clone(),
            meaning: plan.meaning(),
        }
    }

    /// Whether a file of this identity is one of the other: the same plan on the same table.
    pub fn is_of(&self, ours: &Identity) -> bool {
        let recreated = matches!((&self.table_id, &ours.table_id), (Some(theirs), Some(ours)) if theirs != ours);
        self.fingerprint == ours.fingerprint && self.table_arn == ours.table_arn && !recreated
    }
}
