//! `status`: where a migration stands and how far a run is: from the state file, and the flag as it is now.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::exit::Exit;
use super::output;
use super::standing::{standing_json, write_standing};
use super::status_text::write_status;
use super::target::{read_plan, state_path};
use crate::cli::{Global, StatusArgs};
use backfill::internals::clock::wall;
use backfill::internals::host;
use backfill::internals::migration::{Seen, known, read_now};
use backfill::internals::state;
use backfill::internals::telemetry::{KeptBudgets, KeptPace, Worker};

/// For so long the flag is asked for.
const FLAG_LIMIT: Duration = Duration::from_secs(2);

/// Prints the state of the plan's migration.
pub(super) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let loaded = read_plan(global, &args.plan)?;
    let file = state::read(&state_path(global, &loaded.plan))?;
    let summary = file.summary().await?;
    let fingerprint = loaded.plan.fingerprint();
    let same_plan = summary.identity.fingerprint == fingerprint.as_str();
    let read = match Seen::of(file.as_ref()).await.is_some() && !args.offline {
        true => Some(Box::pin(read_now(&loaded.plan, wall(), FLAG_LIMIT)).await),
        false => None,
    };
    let known = known(file.as_ref(), &summary, &loaded.plan, wall()(), read).await?;
    let pace = KeptPace::in_file(file.as_ref(), summary.holder.as_ref()).await;
    let worker = summary.holder.as_ref().map(|holder| {
        let stopped = holder.host == Some(host::name().into()) && holder.pid.is_some_and(host::is_stopped);
        Worker::new(holder, pace.clone(), stopped, wall()())
    });
    let budgets = KeptBudgets::of(file.as_ref(), summary.current.as_ref().map(|current| &current.run)).await?;
    let path = args.plan.display().to_string();
    let options = global.state.as_ref().map_or_else(String::new, |state| format!(" --state {}", state.display()));
    output::result(
        global,
        || {
            json!({ "type": "status", "state": summary, "plan_fingerprint": fingerprint.as_str(), "same_plan": same_plan,
                    "process": worker.as_ref().map(Worker::to_json), "budgets": budgets.as_ref().map(KeptBudgets::to_json), "playbook": standing_json(&known, &path, &options) })
        },
        |out| {
            write_status(out, &summary, worker.as_ref(), &loaded.plan.limits)?;
            budgets.iter().try_for_each(|budgets| budgets.write(out))?;
            write_standing(out, &known, &path, &options)?;
            if !same_plan {
                writeln!(out, "note: the plan file has changed since: this state is of another plan.")?;
            }
            Ok(())
        },
    );
    Ok(Exit::Done)
}
