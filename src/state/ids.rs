//! Ids of stored records.
//!
//! Ids are opaque: code outside a store can only compare them, show them and pass them back. A store assigns ids in
//! ascending order. Users see ids as numbers, and use these numbers on the command line.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) i64);

        impl $name {
            /// Creates the id from the number that users see. If no store has assigned this number, every store treats
            /// the id as unknown.
            pub const fn from_number(number: i64) -> $name {
                $name(number)
            }

            /// Returns the number that users see.
            pub const fn number(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        /// Serializes the number that users see.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i64(self.0)
            }
        }
    };
}

id_type! {
    /// The id of a run. Later runs have larger ids, even if their phases differ.
    RunId
}

id_type! {
    /// The id of a recorded pre-image. Later pre-images have larger ids.
    PreImageId
}

id_type! {
    /// A position in a list of stored records, directly after the record with this cursor. To read a list in several
    /// parts, begin each part at the cursor of the last record of the previous part. No record is then returned twice.
    Cursor
}

/// The id of a session of a run. Every call that changes a run's stored data, or the stored data of the run's items,
/// takes the id of the calling session. If a later session has begun, the store refuses the call with
/// [`StoreError::Fenced`](super::StoreError::Fenced).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The run to which the session belongs.
    pub run: RunId,
    /// The session's number within its run, counted from 1. When the session begins,
    /// [`RunRecord::sessions`](super::RunRecord::sessions) is set to this number.
    pub epoch: u64,
}

impl RunId {
    /// An id that is smaller than the id of every run.
    pub const NONE: RunId = RunId(0);
}

impl Cursor {
    /// The position before the first record.
    pub const START: Cursor = Cursor(0);
}
