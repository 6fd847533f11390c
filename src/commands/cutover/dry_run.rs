//! `cutover --dry-run`: reports whether the step is possible, and counts the items from which readers would read the
//! new value for the first time.

use std::io::Write as _;

use serde_json::json;

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::figure::count;
use backfill::internals::item::{ItemKey, Path, item_to_json};
use backfill::internals::migration::{CutoverStep, Migration, StepOptions};

/// Number of example items in the text report. The JSON report contains all example items.
const SHOWN: usize = 5;

/// Checks every precondition of a step forward, and counts the items that had only the new attribute before the
/// migration. Changes nothing.
pub(super) async fn dry_run(
    global: &Global,
    migration: &Migration,
    step: CutoverStep,
    options: &StepOptions,
) -> anyhow::Result<Exit> {
    let outcome = Box::pin(migration.cutover_dry_run(step, options)).await?;
    let listed = outcome.new_only_items();
    let next = outcome.next();
    let command_result = CommandResult::done().next(next.to_owned());
    output::write_result(
        global,
        &command_result,
        || {
            let new_alone = listed.map(|listed| {
                let key = |(key, path): &(ItemKey, Path)| {
                    json!({ "key": item_to_json(key.attributes()), "path": path.to_string() })
                };
                json!({ "count": listed.count, "items": listed.first.iter().map(key).collect::<Vec<_>>() })
            });
            json!({ "type": "cutover_dry_run", "new_alone": new_alone, "next": next })
        },
        |out| {
            writeln!(out, "Dry run: this step is possible. Nothing was changed.")?;
            match listed {
                Some(listed) => {
                    writeln!(
                        out,
                        "{} had only the new attribute before the migration: readers will see those values for \
                         the first time",
                        count(listed.count, "item", "items")
                    )?;
                    let mut shown = listed.first.iter().take(SHOWN);
                    shown.try_for_each(|(key, path)| writeln!(out, "  such as {key}: {path}"))?;
                }
                None => writeln!(
                    out,
                    "The state file does not record which items had only the new attribute before the migration; \
                     `verify --all` counts them"
                )?,
            }
            writeln!(out, "Next: {next}")
        },
    )
}
