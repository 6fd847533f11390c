//! Repairs mismatching items. A verification without a repair predicts for each mismatch what a repair would do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Suspect, Verifier};
use crate::change::{Change, Changes, Decision, GuardedWrite, ItemHistory, PreImage, PriorValue};
use crate::engine::{Decisions, ItemOutcomes, Requests, Stopped, Writer};
use crate::item::Path;
use crate::passes::verify::compare::Comparison;
use crate::passes::verify::repair::{PageRepair, Repair};
use crate::passes::verify::report::{NOT_REMOVED, REPLACES};
use crate::state::Verdict;

/// The reason that the store records if a repair does not change an item.
const LEFT_ALONE: &str = "left alone: its correct value is unknown";

/// The reason that the store records if only a program can compute a value of the item.
const NEEDS_PROGRAM: &str = "left alone: a repair starts no program. `run --again` computes the value again, if the \
                             plan has `on_existing = \"overwrite\"` or the value is missing";

/// The reason that the store records if only a program can compute a value of the item, and the item also has another
/// mismatch.
const NEEDS_PROGRAM_TOO: &str = "left alone, together with its other mismatches: a repair changes all attributes of an \
                                 item or none, and one of them needs a program, which a repair does not start. \
                                 `run --again` computes the value again, if the plan has \
                                 `on_existing = \"overwrite\"` or the value is missing. Then repair again";

impl Verifier {
    /// Repairs these items. For each item that could not be repaired, the returned map contains the text of its key and
    /// the reason.
    pub(super) async fn repair_suspects(
        &self,
        repair: &Repair,
        suspects: &[Suspect],
        requests: &Requests,
    ) -> Result<(BTreeMap<String, String>, ItemOutcomes), Stopped> {
        let writer = Writer::new(
            Decisions::new(Arc::new(self.repair_changes(repair, suspects)), None),
            self.store.history(),
            self.session,
        )
        .with_journal_purged(self.is_journal_purged);
        let items = suspects.iter().map(|suspect| suspect.item.clone()).collect();
        let outcomes = writer.process_all(items, requests).await?;
        let found: BTreeMap<String, &Comparison> =
            suspects.iter().map(|suspect| (suspect.key.to_text(), &suspect.found)).collect();
        let why = |key: &str| found.get(key).map_or(LEFT_ALONE, |found| self.why_left(repair, found));
        let left = outcomes.diverged.iter().map(|item| item.key.to_text());
        let left = left.map(|key| (key.clone(), why(&key).to_owned()));
        let failed = outcomes.failures.iter().map(|failure| (failure.key.to_text(), failure.reason.clone()));
        Ok((left.chain(failed).collect(), outcomes))
    }

    fn repair_changes(&self, repair: &Repair, suspects: &[Suspect]) -> Changes {
        let records = suspects.iter().map(|suspect| (suspect.key.to_text(), suspect.record.clone())).collect();
        let wrong = suspects.iter().filter(|suspect| repair.needs_answer(&suspect.found.paths));
        let unanswered = wrong.map(|suspect| suspect.key.to_text()).collect();
        let page_repair = Arc::new(PageRepair { repair: repair.clone(), records, unanswered });
        Changes::from_decider(page_repair, repair.key().clone(), repair.indexes().schemas().to_vec())
            .with_encrypted_refused(self.refuses_encrypted)
    }

    /// Returns why a repair must not write this item.
    fn why_left(&self, repair: &Repair, found: &Comparison) -> &'static str {
        if repair.needs_program(&found.paths) {
            let only_programs = found.paths.iter().all(|wrong| repair.needs_program(std::slice::from_ref(wrong)));
            return if only_programs { NEEDS_PROGRAM } else { NEEDS_PROGRAM_TOO };
        }
        match !self.removes && found.paths.iter().any(|(_, verdict)| *verdict == Verdict::Unexpected) {
            true => NOT_REMOVED,
            false => LEFT_ALONE,
        }
    }

    /// Predicts how this repair would treat a mismatching item. If the repair would not write the item, returns the
    /// reason. If the repair would replace a value that, according to the records, the migration did not write, returns
    /// [`REPLACES`]. Otherwise, returns `None`. `written` is the item's history, including the values that the
    /// migration wrote.
    pub(super) fn predict(&self, repair: &Repair, suspect: &Suspect, written: &ItemHistory) -> Option<String> {
        let decide = |repair: &Repair| self.repair_changes(repair, std::slice::from_ref(suspect)).decide(&suspect.item);
        match decide(repair) {
            Decision::Write(write) => self.replaces(repair, (suspect, written), write).then(|| REPLACES.to_owned()),
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => None,
            Decision::Diverged(_) if matches!(decide(&repair.clone().with_removals()), Decision::Write(_)) => {
                Some(NOT_REMOVED.to_owned())
            }
            Decision::Diverged(_) => Some(match self.why_left(repair, &suspect.found) {
                // Even with --repair-remove, the repair would not write the item.
                NOT_REMOVED => LEFT_ALONE.to_owned(),
                why => why.to_owned(),
            }),
            Decision::Rejected(why) => Some(why),
            Decision::NotComputable(why) => Some(why.to_string()),
            Decision::Refused(_, rule) => Some(rule.to_string()),
            // A repair starts no program.
            Decision::NeedsAnswers(..) => Some(NEEDS_PROGRAM.to_owned()),
        }
    }

    /// Returns whether a repair of this item replaces or removes a value that, according to the records, the migration
    /// did not write. A conversion or a change of elements derives the new value from the old one, so it does not count
    /// as replacing a value.
    fn replaces(&self, repair: &Repair, (suspect, written): (&Suspect, &ItemHistory), first: GuardedWrite) -> bool {
        let changes = self.repair_changes(repair, std::slice::from_ref(suspect));
        let mut write = first;
        // A plan needs at most one write for each of its changes.
        for _ in 0..=repair.number_of_changes() {
            if write.pre_images.iter().any(|pre| self.is_foreign(pre, written)) {
                return true;
            }
            let Some(next) = write.next else { return false };
            let Decision::Write(later) = changes.decide(&next.image) else { return false };
            write = later;
        }
        false
    }

    fn is_foreign(&self, pre: &PreImage, record: &ItemHistory) -> bool {
        match &pre.prior {
            PriorValue::Value(value) => self.replaceable.contains(&pre.path) && !record.is_own_value(&pre.path, value),
            PriorValue::Nothing
            | PriorValue::SameAsSource
            | PriorValue::Item(_)
            | PriorValue::Mark(_)
            | PriorValue::Leftover(_) => false,
        }
    }
}

/// Returns the paths at which a repair replaces or removes a value.
pub(super) fn replaceable_paths(changes: &[Change]) -> Vec<Path> {
    let replaces = |change: &&Change| match change {
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Exec { .. } => true,
        Change::Convert { .. }
        | Change::Append { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Each { .. } => false,
    };
    let paths = changes.iter().filter(replaces).map(Change::paths);
    paths.flat_map(|paths| paths.writes.into_iter().chain(paths.removes)).cloned().collect()
}
