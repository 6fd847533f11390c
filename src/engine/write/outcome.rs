//! The result of processing items, which a pass then commits.

use crate::state::Counts;

/// A pass's results for a number of items, complete enough to be committed.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// Returns the number of items by outcome, and the capacity that these items consumed.
    fn counts(&self) -> &Counts;

    /// Returns mutable access to the counts. The scan uses it to add the capacity that was consumed by reading the
    /// items.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the results for other items.
    fn merge(&mut self, other: Self);
}
