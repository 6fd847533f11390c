//! What a pass hands from processing a page to committing it.

use crate::state::Counts;

/// What a pass found out about a number of items, complete enough to be committed.
pub trait PageOutcome: Default + Send + Sync + 'static {
    /// Items by outcome, and the capacity that they consumed.
    fn counts(&self) -> &Counts;

    /// The same, to add capacity that reading them consumed.
    fn counts_mut(&mut self) -> &mut Counts;

    /// Adds the outcome of other items.
    fn merge(&mut self, other: Self);
}
