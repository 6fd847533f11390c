//! `init`: writes a commented plan.

use std::io::Write as _;

use serde_json::json;

use crate::cli::{Global, InitArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::{output, terminal};
use backfill::internals::migration::apply_options;
use backfill::internals::plan::{TableRef, TemplateTable, template};
use backfill::internals::preflight::{PreflightError, ReachableTable, connect_table};

/// Writes the plan. Never overwrites an existing file.
pub(crate) async fn init(global: &Global, args: InitArgs) -> anyhow::Result<Exit> {
    let table = match &args.table {
        Some(name) => Some(describe_for_template(global, name).await),
        None => None,
    };
    let text = template(table.as_ref());
    if args.plan.as_os_str() == "-" {
        return output::write_data(
            global,
            &CommandResult::done(),
            || json!({ "type": "init", "plan": null, "text": text }),
            |out| out.write_all(text.as_bytes()),
        );
    }
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.plan)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            let next = terminal::commands(global, &args.plan).render("check");
            output::stderr(&format!("wrote {}. Edit its changes, then run: {next}", args.plan.display()));
            let command_result = CommandResult::done().next(next);
            output::write_result(global, &command_result, || json!({ "type": "init", "plan": args.plan }), |_| Ok(()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Refusal::error(
            Exit::Usage,
            format!(
                "{} exists already. Nothing was changed. Name another file, or `-` for stdout",
                args.plan.display()
            ),
        )),
        Err(error) => Err(Refusal::error(
            Exit::Usage,
            format!(
                "cannot write {}: {error}. Nothing was changed. Name another file, or `-` for stdout",
                args.plan.display()
            ),
        )),
    }
}

/// Reads the table's description for the template. If the table is unreachable, the result contains only the table's
/// name and the values from the command line.
async fn describe_for_template(global: &Global, name: &str) -> TemplateTable {
    let mut table =
        TableRef { name: name.to_owned(), key: None, region: None, endpoint_url: None, profile: None, account: None };
    apply_options(&terminal::options(global, false), &mut table);
    match connect_table(&table).await {
        Ok(ReachableTable { description: found, on_loopback, .. }) => TemplateTable {
            name: found.name.clone(),
            key: found.key.names().map(str::to_owned).collect(),
            // A local engine invents its account number, so the plan must not require that account.
            account: Some(found.account().to_owned())
                .filter(|account| !account.is_empty() && !on_loopback && table.endpoint_url.is_none()),
            endpoint_url: table.endpoint_url.clone(),
            profile: table.profile.clone(),
            region: Some(found.region().to_owned())
                .filter(|r| !r.is_empty() && !on_loopback && table.endpoint_url.is_none()),
            item_count: Some(found.item_count),
            size_bytes: Some(found.size_bytes),
            indexes: found.indexes.into_iter().filter(|i| !i.schema.local).map(|i| i.schema.name).collect(),
        },
        Err(error) => {
            let why =
                if let PreflightError::Unusable { error, .. } = &error { error.to_string() } else { error.to_string() };
            output::stderr(&format!(
                "the plan is written without the table's description, which could not be read: {why}"
            ));
            TemplateTable {
                name: name.to_owned(),
                key: Vec::new(),
                region: table.region,
                account: None,
                endpoint_url: table.endpoint_url,
                profile: table.profile,
                item_count: None,
                size_bytes: None,
                indexes: Vec::new(),
            }
        }
    }
}
