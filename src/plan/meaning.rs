//! A plan in words: for people who have to tell two plans apart.

use std::fmt;

use super::Plan;
use crate::change::{Change, Strategy};

impl Plan {
    /// What the plan means, in one line and without the constants that it sets.
    pub fn meaning(&self) -> String {
        let strategy = match self.strategy {
            Strategy::ExpandContract => "expand-contract",
            Strategy::InPlace => "in-place",
        };
        let existing = self.on_existing;
        let own = |change: &Change| match change.on_existing().filter(|own| *own != existing) {
            Some(own) => format!("{change} (on_existing {})", own.name()),
            None => change.to_string(),
        };
        let changes = self.changes.iter().map(own).collect::<Vec<_>>().join("; ");
        format!("table {}, {strategy}, on_existing {}: {changes}", self.table.name, existing.name())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Move { from, to, .. } => write!(f, "move {from} to {to}"),
            Change::Copy { from, to, .. } => write!(f, "copy {from} to {to}"),
            Change::Set { to, value, .. } => write!(f, "set {to} to a constant of type {}", value.type_name()),
            Change::Remove { path } => write!(f, "remove {path}"),
        }
    }
}
