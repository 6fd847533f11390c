//! Names of stored records.
//!
//! Names are opaque: code outside a store only compares them, shows them and passes them back. A store assigns names in
//! ascending order. Users see names as numbers, and pass these numbers on the command line.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! stored_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) i64);

        impl $name {
            /// Creates the name from the number that users see. A store treats an unassigned number like any unknown
            /// name.
            pub const fn from_number(number: i64) -> $name {
                $name(number)
            }

            /// The number that users see.
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

stored_name! {
    /// Names one run of a state. Later runs have larger names, whatever their phase.
    RunId
}

stored_name! {
    /// Names one recorded pre-image of a state. Later pre-images have larger names.
    PreImageId
}

stored_name! {
    /// A position in a list of stored records: directly after the record with this cursor. To read a list in pieces,
    /// continue from the cursor of the last record; no record appears twice.
    Cursor
}

/// Names one session of a run. Every call that changes stored data of a run or of its items takes the name of the
/// calling session. A store refuses the call if a later session has begun
/// ([`StoreError::Fenced`](super::StoreError::Fenced)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The run to which the session belongs.
    pub run: RunId,
    /// The number of the session within its run, counted from 1. It equals
    /// [`RunRecord::sessions`](super::RunRecord::sessions) when the session begins.
    pub epoch: u64,
}

impl RunId {
    /// A name smaller than the name of every run.
    pub const NONE: RunId = RunId(0);
}

impl Cursor {
    /// The position before the first record.
    pub const START: Cursor = Cursor(0);
}
