//! `verify`: shadow reads, and the report that opens the gate.

use std::io::Write as _;

use crate::cli::{Global, VerifyArgs};
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::VerifyOptions;

/// Verifies, or resumes a verification that was stopped. Prints its report, if it reached its end and that is recorded.
pub(crate) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, args.yes)?;
    let mut options = VerifyOptions::default();
    (options.repair, options.repair_remove, options.accept) = (args.repair, args.repair_remove, args.accept);
    options.sample = args.sample.filter(|_| !args.all);
    let outcome = Box::pin(migration.verify(&options)).await?;
    let Some((report, hash)) = outcome.report() else {
        if outcome.unrecorded() {
            output::stderr("it had compared everything, but proves nothing: none of it is on record");
        }
        let otherwise = if outcome.worked() { Exit::Unexpected } else { Exit::Done };
        return Ok(outcome.stopped().map_or(otherwise, output::stopped));
    };
    output::result(
        global,
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
                    "What that overwrote or removed: backfill journal {} --run {}",
                    args.plan.display(),
                    report.run
                )?;
            }
            Ok(())
        },
    );
    Ok(if report.mismatches > 0 { Exit::Mismatch } else { Exit::Done })
}
