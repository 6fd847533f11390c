//! What the sampled clusters say of the whole table. Pure.
//!
//! Where DynamoDB's count of the table's items is known, a total is what the sampled items have of it, times that count
//! (a ratio estimator: clusters differ much in size, and what is counted goes with their items); else it is the
//! clusters' mean times their number. The 95 % interval is Student's t with the linearised variance over clusters and
//! the correction for a finite population (Cochran, *Sampling Techniques*, chapters 2, 6 and 9A). It assumes that a
//! mean over so many clusters is nearly normal. A few item collections that hold much of the table break that, since
//! each is in one cluster. So clusters of more than ten times the mean stand apart: those that are drawn count once, as
//! they are; and where DynamoDB counts more items than the others account for, the rest is in clusters that were not
//! drawn (or the count is stale): anything may be there, and the range says so. Where fewer than ten clusters have any
//! of what is counted, or fewer than ten have anything else, the interval is widened to the exact Poisson bounds on the
//! number of such clusters.

use super::range::Range;

/// Where fewer clusters than this have any of what is counted, their number is taken for a Poisson variable.
const RARE: usize = 10;

/// Upper and lower 95 % bounds on the mean of a Poisson variable that came out as 0, 1, …, 9 (Garwood's exact interval).
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

/// What one cluster has of each thing that is counted, in an order that the caller keeps.
pub(super) type Figures = Vec<f64>;

/// What the clusters read so far have, added up. The first figure is the items.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    total: u32,
    read: u32,
    /// DynamoDB's own count of the table's items, if it has one.
    known_items: Option<f64>,
    sums: Vec<Sum>,
    /// Of clusters that are much larger than the others.
    large: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    sum: f64,
    squares: f64,
    /// Of products with the items.
    products: f64,
    /// Clusters that have any.
    with: usize,
    /// Clusters that have less of it than items.
    short: usize,
    /// The most that an item has, in the mean of its cluster.
    most: f64,
}

/// A cluster with so many times the items of the mean stands apart.
const LARGE: f64 = 10.0;

impl Tally {
    /// Nothing yet, of a split into `total` clusters that are counted by so many figures, of a table that has so many items
    /// by DynamoDB's own count (0: it does not say).
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

    /// Clusters read, and clusters there are.
    pub fn clusters(&self) -> (u32, u32) {
        (self.read, self.total)
    }

    /// Whether every cluster was read.
    pub fn is_whole(&self) -> bool {
        self.read >= self.total
    }

    /// The table's items: by DynamoDB's own count where there is one, else by the sample.
    pub fn items(&self) -> Range {
        let known = self.known_items.filter(|_| !self.is_whole());
        known.map_or_else(|| self.items_by_sample(), Range::exactly)
    }

    /// The table's items as the sample alone tells: clusters that stand apart and were not drawn are not among them.
    pub fn items_by_sample(&self) -> Range {
        let items = self.of(0);
        let mean = items.sum / f64::from(self.read.max(1));
        self.range(items, Scale::of_clusters(self), mean, None).plus(Range::exactly(self.apart(0)))
    }

    /// Items that DynamoDB counts, and the sample does not account for.
    pub fn unaccounted(&self) -> f64 {
        let Some(known) = self.known_items.filter(|_| !self.is_whole()) else { return 0.0 };
        let found = self.items_by_sample();
        if known > found.high { known - found.likely.unwrap_or(found.high) } else { 0.0 }
    }

    /// What items may have of a figure that the sample sees nothing of: those that DynamoDB counts beyond the fewest that the
    /// sample accounts for. All of them may be in one cluster that was not drawn.
    pub fn hidden(&self, figure: usize) -> f64 {
        let Some(known) = self.known_items.filter(|_| !self.is_whole()) else { return 0.0 };
        (known - self.items_by_sample().low).max(0.0) * self.of(figure).most
    }

    /// How many items of the whole table are of the kind that this figure counts, with 95 % confidence.
    pub fn count(&self, figure: usize) -> Range {
        let (counted, scale) = (self.of(figure), self.scale());
        let mean = self.of(0).sum / f64::from(self.read.max(1));
        let all = self.of(0).sum * scale.factor;
        let others = Sum { sum: self.of(0).sum - counted.sum, with: counted.short, ..Sum::default() };
        let range = self.range(counted, scale, mean, Some((others, all)));
        let range = Range { high: range.high.min(all.max(counted.sum)), ..range };
        self.with_the_rest(figure, range, 1.0)
    }

    /// What the whole table has of a figure, with 95 % confidence. `most` is how much of it an item can have.
    pub fn amount(&self, figure: usize, most: f64) -> Range {
        let (counted, mean) = (self.of(figure), self.of(0).sum / f64::from(self.read.max(1)));
        let range = self.range(counted, self.scale(), mean * most, None);
        self.with_the_rest(figure, range, counted.most)
    }

    /// Adds the clusters that stand apart: those that were drawn, and the items of those that were not, of which each may
    /// have `most` of the figure, or nothing.
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
            // Where items are missing, nobody knows how many the others are but the sample.
            Some(items) if seen.sum > 0.0 && self.unaccounted() == 0.0 => {
                let others = (items - self.apart(0)).max(seen.sum);
                Scale { factor: others / seen.sum, items: Some(seen) }
            }
            _ => Scale::of_clusters(self),
        }
    }

    /// `each` is what a cluster can have of it, where none that was read has any; `others` is everything that is not counted,
    /// and the total of both.
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
        let (mut low, mut high) = (likely - reach, likely + reach);
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
        // What was seen is there.
        Range { low: low.max(sum), likely: Some(likely), high: high.max(sum) }
    }
}

/// From the sample to the whole.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: f64,
    /// The sampled items, where the factor is that of items and not of clusters.
    items: Option<Sum>,
}

impl Scale {
    fn of_clusters(tally: &Tally) -> Scale {
        Scale { factor: f64::from(tally.total) / f64::from(tally.read.max(1)), items: None }
    }

    /// The variance between clusters of a figure, or of what is left of it when the items explain what they can.
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

/// The 97.5 % quantile of Student's t, by the expansion of Cornish and Fisher; from five degrees of freedom on within one
/// percent.
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
    fn student_is_that_of_the_tables() {
        for (freedom, quantile) in [(5.0, 2.571), (10.0, 2.228), (39.0, 2.023), (1e6, 1.960)] {
            assert!((student(freedom) / quantile - 1.0).abs() < 0.005, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn the_whole_table_leaves_nothing_to_guess() {
        let mut tally = Tally::new(40, 2, 1_000);
        (0..40).for_each(|n| tally.add(&vec![50.0, f64::from(n)]));
        assert_eq!((tally.count(1), tally.items()), (Range::exactly(780.0), Range::exactly(2_000.0)));
        assert!(tally.amount(1, 1.0).is_exact());
    }

    #[test]
    fn what_was_not_seen_may_be_there_all_the_same() {
        for (item_count, by) in [(0, 25_000.0), (25_000, 25_000.0)] {
            let mut tally = Tally::new(1_000, 3, item_count);
            (0..100).for_each(|_| tally.add(&vec![25.0, 0.0, 25.0]));
            let none = tally.count(1);
            assert_eq!((none.low, none.likely), (0.0, Some(0.0)));
            assert!((none.high - 3.689 / 100.0 * by).abs() < 1e-6, "{none:?}");
            // And of what all have, some may not have it.
            let all = tally.count(2);
            assert_eq!((all.likely, all.high), (Some(by), by));
            assert!((all.low - (1.0 - 3.689 / 100.0) * by).abs() < 1e-6, "{all:?}");
        }
    }

    /// Over many seeded samples the interval holds the truth in at least 93 of 100, with DynamoDB's count and without: of a
    /// figure that most items have, of one that one in a thousand has, and of the items themselves, whose clusters differ in
    /// size. With the count it stays of use where few collections hold a third of the table.
    #[test]
    fn the_interval_holds_what_it_says() {
        let mut random = Rng::with_seed(11);
        let mut cluster = |items: u32| -> Figures {
            // A sum of coin throws: about Poisson.
            let items = (0..items * 100).filter(|_| random.u32(0..100) == 0).count();
            let changed = (0..items).filter(|_| random.u32(0..10) < 7).count();
            let rare = (0..items).filter(|_| random.u32(0..1_000) == 0).count();
            [items, changed, rare].map(|n| n as f64).to_vec()
        };
        let even: Vec<Figures> = (0..4_000).map(|_| cluster(25)).collect();
        let uneven: Vec<Figures> = (0..4_000).map(|n| cluster(if n < 400 { 125 } else { 25 })).collect();
        // Half of the table in two collections, of which nothing changes.
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
                    // Of items in collections that were not drawn the sample alone knows nothing.
                    held[figure] += u32::from(holds || (figure == 0 && tally.unaccounted() > 0.0));
                }
                let width = (found[1].high - found[1].low - tally.unaccounted()) / truth[1];
                let useful = match (counted, tally.unaccounted() > 0.0) {
                    (true, false) => 0.05,
                    (false, _) => 0.1,
                    (true, true) => 0.3,
                };
                assert!(width < useful, "{found:?} is of no use for {truth:?}");
            }
            assert!(held.iter().all(|held| *held >= 372), "{held:?} of 400");
        }
    }
}
