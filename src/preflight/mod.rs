//! Checks the table before a command touches it. The table must exist, be the plan's table, and fit the plan. This
//! module also produces the [`findings`] and the [`Estimate`] that an operator should know before a run. A pure
//! function derives the findings from [`TableFacts`]. The estimate is based on the table's description or on a sample.
//! All requests are read-only.

mod alternatives;
mod aws;
mod backup;
mod by_change;
mod constants;
mod conversions;
mod deletes;
mod derived;
mod elsewhere;
mod estimate;
mod estimate_input;
mod facts;
mod filter;
mod finding;
mod finding_input;
mod findings;
mod finish;
mod flag;
mod health;
mod hooks;
mod maps;
mod measure;
mod pace;
mod programs;
mod range;
mod replaced;
mod report;
mod sample;
mod split;
mod stream;
mod tally;
mod time_to_live;
mod touched;
mod unseen;
mod vector_indexes;

pub use by_change::{by_change_json, write_by_change};
pub use estimate::{Basis, Estimate, FIGURE_COUNT, Figure, TableTotals, format_range, range_json, total};
pub use estimate_input::{EstimateInput, ItemReads};
pub use facts::{FactLookup, TableFacts};
pub use finding::{Acceptance, Finding, Severity, acceptances_to_record, refusal};
pub use finding_input::FindingInput;
pub use findings::findings;
pub use finish::{FinishIn, FinishInError, FinishRequirements};
pub use flag::{FlagReading, flag_findings, read_flag};
pub use health::health_findings;
pub use hooks::{HookProblem, hook_findings, hook_problems};
pub use measure::{SampleResult, estimate_from_all_items, estimate_from_description, estimate_from_sample, sample};
pub use pace::{CapacityNeed, KeyLoad, RunPace};
pub use range::Range;
pub use report::{CheckReport, write_finding};
pub use sample::{SampleDesign, SampleSize, SampleSizeError};
pub use stream::{StreamFilter, stream_filter};
pub use tally::SampleTally;
pub use touched::{TouchedIndex, TouchedPaths};

use std::sync::Arc;
use std::time::Duration;

use crate::change::Changes;
use crate::dynamodb::batch::{BatchTable, SendStatements};
use crate::dynamodb::lean::LeanTable;
use crate::dynamodb::sdk::{DynamoTable, connect};
use crate::dynamodb::{Describe, Directive, FatalKind, Source, TableDescription, TableError, Tables};
use crate::engine::describe;
use crate::passes::expand;
use crate::plan::{DynamoClient, LoadedPlan, Plan, PlanErrors, ReadableIndex, TableRef, Transport};
use crate::ratelimit::{ResolvedBudgets, resolve, resolve_within};

/// The time limit for retries if a table does not answer. [`retry_request`](crate::dynamodb::retry::retry_request)
/// makes at least three attempts.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The reason why a command does not start. The command has done nothing yet.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum PreflightError {
    /// The table cannot be reached or described.
    #[error("table `{table}` cannot be used: {error}. Nothing was done. {}", remedy(.error))]
    Unusable {
        /// Table name.
        table: String,
        /// The reason.
        error: TableError,
    },
    /// The table that gets the derived items cannot be reached or described.
    #[error(
        "table `{table}`, into which the plan puts derived items, cannot be used: {error}. Nothing was done. {}",
        remedy_of_other(.error)
    )]
    OtherTableUnusable {
        /// Table name.
        table: String,
        /// The reason.
        error: TableError,
    },
    /// The caller passed a table that is not the plan's table.
    #[error(
        "the plan is for table `{stated}`, but the caller passed table `{found}`. Nothing was done. Pass the plan's \
         table, or correct `name` in [table]"
    )]
    OtherTable {
        /// The name of the plan's table.
        stated: String,
        /// The name of the passed table.
        found: String,
    },
    /// The table is in a different account than the plan states.
    #[error(
        "the plan is for account {stated}, but the table that was found is {arn}. Nothing was done. Use the credentials or \
         the `profile` of account {stated}, or correct `account` in [table]"
    )]
    WrongAccount {
        /// The account in the plan.
        stated: String,
        /// The ARN of the table.
        arn: String,
    },
    /// The table has a status that does not allow a run, for example because it is being created, deleted or archived.
    #[error("table {arn} is {status}, not ACTIVE. Nothing was done. Wait until it is ACTIVE, then start again")]
    NotActive {
        /// The ARN of the table.
        arn: String,
        /// The status of the table.
        status: String,
    },
    /// `run` has nothing to do, because all changes of the plan belong to later phases.
    #[error(
        "`run` has nothing to do: this plan only removes attributes, and with strategy \"expand-contract\" every `remove` \
         waits for the contract phase. Nothing was done. Next: `backfill contract` with --readers-moved and \
         --old-writes-stopped. To remove them now, with pre-images recorded, set \
         `strategy = \"in-place\"`"
    )]
    NothingToRun,
    /// The plan puts derived items into another table, but the caller passed no such table.
    #[error(
        "the plan puts derived items into table `{0}`, but the caller did not pass that table. Nothing was done. Pass it with \
         `Tables::with_derived`, or remove `table` from `put`"
    )]
    NoOtherTable(String),
    /// The table that gets the derived items is in another account or region than the plan's table.
    #[error(
        "derived items go into a table of the same account and region as the plan's table, but {other} is not in those of \
         {arn}. Nothing was done. Pass a table of the same account and region"
    )]
    OtherTableElsewhere {
        /// The ARN of the plan's table.
        arn: String,
        /// The ARN of the table that gets the derived items.
        other: String,
    },
    /// The plan selects keys, but the migration reads from one table and writes to another one.
    #[error(
        "a plan with `keys` in [select] reads and writes the same table, but the caller passed two tables. Nothing was \
         done. Pass one table, or remove `keys`"
    )]
    KeysNeedOneTable,
    /// The sample size is a number of items, but DynamoDB has not counted the table's items yet.
    #[error(
        "DynamoDB has not counted the table's items yet (it counts about every six hours), so \
         a sample of {0} cannot be converted to a percentage. Nothing was read. Give the sample in percent, such as --sample 5%"
    )]
    ItemCountUnknown(u64),
}

/// A reachable table.
pub struct ReachableTable {
    /// The table as source and sink.
    pub tables: Tables,
    /// The table's description.
    pub description: TableDescription,
    /// Whether the table is in a local engine on loopback.
    pub on_loopback: bool,
}

/// Describes the tables that the caller passes. Changes nothing.
///
/// # Errors
///
/// Fails with [`PreflightError::Unusable`] if DynamoDB returns no description within [`PATIENCE`], and with
/// [`PreflightError::OtherTable`] if the description belongs to a different table than the plan's table.
pub async fn describe_given_table(table: &TableRef, tables: Tables) -> Result<ReachableTable, PreflightError> {
    let unusable = |error| PreflightError::Unusable { table: table.name.clone(), error };
    let description = describe(&tables, PATIENCE).await.map_err(unusable)?;
    if description.name != table.name {
        return Err(PreflightError::OtherTable { stated: table.name.clone(), found: description.name });
    }
    Ok(ReachableTable { tables, description, on_loopback: false })
}

/// Connects to the table of a plan and describes it. Changes nothing. No other function chooses the source, the sink
/// and the transport for a plan.
///
/// # Errors
///
/// Fails with the same errors as [`connect_table`].
pub async fn connect_plan_table(plan: &Plan) -> Result<ReachableTable, PreflightError> {
    let unusable = |error| PreflightError::Unusable { table: plan.table.name.clone(), error };
    let connection = connect(&plan.table).await.map_err(unusable)?;
    let table = DynamoTable::new(&connection, &plan.table.name);
    let index = plan.index.as_ref().map(|index| Arc::new(table.index(&index.name)));
    let mut description = describe(&table, PATIENCE).await.map_err(unusable)?;
    let tables = match plan.client.dynamodb {
        DynamoClient::Sdk => tables_of(Arc::new(table), plan, &description),
        DynamoClient::Lean => tables_of(Arc::new(LeanTable::new(table)), plan, &description),
    };
    let tables = match index {
        Some(index) => tables.with_index(index),
        None => tables,
    };
    let on_loopback = connection.is_on_loopback();
    let Some(name) = plan.other_table() else { return Ok(ReachableTable { tables, description, on_loopback }) };
    let other = DynamoTable::new(&connection, name);
    let unusable = |error| PreflightError::OtherTableUnusable { table: name.to_owned(), error };
    description.derived = Some(Box::new(describe(&other, PATIENCE).await.map_err(unusable)?));
    Ok(ReachableTable { tables: tables.with_derived(Arc::new(other)), description, on_loopback })
}

/// Returns the tables of a plan: the reads and the writes go to this table, with the transport that the plan chooses.
fn tables_of<T>(table: Arc<T>, plan: &Plan, description: &TableDescription) -> Tables
where
    T: Describe + Source + SendStatements + 'static,
{
    let tables = Tables::one(Arc::clone(&table));
    if !plan.may_batch() {
        return tables;
    }
    // The documentation of vector indexes lists the operations that report their capacity. `BatchExecuteStatement` is
    // not one of them (developer guide, "Vector search": monitoring).
    if !description.features.vector_indexes.is_empty() {
        tracing::warn!("writes are sent with UpdateItem, not in batches: the table has a vector index");
        return tables;
    }
    tables.with_sink(Arc::new(BatchTable::new(table, plan.write.transport == Transport::Batch)))
}

/// Connects to a table and describes it, without a plan. Changes nothing.
///
/// # Errors
///
/// Fails with [`PreflightError::Unusable`] if there are no credentials, or if DynamoDB returns no description within
/// [`PATIENCE`].
pub async fn connect_table(table: &TableRef) -> Result<ReachableTable, PreflightError> {
    let unusable = |error| PreflightError::Unusable { table: table.name.clone(), error };
    let connection = connect(table).await.map_err(unusable)?;
    let tables = Tables::one(Arc::new(DynamoTable::new(&connection, &table.name)));
    let description = describe(&tables, PATIENCE).await.map_err(unusable)?;
    Ok(ReachableTable { tables, description, on_loopback: connection.is_on_loopback() })
}

/// Checks that a table is in the plan's account, and that its status allows a run.
pub fn check_table(table: &TableRef, description: &TableDescription) -> Result<(), PreflightError> {
    if let Some(stated) = table.account.as_ref().filter(|a| *a != description.account()) {
        return Err(PreflightError::WrongAccount { stated: stated.clone(), arn: description.arn.clone() });
    }
    let derived = description.derived.as_deref();
    for TableDescription { arn, status, .. } in [description, description.written()].into_iter().chain(derived) {
        if !matches!(status.as_str(), "ACTIVE" | "UPDATING") {
            return Err(PreflightError::NotActive { arn: arn.clone(), status: status.clone() });
        }
    }
    Ok(())
}

/// Checks that the plan's derived items go into the table that was described for them.
pub fn check_described_other(plan: &Plan, description: &TableDescription) -> Result<(), PreflightError> {
    let Some(stated) = plan.other_table() else { return Ok(()) };
    match &description.derived {
        None => Err(PreflightError::NoOtherTable(stated.to_owned())),
        Some(found) if found.name != stated => {
            Err(PreflightError::OtherTable { stated: stated.to_owned(), found: found.name.clone() })
        }
        Some(found) if (found.account(), found.region()) != (description.account(), description.region()) => {
            let (arn, other) = (description.arn.clone(), found.arn.clone());
            Err(PreflightError::OtherTableElsewhere { arn, other })
        }
        Some(_) => Ok(()),
    }
}

/// The check of a plan against the table: [`check_new_plan`], [`check_plan`], [`check_begun_plan`] or
/// [`check_rollback_plan`].
pub type PlanCheck = fn(&LoadedPlan, &TableDescription) -> Result<ResolvedBudgets, PlanErrors>;

/// Like [`check_plan`], but for a migration that has not begun. Also refuses a plan if the plan's own removals would
/// leave its `where` without a result.
pub fn check_new_plan(loaded: &LoadedPlan, description: &TableDescription) -> Result<ResolvedBudgets, PlanErrors> {
    combine(check_plan(loaded, description), loaded.check_removals(&description.key))
}

/// Checks a plan against the table's key, the keys of its indexes, and its capacity. Reports all errors together.
pub fn check_plan(loaded: &LoadedPlan, description: &TableDescription) -> Result<ResolvedBudgets, PlanErrors> {
    let schemas: Vec<_> = description.indexes.iter().map(|index| index.schema.clone()).collect();
    combine(check_begun_plan(loaded, description), loaded.check_index_keys(&description.key, &schemas))
}

/// Like [`check_plan`], but for a command that continues a migration. Does not check index keys, because an index that
/// was added after the migration began must not block the migration. If a value is not valid in an index key, the run
/// reports each affected item.
pub fn check_begun_plan(loaded: &LoadedPlan, description: &TableDescription) -> Result<ResolvedBudgets, PlanErrors> {
    let budgets = resolve(&loaded.plan.capacity, description).map_err(|errors| loaded.budget_errors(errors));
    let indexes: Vec<ReadableIndex<'_>> = description
        .indexes
        .iter()
        .map(|index| ReadableIndex { schema: &index.schema, is_ready: index.is_ready })
        .collect();
    let checked =
        combine(combine(budgets, loaded.check_key_schema(&description.key)), check_other(loaded, description));
    combine(checked, loaded.check_selected_index(&indexes))
}

/// Checks the derived items against the table that gets them, if that is not the table of their sources.
fn check_other(loaded: &LoadedPlan, description: &TableDescription) -> Result<(), PlanErrors> {
    match (loaded.plan.other_table(), &description.derived) {
        (Some(name), Some(derived)) => loaded.check_other_table(&description.key, name, &derived.key),
        (_, _) => Ok(()),
    }
}

/// Like [`check_begun_plan`], but for a rollback or `cutover --back`. A budget must not block a rollback or a step
/// back, so a budget above the table's capacity is reduced to that capacity.
pub fn check_rollback_plan(loaded: &LoadedPlan, description: &TableDescription) -> Result<ResolvedBudgets, PlanErrors> {
    let checked =
        combine(Ok(resolve_within(&loaded.plan.capacity, description)), loaded.check_key_schema(&description.key));
    combine(checked, check_other(loaded, description))
}

/// Returns the result of the first check if both checks succeed. Otherwise, returns the errors of both checks.
fn combine<T>(checked: Result<T, PlanErrors>, other: Result<(), PlanErrors>) -> Result<T, PlanErrors> {
    match (checked, other) {
        (checked, Ok(())) => checked,
        (Ok(_), Err(errors)) => Err(errors),
        (Err(more), Err(errors)) => Err(errors.merge(more)),
    }
}

/// Returns the changes that `run` makes for a plan on this table.
///
/// # Errors
///
/// Fails with [`PreflightError::NothingToRun`] if there are no changes.
pub fn run_changes(plan: &Plan, description: &TableDescription) -> Result<Arc<Changes>, PreflightError> {
    check_described_other(plan, description)?;
    let changes = expand::changes(plan, description);
    if changes.is_empty() { Err(PreflightError::NothingToRun) } else { Ok(Arc::new(changes)) }
}

fn remedy_of_other(error: &TableError) -> &'static str {
    match error {
        TableError::Fatal { kind: FatalKind::TableMissing, .. } => {
            "Check `table` in `put`. The table must exist in the account and region of the plan's table: create it, or \
             correct its name"
        }
        TableError::Throttled { .. }
        | TableError::Transient { .. }
        | TableError::UnusableReply { .. }
        | TableError::Rejected { .. }
        | TableError::Fatal { .. } => remedy(error),
    }
}

fn remedy(error: &TableError) -> &'static str {
    match error.directive() {
        Directive::Retry => {
            "The request was retried several times and may succeed later: run the same command again. If it fails again, \
             check `region`, `endpoint_url` and the network path to DynamoDB"
        }
        Directive::FailItem | Directive::StopRun => error.remedy(),
    }
}
