//! The result of processing items, which a pass then commits.

use crate::state::Counts;

/// The results of a pass for a number of items, complete enough to be committed.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// The number of items by outcome, and the capacity that they consumed.
    fn counts(&self) -> &Counts;

    /// The same counts, mutable. The scan adds the capacity that reading the items consumed.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the results for other items.
    fn merge(&mut self, other: Self);
}
