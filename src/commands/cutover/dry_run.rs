//! `cutover --dry-run`: whether the step would be taken, and what readers would see by it that they never saw.

use std::io::Write as _;

use serde_json::json;

use crate::cli::Global;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::item::{ItemKey, Path, item_to_json};
use backfill::internals::migration::{CutoverStep, Migration, StepOptions};
use backfill::internals::telemetry::number;

/// Items that are shown to people.
const SHOWN: usize = 5;

/// Checks every precondition of a step forward, and counts the items that had the new attribute alone. Nothing is changed.
pub(super) async fn dry_run(
    global: &Global,
    migration: &Migration,
    step: CutoverStep,
    options: &StepOptions,
) -> anyhow::Result<Exit> {
    let outcome = Box::pin(migration.cutover_dry_run(step, options)).await?;
    let (listed, next) = (outcome.new_alone(), outcome.next());
    output::result(
        global,
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
            writeln!(out, "Dry run: this step would be taken. Nothing was changed.")?;
            match listed {
                Some(listed) => {
                    writeln!(
                        out,
                        "{} items had only the new attribute before the migration: readers will see those values for \
                         the first time",
                        number(listed.count)
                    )?;
                    let mut shown = listed.first.iter().take(SHOWN);
                    shown.try_for_each(|(key, path)| writeln!(out, "  such as {key}: {path}"))?;
                }
                None => writeln!(
                    out,
                    "It is not recorded which items had only the new attribute before the migration; `verify --all` \
                     counts them"
                )?,
            }
            writeln!(out, "Next: {next}")
        },
    );
    Ok(Exit::Done)
}
