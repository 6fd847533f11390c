//! What is said of a run before it begins and when it has ended.

use std::collections::BTreeMap;
use std::io::{Result, Write};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{limits_text, number, write_counts, write_spend};
use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::engine::{StopReason, slice};
use crate::plan::Plan;
use crate::ratelimit::Resolved;
use crate::state::{OpenWork, RunRecord, SegmentTotals, SpendRecord};

/// What a report is about: names for the reader, and the commands that go on from here.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its file, as it was given.
    pub plan_path: &'a Path,
    /// The state file.
    pub state_path: &'a Path,
    /// The table.
    pub table: &'a TableDescription,
    /// Whether to say which command comes next; not where another command runs this one.
    pub advice: bool,
}

/// A run as far as it is.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct RunReport<'a> {
    /// What it is about.
    pub subject: Subject<'a>,
    /// The run as stored.
    pub run: &'a RunRecord,
    /// What its segments counted, over all sessions.
    pub totals: &'a SegmentTotals,
    /// What it has spent, over all sessions.
    pub spend: &'a SpendRecord,
    /// Requests of this session that DynamoDB has throttled, by scope.
    pub throttles: &'a [(String, u64)],
    /// Replies of this session that could not be used, by operation and flaw.
    pub unusable_replies: &'a BTreeMap<String, u64>,
    /// What of it waits for somebody.
    pub open: OpenWork,
    /// Why it stopped before its end, if it did.
    pub stopped: Option<&'a StopReason>,
}

impl Subject<'_> {
    /// Account, table, plan, state path, budgets, limits, and whether the run starts anew or resumes: printed before the
    /// first write.
    pub fn header(&self, resolved: &Resolved, resumed: Option<&RunRecord>) -> String {
        let begins = match resumed {
            Some(run) => {
                format!("resumes run {} (begun {}, {} sessions so far)", run.id, run.started_at, run.sessions)
            }
            None => "starts a new run".to_owned(),
        };
        let budgets = resolved
            .lines()
            .map(|(scope, budget)| {
                format!(
                    "budget   {scope}: {budget}
"
                )
            })
            .collect::<String>();
        let (limits, prices) = (&self.plan.limits, UnitPrices::of(self.table, &self.plan.prices));
        let limited = limits_text(limits, slice(limits, resolved.budgets.table, prices), prices);
        let limited = limited.map_or_else(String::new, |text| {
            format!(
                "limits   {text}
"
            )
        });
        format!(
            "account  {}
table    {}
plan     {}
state    {}
{budgets}{limited}this     {begins}",
            self.table.account(),
            self.table.arn,
            self.plan.meaning(),
            self.state_path.display(),
        )
    }
}

impl RunReport<'_> {
    /// For people.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let RunReport { subject, run, totals, spend, throttles, unusable_replies, open, stopped } = self;
        let (plan, state) = (subject.plan_path.display(), subject.state_path.display());
        match stopped {
            None => writeln!(out, "Run {} is complete: {} segments.", run.id, number(totals.done.into()))?,
            Some(reason) => writeln!(
                out,
                "Run {} stopped: {reason}.\nWhat is counted here is committed; {} of {} segments are done.",
                run.id,
                number(totals.done.into()),
                number(run.total_segments.into())
            )?,
        }
        write_counts(out, &totals.counts, run.lower_bound)?;
        write_spend(out, spend, &subject.plan.limits)?;
        if !throttles.is_empty() {
            let by_scope = throttles.iter().map(|(scope, requests)| format!("{scope} {}", number(*requests)));
            let by_scope = by_scope.collect::<Vec<_>>().join(", ");
            writeln!(out, "  requests throttled by DynamoDB in this session, by what was short: {by_scope}")?;
        }
        if !unusable_replies.is_empty() {
            let each = unusable_replies.iter().map(|(what, times)| format!("{} × {what}", number(*times)));
            let each = each.collect::<Vec<_>>().join("; ");
            writeln!(out, "  unusable replies in this session; each request was sent again: {each}")?;
        }
        if open.failures + open.diverged > 0 {
            writeln!(out, "Open: {} failures, {} diverged items.", number(open.failures), number(open.diverged))?;
        }
        if subject.advice && open.failures + open.diverged > 0 {
            writeln!(out, "Their keys: backfill failures {plan} list --state {state}")?;
        }
        match stopped {
            _ if !subject.advice => Ok(()),
            None => writeln!(
                out,
                "Complete only if every writer dual-wrote since {}; if not, `backfill run {plan} --again --state {state}` \
                 makes another pass, until one applies nothing.",
                run.started_at
            ),
            Some(_) => writeln!(out, "It goes on from here with: backfill run {plan} --state {state}"),
        }
    }

    /// As JSON; `exit_code` is that of the process.
    pub fn to_json(&self, exit_code: u8) -> Json {
        json!({
            "type": "run", "table_arn": self.subject.table.arn, "fingerprint": self.subject.plan.fingerprint().as_str(),
            "run": self.run, "totals": self.totals, "spend": self.spend,
            "throttles": self.throttles.iter().cloned().collect::<BTreeMap<_, _>>(),
            "unusable_replies": self.unusable_replies, "open_failures": self.open.failures,
            "open_diverged": self.open.diverged, "stopped": self.stopped.map(ToString::to_string),
            "exit_code": exit_code,
        })
    }
}
