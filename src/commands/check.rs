//! `check`: parse, validate, and ask the table. Nothing is changed.

use std::io::Write as _;

use serde_json::json;

use super::exit::Exit;
use super::output;
use super::target::{Target, read_plan};
use crate::cli::{Global, PlanArgs};
use crate::item::IndexSchema;
use crate::telemetry::number;
use crate::throttle::ScopeBudget;

/// Checks a plan. Where the table cannot be reached, what could be checked without it is said before the error.
pub(super) async fn check(global: &Global, args: PlanArgs) -> anyhow::Result<Exit> {
    let loaded = read_plan(global, &args.plan)?;
    let fingerprint = loaded.plan.fingerprint();
    output::stderr(&format!("plan {} is valid (fingerprint {})", args.plan.display(), fingerprint.short()));
    let target = Target::open(global, &args.plan).await?;
    let Target { plan, description: table, .. } = &target;
    // A plan of which `run` would do nothing is refused here too.
    let choice = target.job()?.segments();
    output::result(
        global,
        || {
            json!({
                "type": "check", "plan": args.plan, "fingerprint": fingerprint.as_str(), "meaning": plan.meaning(),
                "table_arn": table.arn, "table_id": table.id, "table_status": table.status, "key": table.key.names().collect::<Vec<_>>(),
                "item_count_estimate": table.item_count, "size_bytes_estimate": table.size_bytes, "indexes": table.indexes.iter().map(|index| &index.schema.name).collect::<Vec<_>>(),
                "segments": choice.segments, "active_segments": choice.active, "segments_because": choice.because, "state": target.state,
                "budgets": target.resolved.scopes.iter().map(ScopeBudget::to_json).collect::<Vec<_>>(),
            })
        },
        |out| {
            let mut line = |label: &str, text: String| {
                let _ = writeln!(out, "{label:<12} {text}");
            };
            line("plan", plan.meaning());
            line(
                "table",
                format!("{} ({}, key {})", table.arn, table.status, table.key.names().collect::<Vec<_>>().join(" + ")),
            );
            line(
                "size",
                format!(
                    "{} items, {} bytes (DynamoDB's own count, up to six hours old)",
                    number(table.item_count),
                    number(table.size_bytes)
                ),
            );
            let counts = format!("{}, {} at a time", number(choice.segments.into()), choice.active);
            line("segments", format!("{counts} ({})", choice.because));
            target.resolved.lines().for_each(|(scope, budget)| line("budget", format!("{scope}: {budget}")));
            line("state", target.state.display().to_string());
            if !table.indexes.is_empty() {
                let kind = |index: &IndexSchema| if index.local { "local: paid by the table" } else { "global" };
                let names = table.indexes.iter().map(|i| format!("{} ({})", i.schema.name, kind(&i.schema)));
                line("indexes", names.collect::<Vec<_>>().join(", "));
            }
            writeln!(out, "Next: backfill run {} --dry-run", args.plan.display())
        },
    );
    Ok(Exit::Done)
}
