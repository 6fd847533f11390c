//! Estimates the whole table from sampled clusters. Pure.
//!
//! If DynamoDB's count of the table's items is known, a total is the sampled total per sampled item, times that count.
//! This is a ratio estimator: clusters differ much in size, and the counted figures grow with the number of items.
//! Otherwise a total is the mean of the clusters times their number. The 95 % interval is Student's t with the
//! linearised variance over clusters and the correction for a finite population (Cochran, *Sampling Techniques*,
//! chapters 2, 6 and 9A). It assumes that a mean over this number of clusters is nearly normal.
//!
//! A few item collections with a large part of the table break that assumption, because each is in one cluster. So
//! clusters with more than ten times the mean are kept separate. Those that were drawn count once, as they are. If
//! DynamoDB counts more items than the other clusters account for, the rest is in clusters that were not drawn, or the
//! count is stale. These items may have any figures, and the range covers that. If fewer than ten clusters have any of
//! a figure, or fewer than ten have anything else, the interval is widened to the exact Poisson bounds on the number of
//! such clusters.

use super::range::Range;

/// If fewer clusters than this have any of a figure, their number is treated as a Poisson variable.
const RARE: usize = 10;

/// Lower and upper 95 % bounds on the mean of a Poisson variable with the observed value 0, 1, …, 9 (Garwood's exact
/// interval).
const POISSON: [(f64, f64); RARE] = [
    (0.0, 3.689),
    (0.0253, 5.572),
    (0.2422, 7.225),
    (0.6187, 8.767),
    (1.0899, 10.242),
    (1.6235, 11.668),
    (2.2019, 13.059),
    (2.8144, 14.423),
    (3.4538, 15.763),
    (4.1154, 17.085),
];

/// The figures of one cluster. The caller defines their order.
pub(super) type Figures = Vec<f64>;

/// The sums over the clusters read so far. The first figure is the number of items.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    total: u32,
    read: u32,
    /// DynamoDB's own count of the table's items, if it has one.
    known_items: Option<f64>,
    sums: Vec<Sum>,
    /// Sums over clusters that are much larger than the others.
    large: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    sum: f64,
    squares: f64,
    /// Sum of the figure times the number of items.
    products: f64,
    /// Number of clusters in which the figure is above zero.
    with: usize,
    /// Number of clusters whose figure is lower than their number of items.
    short: usize,
    /// The largest mean per item in any cluster.
    most: f64,
}

/// A cluster with more than this factor times the mean number of items is kept separate.
const LARGE: f64 = 10.0;

impl Tally {
    /// An empty tally of a split into `total` clusters with this number of figures. `item_count` is DynamoDB's own
    /// count of the table's items, or 0 if it is unknown.
    pub fn new(total: u32, figures: usize, item_count: u64) -> Tally {
        let known_items = (item_count > 0).then_some(item_count as f64);
        Tally { total, read: 0, known_items, sums: vec![Sum::default(); figures], large: vec![0.0; figures] }
    }

    /// Adds a cluster.
    pub(super) fn add(&mut self, cluster: &Figures) {
        self.read += 1;
        let items = cluster.first().copied().unwrap_or_default();
        let mean = self.known_items.map(|known| (known / f64::from(self.total)).max(1.0));
        if mean.is_some_and(|mean| items > LARGE * mean) {
            self.large.iter_mut().zip(cluster).for_each(|(large, figure)| *large += figure);
            return;
        }
        for (sum, figure) in self.sums.iter_mut().zip(cluster) {
            sum.sum += figure;
            sum.squares += figure * figure;
            sum.products += figure * items;
            sum.with += usize::from(*figure > 0.0);
            sum.short += usize::from(*figure < items);
            sum.most = sum.most.max(figure / items.max(1.0));
        }
    }

    /// Number of clusters read, and number of clusters in total.
    pub fn clusters(&self) -> (u32, u32) {
        (self.read, self.total)
    }

    /// Whether every cluster was read.
    pub fn is_whole(&self) -> bool {
        self.read >= self.total
    }

    /// Number of items in the table: DynamoDB's own count if there is one, otherwise an estimate from the sample.
    pub fn items(&self) -> Range {
        let known = self.known_items.filter(|_| !self.is_whole());
        known.map_or_else(|| self.items_by_sample(), Range::exactly)
    }

    /// Number of items in the table, from the sample alone. It does not include large clusters that were not drawn.
    pub fn items_by_sample(&self) -> Range {
        let items = self.of(0);
        let mean = items.sum / f64::from(self.read.max(1));
        self.range(items, Scale::of_clusters(self), mean, None).plus(Range::exactly(self.apart(0)))
    }

    /// Number of items that DynamoDB counts but the sample does not account for.
    pub fn unaccounted(&self) -> f64 {
        let Some(known) = self.known_items.filter(|_| !self.is_whole()) else { return 0.0 };
        let found = self.items_by_sample();
        if known > found.high { known - found.likely.unwrap_or(found.high) } else { 0.0 }
    }

    /// Upper bound on a figure of items that the sample does not show: the items that DynamoDB counts beyond the lowest
    /// estimate of the sample. All of them may be in one cluster that was not drawn.
    pub fn hidden(&self, figure: usize) -> f64 {
        let Some(known) = self.known_items.filter(|_| !self.is_whole()) else { return 0.0 };
        (known - self.items_by_sample().low).max(0.0) * self.of(figure).most
    }

    /// Number of items in the whole table that this figure counts, with 95 % confidence.
    pub fn count(&self, figure: usize) -> Range {
        let counted = self.of(figure);
        let scale = self.scale();
        let mean = self.of(0).sum / f64::from(self.read.max(1));
        let all = self.of(0).sum * scale.factor;
        let others = Sum { sum: self.of(0).sum - counted.sum, with: counted.short, ..Sum::default() };
        let range = self.range(counted, scale, mean, Some((others, all)));
        let range = Range { high: range.high.min(all.max(counted.sum)), ..range };
        self.with_the_rest(figure, range, 1.0)
    }

    /// Total of a figure in the whole table, with 95 % confidence. `most` is the maximum that an item can have.
    pub fn amount(&self, figure: usize, most: f64) -> Range {
        let counted = self.of(figure);
        let mean = self.of(0).sum / f64::from(self.read.max(1));
        let range = self.range(counted, self.scale(), mean * most, None);
        self.with_the_rest(figure, range, counted.most)
    }

    /// Adds the large clusters. The drawn ones are added as they are. Each item of the others may have between zero and
    /// `most` of the figure.
    fn with_the_rest(&self, figure: usize, range: Range, most: f64) -> Range {
        let Range { low, likely, high } = range.plus(Range::exactly(self.apart(figure)));
        match self.unaccounted() {
            0.0 => Range { low, likely, high },
            items => Range { low, likely: None, high: high + items * most },
        }
    }

    fn of(&self, figure: usize) -> Sum {
        self.sums.get(figure).copied().unwrap_or_default()
    }

    fn apart(&self, figure: usize) -> f64 {
        self.large.get(figure).copied().unwrap_or_default()
    }

    fn scale(&self) -> Scale {
        let seen = self.of(0);
        match self.known_items {
            // If items are unaccounted for, only the sample tells the number of the others.
            Some(items) if seen.sum > 0.0 && self.unaccounted() == 0.0 => {
                let others = (items - self.apart(0)).max(seen.sum);
                Scale { factor: others / seen.sum, items: Some(seen) }
            }
            _ => Scale::of_clusters(self),
        }
    }

    /// `each` is the maximum that a cluster can have if no cluster in the sample has any. `others` is the sum of
    /// everything that is not counted, together with the total of both.
    fn range(&self, counted: Sum, scale: Scale, each: f64, others: Option<(Sum, f64)>) -> Range {
        let Sum { sum, with, .. } = counted;
        if self.is_whole() {
            return Range::exactly(sum);
        }
        if self.read < 2 {
            return Range { low: sum, likely: None, high: f64::INFINITY };
        }
        let read = f64::from(self.read);
        let error = scale.factor * ((1.0 - read / f64::from(self.total)) * read * scale.variance(counted, read)).sqrt();
        let likely = sum * scale.factor;
        let reach = student(read - 1.0) * error;
        let mut low = likely - reach;
        let mut high = likely + reach;
        let rare = |with: usize, sum: f64| {
            let each = if with == 0 { each } else { sum / with as f64 };
            POISSON.get(with).map(|(fewest, most)| (fewest * each * scale.factor, most * each * scale.factor))
        };
        if let Some((fewest, most)) = rare(with, sum) {
            low = low.min(fewest);
            high = high.max(most);
        }
        if let Some((others, all)) = others
            && let Some((fewest, most)) = rare(others.with, others.sum)
        {
            low = low.min(all - most);
            high = high.max(all - fewest);
        }
        // The total cannot be less than the sampled sum.
        Range { low: low.max(sum), likely: Some(likely), high: high.max(sum) }
    }
}

/// The extrapolation from the sample to the whole.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: f64,
    /// The sampled items, if the factor is based on items and not on clusters.
    items: Option<Sum>,
}

impl Scale {
    fn of_clusters(tally: &Tally) -> Scale {
        Scale { factor: f64::from(tally.total) / f64::from(tally.read.max(1)), items: None }
    }

    /// The variance of a figure between clusters. If the items are known, it is the variance that they do not explain.
    fn variance(self, counted: Sum, read: f64) -> f64 {
        let left = match self.items {
            None => counted.squares - counted.sum * counted.sum / read,
            Some(items) => {
                let ratio = counted.sum / items.sum;
                counted.squares - 2.0 * ratio * counted.products + ratio * ratio * items.squares
            }
        };
        (left / (read - 1.0)).max(0.0)
    }
}

/// The 97.5 % quantile of Student's t, by the Cornish-Fisher expansion. It is accurate within one percent from five
/// degrees of freedom.
fn student(freedom: f64) -> f64 {
    const Z: f64 = 1.959_963_985;
    let z = |power: i32| Z.powi(power);
    Z + (z(3) + Z) / (4.0 * freedom)
        + (5.0 * z(5) + 16.0 * z(3) + 3.0 * Z) / (96.0 * freedom.powi(2))
        + (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * Z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::super::sample::choose;
    use super::*;
    use crate::machine::Rng;

    #[test]
    fn student_matches_the_published_tables() {
        for (freedom, quantile) in [(5.0, 2.571), (10.0, 2.228), (39.0, 2.023), (1e6, 1.960)] {
            assert!((student(freedom) / quantile - 1.0).abs() < 0.005, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn a_fully_read_table_needs_no_estimate() {
        let mut tally = Tally::new(40, 2, 1_000);
        (0..40).for_each(|n| tally.add(&vec![50.0, f64::from(n)]));
        assert_eq!((tally.count(1), tally.items()), (Range::exactly(780.0), Range::exactly(2_000.0)));
        assert!(tally.amount(1, 1.0).is_exact());
    }

    #[test]
    fn a_figure_that_was_not_sampled_may_still_exist() {
        for (item_count, by) in [(0, 25_000.0), (25_000, 25_000.0)] {
            let mut tally = Tally::new(1_000, 3, item_count);
            (0..100).for_each(|_| tally.add(&vec![25.0, 0.0, 25.0]));
            let none = tally.count(1);
            assert_eq!((none.low, none.likely), (0.0, Some(0.0)));
            assert!((none.high - 3.689 / 100.0 * by).abs() < 1e-6, "{none:?}");
            // In the same way, if all sampled items have it, some others may not.
            let all = tally.count(2);
            assert_eq!((all.likely, all.high), (Some(by), by));
            assert!((all.low - (1.0 - 3.689 / 100.0) * by).abs() < 1e-6, "{all:?}");
        }
    }

    /// Over many seeded samples, the interval contains the truth in at least 93 of 100 cases, with and without
    /// DynamoDB's count. This holds for a figure that most items have, for one that one in a thousand has, and for the
    /// items themselves, whose clusters differ in size. With the count, the interval stays useful even if a few
    /// collections have a third of the table.
    #[test]
    fn the_interval_contains_the_truth_as_often_as_stated() {
        let mut random = Rng::with_seed(11);
        let mut cluster = |items: u32| -> Figures {
            // A sum of coin flips, approximately Poisson.
            let items = (0..items * 100).filter(|_| random.u32(0..100) == 0).count();
            let changed = (0..items).filter(|_| random.u32(0..10) < 7).count();
            let rare = (0..items).filter(|_| random.u32(0..1_000) == 0).count();
            [items, changed, rare].map(|n| n as f64).to_vec()
        };
        let even: Vec<Figures> = (0..4_000).map(|_| cluster(25)).collect();
        let uneven: Vec<Figures> = (0..4_000).map(|n| cluster(if n < 400 { 125 } else { 25 })).collect();
        // Two collections have half of the table, and nothing in them changes.
        let mut giants = even.clone();
        giants[17] = vec![30_000.0, 0.0, 0.0];
        giants[18] = vec![70_000.0, 0.0, 0.0];
        for (clusters, counted) in [(&even, false), (&even, true), (&uneven, true), (&giants, true)] {
            let truth: Vec<f64> = (0..3).map(|f| clusters.iter().map(|c| c[f]).sum()).collect();
            let mut held = [0_u32; 3];
            for seed in 0..400 {
                let chosen = choose(200, 4_000, &mut Rng::with_seed(seed));
                let mut tally = Tally::new(4_000, 3, if counted { truth[0] as u64 } else { 0 });
                chosen.iter().for_each(|n| tally.add(&clusters[*n as usize]));
                let found = [tally.items_by_sample(), tally.count(1), tally.count(2)];
                for (figure, found) in found.into_iter().enumerate() {
                    let holds = (found.low..=found.high).contains(&truth[figure]);
                    // The sample alone shows nothing about items in collections that were not drawn.
                    held[figure] += u32::from(holds || (figure == 0 && tally.unaccounted() > 0.0));
                }
                let width = (found[1].high - found[1].low - tally.unaccounted()) / truth[1];
                let useful = match (counted, tally.unaccounted() > 0.0) {
                    (true, false) => 0.05,
                    (false, _) => 0.1,
                    (true, true) => 0.3,
                };
                assert!(width < useful, "{found:?} is too wide for {truth:?}");
            }
            assert!(held.iter().all(|held| *held >= 372), "{held:?} of 400");
        }
    }
}
