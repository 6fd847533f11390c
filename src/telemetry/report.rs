//! The header that is printed before a run, and the report that is printed after the run.

use std::collections::BTreeMap;
use std::io::{Result, Write};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{ActivityClocks, limits_text, number, write_counts, write_spend};
use crate::change::{Change, Strategy};
use crate::command_line::CommandLine;
use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::engine::{StopReason, other_budgets, slice};
use crate::figure::{count, labelled};
use crate::plan::Plan;
use crate::ratelimit::ResolvedBudgets;
use crate::state::{DeleteCounts, OpenWork, RunRecord, SegmentTotals, SpendRecord};

/// The parts of a report that do not depend on the run: the names that the report shows, and whether the report
/// recommends commands.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The command line of this migration.
    pub commands: &'a CommandLine,
    /// The state file.
    pub state_path: &'a Path,
    /// The table.
    pub table: &'a TableDescription,
    /// Whether the report recommends the next command. False for a pass that is part of a longer command, such as
    /// `rollback`, because the longer command names the next command itself.
    pub advice: bool,
}

/// The report of a run, whether the run is complete or stopped.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct RunReport<'a> {
    /// The names that the report shows, and whether the report recommends commands.
    pub subject: Subject<'a>,
    /// The stored run.
    pub run: &'a RunRecord,
    /// The counts of the run's segments, summed over all sessions.
    pub totals: &'a SegmentTotals,
    /// The capacity that the run has spent, summed over all sessions.
    pub spend: &'a SpendRecord,
    /// The time that the run spent in each activity, summed over all sessions.
    pub clocks: &'a ActivityClocks,
    /// For each scope, the number of requests that DynamoDB throttled in this session.
    pub throttles: &'a [(String, u64)],
    /// For each operation and defect, the number of unusable replies in this session.
    pub unusable_replies: &'a BTreeMap<String, u64>,
    /// The open work: the number of open failures and open diverged items, which an operator must resolve.
    pub open: OpenWork,
    /// The number of items that the run has deleted, according to the journal. `None` if the plan deletes no items or
    /// keeps no journal, if the counts of the pages are exact, or if the journal was purged.
    pub deletes: Option<DeleteCounts>,
    /// Whether the plan has dual writes, and the flag says that writers do not write both attributes yet.
    pub dual_writes_off: bool,
    /// The reason why the run stopped early; `None` if it did not stop early.
    pub stopped: Option<&'a StopReason>,
}

impl Subject<'_> {
    /// Returns the header that is printed before the first write: account, table, the table that gets derived
    /// items, plan, state path, budgets, limits, and whether the run is new or resumed.
    pub fn header(&self, resolved: &ResolvedBudgets, resumed: Option<&RunRecord>) -> String {
        let begins = match resumed {
            Some(run) => {
                format!("resumes run {} (begun {}; sessions so far: {})", run.id, run.started_at, run.sessions)
            }
            None => "starts a new run".to_owned(),
        };
        let budgets =
            resolved.lines().map(|(scope, budget)| format!("budget   {scope}: {budget}\n")).collect::<String>();
        let mut derived = String::new();
        let mut budgets = budgets;
        if let Some(table) = self.table.derived.as_deref() {
            derived = format!("derived  {}\n", table.arn);
            for (scope, budget) in other_budgets(table).lines() {
                budgets += &format!("budget   table {}: {scope}: {budget}\n", table.name);
            }
        }
        let limits = &self.plan.limits;
        let prices = UnitPrices::for_table(self.table, &self.plan.prices);
        let limited = limits_text(limits, slice(limits, resolved.budgets.table, prices), prices);
        let limited = limited.map_or_else(String::new, |text| format!("limits   {text}\n"));
        format!(
            "account  {}\ntable    {}\n{derived}{}\nstate    {}\n{budgets}{limited}run      {begins}",
            self.table.account(),
            self.table.arn,
            labelled("plan", 8, &self.plan.meaning()),
            self.state_path.display(),
        )
    }
}

/// Returns whether applications write both an old and a new attribute while the plan runs.
fn has_dual_writes(plan: &Plan) -> bool {
    let has_source = |change: &Change| match change {
        Change::Move { .. } | Change::Copy { .. } | Change::Compute { replaces: Some(_), .. } => true,
        Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { replaces: None, .. }
        | Change::Convert { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => false,
    };
    plan.strategy == Strategy::ExpandContract && plan.changes.iter().any(has_source)
}

impl RunReport<'_> {
    /// Writes the report as text.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let RunReport { subject, run, totals, spend, clocks, throttles, unusable_replies, open, stopped, .. } = self;
        let commands = subject.commands;
        match stopped {
            None => {
                let segments = count(totals.done.into(), "segment", "segments");
                writeln!(out, "Run {} ({}) is complete: {segments}.", run.id, run.phase)?;
            }
            Some(reason) => writeln!(
                out,
                "Run {} ({}) stopped: {reason}.\nEverything counted here is committed; segments done: {} of {}.",
                run.id,
                run.phase,
                number(totals.done.into()),
                number(run.total_segments.into())
            )?,
        }
        write_counts(out, &totals.counts, run.lower_bound)?;
        if let Some(DeleteCounts { confirmed, unconfirmed }) = self.deletes {
            let (confirmed, unconfirmed) = (number(confirmed), number(unconfirmed));
            writeln!(out, "  {:<16} {confirmed:>14}  confirmed by DynamoDB, according to the journal", "deleted")?;
            writeln!(
                out,
                "  {:<16} {unconfirmed:>14}  at most: deletes without a confirmation, because the run died or lost the reply",
                "maybe deleted"
            )?;
        }
        write_spend(out, spend, &subject.plan.limits)?;
        writeln!(out, "  time: {clocks}")?;
        if !throttles.is_empty() {
            let by_scope = throttles.iter().map(|(scope, requests)| format!("{scope} {}", number(*requests)));
            let by_scope = by_scope.collect::<Vec<_>>().join(", ");
            writeln!(out, "  requests throttled by DynamoDB in this session, by scope: {by_scope}")?;
        }
        if !unusable_replies.is_empty() {
            let each = unusable_replies.iter().map(|(what, times)| format!("{} × {what}", number(*times)));
            let each = each.collect::<Vec<_>>().join("; ");
            writeln!(out, "  unusable replies in this session (each request was retried): {each}")?;
        }
        if open.failures + open.diverged > 0 {
            let failures = count(open.failures, "failure", "failures");
            writeln!(out, "Open: {failures}, {}.", count(open.diverged, "diverged item", "diverged items"))?;
        }
        if subject.advice && open.failures + open.diverged > 0 {
            writeln!(out, "Their keys: {}", commands.render("failures list"))?;
        }
        match stopped {
            _ if !subject.advice => Ok(()),
            None if self.dual_writes_off => writeln!(
                out,
                "Dual writes are off, so this pass must be repeated: after they have begun, run `{}`. It finds and fixes the \
                 items that writers insert or change without the new attribute.",
                commands.render("verify --all --repair")
            ),
            None if has_dual_writes(subject.plan) => writeln!(
                out,
                "This is complete only if every writer has written both attributes since {}. If not, repeat `{}` until a \
                 pass applies nothing.",
                run.started_at,
                commands.render("run --again")
            ),
            None => writeln!(
                out,
                "If other writers inserted or changed items during this run, repeat `{}` until a pass applies nothing.",
                commands.render("run --again")
            ),
            Some(_) => Ok(()),
        }
    }

    /// Returns the command that resumes the run.
    pub fn next(&self) -> String {
        self.subject.commands.render("run")
    }

    /// Returns the report as JSON. `exit_code` is the exit code with which the process ends.
    pub fn to_json(&self, exit_code: u8) -> Json {
        json!({
            "type": "run", "table_arn": self.subject.table.arn, "fingerprint": self.subject.plan.fingerprint().as_str(),
            "run": self.run, "totals": self.totals, "spend": self.spend,
            "activity_seconds": self.clocks.to_json(),
            "throttles": self.throttles.iter().cloned().collect::<BTreeMap<_, _>>(),
            "unusable_replies": self.unusable_replies, "open_failures": self.open.failures,
            "open_diverged": self.open.diverged, "deletes": self.deletes.map(|DeleteCounts { confirmed, unconfirmed }| json!({
                "confirmed": confirmed, "unconfirmed": unconfirmed })),
             "stopped": self.stopped.map(ToString::to_string),
            "exit_code": exit_code,
        })
    }
}
