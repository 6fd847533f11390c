//! `failures list`: lists items that could not be changed, and diverged items.

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::change::Leftover;
use backfill::internals::figure::count;
use backfill::internals::item::item_to_json;
use backfill::internals::state::{
    self, AffectedItems, Cursor, DivergedRecord, FailureRecord, ListQuery, Mismatch, RunId, RunRecord, StateReader,
    StoreError, UnreadableRow, phase,
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
    let repaired_over = noted(state.as_ref(), &summary.runs, Leftover::RepairedOver, limit).await?;
    let reply_lost = noted(state.as_ref(), &summary.runs, Leftover::DeleteReplyLost, limit).await?;
    let elsewhere = OfRollback { table: migration.plan().other_table(), runs: &summary.runs };
    let failed = summary.open_failures;
    let unequal = summary.open_diverged;
    output::write_data(
        global,
        &CommandResult::done(),
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
                let explain = terminal::commands(global, plan).render("explain --key KEY --show-values");
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
            let journal = terminal::commands(global, plan).render("journal --show-values");
            write_noted(out, (Leftover::RepairedOver, None), &repaired_over, &journal)?;
            write_noted(out, (Leftover::DeleteReplyLost, elsewhere.table), &reply_lost, &journal)?;
            let failures = count(failed, "open failure", "open failures");
            writeln!(out, "{failures}, {}", count(unequal, "diverged item", "diverged items"))
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

/// Returns whether a run, and not a rollback, found one of these items diverged.
fn has_diverged_source(diverged: &Rows<DivergedRecord>, runs: &[RunRecord]) -> bool {
    let is_run = |record: &DivergedRecord| runs.iter().any(|run| run.id == record.run && run.phase == phase::EXPAND);
    diverged.iter().flatten().any(is_run)
}

fn write_mismatch(out: &mut Vec<u8>, mismatch: &Mismatch) -> IoResult<()> {
    let paths: Vec<String> = mismatch.paths.iter().map(|path| format!("  {path}")).collect();
    let why = mismatch.why.as_ref().map_or_else(String::new, |why| format!("  ({why})"));
    writeln!(out, "{:<10}{}{}{why}", mismatch.verdict.name(), mismatch.key, paths.concat())
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

/// Returns the items that the passes of the last rollback recorded with this reason. The result is empty if a new run
/// has begun since.
async fn noted(
    state: &dyn StateReader,
    runs: &[RunRecord],
    reason: Leftover,
    limit: u32,
) -> Result<AffectedItems, StoreError> {
    let mut all = AffectedItems::default();
    for run in runs.iter().rev().take_while(|run| run.phase != phase::EXPAND) {
        if run.phase == phase::ROLLBACK {
            let more = state.leftovers(run.id, reason, limit).await?;
            all.count += more.count;
            all.first.extend(more.first);
        }
    }
    all.first.truncate(limit as usize);
    Ok(all)
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
                writeln!(out, "diverged  {table}{}  {paths} differs from the value that the plan implies", d.key)?;
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
