//! The result of processing items. A pass commits it afterwards.

use crate::state::Counts;

/// The results of a pass for a number of items, complete enough to be committed.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// The number of items by outcome, and the capacity that they consumed.
    fn counts(&self) -> &Counts;

    /// Mutable access to the counts. The scan adds the capacity that reading the items consumed.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the results for other items.
    fn merge(&mut self, other: Self);
}
