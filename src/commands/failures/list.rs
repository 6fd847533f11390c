//! `failures list`: lists items that could not be changed, and diverged items.

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::next_step::NextStep;
use crate::commands::shared::{output, terminal};
use backfill::internals::change::Leftover;
use backfill::internals::command_line::CommandLine;
use backfill::internals::figure::count;
use backfill::internals::item::item_to_json;
use backfill::internals::migration::{Migration, StatusOptions, StatusOutcome};
use backfill::internals::playbook::MigrationStage;
use backfill::internals::state::{
    self, AffectedItems, Cursor, DivergedRecord, FailureRecord, ListQuery, Mismatch, RunId, RunRecord, RunStatus,
    UnreadableRow, phase,
};
use backfill::internals::telemetry::affected_json;

/// The rows of a list. An error stands for a record that cannot be read.
type Rows<T> = Vec<Result<T, UnreadableRow>>;

/// Lists open failures and diverged items.
pub(crate) async fn list(global: &Global, plan: &Path, limit: u32) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, plan, false)?;
    let state = state::read(migration.state_path())?;
    let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit };
    let failures = state.list_failures(query).await?;
    let diverged = state.list_diverged(query).await?;
    let summary = state.summary().await?;
    let mismatches = state.open_mismatches(limit).await?;
    let repaired_over = state.rollback_notes(Leftover::RepairedOver, limit).await?;
    let reply_lost = state.rollback_notes(Leftover::DeleteReplyLost, limit).await?;
    let elsewhere = OfRollback { table: migration.plan().other_table(), runs: &summary.runs };
    let failed = summary.open_failures;
    let unequal = summary.open_diverged;
    let commands = terminal::commands(global, plan);
    let is_held = summary.holder.is_some();
    let next_step = if is_held { None } else { next_step(&migration, &commands, failed).await };
    output::write_data(
        global,
        &CommandResult::done().next_step(next_step.as_ref()),
        || {
            json!({ "type": "failures", "open_failures": failed, "open_diverged": unequal,
                    "failures": rows_json(&failures, |row| elsewhere.table(row.run)),
                    "diverged": rows_json(&diverged, |row| elsewhere.table(row.run)),
                    "mismatches": mismatches.iter().map(mismatch_json).collect::<Vec<_>>(),
                    "repaired_over": affected_json(&repaired_over), "reply_lost": affected_json(&reply_lost) })
        },
        |out| {
            write_lists(out, &failures, &diverged, &elsewhere)?;
            if migration.plan().puts_items() && has_diverged_source(&diverged, &summary.runs) {
                let explain = commands.render("explain --key KEY --show-values");
                writeln!(
                    out,
                    "If a run found an item diverged, the item is a source, and its line lists the attributes that \
                     differ in its derived item. To see the derived item's key: {explain}"
                )?;
            }
            if !mismatches.is_empty() {
                writeln!(out, "mismatches that the last full verification found and did not repair:")?;
            }
            mismatches.iter().try_for_each(|mismatch| write_mismatch(out, mismatch))?;
            let journal = commands.render("journal --show-values");
            write_noted(out, (Leftover::RepairedOver, None), &repaired_over, &journal)?;
            write_noted(out, (Leftover::DeleteReplyLost, elsewhere.table), &reply_lost, &journal)?;
            let open = count(failed, "open failure", "open failures");
            writeln!(out, "{open}, {}", count(unequal, "diverged item", "diverged items"))?;
            if has_undone_failure(&failures, &summary.runs) {
                writeln!(out, "The rollback is complete, so the failures of earlier runs need no action.")?;
            }
            if failed + unequal > 0 {
                writeln!(
                    out,
                    "To see one of these items with its values: {}",
                    commands.render("explain --key KEY --show-values")
                )?;
            }
            match &next_step {
                Some(next) if failed + unequal > 0 => {
                    writeln!(out, "Next, after you have looked at the items: {}", next.command)
                }
                Some(next) => next.write(out),
                None => Ok(()),
            }
        },
    )
}

/// The table in which a rollback works, if it is not the plan's table.
struct OfRollback<'a> {
    table: Option<&'a str>,
    runs: &'a [RunRecord],
}

impl OfRollback<'_> {
    /// Returns the table of the items that this run worked on. `None` for the plan's table.
    fn table(&self, run: RunId) -> Option<&str> {
        let is_rollback = || self.runs.iter().any(|known| known.id == run && known.phase == phase::ROLLBACK);
        self.table.filter(|_| is_rollback())
    }
}

/// Returns the name of another table than the plan's as the beginning of a key, or an empty text.
fn prefix(table: Option<&str>) -> String {
    table.map_or_else(String::new, |table| format!("table {table}: "))
}

/// Returns the command to run after the operator has looked at the list, and has corrected items if necessary. If the
/// playbook suggests this list itself, returns the command that tries the failed items again.
async fn next_step(migration: &Migration, commands: &CommandLine, failed: u64) -> Option<NextStep> {
    let mut options = StatusOptions::default();
    options.offline = true;
    let outcome = Box::pin(migration.status(&options)).await.ok().filter(StatusOutcome::matches_plan)?;
    let status = &outcome.snapshot().status;
    let next = NextStep::from_status(status, commands)?;
    if next.command != commands.render("failures list") {
        return Some(next);
    }
    let words = match status.stage {
        MigrationStage::Contract => "contract",
        MigrationStage::Rollback if migration.plan().puts_items() => "rollback --writers-stopped",
        MigrationStage::Rollback => "rollback",
        MigrationStage::Cutover if outcome.snapshot().unfinished > 0 => "cutover --back",
        MigrationStage::Preflight
        | MigrationStage::Expand
        | MigrationStage::Verify
        | MigrationStage::Cutover
        | MigrationStage::Soak
        | MigrationStage::Contracted
        | MigrationStage::RolledBack
            if failed > 0 =>
        {
            "failures retry"
        }
        MigrationStage::Preflight
        | MigrationStage::Expand
        | MigrationStage::Verify
        | MigrationStage::Cutover
        | MigrationStage::Soak
        | MigrationStage::Contracted
        | MigrationStage::RolledBack => "verify --all",
    };
    Some(NextStep::now(commands.render(words)))
}

/// Returns whether the newest run is a complete rollback, and at least one of these items failed in an earlier run.
fn has_undone_failure(failures: &Rows<FailureRecord>, runs: &[RunRecord]) -> bool {
    let newest = runs.iter().max_by_key(|run| run.id);
    let rollback = newest.filter(|run| run.phase == phase::ROLLBACK && run.status == RunStatus::Complete);
    rollback.is_some_and(|rollback| failures.iter().flatten().any(|failure| failure.run < rollback.id))
}

/// Returns whether a run, and not a rollback, found one of these items diverged, and the record has no derived key. An
/// earlier version of this program did not record the key.
fn has_diverged_source(diverged: &Rows<DivergedRecord>, runs: &[RunRecord]) -> bool {
    let is_run = |record: &DivergedRecord| {
        record.derived.is_none() && runs.iter().any(|run| run.id == record.run && run.phase == phase::EXPAND)
    };
    diverged.iter().flatten().any(is_run)
}

fn write_mismatch(out: &mut Vec<u8>, mismatch: &Mismatch) -> IoResult<()> {
    let paths: Vec<String> = mismatch.paths.iter().map(ToString::to_string).collect();
    // If there are several paths, only the worst of their verdicts is recorded.
    let paths = match paths.as_slice() {
        [] => String::new(),
        [one] => format!("  {one}"),
        several => format!("  at least one of {}", several.join(", ")),
    };
    let why = mismatch.why.as_ref().map_or_else(String::new, |why| format!("  ({why})"));
    writeln!(out, "{:<10}{}{paths}{why}", mismatch.verdict.name(), mismatch.key)
}

fn mismatch_json(mismatch: &Mismatch) -> Json {
    json!({ "verdict": mismatch.verdict.name(), "key": item_to_json(mismatch.key.attributes()),
            "paths": mismatch.paths.iter().map(ToString::to_string).collect::<Vec<_>>(), "why": mismatch.why })
}

/// Writes the items that the passes of a rollback noted for this reason.
fn write_noted(
    out: &mut Vec<u8>,
    (reason, table): (Leftover, Option<&str>),
    items: &AffectedItems,
    journal: &str,
) -> IoResult<()> {
    for (key, path) in &items.first {
        writeln!(out, "{}  {}{key}  {path}", reason.label(), prefix(table))?;
    }
    match items.count {
        0 => Ok(()),
        _ => writeln!(
            out,
            "{}: {}: {reason}. To list the recorded values: {journal}",
            reason.label(),
            count(items.count, "item", "items")
        ),
    }
}

fn write_lists(
    out: &mut Vec<u8>,
    failures: &Rows<FailureRecord>,
    diverged: &Rows<DivergedRecord>,
    elsewhere: &OfRollback<'_>,
) -> IoResult<()> {
    for row in failures {
        match row {
            Ok(f) => writeln!(
                out,
                "{:<9} {}{}  {} ({})",
                f.outcome.name(),
                prefix(elsewhere.table(f.run)),
                f.key,
                f.reason,
                count(f.attempts.into(), "attempt", "attempts")
            )?,
            Err(row) => writeln!(out, "unreadable  failure {}: {}", row.id, row.why)?,
        }
    }
    for row in diverged {
        match row {
            Ok(d) => {
                let paths = d.paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let table = prefix(elsewhere.table(d.run));
                match &d.derived {
                    None => writeln!(
                        out,
                        "diverged  {table}{}  {paths} differs from the value that the plan implies",
                        d.key
                    )?,
                    Some(derived) => writeln!(
                        out,
                        "diverged  {table}{}  its derived item {derived} differs from what the plan implies: {paths}",
                        d.key
                    )?,
                }
            }
            Err(row) => writeln!(out, "unreadable  diverged item {}: {}", row.id, row.why)?,
        }
    }
    Ok(())
}

/// Returns the rows as JSON. `table` returns the table of a row, if it is not the plan's table.
fn rows_json<'a, T: serde::Serialize>(rows: &Rows<T>, table: impl Fn(&T) -> Option<&'a str>) -> Vec<Json> {
    let json = |row: &Result<T, UnreadableRow>| match row {
        Ok(record) => {
            let mut json = serde_json::to_value(record).unwrap_or_default();
            if let (Some(table), Some(map)) = (table(record), json.as_object_mut()) {
                map.insert("table".into(), table.into());
            }
            json
        }
        Err(row) => json!({ "id": row.id, "readable": false, "why": row.why }),
    };
    rows.iter().map(json).collect()
}
