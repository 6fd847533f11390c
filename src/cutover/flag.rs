//! The cutover flag that applications obey. This module is pure. It decides which changes to the flag are allowed, and
//! does not know where the flag is stored.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The attributes that applications write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteTo {
    /// Applications write only the old attribute.
    Old,
    /// Applications write both attributes, in one write.
    Both,
    /// Applications write only the new attribute.
    New,
}

/// The attribute that applications read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadFrom {
    /// Applications read the old attribute.
    Old,
    /// Applications read the new attribute, for `read_percent` percent of the keys. While both attributes are written,
    /// readers fall back to the old attribute if the new one is missing.
    New,
}

/// The current state of the flag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Flag {
    /// The number of changes to the flag so far. Every write of the flag fails if the stored version has changed in the
    /// meantime.
    pub version: u64,
    /// The attributes that applications write.
    pub write: WriteTo,
    /// The attribute that applications read.
    pub read: ReadFrom,
    /// Percentage of the keys for which applications read the new attribute; 0 if and only if `read` is old.
    pub read_percent: u8,
    /// The number of seconds for which an application may obey a cached flag.
    pub max_cache_seconds: u32,
    /// Whether contract has begun to remove the old attribute. If so, a rollback is no longer possible.
    pub contracting: bool,
    /// The time at which the current, unbroken period of dual writes began. This time stays set after `write = new`. It
    /// is `None` while `write` is old.
    pub dual_since: Option<Timestamp>,
    /// The time at which applications began to write only the new attribute; `None` unless `write` is new.
    pub new_since: Option<Timestamp>,
    /// Whether items may have an old value that is older than their new value.
    pub old_stale: bool,
    /// The time of the flag's last change, by the clock of the host that made the change. No wait depends on this time.
    pub changed_at: Timestamp,
}

/// A change to the flag. The cache time must pass between two changes. One change needs no wait: moving readers back to
/// old values that are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagChange {
    /// `write = both`, from `old`.
    DualWrite,
    /// `read = new` for this percentage of the keys. The percentage may increase or decrease.
    ReadNew(u8),
    /// `write = new`. From then on, old values may be stale.
    WriteNew,
    /// The old attribute is about to be removed.
    Contract,
    /// Return to `write = both`, from `new`. Readers still read the new attribute, and old values may be stale.
    DualWriteAgain,
    /// Clear `old_stale`. A full verification has shown that every item's old value now equals its new value.
    OldIsFresh,
    /// `read = old`.
    ReadOld {
        /// Whether the operator accepts that readers can get stale old values.
        accept_stale: bool,
    },
    /// `write = old`, from `both`.
    WriteOld,
}

/// The reason why a change to the flag is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// The flag's current state does not allow this change.
    #[error("{0}")]
    OutOfOrder(String),
    /// The flag is already in this state.
    #[error(
        "the flag is already in this state ({0}): nothing was changed. Continue with the next step; `backfill status` \
         names it"
    )]
    AlreadyInState(String),
    /// Applications may still obey the state that the flag had before its last change.
    #[error(
        "applications may still obey the previous version of the flag: wait {} s, then run the same command again",
        .left.as_secs_f64().ceil()
    )]
    TooSoon {
        /// The time until every application obeys the last change.
        left: Duration,
    },
}

impl Flag {
    /// Returns a new flag, under which applications read and write only the old attribute. Creating the flag counts as
    /// a change, so the next change must wait for the cache time.
    pub fn new(max_cache_seconds: u32, now: Timestamp) -> Flag {
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

    /// Returns the flag after this change. No other function changes a flag. The value of `max_cache_seconds` is fixed
    /// when the flag is created, because an application that cached an earlier state would still use the earlier value.
    ///
    /// `left` is the time for which applications may still obey an earlier state ([`super::CacheExpiry`] measures this
    /// time). `now` is recorded in the flag, and affects nothing else. This function returns [`FlagError::TooSoon`]
    /// only for a change that will be allowed after the wait. For a change that would still be refused after the wait,
    /// it returns the reason for that refusal.
    pub fn next(&self, change: FlagChange, now: Timestamp, left: Duration) -> Result<Flag, FlagError> {
        let mut next = self.apply(change, now)?;
        if !left.is_zero() && !self.needs_no_wait(change) {
            return Err(FlagError::TooSoon { left });
        }
        next.version = self.version.saturating_add(1);
        next.changed_at = now;
        Ok(next)
    }

    /// Returns whether this change is safe while applications still obey earlier states of the flag. Only one change is
    /// safe without a wait: moving readers back to old values. It is safe only if applications write both attributes in
    /// every state that they may still obey. This is certain if all applications obeyed dual writes before readers
    /// moved, and only reads have changed since then.
    fn needs_no_wait(&self, change: FlagChange) -> bool {
        change == FlagChange::ReadOld { accept_stale: false }
            && self.write == WriteTo::Both
            && self.dual_since != Some(self.changed_at)
    }

    /// Returns whether this state and `other` have the same version and the same settings. Ignores the recorded times.
    pub fn has_same_settings(&self, other: &Flag) -> bool {
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

    /// Returns the time after which no application obeys an earlier state. This time comes from the clock of the host
    /// that made the change. Other hosts' clocks may differ by any amount, so compare this time only with times from
    /// the same clock. Use [`super::CacheExpiry`] to measure a wait.
    pub fn settled_at(&self) -> Timestamp {
        let cache = SignedDuration::from_secs(i64::from(self.max_cache_seconds));
        self.changed_at.checked_add(cache).unwrap_or(Timestamp::MAX)
    }

    /// Returns the flag with `time` as the time of its last change. Sets `changed_at`, and also `dual_since` or
    /// `new_since` if the last change set that field.
    pub fn with_changed_at(mut self, time: Timestamp) -> Flag {
        for since in [&mut self.dual_since, &mut self.new_since] {
            if *since == Some(self.changed_at) {
                *since = Some(time);
            }
        }
        self.changed_at = time;
        self
    }

    /// Returns a rule that this state breaks. Returns `None` if [`Flag::next`] can produce this state.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let both_or_new = self.write != WriteTo::Old;
        let rules = [
            (self.version > 0, "`version` must be at least 1"),
            (self.read_percent <= 100, "`read_percent` must be at most 100"),
            (
                (self.read_percent == 0) == (self.read == ReadFrom::Old),
                "`read_percent` must be 0 if and only if `read` is old",
            ),
            (self.read == ReadFrom::Old || both_or_new, "`read = new` needs `write = both` or `write = new`"),
            (self.write != WriteTo::New || self.read_percent == 100, "`write = new` needs `read = new` at 100 %"),
            (!self.contracting || self.write == WriteTo::New, "`contracting` needs `write = new`"),
            (
                self.dual_since.is_some() == both_or_new,
                "`dual_since` must be set if and only if `write` is both or new",
            ),
            (
                self.new_since.is_some() == (self.write == WriteTo::New),
                "`new_since` must be set if and only if `write` is new",
            ),
            (self.write != WriteTo::New || self.old_stale, "`write = new` needs `old_stale = true`"),
            (self.write != WriteTo::Old || !self.old_stale, "`write = old` needs `old_stale = false`"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }

    /// Returns the state after this change. The version and the time of the change are not updated yet.
    fn apply(&self, change: FlagChange, now: Timestamp) -> Result<Flag, FlagError> {
        if self.contracting {
            return out_of_order(
                "the old attribute is being removed, so a rollback is no longer possible: finish `backfill contract`",
            );
        }
        let mut next = self.clone();
        match change {
            FlagChange::DualWrite => match self.write {
                WriteTo::Old => next.write_both(now),
                WriteTo::Both => return self.already_in_state(),
                WriteTo::New => return out_of_order(AFTER_NEW),
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
                return out_of_order(
                    "applications still write the old attribute: run `backfill cutover --to write-new` first",
                );
            }
            FlagChange::DualWriteAgain => match self.write {
                WriteTo::New => next.write_both(now),
                WriteTo::Both => return self.already_in_state(),
                WriteTo::Old => {
                    return out_of_order("applications write only old values: use `backfill cutover --to dual-write`");
                }
            },
            FlagChange::OldIsFresh => match (self.old_stale, self.write) {
                (true, WriteTo::Both) => next.old_stale = false,
                (true, _) => {
                    return out_of_order(
                        "applications write only new values, so old values go stale: run `backfill rollback` first",
                    );
                }
                (false, _) => return self.already_in_state(),
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
            WriteTo::Old => {
                out_of_order("applications do not write new values: run `backfill cutover --to dual-write` first")
            }
            _ if !(1..=100).contains(&percent) => out_of_order(
                "`--percent` must be from 1 to 100; to return all readers to the old attribute, use `backfill cutover --back`",
            ),
            _ if self.read_percent == percent => self.already_in_state(),
            WriteTo::New => out_of_order(AFTER_NEW),
            // Readers of old values would miss every value that applications wrote while they wrote only new values.
            WriteTo::Both if self.old_stale && percent < 100 => out_of_order(
                "old values may be stale, so readers must use new values for all keys: `backfill rollback` repairs old values",
            ),
            WriteTo::Both => Ok(()),
        }
    }

    fn check_write_new(&self) -> Result<(), FlagError> {
        match self.write {
            WriteTo::New => self.already_in_state(),
            WriteTo::Old => {
                out_of_order("applications do not write new values: run `backfill cutover --to dual-write` first")
            }
            WriteTo::Both if self.read_percent == 100 => Ok(()),
            WriteTo::Both => out_of_order(
                "some keys still read the old value, which would go stale: run `backfill cutover --to read-new \
                 --percent 100` first",
            ),
        }
    }

    fn check_read_old(&self, accept_stale: bool) -> Result<(), FlagError> {
        match self.write {
            _ if self.read == ReadFrom::Old => self.already_in_state(),
            WriteTo::Both if accept_stale || !self.old_stale => Ok(()),
            WriteTo::Both => out_of_order(
                "old values may be stale: `backfill rollback` makes them equal to the new values and verifies them, or \
                 `backfill cutover --back --now` accepts stale reads",
            ),
            WriteTo::Old | WriteTo::New => out_of_order(
                "applications do not write old values: run `backfill rollback` or `backfill cutover --back` first",
            ),
        }
    }

    /// Refuses `write = old` while old values may be stale. Under `write = old`, old values are the truth. If they were
    /// stale, readers and verification would ignore every value that was written during new-only writes. Therefore only
    /// a verification clears `old_stale`.
    fn check_write_old(&self) -> Result<(), FlagError> {
        match self.write {
            WriteTo::Old => self.already_in_state(),
            WriteTo::New => out_of_order(AFTER_NEW),
            WriteTo::Both if self.read == ReadFrom::New => {
                out_of_order("applications read new values, which would go stale: run `backfill cutover --back` first")
            }
            WriteTo::Both if self.old_stale => out_of_order(
                "old values may be stale: use `backfill rollback`, which makes them equal to the new values and \
                 verifies them before applications write only old values",
            ),
            WriteTo::Both => Ok(()),
        }
    }

    fn already_in_state<T>(&self) -> Result<T, FlagError> {
        Err(FlagError::AlreadyInState(self.to_string()))
    }
}

const AFTER_NEW: &str =
    "applications write only new values: run `backfill cutover --back` or `backfill rollback` first";

fn out_of_order<T>(why: &str) -> Result<T, FlagError> {
    Err(FlagError::OutOfOrder(why.to_owned()))
}

impl WriteTo {
    /// Returns the word for this value in the stored flag.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteTo::Old => "old",
            WriteTo::Both => "both",
            WriteTo::New => "new",
        }
    }
}

impl ReadFrom {
    /// Returns the word for this value in the stored flag.
    pub fn as_str(self) -> &'static str {
        match self {
            ReadFrom::Old => "old",
            ReadFrom::New => "new",
        }
    }
}

/// The text form for people: `version 7: write = both, read = new at 25 %`.
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
