//! Decides from a check's answers whether the application is healthy. Usually, a single answer does not change the
//! decision, so a check that flaps does not make the pass flap. This module is pure.

use crate::plan::{FailMode, HealthCheck};

/// An answer, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The application is healthy.
    Healthy,
    /// The application is unhealthy.
    Unhealthy,
    /// The check could not run, or has no data.
    Unknown,
}

/// What is known about a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The check has not run yet. The pass must not send anything, because the application might be unhealthy.
    Unasked,
    /// The check has run, but has given no answer yet. It fails open, so it does not delay the pass.
    NeverAnswered,
    /// The application is healthy, according to the check.
    Healthy,
    /// The application is unhealthy, according to the check.
    Unhealthy,
}

/// The condition of one check, and the number of answers that contradict it.
#[derive(Debug, Clone)]
pub struct Hysteresis {
    unhealthy_after: u32,
    healthy_after: u32,
    fail_mode: FailMode,
    condition: Condition,
    /// Number of answers in a row that contradict the condition.
    contrary: u32,
}

impl Hysteresis {
    /// Starts without an answer.
    pub fn new(check: &HealthCheck) -> Hysteresis {
        Hysteresis {
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
            fail_mode: check.fail_mode,
            condition: Condition::Unasked,
            contrary: 0,
        }
    }

    /// Returns the current condition.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Takes the next answer into account, and returns the condition after it. The first answer takes effect at once,
    /// because there is no earlier condition. Each later change of the condition needs as many answers in a row as the
    /// plan states. An unknown answer counts as unhealthy if the check fails closed. If the check fails open, an
    /// unknown answer has no effect.
    pub fn note(&mut self, reply: Reply) -> Condition {
        let is_healthy = match (reply, self.fail_mode) {
            (Reply::Healthy, _) => true,
            (Reply::Unhealthy, _) | (Reply::Unknown, FailMode::Closed) => false,
            (Reply::Unknown, FailMode::Open) => {
                if self.condition == Condition::Unasked {
                    self.condition = Condition::NeverAnswered;
                }
                return self.condition;
            }
        };
        let (answered, needed) = match is_healthy {
            true => (Condition::Healthy, self.healthy_after),
            false => (Condition::Unhealthy, self.unhealthy_after),
        };
        let counts_at_once = match self.condition {
            Condition::Unasked | Condition::NeverAnswered => true,
            Condition::Healthy | Condition::Unhealthy => false,
        };
        if answered == self.condition {
            self.contrary = 0;
            return self.condition;
        }
        self.contrary += 1;
        if counts_at_once || self.contrary >= needed {
            self.condition = answered;
            self.contrary = 0;
        }
        self.condition
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hysteresis(unhealthy_after: u32, healthy_after: u32, fail_mode: FailMode) -> Hysteresis {
        Hysteresis { unhealthy_after, healthy_after, fail_mode, condition: Condition::Unasked, contrary: 0 }
    }

    /// Returns the condition after each reply. `+` is healthy, `-` unhealthy, `?` unknown.
    fn conditions(mut hysteresis: Hysteresis, replies: &str) -> String {
        let reply = |c| match c {
            '+' => Reply::Healthy,
            '-' => Reply::Unhealthy,
            _ => Reply::Unknown,
        };
        let shown = |condition| match condition {
            Condition::Unasked => 'u',
            Condition::NeverAnswered => 'n',
            Condition::Healthy => 'h',
            Condition::Unhealthy => 'x',
        };
        replies.chars().map(|c| shown(hysteresis.note(reply(c)))).collect()
    }

    #[test]
    fn a_change_needs_answers_in_a_row() {
        let closed = || hysteresis(2, 3, FailMode::Closed);
        assert_eq!(conditions(closed(), "+-+--++-+++"), "hhhhxxxxxxh");
        assert_eq!(conditions(closed(), "-+++--"), "xxxhhx", "the first answer counts at once");
        assert_eq!(conditions(hysteresis(1, 1, FailMode::Closed), "+-+-"), "hxhx");
    }

    #[test]
    fn each_fail_mode_treats_an_unknown_answer_differently() {
        let closed = || hysteresis(2, 3, FailMode::Closed);
        assert_eq!(conditions(closed(), "?+++"), "xxxh");
        assert_eq!(conditions(closed(), "+?-"), "hhx", "an unknown answer is an unhealthy one");
        let open = || hysteresis(2, 3, FailMode::Open);
        assert_eq!(conditions(open(), "??-"), "nnx", "the first answer counts at once, even after unknown ones");
        assert_eq!(conditions(open(), "+???????"), "hhhhhhhh");
        assert_eq!(conditions(open(), "-????"), "xxxxx", "the check keeps its last condition");
        assert_eq!(conditions(open(), "+-?-"), "hhhx", "an ignored answer does not interrupt the row");
    }

    fn replies() -> impl Strategy<Value = Vec<Reply>> {
        prop::collection::vec(prop_oneof![Just(Reply::Healthy), Just(Reply::Unhealthy), Just(Reply::Unknown)], 0..60)
    }

    fn run(mut hysteresis: Hysteresis, replies: &[Reply]) -> Vec<Condition> {
        replies.iter().map(|reply| hysteresis.note(*reply)).collect()
    }

    proptest! {
        /// The condition changes if and only if enough answers in a row contradict it. The plan states how many are
        /// enough. So a check that flaps never changes the condition faster than its thresholds allow.
        #[test]
        fn no_change_comes_faster_than_its_threshold(
            replies in replies(), unhealthy_after in 1_u32..6, healthy_after in 1_u32..6,
        ) {
            let conditions = run(hysteresis(unhealthy_after, healthy_after, FailMode::Closed), &replies);
            let healthy: Vec<bool> = replies.iter().map(|reply| *reply == Reply::Healthy).collect();
            for at in 1..conditions.len() {
                let before = conditions[at - 1] == Condition::Healthy;
                let needed = if before { unhealthy_after } else { healthy_after } as usize;
                let in_row = healthy[..=at].iter().rev().take_while(|now| **now != before).count();
                let changed = (conditions[at] == Condition::Healthy) != before;
                // If more answers in a row agree than the plan requires, the condition has already changed.
                prop_assert_eq!(changed, in_row == needed, "at {}", at);
            }
        }

        /// A check that fails closed treats an unknown answer exactly like an unhealthy one.
        #[test]
        fn closed_means_unhealthy(replies in replies(), threshold in 1_u32..6) {
            let unhealthy: Vec<Reply> =
                replies.iter().map(|reply| if *reply == Reply::Healthy { *reply } else { Reply::Unhealthy }).collect();
            let closed = || hysteresis(threshold, threshold, FailMode::Closed);
            prop_assert_eq!(run(closed(), &replies), run(closed(), &unhealthy));
        }

        /// Unknown answers do not affect the final condition of a check that fails open.
        #[test]
        fn open_means_ignored(replies in replies(), threshold in 1_u32..6) {
            let answered: Vec<Reply> = replies.iter().copied().filter(|reply| *reply != Reply::Unknown).collect();
            let open = || hysteresis(threshold, threshold, FailMode::Open);
            let last = run(open(), &replies).pop();
            match run(open(), &answered).pop() {
                Some(condition) => prop_assert_eq!(last, Some(condition)),
                None => prop_assert!(last.is_none_or(|last| last == Condition::NeverAnswered)),
            }
        }
    }
}
