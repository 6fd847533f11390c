//! From a plan file to the table that it is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::exit::{Exit, Refusal};
use crate::change::Changes;
use crate::checkpoint::store::Identity;
use crate::cli::Global;
use crate::engine::describe;
use crate::plan::{Loaded, Plan, TableRef, load_bytes};
use crate::table::dynamo::{DynamoTable, connect};
use crate::table::{Table, TableDescription};
use crate::throttle::{Basis, Budget, budget};

/// How long a table that does not answer is asked again before a command gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A plan, and the table that it has been held against.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) plan: Plan,
    pub(super) table: Arc<dyn Table>,
    pub(super) description: TableDescription,
    pub(super) budget: Budget,
    pub(super) write_basis: Basis,
    pub(super) read_basis: Basis,
}

/// Reads the plan file, with the command line's table options over its own.
pub(super) fn read_plan(global: &Global, path: &Path) -> anyhow::Result<Loaded> {
    let bytes = std::fs::read(path).map_err(|e| {
        Refusal::new(
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
    pub(super) async fn open(global: &Global, path: &Path) -> anyhow::Result<Target> {
        let loaded = read_plan(global, path)?;
        let (table, description) = reach(&loaded.plan.table).await?;
        check_account(&loaded.plan.table, &description)?;
        loaded.check_key_schema(&description.key)?;
        if !matches!(description.status.as_str(), "ACTIVE" | "UPDATING") {
            return Err(Refusal::new(
                Exit::Refused,
                format!(
                    "table {} is {}, not ACTIVE. Nothing was done. Wait until it is, and start again",
                    description.arn, description.status
                ),
            ));
        }
        let plan = loaded.plan;
        let (budget, write_basis, read_basis) = budget(plan.capacity.write, plan.capacity.read, &description);
        Ok(Target { path: path.to_owned(), plan, table, description, budget, write_basis, read_basis })
    }

    /// The changes that `run` makes.
    pub(super) fn changes(&self) -> anyhow::Result<Arc<Changes>> {
        let Plan { changes, strategy, on_existing, .. } = &self.plan;
        let changes = Changes::for_run(changes, *strategy, *on_existing, self.description.key.clone());
        if changes.is_empty() {
            return Err(Refusal::new(
                Exit::Refused,
                "`run` has nothing to do: this plan only removes attributes, and with strategy \"expand-contract\" every \
                 `remove` waits for the contract phase. Nothing was done. To remove them now, with pre-images recorded, set \
                 `strategy = \"in-place\"`",
            ));
        }
        Ok(Arc::new(changes))
    }

    /// Whose state a state file of this plan and table is.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            migration: self.plan.name.clone(),
            fingerprint: self.plan.fingerprint().to_string(),
            table_arn: self.description.arn.clone(),
            table_id: self.description.id.clone(),
            meaning: self.plan.meaning(),
        }
    }
}

/// Connects to a table and describes it.
pub(super) async fn reach(table: &TableRef) -> anyhow::Result<(Arc<dyn Table>, TableDescription)> {
    let explain = |error: crate::table::TableError| {
        let way_out = match &error {
            crate::table::TableError::Fatal { kind, .. } => kind.way_out(),
            _ => crate::table::FatalKind::Endpoint.way_out(),
        };
        let text = format!("table `{}` cannot be used: {error}. Nothing was done. {way_out}", table.name);
        anyhow::Error::new(error).context(text)
    };
    let connection = connect(table).await.map_err(explain)?;
    let dynamo: Arc<dyn Table> = Arc::new(DynamoTable::new(&connection, &table.name));
    let description = describe(dynamo.as_ref(), PATIENCE).await.map_err(explain)?;
    Ok((dynamo, description))
}

fn check_account(table: &TableRef, description: &TableDescription) -> anyhow::Result<()> {
    match &table.account {
        Some(account) if account != description.account() => Err(Refusal::new(
            Exit::Refused,
            format!(
                "the plan is for account {account}, but the table that was found is {}. Nothing was done. Use the \
                 credentials or the `profile` of account {account}, or correct `account` in [table]",
                description.arn
            ),
        )),
        _ => Ok(()),
    }
}
