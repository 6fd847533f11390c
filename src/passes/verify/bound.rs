//! Calculates an upper bound for the number of a table's clusters that differ, based on a sample of clusters.
//!
//! A cluster differs if at least one of its items differs. The sample draws `n` of `N` clusters without replacement,
//! and every set of `n` clusters is equally likely. So the number `X` of differing clusters in the sample has a
//! hypergeometric distribution. Suppose that `k` clusters in the sample differ. The bound is the largest `D` for which
//! `P(X ≤ k) ≥ 5 %`, assuming that the table has `D` differing clusters. If the table had more differing clusters, a
//! sample would be unlikely to contain `k` or fewer of them. For any true number of differing clusters, at least 95 %
//! of all samples give a bound that is at least this number. The calculation is exact and assumes nothing about the
//! distribution of the differing items over the clusters.

/// The confidence level of a bound.
pub const CONFIDENCE: f64 = 0.95;

/// A relative tolerance. Rounding must not make a bound too small, so a probability that is only this much below 5 %
/// counts as 5 %. With a million clusters, the rounding error of the logarithms below is a hundredth of the tolerance.
const ROUNDING_TOLERANCE: f64 = 1e-6;

/// Returns the upper bound of the number of differing clusters in a population of `population` clusters, with 95 %
/// confidence. Of these clusters, `drawn` were drawn, and `differing` of the drawn clusters differ.
///
/// If all clusters were drawn, the bound is exactly `differing`. If no cluster was drawn, the bound is `population`.
pub fn upper_bound(population: u32, drawn: u32, differing: u32) -> u32 {
    let drawn = drawn.min(population);
    let differing = differing.min(drawn);
    // Drawn clusters without differing items certainly do not differ. Any other cluster could differ.
    let most = population - (drawn - differing);
    let is_likely =
        |marked| at_most(population, drawn, marked, differing) >= (1.0 - CONFIDENCE) * (1.0 - ROUNDING_TOLERANCE);
    // `P(X ≤ k)` decreases when the number of differing clusters increases, so bisection finds the largest likely
    // number.
    let mut likely = differing;
    let mut unlikely = most + 1;
    while unlikely - likely > 1 {
        let middle = likely + (unlikely - likely) / 2;
        if is_likely(middle) {
            likely = middle;
        } else {
            unlikely = middle;
        }
    }
    likely
}

/// Returns `P(X ≤ k)`, where `drawn` of `population` clusters are drawn and `marked` clusters of the population differ.
fn at_most(population: u32, drawn: u32, marked: u32, k: u32) -> f64 {
    let [population, n, m, k] = [population, drawn, marked, k].map(f64::from);
    let least = (n + m - population).max(0.0);
    if k < least {
        return 0.0;
    }
    // The median is the mean, rounded up or down. If `k` is at least the median, the probability is at least one half,
    // and the caller does not need the exact value. The sum below would be wrong in this case, because its terms would
    // increase at first.
    if k >= n.min(m) || k >= (n * m / population).ceil() {
        return 1.0;
    }
    // Add the terms from `k` downwards. Each term is calculated from the previous one. Below the mode, the terms only
    // decrease.
    let first = choose(m, k) + choose(population - m, n - k) - choose(population, n);
    let mut term = 1.0;
    let mut sum = 1.0;
    let mut i = k;
    while i > least {
        term *= i * (population - m - n + i) / ((m - i + 1.0) * (n - i + 1.0));
        sum += term;
        i -= 1.0;
        if term < sum * 1e-18 {
            break;
        }
    }
    (first + sum.ln()).exp()
}

/// Returns the logarithm of the number of ways to choose `k` from `n`.
fn choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Returns the logarithm of `n!`. Calculates small factorials exactly. For larger `n`, uses Stirling's series, whose
/// first omitted term is below 1e-13.
fn ln_factorial(n: f64) -> f64 {
    if n < 20.0 {
        return (2..=n as u32).map(f64::from).product::<f64>().ln();
    }
    let x = n.recip();
    let square = (n * n).recip();
    let series = x * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

/// The cluster counts of a sampled verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clusters {
    /// Number of clusters into which the table is divided.
    pub all: u32,
    /// Number of clusters that were drawn at random, from all clusters outside the `large` stratum.
    pub drawn: u32,
    /// Number of drawn clusters with a mismatch.
    pub differing: u32,
    /// Number of drawn clusters that contain no items. Such a cluster cannot differ.
    pub empty: u32,
    /// Number of clusters with large item collections. These clusters form a separate stratum, which was read in full.
    pub large: u32,
    /// Number of clusters in the `large` stratum that have a mismatch.
    pub large_differing: u32,
}

impl Clusters {
    /// Returns the upper bound of the number of differing clusters in the table. The bound is the sum of two numbers:
    /// the exact number of differing clusters in the stratum that was read in full, and the upper bound for all other
    /// clusters. The exact number is certain, so the sum has the same confidence as the upper bound.
    pub fn at_most(&self) -> u32 {
        self.large_differing + upper_bound(self.all - self.large, self.drawn, self.differing)
    }

    /// Returns the upper bound as a percentage of all clusters, rounded up to two significant digits. Reports show this
    /// number.
    pub fn at_most_percent(&self) -> f64 {
        round_up(f64::from(self.at_most()) / f64::from(self.all.max(1)) * 100.0)
    }

    /// Returns the upper bound as a percentage of the clusters that contain items, also rounded up. If at most a
    /// twentieth of the drawn clusters are empty, returns `None`, because the result would hardly differ from
    /// [`Clusters::at_most_percent`].
    ///
    /// The drawn clusters with items are a random sample of all clusters with items, except those in the stratum that
    /// was read in full. The total number of clusters with items is unknown. So the calculation assumes a sample with
    /// replacement, as if there were infinitely many clusters. A test checks that the exact bound for any finite number
    /// of clusters is not larger than this bound.
    pub fn at_most_percent_of_filled(&self) -> Option<f64> {
        let filled = self.drawn - self.empty;
        if self.empty * 20 <= self.drawn || filled == 0 {
            return None;
        }
        Some(round_up(share_at_most(filled, self.differing) * 100.0))
    }
}

/// Returns the upper bound of the fraction of clusters that differ, with 95 % confidence. `n` clusters were drawn with
/// replacement, and `k` of the drawn clusters differ.
fn share_at_most(n: u32, k: u32) -> f64 {
    if k >= n {
        return 1.0;
    }
    let n = f64::from(n);
    let k = f64::from(k);
    let is_likely = |share: f64| {
        if k >= n * share {
            return true;
        }
        let first = choose(n, k) + k * share.ln() + (n - k) * (-share).ln_1p();
        let mut term = 1.0;
        let mut sum = 1.0;
        let mut i = k;
        while i > 0.0 && term >= sum * 1e-18 {
            term *= i * (1.0 - share) / ((n - i + 1.0) * share);
            sum += term;
            i -= 1.0;
        }
        (first + sum.ln()).exp() >= (1.0 - CONFIDENCE) * (1.0 - ROUNDING_TOLERANCE)
    };
    let mut likely = k / n;
    let mut unlikely = 1.0;
    // After 64 bisections, further steps would not change a double.
    for _ in 0..64 {
        let middle = f64::midpoint(likely, unlikely);
        if is_likely(middle) {
            likely = middle;
        } else {
            unlikely = middle;
        }
    }
    unlikely
}

/// Rounds up to two significant digits. The result for 100 is 100.
fn round_up(percent: f64) -> f64 {
    if percent <= 0.0 {
        return 0.0;
    }
    let scale = 10_f64.powi(1 - percent.log10().floor() as i32);
    // Tolerate errors in the last bits of a double. Otherwise a value that already has two digits could be rounded up
    // to the next value.
    (((percent * scale - 1e-9).ceil()) / scale).min(100.0)
}

/// Returns the text of a percentage, with two significant digits.
pub fn percent_text(percent: f64) -> String {
    let decimals = if percent > 0.0 { (1 - percent.log10().floor() as i32).clamp(0, 6) } else { 0 };
    let text = format!("{percent:.*}", usize::try_from(decimals).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns Pascal's triangle. The values are exact below 2^127.
    fn triangle(rows: usize) -> Vec<Vec<u128>> {
        let mut triangle: Vec<Vec<u128>> = vec![vec![1]];
        for n in 1..=rows {
            let row = (0..=n).map(|k| {
                let above = &triangle[n - 1];
                k.checked_sub(1).map_or(0, |k| above[k]) + above.get(k).copied().unwrap_or(0)
            });
            triangle.push(row.collect());
        }
        triangle
    }

    /// Calculates the bound from its definition, with integers only: 20 · ways(X ≤ k) ≥ ways.
    fn by_definition(choose: &[Vec<u128>], population: usize, drawn: usize, k: usize) -> usize {
        let ways = |n: usize, k: usize| choose[n].get(k).copied().unwrap_or(0);
        let likely = |marked: usize| {
            let at_most: u128 =
                (0..=k.min(drawn)).map(|i| ways(marked, i) * ways(population - marked, drawn - i)).sum();
            20 * at_most >= ways(population, drawn)
        };
        (k..=population - (drawn - k)).rev().find(|marked| likely(*marked)).unwrap()
    }

    #[test]
    fn every_small_case_is_exact() {
        let choose = triangle(44);
        for population in 1..=44 {
            for drawn in 0..=population {
                for k in 0..=drawn {
                    let exact = by_definition(&choose, population, drawn, k);
                    let [p, n, x] = [population, drawn, k].map(|n| u32::try_from(n).unwrap());
                    assert_eq!(upper_bound(p, n, x) as usize, exact, "{population} {drawn} {k}");
                }
            }
        }
    }

    /// Compares the bound with P(X = 0), a simple product that can be computed without logarithms of factorials.
    #[test]
    fn a_million_clusters_are_just_as_exact() {
        let none = |population: u32, drawn: u32, marked: u32| -> f64 {
            let ratio = |j| 1.0 - f64::from(marked) / f64::from(population - j);
            (0..drawn).map(|j| ratio(j).ln()).sum::<f64>().exp()
        };
        for (population, drawn) in [(1_000_000, 4_000), (1_000_000, 300_000), (1_000_000, 2), (65_536, 1_000)] {
            let bound = upper_bound(population, drawn, 0);
            let here = none(population, drawn, bound);
            let next = none(population, drawn, bound + 1);
            assert!(here >= 0.05 * (1.0 - 1e-5) && next < 0.05, "{population} {drawn}: {bound}, {here} {next}");
        }
        assert_eq!(upper_bound(1_000_000, 4_000, 0), 747);
        // Test both ends of the distribution. Also test its middle, where the sum has many terms.
        assert!(
            (52_000..54_000).contains(&upper_bound(1_000_000, 4_000, 188)),
            "{}",
            upper_bound(1_000_000, 4_000, 188)
        );
        let half = upper_bound(1_000_000, 500_000, 250_000);
        assert!((500_000..502_000).contains(&half), "{half}");
        assert_eq!(upper_bound(1_000_000, 1_000_000, 17), 17);
        assert_eq!(upper_bound(1_000_000, 0, 0), 1_000_000);
        assert_eq!(upper_bound(1_000_000, 10, 10), 1_000_000);
        assert_eq!(upper_bound(0, 0, 0), 0);
    }

    #[test]
    fn the_bound_never_falls_when_more_differ() {
        for (population, drawn) in [(10_000, 100), (1_000_000, 300)] {
            let bounds: Vec<u32> = (0..=drawn).map(|k| upper_bound(population, drawn, k)).collect();
            assert!(bounds.windows(2).all(|two| two[0] < two[1] || two[1] == population));
        }
    }

    #[test]
    fn factorials_equal_their_product() {
        let mut sum = 0.0;
        for n in 1..5_000_u32 {
            sum += f64::from(n).ln();
            let error = (ln_factorial(f64::from(n)) - sum).abs();
            assert!(error < 1e-9, "{n}: {error}");
        }
    }

    #[test]
    fn the_statement_covers_both_strata() {
        let clusters = Clusters { all: 1_000_000, drawn: 4_000, ..Clusters::default() };
        assert_eq!((clusters.at_most(), percent_text(clusters.at_most_percent())), (747, "0.075".to_owned()));
        let with_large = Clusters { all: 1_000_512, large: 512, large_differing: 3, ..clusters };
        assert_eq!(with_large.at_most(), 750);
        let all = Clusters { all: 40, drawn: 30, large: 10, large_differing: 1, ..Clusters::default() };
        assert_eq!((all.at_most(), percent_text(all.at_most_percent())), (1, "2.5".to_owned()));
    }

    #[test]
    fn empty_clusters_do_not_make_the_bound_look_better() {
        let few = Clusters { all: 100_000, drawn: 1_000, empty: 50, ..Clusters::default() };
        assert_eq!(few.at_most_percent_of_filled(), None);
        let many = Clusters { empty: 900, ..few };
        // 1 - 0.05^(1/100)
        assert_eq!(many.at_most_percent_of_filled().map(percent_text), Some("3".to_owned()));
        assert_eq!(percent_text(many.at_most_percent()), "0.3");
        assert_eq!(
            Clusters { empty: 1_000, ..few }.at_most_percent_of_filled(),
            None,
            "without a drawn cluster that has items, there is no bound"
        );
        // For any number of clusters with items, the exact bound is not larger than the reported bound.
        for (filled, k) in [(100, 0), (100, 1), (100, 7), (40, 20)] {
            let clusters = Clusters { all: 1 << 19, drawn: filled + 900, empty: 900, differing: k, ..few };
            let stated = clusters.at_most_percent_of_filled().unwrap();
            for population in (filled..1 << 12).chain([1 << 14, 1 << 16, (1 << 19) - 900]) {
                let share = f64::from(upper_bound(population, filled, k)) / f64::from(population) * 100.0;
                assert!(share <= stated + 1e-9, "{filled} {k} {population}: {share} {stated}");
            }
        }
    }

    #[test]
    fn percentages_are_never_rounded_down() {
        for (percent, text) in
            [(0.0, "0"), (0.0748, "0.075"), (0.0751, "0.076"), (1.0, "1"), (5.01, "5.1"), (99.2, "100"), (100.0, "100")]
        {
            assert_eq!(percent_text(round_up(percent)), text);
            assert!(round_up(percent) >= percent);
        }
    }
}
