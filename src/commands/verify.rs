//! `verify`: shadow reads, and the report that opens the gate.

use std::io::Write as _;
use std::path::Path;

use super::conduct::{Conducted, Pursuit};
use super::exit::Exit;
use super::output;
use super::target::Target;
use crate::cli::{Decide, Global, VerifyArgs};
use backfill::internals::engine::StopReason;
use backfill::internals::migration::{Came, Said, Swept};
use backfill::internals::passes::verify::Verified;
use backfill::internals::playbook::{Goal, Scope};
use backfill::internals::preflight::check_begun_plan;

/// Verifies, or goes on with the same verification that was stopped.
pub(super) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let scope = if args.all { Scope::Full } else { Scope::Sampled };
    let target = Box::pin(Target::open(global, &args.plan, check_begun_plan)).await?;
    let decide = Decide { yes: args.yes, accept: args.accept, ..Decide::default() };
    let repair_remove = args.repair_remove;
    let said = Said { sample: args.sample, repair_remove, ..super::conduct::said(&decide) };
    let question = format!("Repair items of {} now?", target.description.arn);
    let mut pursuit = Pursuit::of(Goal::Verify { scope, repair: args.repair }, &decide, question);
    let mut conducted = Box::pin(Conducted::prepared(target, said, &mut pursuit)).await?;
    let (swept, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    conducted.close().await?;
    // What came of it counts, not whether somebody has asked to stop since it was on record.
    let Some(Swept { came: Some(Came::Verified(verified)), stopped, .. }) = swept.into_iter().next_back() else {
        return Ok(stopped.as_ref().map_or(Exit::Done, output::stopped));
    };
    Ok(report(global, &args.plan, &verified, stopped.as_ref()))
}

/// Prints what a verification came to, if it came to its end and that is on record.
fn report(global: &Global, plan: &Path, verified: &Verified, stopped: Option<&StopReason>) -> Exit {
    let (None, Some((report, hash))) = (stopped, &verified.report) else {
        if verified.report.is_some() {
            output::stderr("it had compared everything, but proves nothing: none of it is on record");
        }
        return stopped.map_or(Exit::Unexpected, output::stopped);
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
                    plan.display(),
                    report.run
                )?;
            }
            Ok(())
        },
    );
    if report.mismatches > 0 { Exit::Mismatch } else { Exit::Done }
}

/// Which items a verification on the way found not to match: the refusal that follows says how many.
pub(super) fn tell_mismatches(swept: &Swept) {
    let Some(Came::Verified(verified)) = &swept.came else { return };
    let mut text = Vec::new();
    // Writing to memory does not fail.
    if let Some((report, _)) = &verified.report
        && report.mismatches > 0
        && report.write(&mut text).is_ok()
    {
        output::stderr(&String::from_utf8_lossy(&text));
    }
}
