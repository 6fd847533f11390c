//! From a plan file to the table that it is about.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::exit::{Exit, Refusal};
use super::output;
use crate::cli::Global;
use backfill::internals::dynamodb::{TableDescription, Tables};
use backfill::internals::engine::Job;
use backfill::internals::plan::{Loaded, Plan, TableRef, load_bytes};
use backfill::internals::preflight::{Fits, Reached, check_table, reach, run_changes};
use backfill::internals::ratelimit::Resolved;
use backfill::internals::state::{Identity, State};

/// A plan, and the table that it has been held against.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) state: PathBuf,
    pub(super) plan: Plan,
    pub(super) tables: Tables,
    pub(super) description: TableDescription,
    pub(super) described: Instant,
    /// Whether the table is in a local engine.
    pub(super) on_loopback: bool,
    pub(super) resolved: Resolved,
    /// Whether reports say which command comes next.
    pub(super) advice: bool,
}

/// Reads the plan file, with the command line's table options over its own.
pub(super) fn read_plan(global: &Global, path: &Path) -> anyhow::Result<Loaded> {
    let bytes = std::fs::read(path).map_err(|e| {
        Refusal::error(
            Exit::Usage,
            format!(
                "the plan {} cannot be read: {e}. Nothing was done. `backfill init` writes a plan to start from",
                path.display()
            ),
        )
    })?;
    let mut loaded = load_bytes(&path.display().to_string(), &bytes)?;
    apply(global, &mut loaded.plan.table);
    Ok(loaded)
}

/// Puts the command line's options over those of `[table]`.
pub(super) fn apply(global: &Global, table: &mut TableRef) {
    let over = |mine: &Option<String>, theirs: &mut Option<String>| {
        if mine.is_some() {
            theirs.clone_from(mine);
        }
    };
    over(&global.endpoint_url, &mut table.endpoint_url);
    over(&global.region, &mut table.region);
    over(&global.profile, &mut table.profile);
}

/// The state file of a plan.
pub(super) fn state_path(global: &Global, plan: &Plan) -> PathBuf {
    global.state.clone().unwrap_or_else(|| Path::new(".backfill").join(format!("{}.db", plan.name)))
}

impl Target {
    /// Reads the plan, reaches the table, and holds one against the other. Nothing is changed.
    pub(super) async fn open(global: &Global, path: &Path, fits: Fits) -> anyhow::Result<Target> {
        let loaded = read_plan(global, path)?;
        let described = Instant::now();
        let Reached { tables, description, on_loopback } = reach(&loaded.plan.table).await?;
        check_table(&loaded.plan.table, &description)?;
        let resolved = fits(&loaded, &description)?;
        resolved.cut.iter().for_each(|line| output::stderr(line));
        let plan = loaded.plan;
        let state = state_path(global, &plan);
        let path = path.to_owned();
        Ok(Target { path, state, plan, tables, description, described, on_loopback, resolved, advice: true })
    }

    /// The work that `run` does on this table.
    pub(super) fn job(&self) -> anyhow::Result<Job> {
        let changes = run_changes(&self.plan, &self.description)?;
        let (tables, description) = (self.tables.clone(), self.description.clone());
        Ok(Job::new(self.plan.clone(), changes, tables, description, &self.resolved.budgets))
    }

    /// Takes the state file of this plan and table.
    pub(super) fn open_store(&self) -> anyhow::Result<State> {
        let identity = Identity::of(&self.plan, &self.description);
        Ok(backfill::internals::state::open(&self.state, &identity, backfill::internals::clock::now)?)
    }
}
