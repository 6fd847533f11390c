//! The reasons why a rollback reports an item that it changed. Some reasons mean that the item may differ from its
//! state before the migration, because the records do not show that state. Such a difference is possible even if nobody
//! else writes to the table. The other reasons mean that a value of an application may be lost. Either a repair
//! replaced the value, or the reply to the item's delete is missing.

use std::fmt;

/// The reason why a rollback reports an item that it changed.
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
    /// A repair replaced a value at this path, and the rollback does not restore that value. The records show neither
    /// that this migration wrote it nor that the item had it before the migration, so an application may have written
    /// it.
    RepairedOver,
    /// The rollback sent the delete of a derived item and got no reply, and the item is gone. If a writer did not stop
    /// and changed the item just before the delete, no record shows this change.
    DeleteReplyLost,
}

impl Leftover {
    /// Returns the ID used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Leftover::NewRemoved => "new_removed",
            Leftover::OldCreated => "old_made",
            Leftover::Unknown => "unknown",
            Leftover::RepairedOver => "repaired_over",
            Leftover::DeleteReplyLost => "delete_reply_lost",
        }
    }
}

impl Leftover {
    /// Returns the first words of the report line about such items.
    pub fn label(self) -> &'static str {
        match self {
            Leftover::NewRemoved | Leftover::OldCreated | Leftover::Unknown => "not as before",
            Leftover::RepairedOver => "replaced by a repair",
            Leftover::DeleteReplyLost => "deleted without a reply",
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
            Leftover::RepairedOver => {
                "`verify --repair` had replaced a value there, and no record shows that this migration wrote it. \
                 An application may have written it. The rollback does not restore that value; the journal keeps it"
            }
            Leftover::DeleteReplyLost => {
                "the derived item is gone, but the reply to its delete was lost. If another writer changed the item just \
                 before, although all writers should have stopped, that change is lost and nothing shows it. The journal \
                 has the item as this migration put it"
            }
        })
    }
}
