//! The rows of the report's tables, for all formats. This module is pure.

use super::runs::pending_text;
use super::{MigrationReport, RunEntry};
use crate::change::Outcome;
use crate::clock::to_text;
use crate::figure::{count, dollars, number, units};
use crate::item::ItemKey;
use crate::state::phase::VERIFY;
use crate::state::{Counts, DivergedGroup, FailureGroup, Spend, SpendState, WorkGroups};
use crate::telemetry::{limits_text, outcome_note};

/// A labelled value.
pub(super) type NamedValue = (&'static str, String);

/// A row with a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FigureRow {
    /// What the figure counts.
    pub(super) label: String,
    /// A remark, or an empty text.
    pub(super) note: String,
    /// The figure.
    pub(super) value: String,
}

/// A list of failures or of diverged items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkList {
    pub(super) caption: &'static str,
    pub(super) column: &'static str,
    /// The sentence for an empty list.
    pub(super) none: &'static str,
    pub(super) rows: Vec<WorkRow>,
    pub(super) notes: Vec<String>,
}

/// A group of failures or of diverged items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkRow {
    pub(super) run: String,
    pub(super) text: String,
    pub(super) open: String,
    pub(super) resolved: String,
    pub(super) keys: Vec<String>,
    /// Number of open items whose keys are not listed, if keys are shown.
    pub(super) more: u64,
}

fn row(label: impl Into<String>, value: impl Into<String>) -> FigureRow {
    FigureRow { label: label.into(), note: String::new(), value: value.into() }
}

fn noted(label: impl Into<String>, note: impl Into<String>, value: impl Into<String>) -> FigureRow {
    FigureRow { label: label.into(), note: note.into(), value: value.into() }
}

fn or_unknown(text: Option<impl Into<String>>) -> String {
    text.map_or_else(|| "unknown".to_owned(), Into::into)
}

impl MigrationReport {
    /// Returns the state of the migration.
    pub(super) fn summary_rows(&self) -> Vec<NamedValue> {
        let flag = match &self.flag {
            Some(known) => format!(
                "{}, changed by {}; first read at {}, may have changed since",
                known.flag,
                known.meta.actor,
                to_text(known.at)
            ),
            None => "no command has recorded a flag".to_owned(),
        };
        let mut rows = vec![
            ("Stage", self.stage.name().to_owned()),
            ("Process", self.process_text()),
            ("Flag", flag),
            ("Open failures", number(self.summary.open_failures)),
            ("Open diverged items", number(self.summary.open_diverged)),
            match self.derived_items {
                Some(items) => ("Derived items in the journal", number(items)),
                None => ("Values kept in the journal", number(self.summary.pre_images)),
            },
        ];
        if !self.live.is_empty() {
            rows.push(("At this moment", self.live.join("; ")));
        }
        rows
    }

    /// Returns the rows that describe the requested migration.
    pub(super) fn asked_rows(&self) -> Vec<NamedValue> {
        let identity = &self.identity;
        vec![
            ("Plan", identity.meaning.clone()),
            ("Table", identity.table_arn.clone()),
            ("Account", or_unknown(self.account())),
            ("Region", or_unknown(self.region())),
            ("Table id", or_unknown(identity.table_id.as_deref())),
            ("Fingerprint", identity.fingerprint.clone()),
            ("State file", format!("{} (created {})", self.summary.path.display(), self.summary.created_at)),
        ]
    }

    /// Returns the failures and the diverged items.
    pub(super) fn work_lists(&self) -> [WorkList; 2] {
        let failures = WorkList {
            caption: "Failures by reason",
            column: "Outcome and reason",
            none: "No failure is recorded.",
            rows: self.failures.groups.iter().map(|group| self.failure_row(group)).collect(),
            notes: notes(&self.failures, "failures"),
        };
        let diverged = WorkList {
            caption: "Diverged items by attribute",
            column: "Attributes that differ from the plan (not changed)",
            none: "No diverged item is recorded.",
            rows: self.diverged.groups.iter().map(|group| self.diverged_row(group)).collect(),
            notes: notes(&self.diverged, "diverged items"),
        };
        [failures, diverged]
    }

    fn failure_row(&self, group: &FailureGroup) -> WorkRow {
        let FailureGroup { run, outcome, reason, open, resolved, keys } = group;
        WorkRow {
            run: run.to_string(),
            text: format!("{}: {reason}", outcome.name()),
            open: number(*open),
            resolved: number(*resolved),
            keys: keys.iter().map(ItemKey::to_string).collect(),
            more: self.more(*open, keys),
        }
    }

    fn diverged_row(&self, group: &DivergedGroup) -> WorkRow {
        let DivergedGroup { run, paths, open, resolved, keys } = group;
        WorkRow {
            run: run.to_string(),
            text: paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            open: number(*open),
            resolved: number(*resolved),
            keys: keys.iter().map(ItemKey::to_string).collect(),
            more: self.more(*open, keys),
        }
    }

    fn more(&self, open: u64, keys: &[ItemKey]) -> u64 {
        if self.show_keys { open.saturating_sub(keys.len() as u64) } else { 0 }
    }
}

fn notes<T>(groups: &WorkGroups<T>, what: &str) -> Vec<String> {
    let unlisted = format!("{} {what} belong to smaller groups that are not listed.", number(groups.unlisted));
    let damaged = format!("{} records of {what} are damaged and not listed.", number(groups.damaged));
    let notes = [(groups.unlisted, unlisted), (groups.damaged, damaged)];
    notes.into_iter().filter(|(n, _)| *n > 0).map(|(_, note)| note).collect()
}

/// Returns the rows of a verification. A verification has verdicts and no outcomes, but `status` counts its verdicts as
/// outcomes.
fn verdict_rows(counts: &Counts) -> Vec<FigureRow> {
    let rows = [
        (Outcome::AlreadyApplied, "matching", "or changed or deleted by a live writer meanwhile"),
        (
            Outcome::NothingToDo,
            "not selected, or new alone",
            "no change applies, or only the new attribute existed before the migration",
        ),
        (Outcome::Skipped, "skipped", "a different value counts as done by the plan"),
        (Outcome::Diverged, "not matching", "and not repaired"),
        (Outcome::Applied, "repaired", "did not match when first read"),
    ];
    rows.map(|(outcome, label, note)| noted(label, note, number(counts.of(outcome)))).into()
}

impl RunEntry {
    /// Returns the title of the run.
    pub(super) fn title(&self) -> String {
        let run = &self.progress.run;
        let pass = if run.pass > 1 { format!(", pass {}", run.pass) } else { String::new() };
        format!("Run {}: {}{pass}", run.id, self.phase_text())
    }

    /// Returns the facts about the run. `held` is true if a process holds the state file.
    pub(super) fn fact_rows(&self, held: bool) -> Vec<NamedValue> {
        let run = &self.progress.run;
        let totals = &self.progress.totals;
        let throttled = self.history.as_ref().and_then(|history| history.total()).map(|total| number(total.throttled));
        let mut rows = vec![
            ("State", self.state_text(held)),
            ("Begun", run.started_at.clone()),
            ("Last session ended", run.ended_at.clone().unwrap_or_else(|| "not recorded".to_owned())),
            ("Last commit", totals.last_commit_at.clone().unwrap_or_else(|| "never".to_owned())),
            ("Sessions", number(run.sessions.into())),
            ("Items in the table", self.estimate_text()),
            (
                "Segments",
                format!(
                    "{} done, {} scanning, {} {}",
                    number(totals.done.into()),
                    number(totals.scanning.into()),
                    number(totals.pending.into()),
                    pending_text(run, totals.pending.into())
                ),
            ),
            ("Pages", number(totals.pages)),
            ("Throttled requests", or_unknown(throttled)),
            ("Program version", run.tool_version.clone()),
        ];
        if let Some(reason) = &run.stop_reason {
            rows.push(("Last session ended because", reason.clone()));
        }
        if run.abandoned_pages > 0 {
            rows.push(("Pages begun but not finished", number(run.abandoned_pages)));
        }
        if !self.progress.accepted.is_empty() {
            rows.push(("Accepted findings", self.progress.accepted.join(", ")));
        }
        let limits = self.limits.as_ref().zip(self.progress.spend.prices);
        if let Some(text) = limits.and_then(|(limits, prices)| limits_text(limits, None, prices)) {
            rows.push(("Limits in the current plan", text));
        }
        if let Some(budgets) = &self.budgets {
            let each: Vec<String> = budgets.lines().map(|(scope, budget)| format!("{scope}: {budget}")).collect();
            rows.push(("Budgets", each.join("; ")));
        }
        rows
    }

    fn estimate_text(&self) -> String {
        let run = &self.progress.run;
        let Some(estimate) = run.table_items_estimate.filter(|items| *items > 0) else { return "unknown".to_owned() };
        let percent = self.progress.totals.counts.scanned * 100 / estimate;
        let percent = percent.min(if run.is_unfinished() { 99 } else { 100 });
        format!("about {} (DynamoDB's count when the run began); {percent} % of them scanned", number(estimate))
    }

    /// Returns the number of items for each outcome.
    pub(super) fn outcome_rows(&self) -> Vec<FigureRow> {
        let counts = &self.progress.totals.counts;
        if self.progress.run.phase == VERIFY {
            return verdict_rows(counts);
        }
        let outcome_row = |outcome: Outcome| {
            let note = outcome_note(outcome, counts, self.lower_bound());
            noted(outcome.name().replace('_', " "), note, number(counts.of(outcome)))
        };
        Outcome::ALL.into_iter().map(outcome_row).collect()
    }

    /// Returns the consumed capacity and its cost.
    pub(super) fn spend_rows(&self) -> Vec<FigureRow> {
        let counts = &self.progress.totals.counts;
        let SpendState { spent, slice, lost, .. } = self.progress.spend.state;
        let of = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        let limits = self.limits.as_ref();
        let max_wcu = limits.and_then(|limits| limits.max_wcu);
        let max_usd = limits.and_then(|limits| limits.max_cost_usd);
        let reported = "according to DynamoDB's replies for committed items";
        let mut rows = vec![
            noted("WCU consumed", reported, units(counts.write_units)),
            noted("RCU consumed", reported, units(counts.read_units)),
        ];
        if counts.estimated_write_units > 0.0 {
            let note = "by DynamoDB's rules, before the writes were sent";
            rows.push(noted("WCU estimated", note, units(counts.estimated_write_units)));
        }
        if counts.assumed_write_units > 0.0 {
            let note = "for requests whose reply reported no units (failed conditions, lost replies)";
            rows.push(noted("WCU assumed", note, units(counts.assumed_write_units)));
        }
        let total = "including pages that were not committed";
        rows.push(noted("WCU spent", total, format!("{}{}", units(spent.write), of(max_wcu.map(units)))));
        rows.push(noted("RCU spent", total, units(spent.read)));
        if lost != Spend::default() {
            let note = "counted as spent, because the tool cannot know how much of it was used";
            let value = format!("{} WCU, {} RCU", units(lost.write), units(lost.read));
            rows.push(noted("reserved by a killed process", note, value));
        }
        if slice != Spend::default() {
            let value = format!("{} WCU, {} RCU", units(slice.write), units(slice.read));
            rows.push(row("reserved for the next requests", value));
        }
        match (self.progress.spend.dollars(), self.progress.spend.prices) {
            (Some(cost), Some(prices)) => {
                let note = format!("an estimate {}", prices.basis.text());
                rows.push(noted("cost", note, format!("about {}{}", dollars(cost), of(max_usd.map(dollars)))));
            }
            (None, _) | (_, None) => rows.push(row("cost", "unknown")),
        }
        rows
    }

    /// Describes which part of the run the pace over time covers.
    pub(super) fn pace_note(&self) -> String {
        let share = match self.history_share() {
            None => return String::new(),
            Some(share) => share * 100.0,
        };
        let interval = self.history.as_ref().map_or(0, |history| history.interval().as_secs());
        format!(
            "Sampled every few seconds and merged into intervals of up to {}. It covers {share:.1} % of the scanned \
             items: a killed process loses its last seconds. Gaps: no process worked.",
            count(interval, "second", "seconds")
        )
    }
}
