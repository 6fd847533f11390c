//! `verify`: compares the table with the plan using shadow reads. The report opens the cutover gate.

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, VerifyArgs};
use crate::commands::shared::ending::Ending;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::VerifyOptions;

/// Starts a verification, or resumes a stopped one. Prints the report if the verification completed and its result is
/// durable.
pub(crate) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, args.yes)?;
    let mut options = VerifyOptions::default();
    options.repair = args.repair;
    options.repair_remove = args.repair_remove;
    options.accept = args.accept;
    options.sample = args.sample.filter(|_| !args.all);
    let scope = options.sample.map_or_else(|| "--all".to_owned(), |clusters| format!("--sample {clusters}"));
    let mut words = format!("verify {scope}");
    words += if args.repair { " --repair" } else { "" };
    words += if args.repair_remove { " --repair-remove" } else { "" };
    words += &terminal::accepted(&options.accept);
    let outcome = Box::pin(migration.verify(&options)).await?;
    let Some((report, hash)) = outcome.report() else {
        if outcome.unrecorded() {
            output::warn("every item was compared, but this proves nothing, because the result was not recorded");
        }
        let otherwise = if outcome.worked() { Exit::Unexpected } else { Exit::Done };
        let commands = terminal::commands(global, &args.plan);
        let Some(reason) = outcome.stopped() else {
            return output::result(global, &Ending::at(otherwise), || json!({ "type": "stopped" }), |_| Ok(()));
        };
        return output::stopped(global, reason, &commands.spell(&words));
    };
    let found = if report.mismatches > 0 { Exit::Mismatch } else { Exit::Done };
    // If a repair left mismatches, a second repair would only leave the same mismatches again. After contract, a repair is
    // refused.
    let can_repair = found == Exit::Mismatch && !report.repair && report.stage == "expanded";
    let commands = terminal::commands(global, &args.plan);
    let ending = Ending::at(found).next(can_repair.then(|| commands.spell("verify --all --repair")));
    output::result(
        global,
        &ending,
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
                    commands.spell(&format!("journal --run {}", report.run))
                )?;
            }
            Ok(())
        },
    )
}
