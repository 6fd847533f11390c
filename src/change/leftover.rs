//! What a rollback cannot tell apart, and leaves otherwise than it was before the migration, on a table that nobody writes to.

use std::fmt;

/// Why an item is not as it was once it is rolled back, although nobody has written it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leftover {
    /// Its new attribute went: it was equal to the old one when nobody could tell any more who had put it there.
    NewRemoved,
    /// Its old attribute was made behind new-only writes: before the migration it had the new one alone.
    OldMade,
    /// Its old attribute was made behind new-only writes. Its record cannot be read, so whether it had one before the
    /// migration is not known.
    Unknown,
}

impl Leftover {
    /// Its id in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Leftover::NewRemoved => "new_removed",
            Leftover::OldMade => "old_made",
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
            Leftover::OldMade => {
                "the way back created the old attribute, because applications had stopped writing it. Before the \
                 migration the item had only the new one"
            }
            Leftover::Unknown => {
                "unknown, because the item's record in the state file cannot be read. The rollback created the old \
                 attribute, and before the migration the item may have had only the new one"
            }
        })
    }
}
