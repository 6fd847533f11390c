//! Describes a table for which there is no plan yet.

use crate::cli::Global;
use crate::commands::shared::terminal;
use backfill::internals::migration::{Migration, MigrationError, apply_options};
use backfill::internals::plan::{TableRef, TemplateTable, template};
use backfill::internals::preflight::{PreflightError, ReachableTable, connect_table};

/// Reads the table's description.
///
/// # Errors
///
/// Fails if the table cannot be reached.
pub(crate) async fn describe(global: &Global, name: &str) -> Result<TemplateTable, PreflightError> {
    let table = table_ref(global, name);
    let ReachableTable { description: found, on_loopback, .. } = connect_table(&table).await?;
    // A local engine invents its account number, so the plan must not require that account.
    let is_aws = !on_loopback && table.endpoint_url.is_none();
    Ok(TemplateTable {
        name: found.name.clone(),
        key: found.key.names().map(str::to_owned).collect(),
        account: Some(found.account().to_owned()).filter(|account| !account.is_empty() && is_aws),
        region: Some(found.region().to_owned()).filter(|region| !region.is_empty() && is_aws),
        endpoint_url: table.endpoint_url,
        profile: table.profile,
        item_count: Some(found.item_count),
        size_bytes: Some(found.size_bytes),
        indexes: found.indexes.into_iter().filter(|i| !i.schema.local).map(|i| i.schema.name).collect(),
        sample: None,
    })
}

/// Returns the known facts about a table whose description is unknown: its name and the values from the command line.
pub(crate) fn undescribed(global: &Global, name: &str) -> TemplateTable {
    let TableRef { name, region, endpoint_url, profile, .. } = table_ref(global, name);
    TemplateTable {
        name,
        key: Vec::new(),
        region,
        account: None,
        endpoint_url,
        profile,
        item_count: None,
        size_bytes: None,
        indexes: Vec::new(),
        sample: None,
    }
}

/// Opens a migration that only reads the table. Its plan is the template, which has the default budgets and an example
/// change.
///
/// # Errors
///
/// Fails if DynamoDB does not allow the table's name, because the template is then not a valid plan.
pub(crate) fn migration(global: &Global, table: &TemplateTable) -> Result<Migration, MigrationError> {
    Migration::from_text("--table", &template(Some(table)), terminal::options(global, false))
}

fn table_ref(global: &Global, name: &str) -> TableRef {
    let mut table = TableRef {
        name: name.to_owned(),
        key: None,
        region: None,
        endpoint_url: None,
        profile: None,
        account: None,
        role: None,
    };
    apply_options(&terminal::options(global, false), &mut table);
    table
}
