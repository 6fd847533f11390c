//! The effect of each single change of a plan. A dry run counts, for each change, the items that it would change, and
//! the items that have what it reads. If the plan misspells a name, these counts are 0.

use super::decide::Changes;
use super::draft::image_after;
use super::planned::PlannedChange;
use super::{GuardedWrite, ProgramQuestion, Selected};
use crate::item::{Item, Path};

impl Changes {
    /// Returns the number of changes in the plan. Returns 0 in a phase other than `run`.
    pub fn planned(&self) -> usize {
        self.plan.len()
    }

    /// Returns every path that a change of the plan, a `where` or the selection reads. A path can occur several times.
    /// Returns no path in a phase other than `run`.
    pub fn planned_sources(&self) -> impl Iterator<Item = &Path> {
        let conditions = self.where_inputs().filter(|_| !self.plan.is_empty());
        self.plan.iter().flat_map(|change| &change.sources).chain(conditions)
    }

    /// Returns the positions of the changes that apply to this item and find something to read in it.
    pub fn concerned(&self, item: &Item) -> Vec<usize> {
        if self.plan.is_empty() || self.rules.includes(item) != Selected::Yes {
            return Vec::new();
        }
        let concerns = |(_, change): &(usize, &PlannedChange)| change.concerns(item, &self.rules);
        self.plan.iter().enumerate().filter(concerns).map(|(position, _)| position).collect()
    }

    /// Returns the positions of the changes that this write makes to the item. A change also counts if its program has
    /// not answered yet.
    pub fn made_by(&self, item: &Item, write: &GuardedWrite, questions: &[ProgramQuestion]) -> Vec<usize> {
        if self.plan.is_empty() {
            return Vec::new();
        }
        let after = image_after(item, &write.actions);
        let is_made = |(position, change): &(usize, &PlannedChange)| {
            change.is_made(item, &after) || questions.iter().any(|question| question.position == *position)
        };
        self.plan.iter().enumerate().filter(is_made).map(|(position, _)| position).collect()
    }
}
