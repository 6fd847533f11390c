//! `cutover --dry-run`: whether the step would be taken, and what readers would see by it that they never saw.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::conduct::{refusal, said};
use super::exit::{Exit, Refusal};
use super::output;
use super::target::Target;
use crate::cli::{CutoverArgs, Global};
use backfill::internals::change::MetPair;
use backfill::internals::clock::wall;
use backfill::internals::item::item_to_json;
use backfill::internals::migration::preview;
use backfill::internals::playbook::{Goal, Next};
use backfill::internals::preflight::check_plan;
use backfill::internals::state;
use backfill::internals::telemetry::number;

/// Items that are named; all are counted.
const NAMED: u32 = 1_000;

/// Items that are shown to people.
const SHOWN: usize = 5;

/// Checks every precondition of a step forward, and counts the items that had the new attribute alone. Nothing is changed.
pub(super) async fn dry_run(global: &Global, args: &CutoverArgs, goal: Goal) -> anyhow::Result<Exit> {
    let target = Box::pin(Target::open(global, &args.plan, check_plan)).await?;
    let Target { plan, description, state, .. } = &target;
    let opened = target.open_flag().await?;
    let flags = opened.as_ref().map(|opened| opened.flag.as_ref());
    let said = said(&args.decide());
    let previewed = Box::pin(preview(state, plan, description, flags, &said, goal, wall()())).await;
    if previewed.map_err(|error| refusal(error, &args.plan))?.is_none() {
        return Err(unreadable(state));
    }
    let listed = if state.exists() { state::read(state)?.met_pairs(MetPair::NewAlone, NAMED).await? } else { None };
    let next = Next::from(goal).for_plan(&args.plan.display().to_string());
    output::result(
        global,
        || {
            let new_alone = listed.as_ref().map(|listed| {
                let key = |(key, path): &(backfill::internals::item::ItemKey, backfill::internals::item::Path)| {
                    json!({ "key": item_to_json(key.attributes()), "path": path.to_string() })
                };
                json!({ "count": listed.count, "items": listed.first.iter().map(key).collect::<Vec<_>>() })
            });
            json!({ "type": "cutover_dry_run", "new_alone": new_alone, "next": next })
        },
        |out| {
            writeln!(out, "Dry run: this step would be taken. Nothing was changed.")?;
            match &listed {
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

/// Why the state file could not be read.
fn unreadable(state: &Path) -> anyhow::Error {
    match state::read(state) {
        Err(error) => error.into(),
        Ok(_) => Refusal::error(
            Exit::State,
            format!(
                "the state file {} was changed while it was read. Nothing was done; run the same command again",
                state.display()
            ),
        ),
    }
}
