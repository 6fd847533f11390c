//! Stores the current budgets of a run in the state file, so that `status` can show them.

use std::io::{Result, Write};

use serde_json::{Value as Json, json};

use crate::ratelimit::{ScopeBudget, lines};
use crate::state::{RunId, RunRecord, StateReader, StoreError, StoredFact};

/// The current budgets of a running job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurrentBudgets {
    /// All budgets, widest scope first.
    pub scopes: Vec<ScopeBudget>,
    /// Number of times that the budgets have changed since the job began.
    pub changes: u64,
    /// Number of failed attempts to describe the table since the last successful one.
    pub failed_descriptions: u32,
}

impl CurrentBudgets {
    /// Adds the budgets of the table that gets derived items.
    pub(crate) fn add_other(&mut self, name: &str, other: &CurrentBudgets) {
        self.scopes.extend(other.scopes.iter().map(|budget| budget.of_table(name)));
        self.changes += other.changes;
        self.failed_descriptions = self.failed_descriptions.max(other.failed_descriptions);
    }
}

/// The stored form of a run's budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredBudgets {
    run: RunId,
    at: String,
    current_budgets: CurrentBudgets,
}

impl StoredBudgets {
    /// Creates the stored form of the run's budgets at the time `at`.
    pub(crate) fn new(run: RunId, at: String, current_budgets: CurrentBudgets) -> StoredBudgets {
        StoredBudgets { run, at, current_budgets }
    }

    /// Reads the budgets that this run stored most recently. Returns `None` if the run stored none or is finished.
    pub async fn load(
        file: &dyn StateReader,
        run: Option<&RunRecord>,
    ) -> std::result::Result<Option<StoredBudgets>, StoreError> {
        let kept = file.fact(StoredFact::Budgets).await?.and_then(|text| StoredBudgets::from_text(&text));
        Ok(kept.filter(|kept| run.is_some_and(|run| kept.belongs_to(run))))
    }

    /// Returns whether these are the budgets of this run, and the run is unfinished.
    pub fn belongs_to(&self, run: &RunRecord) -> bool {
        run.id == self.run && run.is_unfinished()
    }

    /// Converts the budgets to the stored form.
    pub fn to_json(&self) -> Json {
        let CurrentBudgets { scopes, changes, failed_descriptions } = &self.current_budgets;
        json!({
            "run": self.run, "at": self.at, "changes": changes, "failed_looks": failed_descriptions,
            "budgets": scopes.iter().map(ScopeBudget::to_json).collect::<Vec<_>>(),
        })
    }

    /// Reads the stored form. Returns `None` if a different version of the tool wrote a different form.
    pub fn from_text(text: &str) -> Option<StoredBudgets> {
        let kept: Json = serde_json::from_str(text).ok()?;
        let scopes = kept["budgets"].as_array()?.iter().map(ScopeBudget::from_json).collect::<Option<_>>()?;
        let failed_descriptions = u32::try_from(kept["failed_looks"].as_u64()?).ok()?;
        let current_budgets = CurrentBudgets { scopes, changes: kept["changes"].as_u64()?, failed_descriptions };
        Some(StoredBudgets {
            run: RunId::from_number(kept["run"].as_i64()?),
            at: kept["at"].as_str()?.to_owned(),
            current_budgets,
        })
    }

    /// Returns the budgets as text: each scope, and its budget.
    pub fn lines(&self) -> impl Iterator<Item = (String, String)> {
        lines(&self.current_budgets.scopes)
    }

    /// Writes the budgets as text for the operator.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let CurrentBudgets { scopes, changes, failed_descriptions } = &self.current_budgets;
        let changed = match changes {
            0 => "unchanged since the run began".to_owned(),
            1 => "changed once since the run began".to_owned(),
            n => format!("changed {n} times since the run began"),
        };
        writeln!(out, "  budgets at {}, {changed}:", self.at)?;
        lines(scopes).try_for_each(|(scope, budget)| writeln!(out, "    {scope}: {budget}"))?;
        if *failed_descriptions > 0 {
            writeln!(
                out,
                "    the table could not be described (attempts failed in a row: {failed_descriptions}), so no budget \
                 rises"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Access;
    use crate::ratelimit::Scope;

    #[test]
    fn stored_budgets_can_be_read_and_shown() {
        let budget =
            |scope, access, units| ScopeBudget { scope, access, units, basis: "80% of \"it\"".into(), table: None };
        let scopes = vec![
            budget(Scope::Table, Access::Write, 80.5),
            budget(Scope::Table, Access::Read, 400.0),
            budget(Scope::KeyRange, Access::Write, 80.5),
            budget(Scope::PartitionKey, Access::Write, 80.5),
            budget(Scope::Index("by-email".into()), Access::Write, 25.0),
        ];
        let current_budgets = CurrentBudgets { scopes, changes: 2, failed_descriptions: 1 };
        let kept = StoredBudgets::new(RunId::from_number(7), "2026-01-10T12:00:00Z".into(), current_budgets);
        assert_eq!(StoredBudgets::from_text(&kept.to_json().to_string()), Some(kept.clone()));
        let mut text = Vec::new();
        kept.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("  budgets at 2026-01-10T12:00:00Z, changed 2 times since the run began:\n"),
            "{text}"
        );
        assert!(text.contains("    table: 80.5 WCU/s (80% of \"it\"), 400 RCU/s (80% of \"it\")\n"), "{text}");
        assert!(text.contains("    index by-email: 25 WCU/s") && text.contains("failed in a row: 1)"), "{text}");
        for other in ["", "{}", "[1]", "{\"run\":1,\"at\":\"\",\"changes\":0,\"failed_looks\":0,\"budgets\":[{}]}"] {
            assert_eq!(StoredBudgets::from_text(other), None, "{other}");
        }
    }
}
