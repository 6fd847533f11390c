//! `failures list`: lists items that could not be changed, and diverged items.

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::figure::count;
use backfill::internals::state::{self, Cursor, DivergedRecord, FailureRecord, ListQuery, UnreadableRow};

/// The rows of a list. A record that cannot be read appears as an error in the list.
type Rows<T> = Vec<Result<T, UnreadableRow>>;

/// Lists open failures and diverged items.
pub(crate) async fn list(global: &Global, plan: &Path, limit: u32) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, plan, false)?;
    let state = state::read(migration.state_path())?;
    let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit };
    let failures = state.list_failures(query).await?;
    let diverged = state.list_diverged(query).await?;
    let summary = state.summary().await?;
    let failed = summary.open_failures;
    let unequal = summary.open_diverged;
    output::write_data(
        global,
        &CommandResult::done(),
        || {
            json!({ "type": "failures", "open_failures": failed, "open_diverged": unequal,
                    "failures": rows_json(&failures), "diverged": rows_json(&diverged) })
        },
        |out| {
            write_lists(out, &failures, &diverged)?;
            let failures = count(failed, "open failure", "open failures");
            writeln!(out, "{failures}, {}", count(unequal, "diverged item", "diverged items"))
        },
    )
}

fn write_lists(out: &mut Vec<u8>, failures: &Rows<FailureRecord>, diverged: &Rows<DivergedRecord>) -> IoResult<()> {
    for row in failures {
        match row {
            Ok(f) => writeln!(
                out,
                "{:<9} {}  {} ({})",
                f.outcome.name(),
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
                writeln!(out, "diverged  {}  {paths} differs from the value that the plan implies", d.key)?;
            }
            Err(row) => writeln!(out, "unreadable  diverged item {}: {}", row.id, row.why)?,
        }
    }
    Ok(())
}

fn rows_json<T: serde::Serialize>(rows: &Rows<T>) -> Vec<Json> {
    let json = |row: &Result<T, UnreadableRow>| match row {
        Ok(record) => serde_json::to_value(record).unwrap_or_default(),
        Err(row) => json!({ "id": row.id, "readable": false, "why": row.why }),
    };
    rows.iter().map(json).collect()
}
