//! Differences that remain after a rollback, because the records do not show the item's state before the migration.
//! These differences occur even if nobody else writes to the table.

use std::fmt;

/// The reason why a rollback did not restore an item's state from before the migration, even though nobody else has
/// written the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leftover {
    /// The rollback removed the item's new attribute. The new attribute was equal to the old attribute, and the records
    /// did not show who had written the new attribute.
    NewRemoved,
    /// The rollback created the item's old attribute after new-only writes. Before the migration, the item had only the
    /// new attribute.
    OldCreated,
    /// The rollback created the item's old attribute after new-only writes. The item's record cannot be read, so it is
    /// unknown whether the item had an old attribute before the migration.
    Unknown,
}

impl Leftover {
    /// Returns the ID used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Leftover::NewRemoved => "new_removed",
            Leftover::OldCreated => "old_made",
            Leftover::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Leftover::NewRemoved => {
                "the new attribute was removed. Either both attributes were equal when the run first read the item, \
                 after dual writes began, or no run read it. Applications may have written the new attribute, or it \
                 may have existed before"
            }
            Leftover::OldCreated => {
                "the rollback created the old attribute, because applications had stopped writing it. Before the \
                 migration the item had only the new one"
            }
            Leftover::Unknown => {
                "unknown, because the item's record in the state file cannot be read. The rollback created the old \
                 attribute, and before the migration the item may have had only the new one"
            }
        })
    }
}
