//! What a run has spent, and how that outlives a process that dies.
//!
//! Capacity is reserved in slices before it is used. If a process dies, nobody knows how much of its slice was used: all of
//! it then counts as spent, so that no sequence of kills spends more than was reserved.

use crate::cost::Spend;

/// A slice of capacity that is about to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reservation {
    /// What the run has used by now, and handed out for requests that are not answered yet.
    pub spent: Spend,
    /// What it may use beyond that before it reserves again.
    pub slice: Spend,
}

/// What is recorded about a run's spend.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpendState {
    /// Spent when this was stored.
    pub spent: Spend,
    /// Reserved beyond it by a process that has not said how much of it was used.
    pub slice: Spend,
    /// Of what is spent: in no committed page. Pages that were given up, retries of failures, and what is lost.
    pub uncounted: Spend,
    /// Of what is uncounted: slices of processes that died, as far as no committed page accounts for them. At most so much
    /// less was spent.
    pub lost: Spend,
}

impl SpendState {
    /// What is known to be spent, where the committed pages count so much: while a run is on, more than was stored.
    pub fn known(&self, counted: Spend) -> Spend {
        self.spent.max(counted + self.uncounted)
    }

    /// The stored state, updated by what the committed pages count. The part of the open slice beyond that is still
    /// reserved.
    pub fn live(self, counted: Spend) -> SpendState {
        let known = self.known(counted);
        SpendState { spent: known, slice: (self.spent + self.slice).beyond(known), ..self }
    }

    /// The state of a run that has stored no spend: what the committed pages count is spent.
    pub fn of_pages(counted: Spend) -> SpendState {
        SpendState::default().settled(counted, counted)
    }

    /// The state when a session begins to spend: what is known to be spent is spent, and nothing is reserved.
    pub fn begun(self, counted: Spend) -> SpendState {
        self.settled(self.known(counted), counted)
    }

    /// The state after a slice is reserved.
    pub fn reserved(self, reservation: Reservation) -> SpendState {
        SpendState { spent: reservation.spent, slice: reservation.slice, ..self }
    }

    /// The state after an orderly end: only what was used is spent.
    pub fn settled(self, spent: Spend, counted: Spend) -> SpendState {
        SpendState { spent, slice: Spend::default(), uncounted: spent.beyond(counted), ..self }
    }

    /// The state after the process has died: the whole slice counts as spent.
    pub fn died(self, counted: Spend) -> SpendState {
        let known = self.known(counted);
        let spent = known.max(self.spent + self.slice);
        SpendState { lost: self.lost + spent.beyond(known), ..self.settled(spent, counted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Units;

    fn spend(write: Units, read: Units) -> Spend {
        Spend { write, read }
    }

    #[test]
    fn after_a_death_the_slice_is_spent_and_after_an_end_only_what_was_used() {
        let reserved = SpendState::default().reserved(Reservation { spent: spend(40.0, 4.0), slice: spend(10.0, 2.0) });
        assert_eq!(reserved.known(spend(45.0, 3.0)), spend(45.0, 4.0), "committed pages may know more");
        let died = reserved.died(spend(45.0, 3.0));
        assert_eq!((died.spent, died.slice), (spend(50.0, 6.0), Spend::default()));
        assert_eq!((died.lost, died.uncounted), (spend(5.0, 2.0), spend(5.0, 3.0)));
        let ended = reserved.settled(spend(47.0, 5.0), spend(45.0, 3.0));
        assert_eq!((ended.spent, ended.slice, ended.lost), (spend(47.0, 5.0), Spend::default(), Spend::default()));
        assert_eq!(ended.uncounted, spend(2.0, 2.0));
    }

    /// A session without limits reserves nothing, and what it spends is counted on top of what was lost before.
    #[test]
    fn what_was_lost_stays_lost_in_a_session_that_reserves_nothing() {
        let lost = SpendState::default().reserved(Reservation { spent: spend(80.0, 0.0), slice: spend(20.0, 0.0) });
        let lost = lost.died(spend(80.0, 0.0));
        assert_eq!(lost.known(spend(90.0, 0.0)), spend(110.0, 0.0));
        assert_eq!(lost.died(spend(90.0, 0.0)).spent, spend(110.0, 0.0));
        assert_eq!(lost.died(spend(90.0, 0.0)).lost, spend(20.0, 0.0), "lost once");
    }
}
