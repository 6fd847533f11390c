//! Prints the messages before and after each step of a demo. This module also waits for the soak time.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::clock::wall_clock;
use backfill::internals::cutover::Flag;
use backfill::internals::figure::{count, number};
use backfill::internals::local::{Local, sample};
use backfill::internals::migration::{Driver, PassEnd, PassResult};
use backfill::internals::telemetry::write_counts;

/// Prints the contents of the sample table.
pub(crate) fn describe_table(served: &Local, seed: u64) {
    let Some(table) = served.table() else { return };
    let expected = sample::expected_counts(seed, table.items);
    output::stderr(&format!(
        "   table `{}`: {} ({table}): {} with `{old}` only, {} without, {} with both and equal, {} with `{new}` only, \
         {} diverged",
        table.table,
        count(table.items, "item", "items"),
        number(expected.plain),
        number(expected.absent),
        number(expected.already_both),
        number(expected.only_new),
        number(expected.diverged),
        old = sample::OLD_ATTRIBUTE,
        new = sample::NEW_ATTRIBUTE,
    ));
}

/// Prints the result of a step, and returns it as JSON.
pub(crate) fn report_result(passes: &[PassEnd], flag: Option<&Flag>) -> Json {
    let mut lines = Vec::new();
    let json = match passes.last().and_then(|end| end.result.as_ref()) {
        Some(PassResult::Worked(ended)) => {
            // A write to memory cannot fail.
            write_counts(&mut lines, &ended.totals.counts, ended.run.lower_bound).unwrap_or_default();
            json!({ "run": ended.run, "totals": ended.totals })
        }
        Some(PassResult::Verified(verified)) => {
            let report = verified.report.as_ref().map(|(report, _)| report);
            if let Some(r) = report {
                let all = number(r.compared);
                let equal = number(r.matching);
                let left = number(r.mismatches);
                let repaired = number(r.repaired);
                lines = format!("  items compared: {all}; equal: {equal}; repaired: {repaired}; mismatches: {left}")
                    .into_bytes();
            }
            json!({ "report": report })
        }
        Some(PassResult::Retried(_)) | None => json!({ "flag": flag.map(ToString::to_string) }),
    };
    output::stderr(&String::from_utf8_lossy(&lines));
    json
}

/// Prints the commands that the operator can try next in the demo's folder.
pub(crate) fn suggest_next(exit: Exit, dir: &Path) {
    let me = std::env::args().next().unwrap_or_else(|| "backfill".into());
    let plan_path = dir.join("plan.toml");
    let state_path = dir.join("state.db");
    let plan = plan_path.display();
    let state = state_path.display();
    let dir = dir.display();
    let first = if matches!(exit, Exit::Done) {
        "The migration is over. Try next:\n   run it again, kill it anywhere (Ctrl-C or kill -9), and resume"
    } else {
        "Try next:\n   resume where the demo stopped"
    };
    // The server ends with the demo.
    let note = if matches!(exit, Exit::Done) {
        ""
    } else {
        "\n   The next command that `status` names needs the demo's server. Resume the demo instead"
    };
    output::stderr(&format!(
        "\n{first}:\n     {me} demo --dir {dir}\n   show the state of the migration, also during a run:\n     {me} status {plan} \
         --state {state} --offline{note}"
    ));
}

/// Waits until contract may begin. Returns false if the demo is stopped during the wait.
pub(crate) async fn wait_for_soak(driver: &Driver) -> anyhow::Result<bool> {
    let since = driver.flag().await?.and_then(|flag| flag.new_since);
    let until = since.and_then(|since| since.checked_add(driver.plan.cutover.soak).ok());
    match until {
        Some(until) => {
            let left = Duration::try_from(until.duration_since(wall_clock()())).unwrap_or_default();
            Ok(driver.wait(left).await)
        }
        None => Ok(true),
    }
}
