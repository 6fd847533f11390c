//! `iam`: the smallest IAM policy for a plan.

use crate::cli::{Global, IamArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::plan::least_privilege_policy;
use serde_json::json;

/// Prints the policy. The command reads only the plan, and does not contact AWS.
pub(crate) fn iam(global: &Global, args: &IamArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let policy = least_privilege_policy(migration.plan(), args.read_only);
    output::write_data(
        global,
        &CommandResult::done(),
        || json!({ "type": "iam", "policy": policy }),
        |out| std::io::Write::write_fmt(out, format_args!("{policy:#}\n")),
    )
}
