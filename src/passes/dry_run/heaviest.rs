//! Finds the partition keys that need the most capacity. The write rate of each partition key is limited, so a single
//! key can determine the duration of a run.

use std::collections::HashMap;

use crate::item::{PartitionHash, Units};

/// Number of partition keys to keep. If there are more, the keys with the smallest loads are forgotten. For any single
/// key, at most about 1/`MAX_KEYS` of the table's load is forgotten. A key that affects the duration of a run has a
/// larger load.
const MAX_KEYS: usize = 4_096;

/// The load of one partition key's items.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KeyUsage {
    /// Write capacity units that the items need in the table.
    pub write: Units,
    /// Size of the items in bytes. This size determines the cost of reading them.
    pub bytes: f64,
}

/// The partition keys with the largest loads. Only the hashes of the keys are stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaviestKeys {
    keys: HashMap<PartitionHash, KeyUsage>,
    /// Upper bound for the load that was forgotten for any single key.
    dropped: KeyUsage,
}

impl HeaviestKeys {
    /// Adds the load of an item.
    pub(crate) fn add(&mut self, key: PartitionHash, usage: KeyUsage) {
        self.keys.entry(key).or_default().add(usage);
        self.drop_lightest();
    }

    /// Adds the loads of another `HeaviestKeys`.
    pub(crate) fn merge(&mut self, other: HeaviestKeys) {
        for (key, usage) in other.keys {
            self.keys.entry(key).or_default().add(usage);
        }
        self.dropped.add(other.dropped);
        self.drop_lightest();
    }

    /// Returns a lower bound for the largest load of a single key. The bounds for writes and for reads may come from
    /// two different keys.
    pub fn lower_bound(&self) -> KeyUsage {
        self.keys.values().fold(KeyUsage::default(), |most, usage| most.max(*usage))
    }

    /// Returns an upper bound for the largest load of a single key.
    pub fn upper_bound(&self) -> KeyUsage {
        let mut most = self.lower_bound();
        most.add(self.dropped);
        most
    }

    /// If there are at least `2 * MAX_KEYS` keys, forgets all but the `MAX_KEYS` keys with the largest loads.
    fn drop_lightest(&mut self) {
        if self.keys.len() < 2 * MAX_KEYS {
            return;
        }
        let mut by_weight: Vec<(PartitionHash, KeyUsage)> = self.keys.drain().collect();
        by_weight.sort_by(|(_, a), (_, b)| b.weight().total_cmp(&a.weight()));
        let lightest = by_weight.drain(MAX_KEYS..).fold(KeyUsage::default(), |most, (_, usage)| most.max(usage));
        self.dropped.add(lightest);
        self.keys = by_weight.into_iter().collect();
    }
}

impl KeyUsage {
    fn add(&mut self, other: KeyUsage) {
        self.write += other.write;
        self.bytes += other.bytes;
    }

    fn max(self, other: KeyUsage) -> KeyUsage {
        KeyUsage { write: self.write.max(other.write), bytes: self.bytes.max(other.bytes) }
    }

    /// Returns the time that a partition needs for this load, as a multiple of the time for one write unit. In the time
    /// of one write, a partition serves three reads of 4 KB.
    fn weight(self) -> f64 {
        self.write.max(self.bytes / 4096.0 / 3.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::item::Value;
    use crate::machine::Rng;

    fn key(n: u32) -> PartitionHash {
        PartitionHash::from_value(&Value::S(n.to_string()))
    }

    /// Tests an item collection of 5,000 units. Its items are spread over many pages, between the items of a hundred
    /// thousand other keys.
    #[test]
    fn a_heavy_key_is_found_among_many_others() {
        let mut whole = HeaviestKeys::default();
        for page in 0..100_u32 {
            let mut found = HeaviestKeys::default();
            (0..1_000).for_each(|n| found.add(key(1 + page * 1_000 + n), KeyUsage { write: 1.0, bytes: 100.0 }));
            found.add(key(0), KeyUsage { write: 50.0, bytes: 5_000.0 });
            whole.merge(found);
        }
        let least = whole.lower_bound();
        let most = whole.upper_bound();
        assert_eq!(least, KeyUsage { write: 5_000.0, bytes: 500_000.0 });
        assert!(most.write < 5_030.0, "{most:?}: at most 1/4,096 of the load of the other keys is uncertain");
        assert!(whole.keys.len() <= 2 * MAX_KEYS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// For any loads in any order, the true largest load is between the two bounds.
        #[test]
        fn the_truth_is_between_the_bounds(
            seed in any::<u64>(), keys in 1_u32..40_000, items in 1_u32..60_000,
        ) {
            let mut random = Rng::with_seed(seed);
            let mut found = HeaviestKeys::default();
            let mut truth = HashMap::<u32, f64>::new();
            for _ in 0..items {
                // The distribution is skewed. Low numbers are drawn more often.
                let n = (f64::from(keys) * random.f64().powi(3)) as u32;
                let write = f64::from(random.u32(1..5));
                found.add(key(n), KeyUsage { write, bytes: write });
                *truth.entry(n).or_default() += write;
            }
            let truth = truth.into_values().fold(0.0, f64::max);
            prop_assert!(found.lower_bound().write <= truth && truth <= found.upper_bound().write, "{truth}: {:?} {:?}", found.lower_bound(), found.upper_bound());
        }
    }
}
