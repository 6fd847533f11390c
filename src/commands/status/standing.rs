//! The part of `status` about the playbook: the stage, the last seen flag and the next step.

use std::io::{Result, Write as _};

use serde_json::{Value as Json, json};

use crate::commands::shared::next_step::NextStep;
use backfill::internals::clock::to_text;
use backfill::internals::figure::count;
use backfill::internals::migration::MigrationSnapshot;
use backfill::internals::playbook::{MigrationStage, Override, TableBackup};
use backfill::internals::report::CleanupEntry;
use backfill::internals::state::LockHolder;

/// Writes the text form. `nothing` is the text to write if there is no next step.
pub(crate) fn write_standing(
    out: &mut Vec<u8>,
    snapshot: &MigrationSnapshot,
    next_step: Option<&NextStep>,
    nothing: &str,
) -> Result<()> {
    let MigrationSnapshot { state, flag_record, may_be_stale, status, unfinished } = snapshot;
    writeln!(out, "phase: {}", status.stage.name())?;
    if let Some(text) = unfinished_text(status.stage, *unfinished) {
        writeln!(out, "{text}")?;
    }
    if let Some(flag_record) = flag_record {
        let at = to_text(flag_record.at);
        let who = &flag_record.meta.actor;
        match may_be_stale {
            None => writeln!(out, "flag: {} (changed by {who})", flag_record.flag)?,
            Some(why) => {
                writeln!(out, "flag, last seen at {at}: {} (changed by {who}); may be stale: {why}", flag_record.flag)?
            }
        }
    } else if let Some(stated) = &state.stated_flag {
        writeln!(out, "stated: write = {}, read = {}", stated.write.as_str(), stated.read.as_str())?;
    }
    for (step, reason) in [
        ("the gate of read-new was overridden", &state.forced_reads),
        ("the gate of write-new was overridden", &state.forced_writes),
        ("the rollback began", &state.forced_rollback),
    ] {
        if let Some(reason) = reason {
            writeln!(out, "{step} with --force: {reason}")?;
        }
    }
    for Override { obstacle, reason } in &state.overrides {
        writeln!(out, "overridden: {obstacle}; reason: {reason}")?;
    }
    for backup in &state.backups {
        writeln!(out, "backup made at {}: {}", to_text(backup.at), backup.arn)?;
    }
    if let Some(report) = &state.full {
        let ended = to_text(report.span.ended);
        let mismatches = count(report.mismatches, "mismatch", "mismatches");
        writeln!(out, "last full verification: {mismatches}, ended {ended}, report {}", report.hash)?;
    }
    match next_step {
        Some(NextStep { command, not_before: Some(until) }) => writeln!(out, "next, not before {until}: {command}"),
        Some(NextStep { command, not_before: None }) => writeln!(out, "next: {command}"),
        None => writeln!(out, "next: {nothing}"),
    }
}

/// Returns the reason why there is no next step. `can_roll_back` is true if a complete migration can still be rolled
/// back. `same_plan` is false if the state belongs to another plan.
pub(crate) fn nothing_next(
    stage: MigrationStage,
    holder: Option<&LockHolder>,
    can_roll_back: bool,
    same_plan: bool,
) -> String {
    match holder {
        Some(holder) => format!("wait until this process ends: {holder}"),
        None if !same_plan => "nothing with this plan".to_owned(),
        None if stage == MigrationStage::Verify && can_roll_back => "nothing; rollback is possible".to_owned(),
        None if stage == MigrationStage::Verify => "nothing; the migration is complete".to_owned(),
        None => "nothing; the migration is over, and this file is its record".to_owned(),
    }
}

/// Says why a pass that has read the whole table is not complete, and how to complete it.
fn unfinished_text(stage: MigrationStage, failures: u64) -> Option<String> {
    if failures == 0 {
        return None;
    }
    let (what, again, leave) = match stage {
        MigrationStage::Contract => ("contract", "contract", None),
        MigrationStage::Rollback => ("the rollback", "rollback", Some("rollback --force REASON")),
        MigrationStage::Cutover => ("the way back", "cutover --back", Some("cutover --back --force REASON")),
        MigrationStage::Preflight
        | MigrationStage::Expand
        | MigrationStage::Verify
        | MigrationStage::Soak
        | MigrationStage::Contracted
        | MigrationStage::RolledBack => return None,
    };
    let failed = count(failures, "item has failed", "items have failed");
    let leave = leave.map_or_else(String::new, |command| format!(", or leave them as they are with `{command}`"));
    Some(format!("{what} is not complete: {failed}. Fix the items and run `{again}` again{leave}"))
}

/// Writes what can be removed after the migration.
pub(crate) fn write_cleanup(out: &mut Vec<u8>, cleanup: &[CleanupEntry]) -> Result<()> {
    if !cleanup.is_empty() {
        writeln!(out, "clean up:")?;
    }
    cleanup.iter().try_for_each(|CleanupEntry { what, when }| writeln!(out, "  {what}: when {when}"))
}

/// Returns the JSON form of what can be removed after the migration.
pub(crate) fn cleanup_json(CleanupEntry { what, when }: &CleanupEntry) -> Json {
    json!({ "what": what, "when": when })
}

/// Returns the JSON form.
pub(crate) fn standing_json(snapshot: &MigrationSnapshot, next_step: Option<&NextStep>) -> Json {
    let MigrationSnapshot { state, flag_record, may_be_stale, status, unfinished } = snapshot;
    let report = state.full.as_ref().map(|report| {
        json!({ "began_at": report.span.began.to_string(), "ended_at": report.span.ended.to_string(),
                "mismatches": report.mismatches, "hash": report.hash })
    });
    let stated =
        state.stated_flag.as_ref().map(|flag| json!({ "write": flag.write.as_str(), "read": flag.read.as_str() }));
    json!({ "phase": status.stage.name(), "unfinished": unfinished, "flag_seen": flag_record.as_ref().map(|flag_record| flag_record.to_json()),
            "flag_may_be_stale": flag_record.as_ref().and(may_be_stale.as_ref()), "stated": stated,
            "full_verification": report, "forced_reads": state.forced_reads,
            "forced_writes": state.forced_writes, "forced_rollback": state.forced_rollback,
            "overrides": state.overrides, "backups": state.backups.iter().map(backup_json).collect::<Vec<_>>(),
            "next": next_step.map(|step| &step.command),
            "not_before": next_step.and_then(|step| step.not_before.as_ref()) })
}

fn backup_json(backup: &TableBackup) -> Json {
    json!({ "phase": TableBackup::phase_name(backup.phase), "at": backup.at.to_string(), "arn": backup.arn })
}
