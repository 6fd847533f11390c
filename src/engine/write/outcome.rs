//! The result of processing items, which a pass then commits.

use crate::state::Counts;

/// The results of a pass for some items, with everything that a commit needs.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// Returns the number of items by outcome, and the capacity that these items consumed.
    fn counts(&self) -> &Counts;

    /// Returns a mutable reference to the counts. The scan uses it to add the capacity that the read of the items
    /// consumed.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the results for other items.
    fn merge(&mut self, other: Self);
}
