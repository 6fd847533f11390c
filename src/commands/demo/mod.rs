//! `demo`: runs a whole migration on the embedded engine with sample data. It carries out and explains every step of
//! the playbook.

mod example;
mod folder;
mod messages;
mod steps;

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::cli::{DemoArgs, Global};
use crate::commands::demo::example::Example;
use crate::commands::demo::messages::{describe_table, report_result, suggest_next, wait_for_soak};
use crate::commands::demo::steps::{DemoStep, STEPS, completed_steps};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::engine::Stopper;
use backfill::internals::local::LocalOptions;
use backfill::internals::migration::{
    CommandRequest, MigrationTarget, OperatorInput, Session, command_line, read_plan, state_path,
};
use backfill::internals::playbook::Goal;
use backfill::internals::preflight::check_plan;

/// The demo's plan: an example plan plus a flag, with shorter waits than a production table needs.
const PLAN: &str = concat!(
    include_str!("../../../migrations-examples/rename-attribute.toml"),
    "\n[capacity]\nwrite = 2000                      # in a real plan: what the table can spare\n\n[cutover]\ntable = \"flags\"                   # the flag is an item of this table\n\
     max_cache_seconds = 3             # in a real plan: 60\nsoak = \"1s\"                       # in a real plan: a week\n"
);

/// The seed of the demo's sample table.
const SEED: u64 = 1;

/// Minimum number of items for which the demo starts the proxy between the tool and the engine. The proxy keeps scan
/// pages short. The pages of a smaller table are short even without the proxy, and a write then takes about a tenth
/// less CPU time (measured with `cargo bench --bench cpu`).
const LONG_PAGES_FROM: u64 = 50_000;

/// Runs the demo through the playbook, or resumes a stopped demo.
pub(crate) async fn demo(global: &Global, args: DemoArgs) -> anyhow::Result<Exit> {
    let DemoArgs { items, dir, fresh } = args;
    let db = dir.join("table.db");
    let plan = dir.join("plan.toml");
    folder::prepare(&dir, PLAN, fresh).await?;
    output::stderr("The demo serves DynamoDB's API on loopback, with sample data. It touches no AWS account.");
    let proxy = items >= LONG_PAGES_FROM;
    let options = LocalOptions { db: Some(db), items: Some(items), seed: SEED, proxy, ..LocalOptions::default() };
    let served = tokio::task::spawn_blocking(move || folder::serve(options)).await??;
    describe_table(&served, SEED);
    let mut global = global.clone();
    global.endpoint_url = Some(served.endpoint());
    global.state = Some(dir.join("state.db"));
    let walked = Box::pin(run_steps(&global, &plan, items)).await;
    tokio::task::spawn_blocking(move || served.stop()).await?;
    let (exit, steps) = walked?;
    suggest_next(exit, &dir);
    let json = || json!({ "type": "demo", "steps": steps });
    output::write_result(&global, &CommandResult::from_exit(exit), json, |_| Ok(()))
}

/// Carries out the remaining steps of the demo in order. Returns the exit code, and the steps' results as JSON.
async fn run_steps(global: &Global, plan: &Path, items: u64) -> anyhow::Result<(Exit, Vec<Json>)> {
    let mut steps = Vec::new();
    for (n, step) in STEPS.iter().enumerate() {
        let mut session = Box::pin(open(global, plan)).await?;
        if n < completed_steps(&session.driver).await? {
            output::stderr(&format!("{}. backfill {}: already done", n + 1, step.command));
            session.close().await?;
            continue;
        }
        output::stderr(&format!("\n{}. backfill {}\n   {}", n + 1, step.command, step.why));
        let taken = carry_out_showing_item(step, &mut session, items).await;
        session.close().await?;
        let (stopped, result, item) = taken?;
        steps.push(json!({ "step": n + 1, "command": step.command, "why": step.why, "result": result, "item": item }));
        if let Some(exit) = stopped {
            return Ok((exit, steps));
        }
    }
    Ok((Exit::Done, steps))
}

/// Opens the migration for one step. The demo answers every question with yes.
async fn open(global: &Global, plan: &Path) -> anyhow::Result<Session> {
    let options = terminal::options(global, true);
    let (loaded, _) = read_plan(plan, &options)?;
    let state = state_path(&options, &loaded.plan);
    let names = (plan.to_owned(), command_line(plan, &options));
    let observer = options.observer;
    let target = Box::pin(MigrationTarget::open(loaded, names, state, check_plan, None, observer.as_ref())).await?;
    let input = OperatorInput::new(&options.actor, &[]);
    Ok(Box::pin(Session::open(target, input, observer, Stopper::default())).await?)
}

/// Carries out one step of the demo. If the step changes items, shows an item before and after the step. Returns the
/// two results of [`carry_out`], and the item as JSON.
async fn carry_out_showing_item(
    step: &DemoStep,
    session: &mut Session,
    items: u64,
) -> anyhow::Result<(Option<Exit>, Json, Json)> {
    let example = step.shows_item.then(|| Example::choose(&session.driver, SEED, items)).flatten();
    let Some(example) = example else {
        let (stopped, result) = carry_out(step, session).await?;
        return Ok((stopped, result, Json::Null));
    };
    let (text, before) = example.read(&session.driver).await?;
    output::stderr(&format!("   before: {text}"));
    let (stopped, result) = carry_out(step, session).await?;
    let (text, after) = example.read(&session.driver).await?;
    output::stderr(&format!("   after:  {text}"));
    Ok((stopped, result, json!({ "before": before, "after": after })))
}

/// Carries out one step of the demo. Returns two results: the exit code if the demo stopped during this step, and the
/// result of the step as JSON.
async fn carry_out(step: &DemoStep, session: &mut Session) -> anyhow::Result<(Option<Exit>, Json)> {
    if step.goal == Goal::Contract && !wait_for_soak(&session.driver).await? {
        return Ok((session.driver.stop.reason().map(Exit::from_stop), Json::Null));
    }
    match Box::pin(session.run_request(CommandRequest::new(step.goal, &[], ""))).await {
        Ok((passes, stopped)) => {
            let result = report_result(&passes, session.driver.flag().await?.as_ref());
            Ok((stopped.as_ref().map(Exit::from_stop), result))
        }
        Err(refused) if step.refused => {
            output::stderr(&format!("   refused: {refused}"));
            Ok((None, json!({ "refused": refused.to_string() })))
        }
        Err(error) => Err(error.into()),
    }
}
