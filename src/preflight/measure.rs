//! Makes an estimate of a run from the items that were read, either in the whole table or in a sample.

use std::collections::BTreeMap;

use super::PreflightError;
use super::estimate::{Basis, Estimate, FIGURE_COUNT, Figure, TableTotals};
use super::estimate_input::{EstimateInput, ItemReads, OtherTableInput};
use super::pace::KeyLoad;
use super::range::Range;
use super::sample::{SampleDesign, SampleSize};
use super::tally::{ClusterFigures, SampleTally};
use super::touched::TouchedPaths;
use crate::cost::UnitPrices;
use crate::engine::{Job, ReadPage};
use crate::passes::{HeaviestKeys, Prediction, predict_page, read_clusters};

/// The result of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleResult {
    /// The totals over all clusters that were read.
    pub totals: Prediction,
    /// The figures of the clusters, which the estimate extrapolates to the whole table.
    pub tally: SampleTally,
    /// The names of the global indexes, in the order of their figures in the tally.
    pub indexes: Vec<String>,
    /// Whether every drawn cluster was read. If the job was stopped, this is false, and the tally is not representative
    /// of the table.
    pub complete: bool,
}

/// Reads a sample of the job's table within the job's budgets, and predicts the changes to each item in the sample.
/// Writes nothing.
pub async fn sample(job: &Job, size: SampleSize, seed: u64) -> Result<SampleResult, PreflightError> {
    let design = match (SampleDesign::draw(size, job.description.item_count, seed), size) {
        (Some(design), _) => design,
        (None, SampleSize::Items(items)) => return Err(PreflightError::ItemCountUnknown(items)),
        (None, SampleSize::Percent(_)) => SampleDesign { total: 1, chosen: vec![0] },
    };
    let of_plan = job.changes.indexes().schemas();
    let names = of_plan.iter().filter(|index| !index.local).map(|index| index.name.clone());
    let of_other = job.changes.other_table().map_or_else(Vec::new, |other| {
        let schemas = other.indexes().schemas();
        schemas.iter().filter(|index| !index.local).map(|index| other.index_name(&index.name)).collect()
    });
    let indexes: Vec<String> = names.chain(of_other).collect();
    let mut tally = SampleTally::new(design.total, FIGURE_COUNT + indexes.len(), job.description.item_count);
    let mut totals = Prediction::default();
    let read_settings = job.dry_run_read_settings(design.total);
    let requests = job.expand_requests();
    let predict = |cluster: &mut Prediction, page: &ReadPage| predict_page(cluster, page, &job.changes);
    let read = read_clusters(&read_settings, design.chosen, &requests, None, predict, |cluster, _| {
        tally.add(&figures(&cluster, &indexes));
        totals.merge(cluster);
    });
    let complete = read.await.is_ok();
    Ok(SampleResult { totals: totals.sorted(), tally, indexes, complete })
}

/// Makes an estimate from DynamoDB's count alone.
pub fn estimate_from_description(job: &Job) -> Estimate {
    Estimate::from_description(&TouchedPaths::from_plan(&job.plan), &estimate_input(job))
}

/// Makes an estimate from a sample, or from DynamoDB's count if the sample is incomplete.
pub fn estimate_from_sample(job: &Job, sampled: &SampleResult) -> Estimate {
    if !sampled.complete {
        return estimate_from_description(job);
    }
    let (read, total) = sampled.tally.clusters();
    let counted = job.description.item_count > 0;
    let basis = if sampled.tally.is_whole() { Basis::Whole } else { Basis::Sample(read, total, counted) };
    Estimate::new(
        basis,
        TableTotals::from_sample(&sampled.tally, &sampled.indexes, key_loads(&sampled.totals)),
        &estimate_input(job),
    )
}

/// Makes an estimate from all items of the table.
pub fn estimate_from_all_items(job: &Job, found: &Prediction) -> Estimate {
    let exactly = |n: u64| Range::exactly(n as f64);
    let by_index: BTreeMap<String, Range> =
        found.index_write_units.iter().map(|(name, units)| (name.clone(), Range::exactly(*units))).collect();
    let counted = TableTotals {
        items: exactly(found.scanned),
        unaccounted: 0.0,
        bytes: exactly(found.bytes),
        changed: exactly(found.would_change),
        exceeding: Some(exactly(found.would_exceed)),
        table_write: Range::exactly(table_write(found)),
        index_write: by_index,
        elsewhere_write: Range::exactly(found.elsewhere_write_units),
        key: key_load(&found.heaviest),
        key_elsewhere: key_load(&found.heaviest_elsewhere),
    };
    Estimate::new(Basis::Whole, counted, &estimate_input(job))
}

fn estimate_input(job: &Job) -> EstimateInput<'_> {
    let choice = job.segments();
    let segments = choice.segments;
    EstimateInput {
        table: &job.description,
        budgets: &job.budgets,
        prices: UnitPrices::for_table(&job.description, &job.plan.prices),
        segments,
        lanes: choice.lanes(),
        page_items: job.read_settings(segments).page_items(),
        consistent: job.reads_consistently(),
        reads: item_reads(job),
        derives: job.plan.puts_items(),
        other: job.other.as_ref().map(|other| OtherTableInput {
            name: &other.name,
            table: &other.description,
            budgets: &other.resolved.budgets,
            prices: UnitPrices::for_table(&other.description, &job.plan.prices),
        }),
        max_writes: job.plan.max_writes(),
    }
}

/// Returns the way in which the job's pass reads items.
fn item_reads(job: &Job) -> ItemReads {
    match &job.plan.index {
        Some(selected) if job.tables.index.is_some() => {
            let found = job.description.indexes.iter().find(|index| index.schema.name == selected.name);
            ItemReads::Index(found.and_then(|index| index.entries).map_or(0, |(_, bytes)| bytes))
        }
        Some(_) => ItemReads::Scan,
        None if job.plan.keys.is_some() => ItemReads::Keys,
        None => ItemReads::Scan,
    }
}

/// Returns the needs of the most demanding partition keys of the plan's table and of the table with the derived items.
fn key_loads(found: &Prediction) -> [KeyLoad; 2] {
    [key_load(&found.heaviest), key_load(&found.heaviest_elsewhere)]
}

/// Returns the need of the most demanding partition key, based on the items that were read.
fn key_load(heaviest: &HeaviestKeys) -> KeyLoad {
    let least = heaviest.lower_bound();
    let most = heaviest.upper_bound();
    KeyLoad { write: Range::between(least.write, most.write), bytes: Range::between(least.bytes, most.bytes) }
}

fn table_write(found: &Prediction) -> f64 {
    found.write_units - found.index_write_units.values().sum::<f64>() - found.elsewhere_write_units
}

/// Returns the figures of one cluster, in the order of [`Figure`].
fn figures(cluster: &Prediction, indexes: &[String]) -> ClusterFigures {
    let mut figures = vec![0.0; FIGURE_COUNT];
    for (figure, value) in [
        (Figure::Items, cluster.scanned as f64),
        (Figure::Bytes, cluster.bytes as f64),
        (Figure::Changed, cluster.would_change as f64),
        (Figure::AlreadyApplied, cluster.already_applied as f64),
        (Figure::NothingToDo, cluster.nothing_to_do as f64),
        (Figure::Skipped, cluster.skipped as f64),
        (Figure::Diverged, cluster.diverged as f64),
        (Figure::Exceeding, cluster.would_exceed as f64),
        (Figure::Rejected, cluster.rejected as f64),
        (Figure::NotComputable, cluster.not_computable as f64),
        (Figure::TableWrite, table_write(cluster)),
        (Figure::ElsewhereWrite, cluster.elsewhere_write_units),
    ] {
        figures[figure as usize] = value;
    }
    figures.extend(indexes.iter().map(|name| cluster.index_write_units.get(name).copied().unwrap_or(0.0)));
    figures
}
