//! What a pass passes on from processing a page to committing it.

use crate::state::Counts;

/// The results of a pass for a number of items, complete enough to be committed.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// Items by outcome, and the capacity that they consumed.
    fn counts(&self) -> &Counts;

    /// The same counts, to add the capacity consumed by reading the items.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the outcome of other items.
    fn merge(&mut self, other: Self);
}
