//! `demo`: a whole migration on the embedded engine, with sample data.

use std::path::Path;

use super::exit::Exit;
use super::target::Target;
use super::{demo_folder, output, run};
use crate::cli::{DemoArgs, Global, RunArgs};
use crate::local::{Local, LocalOptions, sample};
use crate::telemetry::number;

/// The plan that the demo runs: the same file that the examples show.
const PLAN: &str = include_str!("../../migrations-examples/rename-attribute.toml");

/// Which sample table the demo loads.
const SEED: u64 = 1;

/// Runs the demo, or goes on with one that was stopped.
pub(super) async fn demo(global: &Global, args: DemoArgs) -> anyhow::Result<Exit> {
    let (dir, items) = (args.dir, args.items);
    let (db, plan, state) = (dir.join("table.db"), dir.join("plan.toml"), dir.join("state.db"));
    demo_folder::prepare(&dir, PLAN, args.fresh)?;
    output::stderr("1. The table: DynamoDB's API on loopback, with sample data. No AWS account is touched.");
    let options = LocalOptions { db: Some(db), items: Some(items), seed: SEED, front: true, ..LocalOptions::default() };
    let served = tokio::task::spawn_blocking(move || Local::start(options)).await??;
    tell_table(&served);
    output::stderr(
        "2. The migration: every item gets `contact_email`, copied from `email`. Kill it whenever you like.",
    );
    let mut global = global.clone();
    global.endpoint_url = Some(served.endpoint());
    global.state = Some(state.clone());
    let mut target = Target::open(&global, &plan).await?;
    // `run` alone would not find the embedded engine: what to do next is said below.
    target.advice = false;
    let run_args = RunArgs { yes: true, ..RunArgs::of(plan.clone()) };
    let exit = run::expand(&global, &run_args, target).await?;
    tokio::task::spawn_blocking(move || served.stop()).await?;
    next_steps(exit, &dir, &plan, &state);
    // Diverged items are part of the sample: finding them is what should happen.
    Ok(if exit == Exit::Mismatch { Exit::Done } else { exit })
}

fn tell_table(served: &Local) {
    let Some(table) = served.table() else { return };
    let expected = sample::expected(SEED, table.items);
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

fn next_steps(exit: Exit, dir: &Path, plan: &Path, state: &Path) {
    let me = std::env::args().next().unwrap_or_else(|| "backfill".into());
    let (plan, state, dir) = (plan.display(), state.display(), dir.display());
    let first = match exit {
        Exit::Done | Exit::Mismatch => "run it again and kill it in the middle (Ctrl-C, or kill -9), then again",
        _ => "go on where it stopped",
    };
    output::stderr(&format!(
        "3. What to try next\n   {first}:\n     {me} demo --dir {dir}\n   how far it is, also while it runs:\n     {me} status \
         {plan} --state {state}\n   which items diverged:\n     {me} failures {plan} list --state {state}"
    ));
}
