//! Names of stored records.
//!
//! They are opaque: code outside a store only compares them, shows them and passes them back. A store assigns them in
//! ascending order. Users see them as numbers, and pass them as numbers on the command line.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! stored_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) i64);

        impl $name {
            /// Creates the name from the number that users see. A store treats an unassigned number like any unknown name.
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
    /// Names one recorded pre-image of a state. Later ones have larger names.
    PreImageId
}

stored_name! {
    /// A position in a list of stored records: directly after the record with this cursor. To read a list in pieces,
    /// continue from the cursor of the last record; no record appears twice.
    Cursor
}

/// Names one session of a run. Every call that changes what is stored of a run or of its items names the session that
/// makes it. A store refuses the call once a later session has begun ([`StoreError::Fenced`](super::StoreError::Fenced)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The run.
    pub run: RunId,
    /// The number of the session in its run, from 1: [`RunRecord::sessions`](super::RunRecord::sessions) when it began.
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
