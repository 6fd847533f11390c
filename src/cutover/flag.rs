//! The cutover flag that applications obey. Pure: how it may change, but not where it is stored.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Which attributes applications write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteTo {
    /// Only the old attribute.
    Old,
    /// Both attributes, in one write.
    Both,
    /// Only the new attribute.
    New,
}

/// Which attribute applications read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadFrom {
    /// The old attribute.
    Old,
    /// The new attribute, for `read_percent` of the keys. While both are written, the old one if the new one is missing.
    New,
}

/// The current state of the flag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Flag {
    /// Counts the flag's changes. Every change is conditional on it.
    pub version: u64,
    /// Which attributes applications write.
    pub write: WriteTo,
    /// Which attribute applications read.
    pub read: ReadFrom,
    /// Percentage of the keys that read the new attribute; 0 exactly if `read` is old.
    pub read_percent: u8,
    /// How long an application may obey what it read of the flag, in seconds.
    pub max_cache_seconds: u32,
    /// The old attribute is being removed, so there is no way back.
    pub contracting: bool,
    /// Since when both attributes are written, without a break.
    pub dual_since: Option<Timestamp>,
    /// Since when only the new attribute is written.
    pub new_since: Option<Timestamp>,
    /// Items may have an old value that is older than the new one.
    pub old_stale: bool,
    /// When the flag was last changed, by the clock of the host that changed it. No wait is measured by it.
    pub changed_at: Timestamp,
}

/// One step of the flag. The cache time must pass between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagChange {
    /// `write = both`, from `old`.
    DualWrite,
    /// `read = new` for this percentage of the keys, more or fewer than before.
    ReadNew(u8),
    /// `write = new`: old values go stale.
    WriteNew,
    /// The old attribute is about to be removed.
    Contract,
    /// `write = both` again, from `new`. Reads stay at the new attribute, and old values are stale.
    DualWriteAgain,
    /// A full verification has shown that every old value equals its new one again.
    OldIsFresh,
    /// `read = old`.
    ReadOld {
        /// The operator accepts stale reads, because old values may be stale.
        accept_stale: bool,
    },
    /// `write = old`, from `both`.
    WriteOld,
}

/// Why the flag cannot make this change. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// The step cannot follow the flag's current state.
    #[error("{0}")]
    OutOfOrder(String),
    /// The flag is already in this state.
    #[error(
        "the flag says so already ({0}): nothing was changed. Continue with the next step; `backfill status` names it"
    )]
    Already(String),
    /// Applications may still obey the flag's state before its last change.
    #[error(
        "applications may still obey the previous version of the flag: wait {} s, then run the same command again",
        .left.as_secs_f64().ceil()
    )]
    TooSoon {
        /// The time until everybody obeys the last change.
        left: Duration,
    },
}

impl Flag {
    /// The flag as it is created: old attributes only. Its creation counts as its first change, so its cache time must pass
    /// too.
    pub fn first(max_cache_seconds: u32, now: Timestamp) -> Flag {
        Flag {
            version: 1,
            write: WriteTo::Old,
            read: ReadFrom::Old,
            read_percent: 0,
            max_cache_seconds,
            contracting: false,
            dual_since: None,
            new_since: None,
            old_stale: false,
            changed_at: now,
        }
    }

    /// The only way to change a flag. `max_cache_seconds` is fixed when the flag is created, because an application that
    /// cached an earlier state would use the earlier length.
    ///
    /// `left` is how long an earlier state may still be obeyed ([`super::Sights`] measures it). `now` is only recorded. A
    /// step that cannot follow at all is refused first; only then comes [`FlagError::TooSoon`].
    pub fn next(&self, change: FlagChange, now: Timestamp, left: Duration) -> Result<Flag, FlagError> {
        let mut next = self.after(change, now)?;
        if !left.is_zero() && !self.needs_no_wait(change) {
            return Err(FlagError::TooSoon { left });
        }
        next.version = self.version.saturating_add(1);
        next.changed_at = now;
        Ok(next)
    }

    /// Whether this change may be made while earlier states are still obeyed. This is so if readers go back to old values and
    /// every state that anybody obeys writes both: dual writes had settled before readers moved, and only reads have changed
    /// since.
    fn needs_no_wait(&self, change: FlagChange) -> bool {
        change == FlagChange::ReadOld { accept_stale: false }
            && self.write == WriteTo::Both
            && self.dual_since != Some(self.changed_at)
    }

    /// Whether both states mean the same to applications.
    pub fn says_the_same(&self, other: &Flag) -> bool {
        let state = |flag: &Flag| {
            (
                flag.version,
                flag.write,
                flag.read,
                flag.read_percent,
                flag.max_cache_seconds,
                flag.contracting,
                flag.old_stale,
            )
        };
        state(self) == state(other)
    }

    /// From this time on, nobody obeys an earlier state, by the clock of the host that made the change. Other hosts' clocks
    /// may differ by any amount, so compare it only with times of the same clock, and use [`super::Sights`] to wait.
    pub fn settled_at(&self) -> Timestamp {
        let cache = SignedDuration::from_secs(i64::from(self.max_cache_seconds));
        self.changed_at.checked_add(cache).unwrap_or(Timestamp::MAX)
    }

    /// The same change, made at another time. Sets `changed_at`, and also `dual_since` or `new_since` if this change set it.
    pub fn made_at(mut self, time: Timestamp) -> Flag {
        for since in [&mut self.dual_since, &mut self.new_since] {
            if *since == Some(self.changed_at) {
                *since = Some(time);
            }
        }
        self.changed_at = time;
        self
    }

    /// The rule that this state breaks, if [`Flag::next`] can never reach it.
    pub fn impossible(&self) -> Option<&'static str> {
        let both_or_new = self.write != WriteTo::Old;
        let rules = [
            (self.version > 0, "versions count from 1"),
            (self.read_percent <= 100, "`read_percent` is at most 100"),
            ((self.read_percent == 0) == (self.read == ReadFrom::Old), "`read_percent` is 0 exactly if `read` is old"),
            (self.read == ReadFrom::Old || both_or_new, "`read = new` needs `write = both` or `write = new`"),
            (self.write != WriteTo::New || self.read_percent == 100, "`write = new` needs `read = new` at 100 %"),
            (!self.contracting || self.write == WriteTo::New, "`contracting` needs `write = new`"),
            (self.dual_since.is_some() == both_or_new, "`dual_since` is set exactly if `write` is not old"),
            (self.new_since.is_some() == (self.write == WriteTo::New), "`new_since` is set exactly if `write` is new"),
            (self.write != WriteTo::New || self.old_stale, "`write = new` leaves `old_stale` set"),
            (self.write != WriteTo::Old || !self.old_stale, "`write = old` needs old values that are not stale"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }

    /// The state after this change, without its version and time.
    fn after(&self, change: FlagChange, now: Timestamp) -> Result<Flag, FlagError> {
        if self.contracting {
            return refuse("the old attribute is being removed, and there is no way back: finish `backfill contract`");
        }
        let mut next = self.clone();
        match change {
            FlagChange::DualWrite => match self.write {
                WriteTo::Old => next.write_both(now),
                WriteTo::Both => return self.already(),
                WriteTo::New => return refuse(AFTER_NEW),
            },
            FlagChange::ReadNew(percent) => {
                self.check_read_new(percent)?;
                next.read = ReadFrom::New;
                next.read_percent = percent;
            }
            FlagChange::WriteNew => {
                self.check_write_new()?;
                next.write = WriteTo::New;
                next.new_since = Some(now);
                next.old_stale = true;
            }
            FlagChange::Contract if self.write == WriteTo::New => next.contracting = true,
            FlagChange::Contract => {
                return refuse("the old attribute is still written: `backfill cutover --to write-new` comes first");
            }
            FlagChange::DualWriteAgain => match self.write {
                WriteTo::New => next.write_both(now),
                WriteTo::Both => return self.already(),
                WriteTo::Old => {
                    return refuse("only old values are written: use `backfill cutover --to dual-write`");
                }
            },
            FlagChange::OldIsFresh => match (self.old_stale, self.write) {
                (true, WriteTo::Both) => next.old_stale = false,
                (true, _) => {
                    return refuse("old values go stale with every write: `backfill rollback` writes both first");
                }
                (false, _) => return self.already(),
            },
            FlagChange::ReadOld { accept_stale } => {
                self.check_read_old(accept_stale)?;
                next.read = ReadFrom::Old;
                next.read_percent = 0;
            }
            FlagChange::WriteOld => {
                self.check_write_old()?;
                next.write = WriteTo::Old;
                next.dual_since = None;
            }
        }
        Ok(next)
    }

    fn write_both(&mut self, now: Timestamp) {
        self.write = WriteTo::Both;
        self.dual_since = Some(now);
        self.new_since = None;
    }

    fn check_read_new(&self, percent: u8) -> Result<(), FlagError> {
        match self.write {
            WriteTo::Old => refuse("new values are not written: `backfill cutover --to dual-write` comes first"),
            _ if !(1..=100).contains(&percent) => refuse(
                "`--percent` is from 1 to 100; for 0, `backfill cutover --back` makes readers use the old attribute again",
            ),
            _ if self.read_percent == percent => self.already(),
            WriteTo::New => refuse(AFTER_NEW),
            // A reader of an old value would not see what was written while only new values were written.
            WriteTo::Both if self.old_stale && percent < 100 => refuse(
                "old values may be stale, so all keys must read new ones (100 %): `backfill rollback` repairs old values",
            ),
            WriteTo::Both => Ok(()),
        }
    }

    fn check_write_new(&self) -> Result<(), FlagError> {
        match self.write {
            WriteTo::New => self.already(),
            WriteTo::Old => refuse("new values are not written: `backfill cutover --to dual-write` comes first"),
            WriteTo::Both if self.read_percent == 100 => Ok(()),
            WriteTo::Both => refuse(
                "some keys still read the old value, which would go stale: `backfill cutover --to read-new --percent 100` \
                 comes first",
            ),
        }
    }

    fn check_read_old(&self, accept_stale: bool) -> Result<(), FlagError> {
        match self.write {
            _ if self.read == ReadFrom::Old => self.already(),
            WriteTo::Both if accept_stale || !self.old_stale => Ok(()),
            WriteTo::Both => refuse(
                "old values may be stale: `backfill rollback` makes them equal the new ones and verifies, or \
                 `backfill cutover --back --now` accepts stale reads",
            ),
            WriteTo::Old | WriteTo::New => refuse(
                "the old value is not written: `backfill rollback`, or `backfill cutover --back`, writes both first",
            ),
        }
    }

    /// Refused while old values may be stale. After this change old values are the truth, so everything written while only
    /// new values were written would be lost for readers and for verification. Therefore only a verification clears
    /// `old_stale`, and `write = old` always means that old values are the truth.
    fn check_write_old(&self) -> Result<(), FlagError> {
        match self.write {
            WriteTo::Old => self.already(),
            WriteTo::New => refuse(AFTER_NEW),
            WriteTo::Both if self.read == ReadFrom::New => {
                refuse("new values are read and would go stale: `backfill cutover --back` reads the old ones first")
            }
            WriteTo::Both if self.old_stale => refuse(
                "old values may be stale: `backfill rollback` makes them equal the new ones and verifies, and only then \
                 writes old values alone",
            ),
            WriteTo::Both => Ok(()),
        }
    }

    fn already<T>(&self) -> Result<T, FlagError> {
        Err(FlagError::Already(self.to_string()))
    }
}

const AFTER_NEW: &str =
    "only new values are written: `backfill cutover --back`, or `backfill rollback`, writes both first";

fn refuse<T>(why: &str) -> Result<T, FlagError> {
    Err(FlagError::OutOfOrder(why.to_owned()))
}

impl WriteTo {
    /// The word that the flag uses.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteTo::Old => "old",
            WriteTo::Both => "both",
            WriteTo::New => "new",
        }
    }
}

impl ReadFrom {
    /// The word that the flag uses.
    pub fn as_str(self) -> &'static str {
        match self {
            ReadFrom::Old => "old",
            ReadFrom::New => "new",
        }
    }
}

/// For people: `version 7: write = both, read = new at 25 %`.
impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}: write = {}, read = {}", self.version, self.write.as_str(), self.read.as_str())?;
        if self.read == ReadFrom::New {
            write!(f, " at {} %", self.read_percent)?;
        }
        if self.old_stale {
            f.write_str(", old values may be stale")?;
        }
        if self.contracting {
            f.write_str(", contracting")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
