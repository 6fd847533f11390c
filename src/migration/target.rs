//! Connects to the plan's table, and checks the plan against it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::time::Instant;

use super::history::parse_event;
use super::plan_files::keys_copy;
use super::{DriverError, MigrationError, Notice, Observer, Options};
use crate::clock::wall_clock;
use crate::command_line::CommandLine;
use crate::cutover::FlagAccess;
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::Job;
use crate::exec::find_programs;
use crate::expr::Facts;
use crate::figure::count;
use crate::plan::{LoadedPlan, Plan, PlanErrors, TableRef, load_bytes_with, load_with};
use crate::playbook::EventBody;
use crate::preflight::{
    Acceptance, PlanCheck, PreflightError, ReachableTable, check_described_other, check_table, connect_plan_table,
    describe_given_table, run_changes,
};
use crate::ratelimit::ResolvedBudgets;
use crate::state::{self, Identity, State};
use crate::telemetry::Subject;

/// A plan, and the table against which the plan was checked.
pub struct MigrationTarget {
    /// The path of the plan file. For a plan that was read from text, the name that the caller gave to the text.
    pub path: PathBuf,
    /// The command line of this migration.
    pub commands: CommandLine,
    /// The state file.
    pub state: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// The tables from which the migration reads items and to which it writes items.
    pub tables: Tables,
    /// The table's description. If the plan lists keys, the item count and the size are those of the listed items.
    pub description: TableDescription,
    /// The time at which the description was read.
    pub described_at: Instant,
    /// Whether the table belongs to a local engine.
    pub on_loopback: bool,
    /// The plan's budgets for this table.
    pub resolved: ResolvedBudgets,
    /// Whether reports suggest the next command.
    pub advice: bool,
}

/// A plan, and the reason why its file of keys cannot be used. If there is such a reason, the plan uses the keys in the
/// copy next to the state file. The copy is sufficient for `rollback` and `cutover --back`, and for commands that only
/// read the state.
pub type ReadPlan = (LoadedPlan, Option<PlanErrors>);

/// Reads a plan file, with the overrides in `options`. If `options` sets the endpoint, the region or the profile, this
/// setting replaces the field of the same name in `[table]`. It also takes precedence over an override of that field.
///
/// # Errors
///
/// Fails with [`MigrationError::PlanFile`] or [`MigrationError::Plan`].
pub fn read_plan(path: &Path, options: &Options) -> Result<ReadPlan, MigrationError> {
    let bytes =
        std::fs::read(path).map_err(|error| MigrationError::PlanFile { path: path.display().to_string(), error })?;
    let loaded = load_bytes_with(&path.display().to_string(), &bytes, &options.overrides)?;
    with_files(loaded, path.parent().unwrap_or(Path::new("")), options)
}

/// Reads a plan from text. A relative path in the plan starts in the working directory, and the plan's programs run
/// there. Errors refer to the plan as `name`.
pub(super) fn read_text(name: &str, text: &str, options: &Options) -> Result<ReadPlan, MigrationError> {
    let loaded = load_with(name, text, &options.overrides)?;
    with_files(loaded, Path::new(""), options)
}

/// Adds the files of a plan. Their paths are relative to this folder.
fn with_files(loaded: LoadedPlan, folder: &Path, options: &Options) -> Result<ReadPlan, MigrationError> {
    let mut loaded = loaded.supply(&options.custom_changes)?;
    find_programs(&mut loaded.plan.changes, folder);
    apply_options(options, &mut loaded.plan.table);
    if loaded.plan.keys.is_none() {
        return Ok((loaded, None));
    }
    match loaded.clone().open_keys(folder) {
        Ok(loaded) => Ok((loaded, None)),
        Err(problem) => {
            let copy = keys_copy(&state_path(options, &loaded.plan));
            match loaded.with_keys_copy(&copy) {
                Some(loaded) => Ok((loaded, Some(problem))),
                None => Err(problem.into()),
            }
        }
    }
}

/// Replaces each field of `[table]` for which an option is set.
pub fn apply_options(options: &Options, table: &mut TableRef) {
    let override_field = |mine: &Option<String>, theirs: &mut Option<String>| {
        if mine.is_some() {
            theirs.clone_from(mine);
        }
    };
    override_field(&options.endpoint_url, &mut table.endpoint_url);
    override_field(&options.region, &mut table.region);
    override_field(&options.profile, &mut table.profile);
}

/// Returns the path of a plan's state file.
pub fn state_path(options: &Options, plan: &Plan) -> PathBuf {
    options.state.clone().unwrap_or_else(|| Path::new(".backfill").join(format!("{}.db", plan.name)))
}

/// Returns the time at which the migration with this state file began. If it has not begun, returns the current time.
async fn started_at(state: &Path) -> Timestamp {
    let recorded = match state::read(state) {
        Ok(file) => file.events().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let began = recorded.iter().find_map(|record| {
        let event = parse_event(&record.event).ok()?;
        matches!(event.body, EventBody::PreflightAccepted { .. }).then_some(event.at)
    });
    began.unwrap_or_else(|| wall_clock()())
}

impl MigrationTarget {
    /// Returns the table's ARN and size, for questions to the operator. DynamoDB updates the size about every six hours.
    pub fn table_and_size(&self) -> String {
        let TableDescription { arn, item_count, .. } = &self.description;
        match item_count {
            0 => arn.clone(),
            keys if self.plan.keys.is_some() => format!("{arn} ({} in the plan)", count(*keys, "key", "keys")),
            items => format!("{arn} (about {})", count(*items, "item", "items")),
        }
    }

    /// Connects to the table and checks the plan against it. Changes nothing. The tables in `given` replace the table
    /// that the plan's `[table]` names.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, if it is not the table that the plan names, or if the plan does not fit
    /// the table.
    pub async fn open(
        loaded: LoadedPlan,
        (path, commands): (PathBuf, CommandLine),
        state: PathBuf,
        plan_check: PlanCheck,
        given: Option<Tables>,
        observer: &dyn Observer,
    ) -> Result<MigrationTarget, MigrationError> {
        let described_at = Instant::now();
        let reached = match given {
            Some(given) => describe_given_table(&loaded.plan.table, given).await?,
            None => connect_plan_table(&loaded.plan).await?,
        };
        let ReachableTable { tables, description, on_loopback } = reached;
        check_table(&loaded.plan.table, &description)?;
        check_described_other(&loaded.plan, &description)?;
        let resolved = plan_check(&loaded, &description)?;
        resolved.reductions.iter().for_each(|line| observer.notice(&Notice::BudgetCut(line)));
        let (tables, description) = match loaded.prepare_keys(&description.key)? {
            Some(_) if !tables.is_one() => return Err(PreflightError::KeysNeedOneTable.into()),
            Some(keys) => {
                let description = description.of_listed_items(keys.keys());
                (tables.with_keys(keys), description)
            }
            None => (tables, description),
        };
        let mut plan = loaded.plan.with_index_key(&description.index_schemas());
        plan.facts = Facts { started_at: started_at(&state).await };
        Ok(MigrationTarget {
            path,
            commands,
            state,
            plan,
            tables,
            description,
            described_at,
            on_loopback,
            resolved,
            advice: true,
        })
    }

    /// Builds the job of `run` on this table.
    ///
    /// # Errors
    ///
    /// Fails if `run` would have nothing to do.
    pub fn job(&self) -> Result<Job, MigrationError> {
        let changes = run_changes(&self.plan, &self.description)?;
        let tables = self.tables.clone();
        let description = expand_description(&self.plan, &self.description);
        Ok(Job::new(self.plan.clone(), changes, tables, description, &self.resolved.budgets))
    }

    /// Builds the job of `run` on this table, with these accepted findings.
    ///
    /// # Errors
    ///
    /// Fails with the same errors as [`MigrationTarget::job`].
    pub fn job_accepting(&self, accepted: &[Acceptance]) -> Result<Job, MigrationError> {
        let mut job = self.job()?;
        if accepted.contains(&Acceptance::ClientEncryption) {
            job.allow_encrypted_edits();
        }
        Ok(job)
    }

    /// Opens and locks the state file of this plan and table.
    pub(super) fn open_store(&self) -> Result<State, MigrationError> {
        let identity = Identity::from_plan(&self.plan, &self.description);
        Ok(state::open(&self.state, &identity, crate::clock::now)?)
    }

    /// Opens the flag and the lease that the plan names in `[cutover]`. The connection accepts renewed credentials only
    /// if they reach this table.
    pub(super) async fn open_flag(&self) -> Result<Option<FlagAccess>, DriverError> {
        Ok(crate::cutover::open(&self.plan, wall_clock(), Some(&self.description)).await?)
    }

    /// Returns the parts of this target that a report shows.
    pub fn subject(&self) -> Subject<'_> {
        let MigrationTarget { plan, commands, state, description, advice, .. } = self;
        Subject { plan, commands, state_path: state, table: description, advice: *advice }
    }
}

/// Returns the description of the items that the first pass of `run` reads. They are all items of the table, or the
/// items in the plan's index.
pub(super) fn expand_description(plan: &Plan, description: &TableDescription) -> TableDescription {
    match &plan.index {
        Some(index) => description.clone().of_indexed_items(&index.name),
        None => description.clone(),
    }
}
