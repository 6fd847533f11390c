//! Reads the sample from which the statistics are made.

use std::sync::{Mutex, PoisonError};

use super::cluster::ClusterCounts;
use super::names::Names;
use super::table_stats::TableStats;
use crate::change::Outcome;
use crate::engine::{Job, ReadPage};
use crate::figure::{count, number, units};
use crate::item::{Units, read_units};
use crate::passes::read_clusters;
use crate::preflight::{SampleDesign, SampleSize};
use crate::ratelimit::Budgets;
use crate::state::Counts;

/// If the operator requests a number of items, the sample ends when it has read this many times the expected number. It
/// reads more items than expected if a drawn cluster contains a large item collection, or if DynamoDB's count is old.
const MOST_TIMES: u64 = 10;

/// The sample to read.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsSample {
    design: SampleDesign,
    /// Number of items at which the sample ends, even if not all clusters are read. `None` if there is no limit.
    most_items: Option<u64>,
    /// DynamoDB's own count of the table's items. 0 if it is unknown.
    item_count: u64,
    /// The expected number of items. `None` if it is unknown.
    expected_items: Option<u64>,
    /// The expected number of read units. `None` if it is unknown.
    expected_units: Option<Units>,
}

impl StatsSample {
    /// Draws the clusters of a sample of the job's table. If DynamoDB has not counted the items yet, and `size` is a
    /// number of items, the sample consists of the first items of the table.
    pub fn draw(job: &Job, size: SampleSize, seed: u64) -> StatsSample {
        let item_count = job.description.item_count;
        let design = SampleDesign::draw(size, item_count, seed);
        let design = design.unwrap_or_else(|| SampleDesign { total: 1, chosen: vec![0] });
        let share = design.chosen.len() as f64 / f64::from(design.total.max(1));
        let expected_items = (item_count > 0).then(|| (item_count as f64 * share).ceil() as u64);
        let most_items = most_items(size, expected_items);
        let consistent = job.plan.scan.consistent;
        let mean = job.description.size_bytes.checked_div(item_count);
        let expected_units = expected_items.zip(mean).map(|(items, mean)| {
            // Each cluster has at least one page, and the size of each page is rounded up to a whole read.
            let bytes = items.saturating_mul(mean) as f64;
            let unit = read_units(0, consistent);
            bytes / 4096.0 * unit + design.chosen.len() as f64 * unit
        });
        StatsSample { design, most_items, item_count, expected_items, expected_units }
    }

    /// Describes the planned sample for the operator.
    pub fn text(&self, budgets: &Budgets) -> String {
        let clusters = self.design.chosen.len() as u64;
        let items = match (self.expected_items, self.most_items) {
            (Some(items), Some(most)) if most > items => {
                format!("about {}, at most about {}", count(items, "item", "items"), number(most))
            }
            (Some(items), _) => format!("about {}", count(items, "item", "items")),
            (None, Some(most)) => {
                format!("the first {} (DynamoDB has not counted the table's items yet)", count(most, "item", "items"))
            }
            (None, None) => "an unknown number of items (DynamoDB has not counted the table's items yet)".to_owned(),
        };
        let drawn = match self.design.total {
            1 => String::new(),
            total => format!(", in {} of {} clusters", number(clusters), number(total.into())),
        };
        let cost = self.expected_units.map_or_else(String::new, |expected| format!("about {} RCU, ", units(expected)));
        format!("sample   reads {items}{drawn}: {cost}within {} RCU/s", units(budgets.table.read))
    }

    /// Reads the sample within the job's budgets. Writes nothing. If the job is stopped, the result contains the
    /// clusters that were read before the stop.
    pub async fn read(self, job: &Job) -> TableStats {
        let StatsSample { design, most_items, item_count, .. } = self;
        let chosen = u32::try_from(design.chosen.len()).unwrap_or(u32::MAX);
        let mut stats = TableStats::new(chosen, design.total, item_count);
        let names = Mutex::new(Names::default());
        let key = &job.description.key;
        let count_page = |cluster: &mut ClusterCounts, ReadPage { page, .. }: &ReadPage| {
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            let mut counts = Counts { read_units: page.units.unwrap_or(0.0), ..Counts::default() };
            cluster.pages += 1;
            cluster.read_units += counts.read_units;
            for item in &page.items {
                cluster.add(item, key, &mut names);
                counts.count(Outcome::NothingToDo);
            }
            counts
        };
        let read_settings = job.dry_run_read_settings(design.total);
        let requests = job.requests();
        let read = read_clusters(&read_settings, design.chosen, &requests, most_items, count_page, |cluster, ends| {
            stats.add(&cluster, ends);
        });
        // The stopper records why the job was stopped.
        let _ = read.await;
        stats.set_names(names.into_inner().unwrap_or_else(PoisonError::into_inner));
        stats
    }
}

/// Returns the number of items at which a sample ends. `None` if there is no limit. `expected` is the expected number
/// of items; `None` if DynamoDB has not counted the items yet.
fn most_items(size: SampleSize, expected: Option<u64>) -> Option<u64> {
    match (size, expected) {
        (SampleSize::Percent(_), _) => None,
        (SampleSize::Items(items), None) => Some(items),
        // A very large table has large clusters, so more items are expected than requested.
        (SampleSize::Items(items), Some(expected)) => Some(expected.max(items).saturating_mul(MOST_TIMES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratelimit::Budget;

    #[test]
    fn only_a_number_of_items_limits_a_sample() {
        assert_eq!(most_items(SampleSize::Percent(5.0), Some(500)), None);
        assert_eq!(most_items(SampleSize::Items(1_000), None), Some(1_000));
        assert_eq!(most_items(SampleSize::Items(1_000), Some(900)), Some(10_000));
        assert_eq!(most_items(SampleSize::Items(1_000), Some(40_000)), Some(400_000));
    }

    #[test]
    fn the_cost_is_known_before_the_sample_is_read() {
        let budget = Budget { write: 1.0, read: 500.0 };
        let budgets = Budgets { table: budget, per_key_range: budget, per_partition_key: budget, indexes: Vec::new() };
        let design = |total| SampleDesign { total, chosen: (0..total.min(40)).collect() };
        let sample = |total, most_items, expected_items, expected_units| StatsSample {
            design: design(total),
            most_items,
            item_count: 0,
            expected_items,
            expected_units,
        };
        for (sample, text) in [
            (
                sample(400, Some(10_000), Some(1_000), Some(145.0)),
                "sample   reads about 1,000 items, at most about 10,000, in 40 of 400 clusters: about 145 RCU, within 500 RCU/s",
            ),
            (
                sample(1, Some(50), None, None),
                "sample   reads the first 50 items (DynamoDB has not counted the table's items yet): within 500 RCU/s",
            ),
            (
                sample(800, None, None, None),
                "sample   reads an unknown number of items (DynamoDB has not counted the table's items yet), in 40 of 800 \
                 clusters: within 500 RCU/s",
            ),
        ] {
            assert_eq!(sample.text(&budgets), text);
        }
    }
}
