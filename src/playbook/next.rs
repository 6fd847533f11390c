//! Suggests the next command forward.

use super::request::{REPAIR, StepRequest};
use super::{BackTarget, CutoverTarget, Goal, NextCommand, PlanKind, StepRefusal};
use crate::cutover::{Flag, WriteTo};

impl StepRequest<'_> {
    /// Returns the refusal of a command that needs the first step of the migration.
    pub(super) fn not_begun(&self) -> StepRefusal {
        StepRefusal::new("the migration has not begun", self.first_command())
    }

    /// Returns the command to run before expand has begun. A run without dual writes misses items that writers change
    /// behind its scan position, so dual writes come first.
    pub(super) fn first_command(&self) -> NextCommand {
        let has_dual_writes = self.current_flag().is_some_and(|flag| flag.write != WriteTo::Old);
        if has_dual_writes { Goal::Run { again: false }.into() } else { NextCommand::first(self.context.kind) }
    }

    /// Returns the next command forward in the playbook.
    pub(super) fn next_forward(&self, flag: Option<&Flag>) -> NextCommand {
        if self.context.kind == PlanKind::RemoveOnly {
            return NextCommand::from(Goal::Contract).with("--readers-moved --old-writes-stopped");
        }
        if let Err(refused) = self.check_expanded() {
            return refused.next;
        }
        let Some(flag) = flag else { return self.next_without_cutover() };
        match (flag.write, flag.read) {
            (WriteTo::New, _) => Goal::Contract.into(),
            (WriteTo::Old, _) => self.with_fact_option(Goal::CutoverTo(CutoverTarget::DualWrite)),
            (WriteTo::Both, _) if flag.old_stale => self.next_back(Goal::Back { to: BackTarget::OldReads, now: false }),
            (WriteTo::Both, _) if flag.read_percent < 100 => {
                let step = || self.with_fact_option(self.next_reader_step(flag));
                self.gate(flag).err().map_or_else(step, |closed| closed.next)
            }
            (WriteTo::Both, _) => {
                let step = || self.with_fact_option(Goal::CutoverTo(CutoverTarget::WriteNew));
                self.write_new_gate(flag).err().map_or_else(step, |closed| closed.next)
            }
        }
    }

    /// Returns the next command for a plan that ends at verify. Suggests each possible repair once. After that, a
    /// person must inspect the remaining items.
    fn next_without_cutover(&self) -> NextCommand {
        if self.context.failures > 0 {
            return self.next_for_failures();
        }
        match &self.state.full {
            None => "verify --all".into(),
            // A run asks the operator to accept the deletes, and lists the items that it cannot delete.
            Some(report) if report.mismatches > 0 && self.context.deletes_items => {
                match self.context.diverged > 0 || self.state.expanded_again {
                    true => "failures list".into(),
                    false => {
                        let next = NextCommand::from(Goal::Run { again: true }).with("--accept deletes-items");
                        // Deletes that no rollback can undo need their own acceptance.
                        if self.context.no_way_back.is_some() { next.with("--accept no-way-back") } else { next }
                    }
                }
            }
            // A repair would overwrite the values that applications wrote. Another pass keeps these values, and lists
            // their items.
            Some(report) if report.mismatches > 0 && self.context.kind == PlanKind::SetOnly => {
                let listed = self.context.diverged > 0 || self.state.expanded_again;
                if listed { "failures list".into() } else { Goal::Run { again: true }.into() }
            }
            Some(report) if report.mismatches > 0 && !report.repair => REPAIR.into(),
            Some(report) if report.mismatches > 0 && self.context.diverged > 0 => "failures list".into(),
            Some(_) => "status".into(),
        }
    }

    /// Returns the next command for failed items: first a retry, and then the list of failures, which shows the
    /// problems to fix. For an item that is not computable, a retry has no effect until somebody corrects the item.
    pub(super) fn next_for_failures(&self) -> NextCommand {
        let look = self.state.retried || self.context.not_computable;
        if look { "failures list".into() } else { Goal::FailuresRetry.into() }
    }
}
