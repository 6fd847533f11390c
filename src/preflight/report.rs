//! The output of `check`.

use std::io::{Result, Write};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::by_change::{by_change_json, write_by_change};
use super::estimate::Estimate;
use super::finding::{Acceptance, Finding, Severity};
use super::finish::FinishRequirements;
use crate::clock::to_text;
use crate::command_line::CommandLine;
use crate::dynamodb::TableDescription;
use crate::engine::{SegmentChoice, other_budgets};
use crate::figure::{count, labelled, number};
use crate::item::IndexSchema;
use crate::keys_file::KeysFile;
use crate::passes::Prediction;
use crate::plan::{Plan, SelectedKeys};
use crate::playbook::MigrationStatus;
use crate::ratelimit::{ResolvedBudgets, ScopeBudget, lines};

/// The data that `check` shows.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct CheckReport<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The path of the plan's file.
    pub plan_path: &'a Path,
    /// The command line of this migration.
    pub commands: &'a CommandLine,
    /// The state file that a run will use.
    pub state_path: &'a Path,
    /// The table.
    pub table: &'a TableDescription,
    /// The budgets of a run.
    pub resolved: &'a ResolvedBudgets,
    /// The segments into which a run divides the table.
    pub segments: &'a SegmentChoice,
    /// The estimate of a run.
    pub estimate: &'a Estimate,
    /// The counts of the sampled items. `None` without a complete sample.
    pub sampled: Option<&'a Prediction>,
    /// The requirements for a run to end in the requested time. `None` if no time was requested.
    pub finish: Option<&'a FinishRequirements>,
    /// The findings.
    pub findings: &'a [Finding],
    /// The findings that the operator accepts.
    pub accepted: &'a [Acceptance],
    /// The stage and the next command of the migration. `None` if the migration has not begun.
    pub begun: Option<&'a MigrationStatus>,
}

impl CheckReport<'_> {
    /// Returns whether a run would be refused.
    pub fn refuses(&self) -> bool {
        self.findings.iter().any(|finding| finding.refuses(self.accepted))
    }

    /// Returns the next command, which applies if a run would not be refused. Before the migration begins, this is a dry
    /// run. Returns `None` if the migration is over, or if it ends at verify and was verified.
    pub fn next(&self) -> Option<String> {
        match self.begun {
            Some(status) => status.next.as_ref().map(|next| next.render(self.commands)),
            None => Some(self.commands.render("run --dry-run")),
        }
    }

    /// Returns the time before which the next command is refused; `None` if it may run now.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.begun.and_then(|status| status.not_before)
    }

    /// Writes the report as text for people.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let CheckReport { plan, table, resolved, segments, estimate, .. } = self;
        writeln!(out, "{}", labelled("plan", 12, &plan.meaning()))?;
        let mut line = |label: &str, text: String| writeln!(out, "{label:<12} {text}");
        let key = table.key.names().collect::<Vec<_>>().join(" + ");
        line("table", format!("{} ({}, key {key})", table.arn, table.status))?;
        if let Some(derived) = &table.derived {
            let key = derived.key.names().collect::<Vec<_>>().join(" + ");
            line("derived", format!("{} ({}, key {key}): gets the derived items", derived.arn, derived.status))?;
        }
        let bytes = count(table.size_bytes, "byte", "bytes");
        let size = match &plan.keys {
            Some(keys) => {
                let listed = count(table.item_count, "key", "keys");
                let repeated = keys.file().map_or(0, KeysFile::keys).saturating_sub(table.item_count);
                let repeated = match repeated {
                    0 => String::new(),
                    lines => format!(", {} read only once", count(lines, "repeated line", "repeated lines")),
                };
                format!("{listed}{repeated}, about {bytes} (if these items are as large as the table's mean item)")
            }
            None => {
                let items = count(table.item_count, "item", "items");
                format!("{items}, {bytes} (DynamoDB's own count, up to six hours old)")
            }
        };
        line("size", size)?;
        if let Some(index) = &plan.index {
            line(
                "reads",
                format!("index {}, and each item in it by its key; every other pass reads the table", index.name),
            )?;
        }
        line("segments", format!("{} ({})", number(segments.segments.into()), segments.reason))?;
        let large = count(segments.large.into(), "segment", "segments");
        line(
            "at a time",
            format!("{} ({}), plus up to {large} with large item collections", segments.active, segments.active_reason),
        )?;
        let budgets = all_budgets(resolved, table);
        lines(&budgets).try_for_each(|(scope, budget)| line("budget", format!("{scope}: {budget}")))?;
        line("state", self.state_path.display().to_string())?;
        if !table.indexes.is_empty() {
            let kind = |index: &IndexSchema| if index.local { "local: uses the table's capacity" } else { "global" };
            let names = table.indexes.iter().map(|i| format!("{} ({})", i.schema.name, kind(&i.schema)));
            line("indexes", names.collect::<Vec<_>>().join(", "))?;
        }
        if let Some(derived) = table.derived.as_deref().filter(|derived| !derived.indexes.is_empty()) {
            let names = derived.indexes.iter().map(|index| format!("{}/{}", derived.name, index.schema.name));
            line("indexes", names.collect::<Vec<_>>().join(", "))?;
        }
        line("estimate", estimate.basis_text())?;
        estimate.lines().into_iter().try_for_each(|(label, text)| line("", format!("{label:<12} {text}")))?;
        if let Some(read) = self.sampled {
            let (change, of) = (number(read.would_change), count(read.scanned, "item", "items"));
            writeln!(out, "{:<12} a run would change {change} of the {of} in the sample; by change:", "sample")?;
            write_by_change(out, plan, read)?;
        }
        self.finish.iter().try_for_each(|finish| finish.write(out))?;
        self.findings.iter().try_for_each(|finding| write_finding(out, finding, self.accepted))?;
        if self.refuses() {
            return writeln!(
                out,
                "A run would be refused. Fix every finding marked REFUSED, or accept it with the option that it names."
            );
        }
        match (self.next(), self.not_before()) {
            (Some(next), Some(until)) => writeln!(out, "Next, not before {}: {next}", to_text(until)),
            (Some(next), None) => writeln!(out, "Next: {next}"),
            (None, _) => {
                writeln!(out, "Next: nothing. To see the state of the migration: {}", self.commands.render("status"))
            }
        }
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> Json {
        let CheckReport { plan, table, resolved, segments, accepted, .. } = self;
        json!({
            "type": "check", "plan": self.plan_path, "fingerprint": plan.fingerprint().as_str(), "meaning": plan.meaning(),
            "table_arn": table.arn, "table_id": table.id, "table_status": table.status,
            "key": table.key.names().collect::<Vec<_>>(), "item_count_estimate": table.item_count,
            "size_bytes_estimate": table.size_bytes,
            "indexes": table.indexes.iter().map(|index| &index.schema.name).collect::<Vec<_>>(),
            "segments": segments.segments, "active_segments": segments.active, "segments_because": segments.reason,
            "active_segments_because": segments.active_reason,
            "state": self.state_path, "budgets": all_budgets(resolved, table).iter().map(ScopeBudget::to_json).collect::<Vec<_>>(),
            "derived_table": table.derived.as_deref().map(|derived| json!({
                "name": derived.name, "arn": derived.arn, "id": derived.id, "status": derived.status,
                "key": derived.key.names().collect::<Vec<_>>(),
                "indexes": derived.indexes.iter().map(|index| &index.schema.name).collect::<Vec<_>>(),
            })),
            "keys": plan.keys.as_ref().and_then(SelectedKeys::file).map(|file| json!({
                "path": file.path(), "sha256": file.sha256(), "lines": file.keys(), "keys": table.item_count,
            })),
            "sample": self.sampled.map(|read| json!({
                "scanned": read.scanned, "would_change": read.would_change, "by_change": by_change_json(plan, read),
            })),
            "estimate": self.estimate.to_json(), "finish_in": self.finish.map(FinishRequirements::to_json),
            "findings": self.findings.iter().map(|finding| finding.to_json(accepted)).collect::<Vec<_>>(),
            "accepted": accepted.iter().map(|accept| accept.name()).collect::<Vec<_>>(), "refuses": self.refuses(),
        })
    }
}

/// Returns the budgets of a run: those of the plan's table, and then those of the table that gets derived items.
fn all_budgets(resolved: &ResolvedBudgets, table: &TableDescription) -> Vec<ScopeBudget> {
    let mut budgets = resolved.scopes.clone();
    if let Some(derived) = table.derived.as_deref() {
        budgets.extend(other_budgets(derived).scopes.iter().map(|budget| budget.of_table(&derived.name)));
    }
    budgets
}

/// Writes a finding as text for people.
pub fn write_finding(out: &mut impl Write, finding: &Finding, accepted: &[Acceptance]) -> Result<()> {
    let label = match finding.severity {
        Severity::Refusal if finding.refuses(accepted) => "REFUSED",
        Severity::Refusal => "accepted",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    writeln!(out, "{label:<12} {} ({})", finding.what, finding.id)?;
    for (label, text) in [("why:", &finding.why), ("do:", &finding.action)] {
        if !text.is_empty() {
            writeln!(out, "{:<12} {label:<4} {text}", "")?;
        }
    }
    finding.attached.iter().try_for_each(|attached| writeln!(out, "{:<12} {attached}", ""))
}
