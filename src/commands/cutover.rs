//! `cutover`: the flag, a step forward or back.

use serde_json::json;

use super::back::back;
use super::conduct::{Conducted, Pursuit, refusal, said};
use super::cutover_dry_run::dry_run;
use super::exit::Exit;
use super::output;
use super::target::{Target as OnTable, read_plan, state_path};
use crate::cli::{CutoverArgs, CutoverStep, Global};
use backfill::internals::clock::wall;
use backfill::internals::cutover::Flag;
use backfill::internals::migration::{ConductError, Said, read};
use backfill::internals::playbook::{BackTo, Goal, Target, back_needs_state};
use backfill::internals::preflight::{Fits, check_plan, check_way_back};

/// Moves the flag.
pub(super) async fn cutover(global: &Global, args: CutoverArgs) -> anyhow::Result<Exit> {
    let plan = read_plan(global, &args.plan)?.plan;
    // Whatever way such a plan goes today: applications obey a flag that is there.
    if args.back
        && let Some(opened) =
            backfill::internals::cutover::open(&plan, wall(), None).await.map_err(ConductError::from)?
        && let Some((flag, _)) = read(opened.flag.as_ref(), &plan).await.map_err(ConductError::from)?
        && !back_needs_state(&flag)
    {
        let moved = back(opened.flag.as_ref(), &plan, flag, &state_path(global, &plan))
            .await
            .map_err(|error| refusal(error, &args.plan))?;
        report(global, Some(&moved));
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return dry_run(global, &args, goal_of(&args)).await;
    }
    let decide = args.decide();
    let reason = args.now.then(|| "stale reads were accepted by --now".to_owned());
    let goal = goal_of(&args);
    let mut pursuit = Pursuit::of(goal, &decide, format!("Change the cutover flag of {} now?", plan.name));
    let (fits, said): (Fits, _) =
        (if args.back { check_way_back } else { check_plan }, Said { reason, ..said(&decide) });
    let target = Box::pin(OnTable::open(global, &args.plan, fits)).await?;
    let mut conducted = Box::pin(Conducted::prepared(target, said, &mut pursuit)).await?;
    let (_, stopped) = Box::pin(conducted.pursue(pursuit)).await?;
    report(global, conducted.conductor.flag().await?.as_ref());
    conducted.close().await?;
    Ok(stopped.as_ref().map_or(Exit::Done, output::stopped))
}

fn goal_of(args: &CutoverArgs) -> Goal {
    match args.to {
        Some(CutoverStep::DualWrite) => Goal::CutoverTo(Target::DualWrite),
        Some(CutoverStep::ReadNew) => Goal::CutoverTo(Target::ReadNew(args.percent)),
        Some(CutoverStep::WriteNew) => Goal::CutoverTo(Target::WriteNew),
        // The flag decides how far, once everything is checked.
        None => Goal::Back { to: BackTo::OldReads, now: args.now },
    }
}

fn report(global: &Global, flag: Option<&Flag>) {
    let json = || {
        let flag = flag.map(|flag| {
            json!({ "version": flag.version, "write": flag.write.as_str(), "read": flag.read.as_str(),
                    "read_percent": flag.read_percent, "old_stale": flag.old_stale, "contracting": flag.contracting })
        });
        json!({ "type": "cutover", "flag": flag })
    };
    output::result(global, json, |out| match flag {
        Some(flag) => std::io::Write::write_fmt(out, format_args!("The flag is at {flag}.\n")),
        None => std::io::Write::write_all(out, b"There is no flag.\n"),
    });
}
