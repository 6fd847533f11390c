//! The cutover flag: what applications obey. Pure: how it may change, and nothing of where it is kept.

use jiff::Timestamp;

/// Which attributes applications write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteTo {
    /// Only the old one.
    Old,
    /// Both, in one write.
    Both,
    /// Only the new one.
    New,
}

/// Which attribute applications read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadFrom {
    /// The old one.
    Old,
    /// The new one, for `read_percent` of the keys; while both are written, the old one where the new one is missing.
    New,
}

/// What the flag says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Counts its changes; a change is conditional on it.
    pub version: u64,
    /// Which attributes applications write.
    pub write: WriteTo,
    /// Which attribute they read.
    pub read: ReadFrom,
    /// How many percent of the keys read the new one; 0 exactly where `read` is old.
    pub read_percent: u8,
    /// How long an application may go on with what it read of the flag, in seconds.
    pub max_cache_seconds: u32,
    /// The old attribute is being removed: there is no way back.
    pub contracting: bool,
    /// Since when both are written, without a break.
    pub dual_since: Option<Timestamp>,
    /// Since when only the new one is written.
    pub new_since: Option<Timestamp>,
    /// Items may have an old value that is older than the new one.
    pub old_stale: bool,
    /// When it was last changed: nobody obeys an earlier state after `max_cache_seconds` from here.
    pub changed_at: Timestamp,
}

/// One step of the flag. Each stands alone: the cache is waited out before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagChange {
    /// `write = both`, from `old`.
    DualWrite,
    /// `read = new` for so many percent of the keys, more or fewer than before.
    ReadNew(u8),
    /// `write = new`: the old values go stale.
    WriteNew,
    /// The old attribute is about to be removed.
    Contract,
    /// `write = both` again, from `new`; reads stay at the new one, and the old values are stale.
    DualWriteAgain,
    /// Every old value equals the new one again: a full verification has shown it.
    OldIsFresh,
    /// `read = old`.
    ReadOld {
        /// Although old values may be stale: the operator accepts stale reads.
        accept_stale: bool,
    },
    /// `write = old`, from `both`.
    WriteOld,
}

/// Why a change does not fit the flag. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It asks for a step that cannot follow what the flag says.
    #[error("{0}")]
    OutOfOrder(String),
}
