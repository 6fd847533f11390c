//! `schema`: the JSON Schema of a plan.

use std::io::Write as _;

use serde_json::{Value as Json, json};

use crate::cli::Global;
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::plan::PLAN_SCHEMA;

/// Prints the schema.
pub(crate) fn schema(global: &Global) -> anyhow::Result<Exit> {
    let schema: Json = serde_json::from_str(PLAN_SCHEMA)?;
    output::write_data(
        global,
        &CommandResult::done(),
        || json!({ "type": "schema", "schema": schema }),
        |out| out.write_all(PLAN_SCHEMA.as_bytes()),
    )
}
