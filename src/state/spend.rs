//! A run's recorded spend. This record stays correct even if a process dies.
//!
//! Capacity is reserved in slices before it is used. If a process dies, it is unknown how much of its slice the process
//! has used. The whole slice then counts as spent. So however often the process is killed, the run spends no more than
//! the recorded amount.

use crate::cost::Spend;

/// A request to reserve a slice of capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reservation {
    /// The capacity that the run has used so far, including the capacity of requests without a reply.
    pub spent: Spend,
    /// The additional capacity that the run may use before the next reservation.
    pub slice: Spend,
}

/// A run's recorded spend.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpendState {
    /// The capacity that was already spent when this record was stored.
    pub spent: Spend,
    /// The open slice: additional capacity that a process has reserved. The process has not yet reported how much of
    /// this capacity it used.
    pub slice: Spend,
    /// The part of `spent` that the counts of committed pages do not contain: the spend of abandoned pages, the spend
    /// of retries of failures, and `lost`.
    pub uncounted: Spend,
    /// The part of `uncounted` that comes from open slices of dead processes. The actual spend may be lower than the
    /// recorded spend, but by no more than this amount.
    pub lost: Spend,
}

impl SpendState {
    /// Returns the known spend. `counted` is the capacity that the counts of the committed pages contain. During a run,
    /// the known spend can exceed `spent`.
    pub fn known_spend(&self, counted: Spend) -> Spend {
        self.spent.max(counted + self.uncounted)
    }

    /// Returns the current state of a live run. `counted` is the capacity that the counts of the committed pages
    /// contain. The unused part of the open slice is still reserved.
    pub fn current(self, counted: Spend) -> SpendState {
        let known = self.known_spend(counted);
        SpendState { spent: known, slice: (self.spent + self.slice).excess_over(known), ..self }
    }

    /// Returns the state of a run without a stored record. The spend of such a run is the capacity that the counts of
    /// its committed pages contain.
    pub fn from_pages(counted: Spend) -> SpendState {
        SpendState::default().settled(counted, counted)
    }

    /// Returns the state when a session begins to spend. This state contains the known spend, and no open slice.
    pub fn at_session_start(self, counted: Spend) -> SpendState {
        self.settled(self.known_spend(counted), counted)
    }

    /// Returns the state after a reservation.
    pub fn reserved(self, reservation: Reservation) -> SpendState {
        SpendState { spent: reservation.spent, slice: reservation.slice, ..self }
    }

    /// Returns the state after an orderly end, when only the used capacity counts as spent.
    pub fn settled(self, spent: Spend, counted: Spend) -> SpendState {
        SpendState { spent, slice: Spend::default(), uncounted: spent.excess_over(counted), ..self }
    }

    /// Returns the state after the process has died, when the whole slice counts as spent.
    pub fn after_death(self, counted: Spend) -> SpendState {
        let known = self.known_spend(counted);
        let spent = known.max(self.spent + self.slice);
        SpendState { lost: self.lost + spent.excess_over(known), ..self.settled(spent, counted) }
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
    fn a_death_spends_the_slice_and_an_orderly_end_only_the_used_part() {
        let reserved = SpendState::default().reserved(Reservation { spent: spend(40.0, 4.0), slice: spend(10.0, 2.0) });
        assert_eq!(reserved.known_spend(spend(45.0, 3.0)), spend(45.0, 4.0), "committed pages may count more");
        let died = reserved.after_death(spend(45.0, 3.0));
        assert_eq!((died.spent, died.slice), (spend(50.0, 6.0), Spend::default()));
        assert_eq!((died.lost, died.uncounted), (spend(5.0, 2.0), spend(5.0, 3.0)));
        let ended = reserved.settled(spend(47.0, 5.0), spend(45.0, 3.0));
        assert_eq!((ended.spent, ended.slice, ended.lost), (spend(47.0, 5.0), Spend::default(), Spend::default()));
        assert_eq!(ended.uncounted, spend(2.0, 2.0));
    }

    /// A session without limits reserves nothing. The spend of such a session is added to the capacity that was lost
    /// before the session.
    #[test]
    fn a_session_without_reservations_keeps_the_earlier_loss() {
        let lost = SpendState::default().reserved(Reservation { spent: spend(80.0, 0.0), slice: spend(20.0, 0.0) });
        let lost = lost.after_death(spend(80.0, 0.0));
        assert_eq!(lost.known_spend(spend(90.0, 0.0)), spend(110.0, 0.0));
        assert_eq!(lost.after_death(spend(90.0, 0.0)).spent, spend(110.0, 0.0));
        assert_eq!(lost.after_death(spend(90.0, 0.0)).lost, spend(20.0, 0.0), "the loss counts once");
    }
}
