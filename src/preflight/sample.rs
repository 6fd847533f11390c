//! Draws a sample of a table. Splits the table into many small segments, and chooses some of them to read. This module
//! is pure.
//!
//! Each segment is a cluster of items. The clusters are drawn at random without replacement, and all clusters have the
//! same probability. The [`SampleTally`](super::SampleTally) extrapolates from the drawn clusters to the whole table.

use std::str::FromStr;

use crate::machine::Rng;

/// The size of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum SampleSize {
    /// A percentage of the table; above 0, at most 100.
    Percent(f64),
    /// An approximate number of items.
    Items(u64),
}

/// Intended number of items in a cluster, based on DynamoDB's count. The number is small enough for many clusters, and
/// large enough to justify the cost of a request for each cluster.
const CLUSTER_ITEMS: u64 = 25;

/// Minimum number of clusters in a sample, unless the sample contains all clusters. The mean over fewer clusters would
/// not be approximately normally distributed.
const LEAST_CLUSTERS: u32 = 40;

/// Maximum number of segments of a scan (DynamoDB API reference, "Scan": `TotalSegments` is at most 1,000,000).
const MOST_SEGMENTS: u32 = 1_000_000;

/// The clusters that a sample reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleDesign {
    /// Number of segments into which the table is split.
    pub total: u32,
    /// The segments to read, in the order of the draw.
    pub chosen: Vec<u32>,
}

/// The error for a text that is not a valid sample size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sample is a percentage, such as 5%, or a number of items, such as 10000")]
pub struct SampleSizeError;

impl FromStr for SampleSize {
    type Err = SampleSizeError;

    fn from_str(text: &str) -> Result<SampleSize, SampleSizeError> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| SampleSizeError)?;
            return (percent > 0.0 && percent <= 100.0).then_some(SampleSize::Percent(percent)).ok_or(SampleSizeError);
        }
        text.parse().ok().filter(|items| *items > 0).map(SampleSize::Items).ok_or(SampleSizeError)
    }
}

impl SampleDesign {
    /// Draws the clusters of a sample from a table with this number of items, according to DynamoDB. Returns `None` if
    /// `size` is a number of items and the table's number is 0, because `size` then cannot be converted to a
    /// percentage.
    pub fn draw(size: SampleSize, item_count: u64, seed: u64) -> Option<SampleDesign> {
        let share = match size {
            SampleSize::Percent(percent) => percent / 100.0,
            SampleSize::Items(_) if item_count == 0 => return None,
            SampleSize::Items(items) => (items as f64 / item_count as f64).min(1.0),
        };
        let by_items = item_count.div_ceil(CLUSTER_ITEMS) as f64;
        let by_share = f64::from(LEAST_CLUSTERS) / share;
        let total = by_items.max(by_share).ceil().min(f64::from(MOST_SEGMENTS)) as u32;
        // Remove the rounding error of binary fractions. Otherwise, the error could add a cluster.
        let wanted = (share * f64::from(total) - 1e-6).ceil() as u32;
        let read = wanted.max(LEAST_CLUSTERS).min(total);
        Some(SampleDesign { total, chosen: choose(read, total, &mut Rng::with_seed(seed)) })
    }
}

/// Draws `count` different numbers below `total`. Every set of numbers has the same probability (a partial Fisher-Yates
/// shuffle).
pub(super) fn choose(count: u32, total: u32, random: &mut Rng) -> Vec<u32> {
    let mut all: Vec<u32> = (0..total).collect();
    for place in 0..count.min(total) as usize {
        let from = random.usize(place..all.len());
        all.swap(place, from);
    }
    all.truncate(count as usize);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_sizes_are_parsed() {
        assert_eq!("5%".parse(), Ok(SampleSize::Percent(5.0)));
        assert_eq!("0.5 %".parse(), Ok(SampleSize::Percent(0.5)));
        assert_eq!("10000".parse(), Ok(SampleSize::Items(10_000)));
        for bad in ["", "0", "0%", "-1", "101%", "%", "many", "NaN%", "1e3"] {
            assert_eq!(bad.parse::<SampleSize>(), Err(SampleSizeError), "{bad}");
        }
    }

    #[test]
    fn a_sample_consists_of_many_small_clusters() {
        for (size, items, total, read) in [
            (SampleSize::Percent(5.0), 20_000, 800, 40),
            (SampleSize::Percent(5.0), 2_000_000, 80_000, 4_000),
            (SampleSize::Percent(5.0), 400, 800, 40),
            (SampleSize::Percent(5.0), 0, 800, 40),
            (SampleSize::Percent(5.0), 1 << 40, 1_000_000, 50_000),
            (SampleSize::Percent(100.0), 1_000, 40, 40),
            (SampleSize::Percent(0.000_1), 1 << 40, 1_000_000, 40),
            (SampleSize::Items(1_000), 100_000, 4_000, 40),
            (SampleSize::Items(9_999), 1_000, 40, 40),
        ] {
            let SampleDesign { total: found, chosen } = SampleDesign::draw(size, items, 7).unwrap();
            assert_eq!((found, chosen.len()), (total, read), "{size:?} of {items}");
            let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
            assert!(distinct.len() == read && chosen.iter().all(|segment| *segment < total));
        }
        assert_eq!(SampleDesign::draw(SampleSize::Items(5), 0, 7), None, "the count is unknown");
        let draw = |seed| SampleDesign::draw(SampleSize::Percent(5.0), 20_000, seed).unwrap().chosen;
        assert_eq!((draw(1) == draw(1), draw(1) == draw(2)), (true, false));
    }
}
