//! What a demo says around its steps, and waits for.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::clock::wall;
use backfill::internals::cutover::Flag;
use backfill::internals::local::{Local, sample};
use backfill::internals::migration::{Driver, PassEnd, PassResult};
use backfill::internals::telemetry::{number, write_counts};

/// What the sample table holds.
pub(crate) fn tell_table(served: &Local, seed: u64) {
    let Some(table) = served.table() else { return };
    let expected = sample::expected(seed, table.items);
    output::stderr(&format!(
        "   table `{}`: {} items ({table}): {} with `{old}` only, {} without, {} with both and equal, {} with `{new}` only, \
         {} diverged",
        table.table,
        number(table.items),
        number(expected.plain),
        number(expected.absent),
        number(expected.already_both),
        number(expected.only_new),
        number(expected.diverged),
        old = sample::OLD,
        new = sample::NEW,
    ));
}

/// Says what a step came to, and gives it as JSON.
pub(crate) fn come_to(passes: &[PassEnd], flag: Option<&Flag>) -> Json {
    let mut lines = Vec::new();
    let json = match passes.last().and_then(|end| end.result.as_ref()) {
        Some(PassResult::Worked(ended)) => {
            // Writing to memory does not fail.
            write_counts(&mut lines, &ended.totals.counts, ended.run.lower_bound).unwrap_or_default();
            json!({ "run": ended.run, "totals": ended.totals })
        }
        Some(PassResult::Verified(verified)) => {
            let report = verified.report.as_ref().map(|(report, _)| report);
            if let Some(r) = report {
                let (all, equal, left) = (number(r.compared), number(r.matching), number(r.mismatches));
                let repaired = number(r.repaired);
                lines = format!("  {all} compared, {equal} match, {repaired} repaired, {left} mismatches").into_bytes();
            }
            json!({ "report": report })
        }
        Some(PassResult::Retried(_)) | None => json!({ "flag": flag.map(ToString::to_string) }),
    };
    output::stderr(&String::from_utf8_lossy(&lines));
    json
}

/// What to try with the folder now.
pub(crate) fn tell_next(exit: Exit, dir: &Path) {
    let me = std::env::args().next().unwrap_or_else(|| "backfill".into());
    let (plan, state, dir) = (dir.join("plan.toml"), dir.join("state.db"), dir.display());
    let (plan, state) = (plan.display(), state.display());
    let first = if matches!(exit, Exit::Done) {
        "The migration is over. What to try next\n   run it again and kill it anywhere (Ctrl-C, or kill -9), then again"
    } else {
        "What to try next\n   go on where it stopped"
    };
    output::stderr(&format!(
        "\n{first}:\n     {me} demo --dir {dir}\n   where the migration stands, also while it runs:\n     {me} status {plan} \
         --state {state}"
    ));
}

/// Waits until contract may begin; false when it is asked to stop before.
pub(crate) async fn wait_for_soak(driver: &Driver) -> anyhow::Result<bool> {
    let since = driver.flag().await?.and_then(|flag| flag.new_since);
    let until = since.and_then(|since| since.checked_add(driver.plan.cutover.soak).ok());
    match until {
        Some(until) => {
            let left = Duration::try_from(until.duration_since(wall()())).unwrap_or_default();
            Ok(driver.wait(left).await)
        }
        None => Ok(true),
    }
}
