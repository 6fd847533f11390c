//! Opens the flag where the plan keeps it.

use std::sync::Arc;

use super::hooks::HookStore;
use super::store::{FlagStore, FlagStoreError};
use super::table::{TableStore, items};
use crate::clock::Clock;
use crate::dynamodb::TableDescription;
use crate::dynamodb::control::{Control, ControlItem};
use crate::dynamodb::sdk::{DynamoTable, connect};
use crate::plan::{FlagPlace, Plan};

/// What `[cutover]` names, opened.
pub struct Opened {
    /// The flag.
    pub flag: Arc<dyn FlagStore>,
    /// The item of the lease beside it; hooks have none.
    pub lease: Option<ControlItem>,
}

/// Opens what the plan names; `None` if it names no flag. A table is asked only for its key, and only if the plan does not
/// say all of it; nothing is changed. `described` is the plan's table, if it was described: credentials that are renewed
/// later have to reach it.
pub async fn open(
    plan: &Plan,
    clock: Clock,
    described: Option<&TableDescription>,
) -> Result<Option<Opened>, FlagStoreError> {
    match &plan.cutover.flag {
        None => Ok(None),
        Some(FlagPlace::Exec(hooks)) => {
            Ok(Some(Opened { flag: Arc::new(HookStore::new(hooks.clone(), clock)), lease: None }))
        }
        Some(FlagPlace::Table { name, key }) => {
            let connection = connect(&plan.table).await.map_err(|error| FlagStoreError::Unreachable { error })?;
            if let Some(described) = described {
                connection.was_described(&plan.table.name, described);
            }
            let table: Arc<dyn Control> = Arc::new(DynamoTable::new(&connection, name));
            let (item, lease) = items(table, name, key).await?;
            Ok(Some(Opened { flag: Arc::new(TableStore::new(item, clock)), lease: Some(lease) }))
        }
    }
}
