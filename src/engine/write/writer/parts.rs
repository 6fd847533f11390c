//! Sends the further writes of an item whose changes do not fit one write (`split = true`).

use super::item_outcomes::{ItemOutcomes, ItemResult};
use super::{PendingWrite, Writer};
use crate::change::{Decision, NextWrite, Outcome};
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::figure::count;
use crate::item::{Item, ItemKey, Path};

/// The maximum number of accepted writes of one item in a pass. A plan needs at most sixteen writes. More are necessary
/// only if a live writer takes back what an earlier write did.
const MAX_WRITES: u32 = 32;

/// Number of paths that the reason of a failure lists.
const MAX_PATHS: usize = 5;

/// The accepted writes of an item that needs more writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SentParts {
    writes: u32,
    paths: Vec<Path>,
}

impl SentParts {
    fn is_empty(&self) -> bool {
        self.writes == 0
    }

    /// Returns the reason of a failure, with what was written before.
    pub(super) fn explain(&self, reason: String) -> String {
        if self.is_empty() {
            return reason;
        }
        let mut names: Vec<String> = self.paths.iter().take(MAX_PATHS).map(|path| format!("`{path}`")).collect();
        if self.paths.len() > MAX_PATHS {
            names.push(format!("{} more", self.paths.len() - MAX_PATHS));
        }
        format!(
            "{reason}. Part of the item was written before this: {} changed {}. That part stays",
            count(self.writes.into(), "write", "writes"),
            names.join(", ")
        )
    }
}

impl Writer {
    /// Handles an accepted write. Returns the item's next write, or `None` if the item now has an outcome.
    pub(super) async fn accepted(
        &self,
        requests: &Requests,
        mut member: PendingWrite,
        removed: Option<Item>,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Option<PendingWrite>, Stopped> {
        let Some(next) = member.write.next.take() else {
            let result = self.confirm(requests, &member.write, removed).await?;
            outcomes.record(member.write.key, result);
            return Ok(None);
        };
        let NextWrite { image, .. } = *next;
        member.sent.writes += 1;
        for path in member.write.actions.iter().filter_map(|action| action.path()) {
            if !member.sent.paths.contains(path) {
                member.sent.paths.push(path.clone());
            }
        }
        // No item has both several writes and a derived item, so this reads nothing.
        let (mut decisions, _) = self.decisions.of(&[(&image, &member.record)], requests).await?;
        match decisions.pop().unwrap_or(Decision::NothingToDo) {
            Decision::Write(_) if member.sent.writes >= MAX_WRITES => {
                let why = format!("another writer took back changes during {MAX_WRITES} writes");
                let why = member.sent.explain(why);
                outcomes.record(member.write.key, ItemResult::Failed(Outcome::Conflict, why));
                Ok(None)
            }
            Decision::Write(write) => {
                let PendingWrite { sent, record, .. } = member;
                Ok(Some(PendingWrite { sent, ..PendingWrite::new(write, record) }))
            }
            other @ (Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)) => {
                outcomes.record_end(member.write.key, other, false, &member.sent);
                Ok(None)
            }
        }
    }
}

impl ItemOutcomes {
    /// Counts an item that gets no further write, like [`ItemOutcomes::record_decision`]. If a part of it was written,
    /// the item counts as applied, or as a failure that says which part was written.
    pub(super) fn record_end(&mut self, key: ItemKey, decision: Decision, after_condition: bool, sent: &SentParts) {
        if sent.is_empty() {
            return self.record_decision(key, decision, after_condition);
        }
        let result = match decision {
            Decision::Skipped(paths) if paths.is_empty() => {
                let why =
                    "an expression or a conversion has no result any more, because another writer changed the item";
                ItemResult::Failed(Outcome::NotComputable, sent.explain(why.to_owned()))
            }
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => {
                ItemResult::Outcome(Outcome::Applied)
            }
            Decision::Diverged(paths) => {
                let names: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
                let why = format!("between two writes, another writer set {} to another value", names.join(", "));
                ItemResult::Failed(Outcome::Conflict, sent.explain(why))
            }
            Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)
            | Decision::Write(_) => {
                self.record_decision(key, decision, after_condition);
                if let Some(failure) = self.failures.last_mut() {
                    failure.reason = sent.explain(std::mem::take(&mut failure.reason));
                }
                return;
            }
        };
        self.record(key, result);
    }
}
