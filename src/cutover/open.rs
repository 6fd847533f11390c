//! Opens the flag at the location that the plan names.

use std::sync::Arc;

use super::hooks::HookStore;
use super::store::{FlagStore, FlagStoreError};
use super::table::{TableStore, flag_and_lease_items};
use crate::clock::Clock;
use crate::dynamodb::TableDescription;
use crate::dynamodb::control::{Control, ControlItem};
use crate::dynamodb::sdk::{DynamoTable, connect};
use crate::plan::{FlagLocation, Plan};

/// Access to the flag and the lease that `[cutover]` configures.
pub struct FlagAccess {
    /// The flag.
    pub flag: Arc<dyn FlagStore>,
    /// The lease item next to the flag. `None` if hooks store the flag, because hooks cannot store a lease.
    pub lease: Option<ControlItem>,
}

/// Opens the flag that the plan names. Returns `None` if the plan names no flag. If the plan does not state the flag's
/// complete key, reads the description of the flag's table. Does not write. `described` is the description of the
/// plan's table, if it was read. In that case, the connection accepts renewed credentials only if they give access to
/// the same table.
pub async fn open(
    plan: &Plan,
    clock: Clock,
    described: Option<&TableDescription>,
) -> Result<Option<FlagAccess>, FlagStoreError> {
    match &plan.cutover.flag {
        None => Ok(None),
        Some(FlagLocation::Exec(hooks)) => {
            Ok(Some(FlagAccess { flag: Arc::new(HookStore::new(hooks.clone(), clock)), lease: None }))
        }
        Some(FlagLocation::Table { name, key }) => {
            let connection = connect(&plan.table).await.map_err(|error| FlagStoreError::Unreachable { error })?;
            if let Some(described) = described {
                connection.remember_table(&plan.table.name, described);
            }
            let table: Arc<dyn Control> = Arc::new(DynamoTable::new(&connection, name));
            let (item, lease) = flag_and_lease_items(table, name, key).await?;
            Ok(Some(FlagAccess { flag: Arc::new(TableStore::new(item, clock)), lease: Some(lease) }))
        }
    }
}
