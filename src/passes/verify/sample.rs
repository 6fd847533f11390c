//! Chooses the part of a table that a sampled verification reads. This module is pure.
//!
//! The table is divided into far more segments than for a run. Each of these segments is a cluster, which is a range of
//! key hashes that contains a few items. Whole clusters are drawn at random, because DynamoDB cannot read a single
//! random item. All items of a large item collection are in one cluster. Such a cluster can have as many items as
//! thousands of other clusters, but it would be drawn only by chance. So the clusters that are known to contain large
//! collections form a separate stratum. This stratum is read in full.

use std::collections::BTreeSet;
use std::ops::Range;

/// Average number of items in a cluster. It is large enough that hardly any cluster is empty. It is small enough that a
/// differing cluster narrows the search to a few items. One request usually reads a whole cluster.
const CLUSTER_ITEMS: u64 = 8;

/// DynamoDB's limit on `TotalSegments` (developer guide, "Scan").
const MAX_CLUSTERS: u32 = 1_000_000;

/// A segment of a run counts as large if its number of items is at least this multiple of the average.
const LARGE_FACTOR: u64 = 4;

/// A segment with fewer items than this never counts as large, because reading them takes only seconds.
const MIN_LARGE_ITEMS: u64 = 1_000;

/// Returns the number of clusters for a table with `items` items and a run with `segments` segments. The result is at
/// most 1,000,000. It is a multiple of `segments`, so that each segment of the run is a range of clusters.
pub fn total_clusters(items: u64, segments: u32) -> u32 {
    let segments = segments.clamp(1, MAX_CLUSTERS);
    let wanted = u32::try_from(items / CLUSTER_ITEMS).unwrap_or(u32::MAX).clamp(segments, MAX_CLUSTERS);
    wanted / segments * segments
}

/// Selects the segments with far more items than the others. Such segments contain large item collections. `done` lists
/// the finished segments of a run with their item counts.
pub fn large_segments(done: &[(u32, u64)]) -> Vec<u32> {
    let items: u64 = done.iter().map(|(_, items)| items).sum();
    let large = (items / u64::max(done.len() as u64, 1)).saturating_mul(LARGE_FACTOR).max(MIN_LARGE_ITEMS);
    done.iter().filter(|(_, items)| *items >= large).map(|(segment, _)| *segment).collect()
}

/// The clusters that a sampled verification reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Number of clusters into which the table is divided, used as `TotalSegments`.
    pub total_clusters: u32,
    /// The clusters that were drawn at random from the clusters outside `large`.
    pub drawn: BTreeSet<u32>,
    /// The clusters of the stratum that is read in full.
    pub large: Vec<Range<u32>>,
}

impl Sample {
    /// Draws `wanted` clusters, or all clusters if there are fewer than `wanted`. `large` lists the large segments of a
    /// run that has `segments` segments in total. `total_clusters` is a multiple of `segments`. Every version of the
    /// tool draws the same clusters from the same seed, so a resumed verification continues with the same clusters.
    pub fn draw(total_clusters: u32, segments: u32, large: &[u32], wanted: u32, seed: u64) -> Sample {
        let width = total_clusters / segments.max(1);
        let mut sorted: Vec<u32> = large.iter().copied().filter(|segment| *segment < segments).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let large: Vec<Range<u32>> = sorted.into_iter().map(|segment| segment * width..(segment + 1) * width).collect();
        let others = total_clusters - width * u32::try_from(large.len()).unwrap_or(u32::MAX);
        let drawn =
            draw_distinct(others, wanted.min(others), seed).into_iter().map(|n| skip_large(n, &large)).collect();
        Sample { total_clusters, drawn, large }
    }

    /// Returns the number of clusters in the stratum that is read in full.
    pub fn large_clusters(&self) -> u32 {
        self.large.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns whether a cluster is in the stratum that is read in full.
    pub fn is_large(&self, cluster: u32) -> bool {
        self.large.iter().any(|range| range.contains(&cluster))
    }

    /// Returns every cluster to read, in ascending order.
    pub fn clusters(&self) -> impl Iterator<Item = u32> {
        let all: BTreeSet<u32> = self.large.iter().cloned().flatten().chain(self.drawn.iter().copied()).collect();
        all.into_iter()
    }
}

/// Returns the `n`-th cluster outside these ranges. The ranges must be in ascending order.
fn skip_large(n: u32, large: &[Range<u32>]) -> u32 {
    large.iter().fold(n, |n, range| if n >= range.start { n + (range.end - range.start) } else { n })
}

/// Draws `wanted` different numbers below `below`. All sets of numbers are equally likely. Uses R. W. Floyd's
/// algorithm, which needs memory only for the drawn numbers.
fn draw_distinct(below: u32, wanted: u32, seed: u64) -> BTreeSet<u32> {
    let mut random = SplitMix64(seed);
    let mut chosen = BTreeSet::new();
    for last in below - wanted..below {
        let drawn = random.up_to(last);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen
}

/// The random number generator SplitMix64 (G. Steele, D. Lea, C. Flood: "Fast splittable pseudorandom number
/// generators", 2014). The generator is implemented here instead of in a library, because later versions of the tool
/// must draw the same clusters from a stored seed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a random number from 0 to `last`. All numbers are equally likely, because draws that would make some
    /// numbers more likely are discarded and repeated.
    fn up_to(&mut self, last: u32) -> u32 {
        let count = u64::from(last) + 1;
        let even = u64::MAX - u64::MAX % count;
        loop {
            let drawn = self.next();
            if drawn < even {
                return (drawn % count) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::bound::{Clusters, upper_bound};
    use super::super::compare::Parity;
    use super::*;
    use crate::change::{Change, ItemHistory, OnExisting, Strategy as PlanStrategy};
    use crate::cutover::Truth;
    use crate::item::{Item, PartitionHash, Value};
    use crate::state::TableStage;

    proptest! {
        #[test]
        fn a_sample_has_the_requested_clusters(
            segments in 1_u32..50, width in 1_u32..50, large in proptest::collection::vec(0_u32..60, 0..5),
            wanted in 0_u32..3_000, seed in any::<u64>(),
        ) {
            let sample = Sample::draw(segments * width, segments, &large, wanted, seed);
            let others = sample.total_clusters - sample.large_clusters();
            prop_assert_eq!(sample.drawn.len(), wanted.min(others) as usize);
            prop_assert!(sample.drawn.iter().all(|cluster| *cluster < sample.total_clusters && !sample.is_large(*cluster)));
            prop_assert_eq!(sample.clusters().count(), sample.drawn.len() + sample.large_clusters() as usize);
            for segment in large.iter().filter(|segment| **segment < segments) {
                prop_assert!((segment * width..(segment + 1) * width).all(|cluster| sample.is_large(cluster)));
            }
        }
    }

    #[test]
    fn a_seed_always_draws_the_same_sample() {
        let drawn = Sample::draw(1_000_000, 64, &[], 5, 7).drawn;
        assert_eq!(drawn, Sample::draw(1_000_000, 64, &[], 5, 7).drawn);
        assert_ne!(drawn, Sample::draw(1_000_000, 64, &[], 5, 8).drawn);
        assert_eq!(SplitMix64(1_234_567).next(), 6_457_827_717_110_365_317, "the generator's published first number");
    }

    #[test]
    fn every_cluster_is_drawn_as_often_as_any_other() {
        let mut drawn = [0_u32; 50];
        (0..10_000).for_each(|seed| draw_distinct(50, 5, seed).into_iter().for_each(|n| drawn[n as usize] += 1));
        // Each count has an expected value of 1,000 and a standard deviation of 30.
        assert!(drawn.iter().all(|n| (850..1_150).contains(n)), "{drawn:?}");
    }

    #[test]
    fn a_cluster_holds_a_few_items_and_a_segment_holds_whole_clusters() {
        assert_eq!(total_clusters(40_000, 16), 4_992);
        assert_eq!(total_clusters(5_000_000_000, 4_096), 999_424);
        assert_eq!(total_clusters(0, 64), 64);
        assert_eq!(total_clusters(10, 4_000_000_000), 1_000_000);
    }

    #[test]
    fn large_segments_are_those_with_far_more_than_the_others() {
        let mut done: Vec<(u32, u64)> =
            (0..20).map(|n| (n, if n == 3 { 90_000 } else { 500 })).chain([(20, 900)]).collect();
        assert_eq!(large_segments(&done), [3]);
        done.retain(|(n, _)| *n != 3);
        assert_eq!(large_segments(&done), [] as [u32; 0], "900 items take no time to read");
        assert_eq!(large_segments(&[]), [] as [u32; 0]);
    }

    const ITEMS: u32 = 40_000;
    const SEGMENTS: u32 = 16;

    /// Creates a table as a list of items for each cluster. A hash of the key determines the cluster, as in DynamoDB.
    fn table(total_clusters: u32, is_corrupt: impl Fn(u32, u32) -> bool) -> BTreeMap<u32, Vec<Item>> {
        let mut clusters: BTreeMap<u32, Vec<Item>> = BTreeMap::new();
        for n in 0..ITEMS {
            let pk = Value::S(format!("ITEM#{n}"));
            let cluster = PartitionHash::from_value(&pk).shard(total_clusters as usize) as u32;
            let new = if is_corrupt(n, cluster) { "other" } else { "value" };
            let text = |text: &str| Value::S(text.to_owned());
            let item = [("pk".to_owned(), pk), ("old".to_owned(), text("value")), ("new".to_owned(), text(new))];
            clusters.entry(cluster).or_default().push(item.into());
        }
        clusters
    }

    fn differs(parity: &Parity, items: Option<&Vec<Item>>) -> bool {
        let mismatch = |item: &Item| parity.compare(item, &ItemHistory::default()).verdict.is_mismatch();
        items.is_some_and(|items| items.iter().any(mismatch))
    }

    /// Calculates the bound from its definition. Computes P(X ≤ k) term by term.
    fn exact_bound(population: u32, drawn: u32, k: u32) -> u32 {
        let at_most = |marked: u32| {
            let [population, n, m] = [population, drawn, marked].map(f64::from);
            let mut term = (0..drawn).map(|j| 1.0 - m / (population - f64::from(j))).product::<f64>();
            let mut sum = term;
            for i in (1..=k).map(f64::from) {
                term *= (m - i + 1.0) * (n - i + 1.0) / (i * (population - m - n + i));
                sum += term;
            }
            sum
        };
        (k..population - drawn + k + 1).take_while(|marked| at_most(*marked) >= 0.05).last().unwrap()
    }

    /// Runs 400 sampled verifications of a table in which `is_corrupt` determines the wrong items. In at least 93 % of
    /// these verifications, the reported bound must be correct. The reported bound must never be more than twice the
    /// exact bound.
    fn bounds_hold(what: &str, large: &[u32], is_corrupt: impl Fn(u32, u32) -> bool) {
        let total_clusters = total_clusters(ITEMS.into(), SEGMENTS);
        let clusters = table(total_clusters, is_corrupt);
        let from = "old".parse().unwrap();
        let to = "new".parse().unwrap();
        let change = Change::Move { from, to, on_existing: OnExisting::Keep };
        let parity = Parity::new(&[change], PlanStrategy::ExpandContract, TableStage::Expanded, Truth::Old);
        let differing: BTreeSet<u32> = (0..total_clusters).filter(|n| differs(&parity, clusters.get(n))).collect();
        assert!(!differing.is_empty(), "{what}");
        let truth = differing.len() as f64 / f64::from(total_clusters) * 100.0;
        let mut covered = 0;
        let mut exact = BTreeMap::new();
        for seed in 0..400 {
            let sample = Sample::draw(total_clusters, SEGMENTS, large, 400, seed);
            let mut found = Clusters { all: total_clusters, large: sample.large_clusters(), ..Clusters::default() };
            for cluster in sample.clusters() {
                let wrong = u32::from(differing.contains(&cluster));
                if sample.is_large(cluster) {
                    found.large_differing += wrong;
                } else {
                    found.drawn += 1;
                    found.differing += wrong;
                    found.empty += u32::from(!clusters.contains_key(&cluster));
                }
            }
            let stated = found.at_most_percent();
            let others = found.all - found.large;
            let exact =
                *exact.entry(found.differing).or_insert_with(|| exact_bound(others, found.drawn, found.differing));
            assert_eq!(upper_bound(others, found.drawn, found.differing), exact, "{what}");
            let exact = f64::from(exact + found.large_differing) / f64::from(total_clusters) * 100.0;
            assert!(stated >= exact && stated <= 2.0 * exact, "{what}: {stated} is stated, {exact} is exact");
            covered += u32::from(truth <= stated);
        }
        assert!(covered * 100 >= 400 * 93, "{what}: the bound held in {covered} of 400");
    }

    #[test]
    fn stated_bounds_hold_and_are_tight() {
        bounds_hold("200 items, spread", &[], |n, _| n % 200 == 0);
        bounds_hold("5 items, spread", &[], |n, _| n % 8_000 == 0);
        bounds_hold("6,000 items, spread", &[], |n, _| n % 7 == 0);
        let width = total_clusters(ITEMS.into(), SEGMENTS) / SEGMENTS;
        bounds_hold("all in one segment of the run", &[], |_, cluster| cluster / width == 5);
        bounds_hold("200 items of one segment of the run", &[], |n, cluster| cluster / width == 5 && n % 12 == 0);
        bounds_hold("all in one cluster", &[], |_, cluster| cluster == 77);
        bounds_hold("in its own stratum, and outside", &[5, 11], |n, cluster| {
            cluster / width == 5 && n % 3 == 0 || n % 100 == 0
        });
    }
}
