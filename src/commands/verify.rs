//! `verify`: compares the table with the plan using shadow reads. The cutover gate needs this command's report.

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, VerifyArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::exports::exports;
use crate::commands::shared::next_step::NextStep;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::{Migration, VerifyOptions, has_not_computable, kind};
use backfill::internals::playbook::PlanKind;
use backfill::internals::state;

/// Starts a verification, or resumes a stopped one. Prints the report if the verification completed and its result is
/// durable.
pub(crate) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, args.yes)?.with_exports(exports(global, args.exports, false)?);
    let migration = migration.ignoring_health_checks(args.ignore_health_checks);
    let mut options = VerifyOptions::default();
    options.repair = args.repair;
    options.repair_remove = args.repair_remove;
    options.accept = args.accept;
    options.sample = args.sample.filter(|_| !args.all);
    let scope = options.sample.map_or_else(|| "--all".to_owned(), |clusters| format!("--sample {clusters}"));
    let mut words = format!("verify {scope}");
    words += if args.repair { " --repair" } else { "" };
    words += if args.repair_remove { " --repair-remove" } else { "" };
    words += &terminal::accept_options(&options.accept);
    let outcome = Box::pin(migration.verify(&options)).await?;
    let Some((report, hash)) = outcome.report() else {
        if outcome.unrecorded() {
            output::warn("every item was compared, but this proves nothing, because the result was not recorded");
        }
        let otherwise = if outcome.worked() { Exit::Unexpected } else { Exit::Done };
        let commands = terminal::commands(global, &args.plan);
        let Some(reason) = outcome.stopped() else {
            return output::write_result(
                global,
                &CommandResult::from_exit(otherwise),
                || json!({ "type": "stopped" }),
                |_| Ok(()),
            );
        };
        return output::report_stop(global, reason, &commands.render(&words));
    };
    let is_clean = report.mismatches == 0;
    let found = if is_clean { Exit::Done } else { Exit::Mismatch };
    // If a repair left mismatches, a second repair would leave the same mismatches. After contract, a repair is
    // refused.
    let can_repair = !is_clean && !report.repair && report.stage == "expanded";
    let commands = terminal::commands(global, &args.plan);
    // If the plan only writes values, do not suggest a repair, because it would overwrite live values. A plan that
    // deletes items also has a next step of its own.
    let only_writes_values = kind(migration.plan()) == PlanKind::SetOnly;
    let has_own_step = only_writes_values || migration.plan().deletes_items();
    // A repair cannot change an item that is not computable. So for every kind of plan, the operator first looks at
    // such items.
    let look_first = !is_clean && report.stage == "expanded" && lists_not_computable(&migration).await;
    let next_step = match (look_first, is_clean || (can_repair && has_own_step)) {
        (true, _) => Some(NextStep::now(commands.render("failures list"))),
        (false, true) => NextStep::find(&migration, &commands).await,
        (false, false) if can_repair => Some(NextStep::now(commands.render("verify --all --repair"))),
        // The list shows why the repair did not change some items.
        (false, false) => (report.stage == "expanded").then(|| NextStep::now(commands.render("failures list"))),
    };
    let command_result = CommandResult::from_exit(found).next_step(next_step.as_ref());
    output::write_result(
        global,
        &command_result,
        || {
            let mut json = serde_json::to_value(report).unwrap_or_default();
            if let Some(map) = json.as_object_mut() {
                map.insert("hash".into(), hash.as_str().into());
            }
            json
        },
        |out| {
            report.write(out)?;
            if report.repaired > 0 {
                writeln!(
                    out,
                    "To list the values that the repair overwrote or removed: {}",
                    commands.render(&format!("journal --run {}", report.run))
                )?;
            }
            next_step.iter().try_for_each(|next| next.write(out))
        },
    )
}

/// Returns whether an open failure is an item that is not computable. Returns false if the state cannot be read.
async fn lists_not_computable(migration: &Migration) -> bool {
    match state::read(migration.state_path()) {
        Ok(file) => has_not_computable(file.as_ref()).await.unwrap_or(false),
        Err(_) => false,
    }
}
