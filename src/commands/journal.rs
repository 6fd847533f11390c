//! `journal`: lists the overwritten, removed and deleted values that the state file keeps, or purges them.

use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::{Global, JournalAction, JournalArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::figure::count;
use backfill::internals::item::{Value, item_to_json};
use backfill::internals::migration::PurgeOutcome;
use backfill::internals::preflight::Acceptance;
use backfill::internals::state::{self, Cursor, JournaledWrite, ListQuery, PreImageRecord, RunId, UnreadableRow};

/// Lists or purges the journal.
pub(crate) async fn journal(global: &Global, args: JournalArgs) -> anyhow::Result<Exit> {
    match &args.action {
        Some(JournalAction::Purge { plan, accept, yes }) => purge(global, plan, accept, *yes).await,
        None => list(global, &args).await,
    }
}

/// Purges the journal.
async fn purge(global: &Global, plan: &Path, accept: &[Acceptance], yes: bool) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, plan, yes)?;
    let outcome = migration.purge_journal(accept.contains(&Acceptance::NoWayBack)).await?;
    let PurgeOutcome { values, derived_items } = outcome;
    output::write_data(
        global,
        &CommandResult::done(),
        || json!({ "type": "journal_purge", "values": values, "derived_items": derived_items }),
        |out| {
            let state = migration.state_path().display();
            let deleted = match derived_items {
                Some(items) => count(items, "derived item was", "derived items were"),
                None => count(values, "value was", "values were"),
            };
            writeln!(out, "{deleted} deleted from the journal in {state}.")?;
            writeln!(out, "A rollback is not possible any more. Copies of the file keep the values.")
        },
    )
}

/// Lists the values, oldest first.
async fn list(global: &Global, args: &JournalArgs) -> anyhow::Result<Exit> {
    let plan = args.plan.clone().unwrap_or_default();
    let migration = terminal::open(global, &plan, false)?;
    let state = state::read(migration.state_path())?;
    // Read one row more than the limit, to find out whether there are more values.
    let limit = args.limit.saturating_add(1);
    let query = ListQuery {
        run: args.run.map(RunId::from_number),
        open_only: false,
        after: Cursor::from_number(args.after),
        limit,
    };
    let mut found = state.journal(query).await?;
    let runs = state.summary().await?.runs;
    let more = found.len() > args.limit as usize;
    found.truncate(args.limit as usize);
    let phase = |row: &PreImageRecord| runs.iter().find(|run| run.id == row.run).map_or("?", |run| run.phase.as_str());
    let last = found.last().map(|row| row.as_ref().map_or_else(|unreadable| unreadable.id, PreImageRecord::cursor));
    // A plan with `put` records only derived items.
    let table = migration.plan().other_table();
    let values: Vec<_> = found.iter().map(|row| row.as_ref().map(|row| (row, phase(row)))).collect();
    output::write_data(
        global,
        &CommandResult::done(),
        || {
            let row = |row: &Result<(&PreImageRecord, &str), &UnreadableRow>| match row {
                Ok((row, phase)) => to_json(row, (phase, table), args.show_values),
                Err(row) => json!({ "id": row.id, "readable": false, "why": row.why }),
            };
            json!({ "type": "journal", "values": values.iter().map(row).collect::<Vec<_>>(), "more": more })
        },
        |out| {
            for row in &values {
                match row {
                    Ok((row, phase)) => write_row(out, row, (phase, table), args.show_values)?,
                    Err(row) => writeln!(out, "{}  (unreadable: {})", row.id, row.why)?,
                }
            }
            match last.filter(|_| more) {
                Some(last) => writeln!(out, "There are more values. To list them, use --after {last}"),
                None if values.is_empty() => writeln!(out, "0 overwritten or removed values"),
                None => Ok(()),
            }
        },
    )
}

fn to_json(row: &PreImageRecord, (phase, table): (&str, Option<&str>), show_values: bool) -> Json {
    let (write, confirmed_at, source) = match &row.write {
        JournaledWrite::Value => ("value", None, None),
        JournaledWrite::Delete { confirmed_at, .. } => ("delete", confirmed_at.as_deref(), None),
        JournaledWrite::Put { source, confirmed_at } => ("put", confirmed_at.as_deref(), source.as_ref()),
    };
    let mut json = json!({
        "id": row.id, "run": row.run, "phase": phase, "key": item_to_json(row.key.attributes()),
        "path": row.path.to_string(), "at": row.at, "write": write, "confirmed_at": confirmed_at,
        "source": source.map(|source| item_to_json(source.attributes())), "table": table,
    });
    if let (true, Some(map), JournaledWrite::Delete { removed: Some(removed), .. }) =
        (show_values, json.as_object_mut(), &row.write)
    {
        map.insert("removed".into(), removed.to_json());
    }
    if let (true, Some(map)) = (show_values, json.as_object_mut()) {
        map.insert("value".into(), row.value.as_ref().map_or(Json::Null, Value::to_json));
        map.insert("readable".into(), row.value.is_some().into());
    }
    json
}

fn write_row(
    out: &mut Vec<u8>,
    row: &PreImageRecord,
    (phase, table): (&str, Option<&str>),
    show_values: bool,
) -> IoResult<()> {
    let PreImageRecord { id, run, key, path, value, at, write } = row;
    let table = table.map_or_else(String::new, |table| format!("table {table}: "));
    write!(out, "{}  {at}  run {} ({phase})  {table}{key}  {path}", id, run)?;
    let confirmation = |at: &Option<String>| match at {
        Some(at) => format!("confirmed {at}"),
        None => "not confirmed".to_owned(),
    };
    match write {
        JournaledWrite::Value => {}
        JournaledWrite::Delete { confirmed_at, .. } => write!(out, "  delete, {}", confirmation(confirmed_at))?,
        JournaledWrite::Put { source, confirmed_at } => {
            let source = source.as_ref().map_or_else(|| "(unreadable)".to_owned(), ToString::to_string);
            write!(out, "  put for the item {source}, {}", confirmation(confirmed_at))?;
        }
    }
    if show_values {
        write!(out, "  {}", value_text(value.as_ref()))?;
        if let JournaledWrite::Delete { removed: Some(removed), .. } = write {
            write!(out, "  changed to {} just before the delete", value_text(Some(removed)))?;
        }
    }
    writeln!(out)
}

fn value_text(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "(unreadable)".to_owned(), |value| value.to_json().to_string());
    let escaped = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
