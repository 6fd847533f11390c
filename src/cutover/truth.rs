//! The truth of a pair is the value from which the other value of the pair is derived. The state of the flag decides
//! which of the two values is the truth.
//!
//! While `read_percent` is below 100, the truth depends on the key's bucket ([`bucket`]). The tool computes the bucket
//! from the item's partition key, exactly as applications do. So it knows for every item which value applications read.

use super::flag::{Flag, ReadFrom, WriteTo};
use super::percent::bucket;
use crate::item::Value;

/// The value of a pair from which the other value is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// The old value. It is the truth before a plan's cutover, and whenever `read = old` and old values are not stale.
    Old,
    /// The new value. If the new value is missing, the old value. This is the truth if `read = new` while both
    /// attributes are written, because readers then fall back to the old value.
    NewThenOld,
    /// Only the new value. It is the truth if `write = new`.
    New,
    /// The new value, during a rollback. Dual writes have resumed, and old values may be stale. If an item has only an
    /// old value, readers will read this value after the rollback.
    NewDuringRollback,
}

/// Determines for each partition key which value of a pair is the truth. This depends on the state of the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TruthByKey {
    /// The same truth for every key.
    All(Truth),
    /// While readers move: [`Truth::NewThenOld`] for the keys in buckets below this number, and [`Truth::Old`] for all
    /// other keys.
    Percent(u8),
}

impl Truth {
    /// Returns the name of this value in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Truth::Old => "old",
            Truth::NewThenOld => "new_then_old",
            Truth::New => "new",
            Truth::NewDuringRollback => "new_on_the_way_back",
        }
    }

    /// Returns whether only new values are the truth, because old values may be stale.
    pub(crate) fn is_new_only(self) -> bool {
        matches!(self, Truth::New | Truth::NewDuringRollback)
    }
}

impl TruthByKey {
    /// Determines which value is the truth for each partition key, given this state of the flag.
    pub fn from_flag(flag: &Flag) -> TruthByKey {
        TruthByKey::All(match (flag.read, flag.write) {
            (_, WriteTo::New) => Truth::New,
            _ if flag.old_stale => Truth::NewDuringRollback,
            (ReadFrom::New, _) if flag.read_percent < 100 => return TruthByKey::Percent(flag.read_percent),
            (ReadFrom::New, _) => Truth::NewThenOld,
            (ReadFrom::Old, _) => Truth::Old,
        })
    }

    /// Returns which value is the truth for an item with this partition key.
    pub fn at(self, partition_key: Option<&Value>) -> Truth {
        match self {
            TruthByKey::All(truth) => truth,
            TruthByKey::Percent(percent) => match partition_key.and_then(bucket) {
                Some(bucket) if bucket < percent => Truth::NewThenOld,
                _ => Truth::Old,
            },
        }
    }

    /// Returns the name of this value in state files and JSON.
    pub fn name(self) -> String {
        match self {
            TruthByKey::All(truth) => truth.name().to_owned(),
            TruthByKey::Percent(percent) => format!("{PERCENT}{percent}"),
        }
    }

    /// Parses the result of [`TruthByKey::name`].
    pub fn from_name(name: &str) -> Option<TruthByKey> {
        if let Some(percent) = name.strip_prefix(PERCENT) {
            return percent.parse().ok().map(TruthByKey::Percent);
        }
        let all = [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback];
        all.into_iter().find(|truth| truth.name() == name).map(TruthByKey::All)
    }
}

impl From<Truth> for TruthByKey {
    fn from(truth: Truth) -> TruthByKey {
        TruthByKey::All(truth)
    }
}

/// The prefix of the name of [`TruthByKey::Percent`].
const PERCENT: &str = "percent_";

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(write: WriteTo, read_percent: u8, old_stale: bool) -> Flag {
        let read = if read_percent > 0 { ReadFrom::New } else { ReadFrom::Old };
        Flag { write, read, read_percent, old_stale, ..Flag::new(60, jiff::Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn the_flag_says_which_side_is_the_truth() {
        let of = |write, percent, stale| TruthByKey::from_flag(&flag(write, percent, stale));
        assert_eq!(of(WriteTo::Old, 0, false), TruthByKey::All(Truth::Old));
        assert_eq!(of(WriteTo::Both, 0, false), TruthByKey::All(Truth::Old));
        assert_eq!(of(WriteTo::Both, 10, false), TruthByKey::Percent(10));
        assert_eq!(of(WriteTo::Both, 100, false), TruthByKey::All(Truth::NewThenOld));
        assert_eq!(of(WriteTo::New, 100, true), TruthByKey::All(Truth::New));
        assert_eq!(of(WriteTo::Both, 100, true), TruthByKey::All(Truth::NewDuringRollback), "on the way back");
        assert_eq!(of(WriteTo::Both, 0, true), TruthByKey::All(Truth::NewDuringRollback), "stale reads were accepted");
    }

    /// The truth of a key must be the value that applications read for this key by the rules of docs/flag.md.
    #[test]
    fn below_100_percent_the_truth_of_a_key_is_what_its_readers_read() {
        for percent in [1, 50, 99] {
            let flag = flag(WriteTo::Both, percent, false);
            for key in (0..200).map(|n| Value::S(format!("P#{n}"))) {
                let expected = if flag.reads_new(&key) { Truth::NewThenOld } else { Truth::Old };
                assert_eq!(TruthByKey::from_flag(&flag).at(Some(&key)), expected, "{key:?} at {percent} %");
            }
        }
        assert_eq!(TruthByKey::All(Truth::New).at(None), Truth::New);
    }

    #[test]
    fn names_are_read_back() {
        let all = [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback].map(TruthByKey::All);
        for truths in all.into_iter().chain([TruthByKey::Percent(1), TruthByKey::Percent(99)]) {
            assert_eq!(TruthByKey::from_name(&truths.name()), Some(truths));
        }
        assert_eq!(["percent_", "percent_x", "percent_300", ""].map(TruthByKey::from_name), [None; 4]);
    }
}
