//! The distribution of a figure, such as the size of an item. This module is pure.

use std::collections::BTreeMap;

/// Counts how often each value of a figure occurs. So its quantiles are exact.
///
/// The memory is bounded, because the figures have few distinct values. An item has at most 400 KB. And item
/// collections can only have many different sizes if the sample has many more items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    counts: BTreeMap<u64, u64>,
    count: u64,
    sum: u64,
}

impl Distribution {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        *self.counts.entry(value).or_default() += 1;
        self.count += 1;
        self.sum += value;
    }

    /// Adds the values of another distribution.
    pub fn merge(&mut self, other: &Distribution) {
        for (value, count) in &other.counts {
            *self.counts.entry(*value).or_default() += count;
        }
        self.count += other.count;
        self.sum += other.sum;
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the mean of the values. `None` if there are no values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Returns the smallest value that is at least as large as this share of the values (the nearest-rank method).
    /// `None` if there are no values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        // Ignore the rounding error of binary fractions, which could otherwise select the next value.
        let rank = (share * self.count as f64 - 1e-9).ceil().max(1.0) as u64;
        let mut below = 0;
        self.counts.iter().find_map(|(value, count)| {
            below += count;
            (below >= rank).then_some(*value)
        })
    }

    /// Returns the largest value. `None` if there are no values.
    pub fn max(&self) -> Option<u64> {
        self.counts.last_key_value().map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The quantiles equal those of the sorted list, even if the values are counted in two parts.
        #[test]
        fn quantiles_are_exact(values in proptest::collection::vec(0_u64..50, 1..200), at in 0_usize..200, percent in 0_u64..=100) {
            let mut whole = Distribution::default();
            let mut other = Distribution::default();
            for (place, value) in values.iter().enumerate() {
                if place < at { whole.add(*value) } else { other.add(*value) }
            }
            whole.merge(&other);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = (percent as usize * sorted.len()).div_ceil(100).max(1);
            prop_assert_eq!(whole.quantile(percent as f64 / 100.0), Some(sorted[rank - 1]));
            prop_assert_eq!((whole.count(), whole.max()), (sorted.len() as u64, sorted.last().copied()));
            let mean = sorted.iter().sum::<u64>() as f64 / sorted.len() as f64;
            prop_assert!((whole.mean().unwrap() - mean).abs() < 1e-9);
        }
    }

    #[test]
    fn without_values_nothing_is_known() {
        let none = Distribution::default();
        assert_eq!((none.mean(), none.quantile(0.5), none.max(), none.count()), (None, None, None, 0));
    }
}
