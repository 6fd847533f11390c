//! Sends the further writes of an item whose changes do not fit one write (`split = true`).

use super::item_outcomes::{ItemOutcomes, ItemResult};
use super::{PendingWrite, Writer};
use crate::change::{Decision, GuardedWrite, HistoryLookup, NextWrite, Outcome};
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::figure::count;
use crate::item::{Item, ItemKey, NotComputable, Path};

/// The maximum number of accepted writes of one item in a pass. A plan needs at most sixteen writes. More are necessary
/// only if a live writer reverts an earlier write.
const MAX_WRITES: u32 = 32;

/// The maximum number of paths that the reason of a failure lists.
const MAX_PATHS: usize = 5;

/// The accepted writes of an item whose changes do not fit one write.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SentParts {
    writes: u32,
    paths: Vec<Path>,
    /// Whether another write may have been applied, although no reply confirmed it.
    is_unclear: bool,
    /// The paths that an earlier process wrote, according to the journal.
    recorded: Vec<Path>,
}

impl SentParts {
    /// Returns the parts of an item that an earlier process wrote.
    pub(crate) fn recorded(paths: Vec<Path>) -> SentParts {
        SentParts { recorded: paths, ..SentParts::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes == 0 && !self.is_unclear && self.recorded.is_empty()
    }

    /// Returns how an item with this decision ends, as a decision: a failure that names the written part, if a run makes the
    /// item one. `has_left` says whether the plan no longer selects the item.
    pub(crate) fn end_of(&self, decision: Decision, has_left: bool) -> Decision {
        if self.is_empty() {
            return decision;
        }
        match (self.failure_of(&decision, has_left), decision) {
            (Some((Outcome::NotComputable, why)), _) => Decision::NotComputable(NotComputable::new(why)),
            (Some((_, why)), _) => Decision::Rejected(why),
            (None, Decision::Rejected(why)) => Decision::Rejected(self.explain(why)),
            (None, Decision::NotComputable(why)) => {
                Decision::NotComputable(NotComputable::new(self.explain(why.to_string())))
            }
            (
                None,
                other @ (Decision::NothingToDo
                | Decision::AlreadyApplied
                | Decision::Skipped(_)
                | Decision::Diverged(_)
                | Decision::Refused(..)
                | Decision::NeedsAnswers(..)
                | Decision::Write(_)),
            ) => other,
        }
    }

    /// Returns the failure of an item of which a part was written, if the decision alone would be no failure.
    fn failure_of(&self, decision: &Decision, has_left: bool) -> Option<(Outcome, String)> {
        let (outcome, why) = match decision {
            Decision::Skipped(paths) if paths.is_empty() => {
                let why = "an expression, a conversion or a custom change no longer has a result";
                (Outcome::NotComputable, why.to_owned())
            }
            Decision::NothingToDo if has_left => {
                (Outcome::Conflict, "the item left the selection, because another writer changed it".to_owned())
            }
            Decision::Diverged(paths) => {
                let names: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
                let (names, have) = (names.join(", "), if paths.len() == 1 { "does" } else { "do" });
                (Outcome::Conflict, format!("{names} {have} not have the value that the plan implies"))
            }
            Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)
            | Decision::Write(_) => return None,
        };
        Some((outcome, self.explain(why)))
    }

    /// Notes that the reply to one of several writes was lost, and that the write may have been applied.
    pub(super) fn add_unclear(&mut self, write: &GuardedWrite) {
        self.is_unclear |= write.next.is_some() || self.writes > 0;
    }

    /// Returns the reason of a failure, extended by the part of the item that was already written.
    pub(super) fn explain(&self, reason: String) -> String {
        if self.is_empty() {
            return reason;
        }
        let lost = "the reply to a write was lost, so this write may have changed the item too";
        if self.writes == 0 && self.recorded.is_empty() {
            return format!("{reason}. Part of the item may have been written before this: {lost}");
        }
        let sent = (self.writes > 0)
            .then(|| format!("{} changed {}", count(self.writes.into(), "write", "writes"), names_of(&self.paths)));
        let recorded = (!self.recorded.is_empty())
            .then(|| format!("the journal shows that an earlier process changed {}", names_of(&self.recorded)));
        let written: Vec<String> = recorded.into_iter().chain(sent).collect();
        let written = written.join(", and ");
        let written = format!("{reason}. Part of the item was written before this: {written}. That part stays written");
        if self.is_unclear { format!("{written}. Besides, {lost}") } else { written }
    }
}

/// Returns the names of these paths, at most [`MAX_PATHS`] of them.
fn names_of(paths: &[Path]) -> String {
    let mut names: Vec<String> = paths.iter().take(MAX_PATHS).map(|path| format!("`{path}`")).collect();
    if paths.len() > MAX_PATHS {
        names.push(format!("{} more", paths.len() - MAX_PATHS));
    }
    names.join(", ")
}

impl Writer {
    /// Returns the parts of each item that an earlier process wrote, in the order of the items. One query reads the
    /// unfinished writes of a page. A second query reads the complete records of the items with unfinished writes.
    /// Reads nothing if no item can be partly written.
    pub(super) async fn recorded_parts(&self, items: &[Item], requests: &Requests) -> Result<Vec<SentParts>, Stopped> {
        if !self.changes().may_be_partly_written() {
            return Ok(vec![SentParts::default(); items.len()]);
        }
        let unfinished = self.look_up(items, HistoryLookup::ForUnfinishedWrites, requests).await?;
        let with_writes = items.iter().zip(&unfinished).filter(|(_, unfinished)| !unfinished.is_empty());
        let with_writes: Vec<Item> = with_writes.map(|(item, _)| item.clone()).collect();
        let mut records = match with_writes.is_empty() {
            true => Vec::new(),
            false => self.look_up(&with_writes, HistoryLookup::ForReport, requests).await?,
        }
        .into_iter();
        let parts = items.iter().zip(&unfinished).map(|(item, unfinished)| {
            let record = if unfinished.is_empty() { None } else { records.next() };
            record.map_or_else(Vec::new, |record| self.changes().partly_written(item, &record, unfinished))
        });
        Ok(parts.map(SentParts::recorded).collect())
    }

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
        // An item with several writes never has a derived item, so this call reads nothing.
        let (mut decisions, _) = self.decisions.of(&[(&image, &member.record)], requests).await?;
        match decisions.pop().unwrap_or(Decision::NothingToDo) {
            Decision::Write(_) if member.sent.writes >= MAX_WRITES => {
                let why = format!(
                    "another writer repeatedly reverted changes, so the tool stopped after {MAX_WRITES} writes of the item"
                );
                let why = member.sent.explain(why);
                outcomes.record(member.write.key, ItemResult::Failed(Outcome::Conflict, why));
                Ok(None)
            }
            Decision::Write(write) => {
                let PendingWrite { sent, unclear, record, .. } = member;
                Ok(Some(PendingWrite { sent, unclear, ..PendingWrite::new(write, record) }))
            }
            other @ (Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)) => {
                // An item with several writes has no derived item.
                let has_left = self.changes().has_left_selection(&image);
                let end = End { after_condition: false, has_left, derived: None };
                outcomes.record_end(member.write.key, other, end, &member.sent);
                Ok(None)
            }
        }
    }
}

/// The state of an item that gets no further write.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// Whether "nothing to do" means that the change has been made. This is the case if a condition failed before.
    pub(super) after_condition: bool,
    /// Whether the plan no longer selects the item.
    pub(super) has_left: bool,
    /// The key of the derived item, if the item is diverged because its derived item differs.
    pub(super) derived: Option<ItemKey>,
}

impl ItemOutcomes {
    /// Counts an item that gets no further write, as [`ItemOutcomes::record_decision`] does. If a part of the item was
    /// written, the item counts either as applied, or as a failure that says which part was written.
    pub(super) fn record_end(&mut self, key: ItemKey, decision: Decision, end: End, sent: &SentParts) {
        let End { after_condition, has_left, derived } = end;
        if sent.is_empty() {
            let is_diverged = matches!(decision, Decision::Diverged(_));
            self.record_decision(key, decision, after_condition);
            if is_diverged {
                self.set_derived_key(derived);
            }
            return;
        }
        if let Some((outcome, why)) = sent.failure_of(&decision, has_left) {
            return self.record(key, ItemResult::Failed(outcome, why));
        }
        let result = match decision {
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) if sent.writes == 0 => {
                return self.record_decision(key, decision, after_condition);
            }
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => {
                ItemResult::Outcome(Outcome::Applied)
            }
            Decision::Diverged(_)
            | Decision::Rejected(_)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    /// Returns the outcome of an item for which this decision was made. Before the decision, `writes` writes of the
    /// item were accepted, and the reply to one more write was lost.
    fn end(decision: Decision, writes: u32, is_split: bool, has_left: bool) -> ItemOutcomes {
        let mut lost = GuardedWrite::for_test("1");
        lost.next = is_split.then(|| Box::new(NextWrite { image: Item::new() }));
        let paths = vec![Path::attribute("new0")];
        let mut sent = SentParts { writes, paths, ..SentParts::default() };
        sent.add_unclear(&lost);
        let mut outcomes = ItemOutcomes::default();
        outcomes.record_end(lost.key, decision, End { after_condition: true, has_left, derived: None }, &sent);
        outcomes
    }

    #[test]
    fn a_write_with_a_lost_reply_may_have_written_a_part() {
        let diverged = || Decision::Diverged(vec![Path::attribute("new0")]);
        let failed = end(diverged(), 0, true, false);
        assert_eq!((failed.counts.of(Outcome::Conflict), failed.diverged.len()), (1, 0));
        assert!(failed.failures[0].reason.contains("may have been written"), "{:?}", failed.failures);
        // A single write for the whole item cannot leave the item partly written.
        assert_eq!(end(diverged(), 0, false, false).diverged.len(), 1);
        let failed = end(diverged(), 1, false, false);
        let reason = &failed.failures[0].reason;
        assert!(reason.contains("`new0` does not have the value that the plan implies"), "{reason}");
        assert!(reason.contains("1 write changed `new0`") && reason.contains("reply to a write was lost"), "{reason}");
        let mut outcomes = ItemOutcomes::default();
        let sent = SentParts::recorded(vec![Path::attribute("new7")]);
        let resumed = End { after_condition: false, has_left: false, derived: None };
        outcomes.record_end(GuardedWrite::for_test("1").key, diverged(), resumed, &sent);
        let reason = &outcomes.failures[0].reason;
        assert!(reason.contains("the journal shows that an earlier process changed `new7`. That part"), "{reason}");
        for writes in [0, 1] {
            assert_eq!(end(Decision::NothingToDo, writes, true, true).counts.of(Outcome::Conflict), 1);
            assert_eq!(end(Decision::NothingToDo, writes, true, false).counts.of(Outcome::Conflict), 0);
        }
    }
}
