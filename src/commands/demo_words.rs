//! What a demo says around its steps, and waits for.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::conduct::Conducted;
use super::exit::Exit;
use super::output;
use backfill::internals::clock::wall;
use backfill::internals::cutover::Flag;
use backfill::internals::local::{Local, sample};
use backfill::internals::migration::{Came, Swept};
use backfill::internals::telemetry::{number, write_counts};

/// What the sample table holds.
pub(super) fn tell_table(served: &Local, seed: u64) {
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
pub(super) fn come_to(swept: &[Swept], flag: Option<&Flag>) -> Json {
    let mut lines = Vec::new();
    let json = match swept.last().and_then(|swept| swept.came.as_ref()) {
        Some(Came::Worked(ended)) => {
            // Writing to memory does not fail.
            write_counts(&mut lines, &ended.totals.counts, ended.run.lower_bound).unwrap_or_default();
            json!({ "run": ended.run, "totals": ended.totals })
        }
        Some(Came::Verified(verified)) => {
            let report = verified.report.as_ref().map(|(report, _)| report);
            if let Some(r) = report {
                let (all, equal, left) = (number(r.compared), number(r.matching), number(r.mismatches));
                let repaired = number(r.repaired);
                lines = format!("  {all} compared, {equal} match, {repaired} repaired, {left} mismatches").into_bytes();
            }
            json!({ "report": report })
        }
        Some(Came::Retried(_)) | None => json!({ "flag": flag.map(ToString::to_string) }),
    };
    output::stderr(&String::from_utf8_lossy(&lines));
    json
}

/// What to try with the folder now.
pub(super) fn tell_next(exit: Exit, dir: &Path) {
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

impl Conducted {
    /// Waits until contract may begin; false when it is asked to stop before.
    pub(super) async fn wait_for_soak(&self) -> anyhow::Result<bool> {
        let since = self.conductor.flag().await?.and_then(|flag| flag.new_since);
        let until = since.and_then(|since| since.checked_add(self.conductor.plan.cutover.soak).ok());
        match until {
            Some(until) => {
                let left = Duration::try_from(until.duration_since(wall()())).unwrap_or_default();
                Ok(self.conductor.wait(left).await)
            }
            None => Ok(true),
        }
    }
}
