//! The identity of a state: the plan and the table to which it belongs.

use serde::Serialize;

use crate::dynamodb::TableDescription;
use crate::plan::Plan;

/// The plan and the table to which a state belongs. No other plan or table may use the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The name of the migration.
    pub migration: String,
    /// The fingerprint of the plan.
    pub fingerprint: String,
    /// ARN of the table. If source and sink are different tables, this is the text "ARN to ARN". If the derived items go
    /// into another table, its ARN follows.
    pub table_arn: String,
    /// The table's unique id, and that of the table with the derived items; `None` if the engine assigns no id. A table that is deleted and created again has a new
    /// id.
    pub table_id: Option<String>,
    /// A description of the plan, for the error message that is shown if a different plan uses the state file.
    pub meaning: String,
}

impl Identity {
    /// Returns the identity of a plan and a table.
    pub fn from_plan(plan: &Plan, table: &TableDescription) -> Identity {
        let and_derived = |table: &str, derived: &str| format!("{table}, with derived items in {derived}");
        let both = |source: &str, sink: &str| format!("{source} to {sink}");
        let (table_arn, table_id) = match &table.sink {
            None => (table.arn.clone(), table.id.clone()),
            Some(sink) => {
                let ids = table.id.as_deref().zip(sink.id.as_deref());
                (both(&table.arn, &sink.arn), ids.map(|(source, sink)| both(source, sink)))
            }
        };
        let (table_arn, table_id) = match &table.derived {
            None => (table_arn, table_id),
            Some(derived) => {
                let id = match (table_id, &derived.id) {
                    (Some(id), Some(derived)) => Some(and_derived(&id, derived)),
                    (id, None) => id,
                    (None, Some(derived)) => Some(and_derived("unknown", derived)),
                };
                (and_derived(&table_arn, &derived.arn), id)
            }
        };
        Identity {
            migration: plan.name.clone(),
            fingerprint: plan.fingerprint().to_string(),
            table_arn,
            table_id,
            meaning: plan.meaning(),
        }
    }

    /// Returns whether both identities name the same plan and the same table.
    pub fn matches(&self, ours: &Identity) -> bool {
        let recreated = matches!((&self.table_id, &ours.table_id), (Some(theirs), Some(ours)) if theirs != ours);
        self.fingerprint == ours.fingerprint && self.table_arn == ours.table_arn && !recreated
    }
}
