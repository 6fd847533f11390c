//! Makes an estimate of a run from the items that were read: from the whole table or from a sample.

use std::collections::BTreeMap;

use super::PreflightError;
use super::estimate::{Basis, Counted, Estimate, FIGURES, Figure};
use super::pace::KeyLoad;
use super::range::Range;
use super::sample::{Design, SampleSize};
use super::setting::Setting;
use super::tally::{Figures, Tally};
use super::touched::Touched;
use crate::cost::UnitPrices;
use crate::engine::Job;
use crate::passes::{Prediction, read_clusters};

/// The result of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The totals over all clusters that were read.
    pub seen: Prediction,
    /// The figures of the clusters, from which the estimate is extrapolated.
    pub tally: Tally,
    /// The names of the global indexes, in the order of their figures in the tally.
    pub indexes: Vec<String>,
    /// Whether every drawn cluster was read. False if the job was stopped. In this case the tally is not representative
    /// of the table.
    pub complete: bool,
}

/// Reads a sample of the job's table within the job's budgets, and decides what each item of the sample needs. Writes
/// nothing.
pub async fn sample(job: &Job, size: SampleSize, seed: u64) -> Result<Sampled, PreflightError> {
    let design = match (Design::draw(size, job.description.item_count, seed), size) {
        (Some(design), _) => design,
        (None, SampleSize::Items(items)) => return Err(PreflightError::SampleOfUnknown(items)),
        (None, SampleSize::Percent(_)) => Design { total: 1, chosen: vec![0] },
    };
    let indexes: Vec<String> =
        job.changes.indexes().schemas().iter().filter(|index| !index.local).map(|index| index.name.clone()).collect();
    let mut tally = Tally::new(design.total, FIGURES + indexes.len(), job.description.item_count);
    let mut seen = Prediction::default();
    let reading = job.reading_only(design.total);
    let requests = job.requests();
    let read = read_clusters(&reading, design.chosen, &job.changes, &requests, |cluster| {
        tally.add(&figures(&cluster, &indexes));
        seen.merge(cluster);
    });
    let complete = read.await.is_ok();
    Ok(Sampled { seen: seen.sorted(), tally, indexes, complete })
}

/// Makes an estimate only from DynamoDB's own count.
pub fn estimate_of_description(job: &Job) -> Estimate {
    Estimate::of_description(&Touched::by(&job.plan), &setting(job))
}

/// Makes an estimate from a sample, or from DynamoDB's own count if the sample is incomplete.
pub fn estimate_of_sample(job: &Job, sampled: &Sampled) -> Estimate {
    if !sampled.complete {
        return estimate_of_description(job);
    }
    let (read, total) = sampled.tally.clusters();
    let counted = job.description.item_count > 0;
    let basis = if sampled.tally.is_whole() { Basis::Whole } else { Basis::Sample(read, total, counted) };
    Estimate::of(basis, Counted::of_sample(&sampled.tally, &sampled.indexes, key_load(&sampled.seen)), &setting(job))
}

/// Makes an estimate from all items of the table.
pub fn estimate_of_whole(job: &Job, found: &Prediction) -> Estimate {
    let exactly = |n: u64| Range::exactly(n as f64);
    let by_index: BTreeMap<String, Range> =
        found.index_write_units.iter().map(|(name, units)| (name.clone(), Range::exactly(*units))).collect();
    let counted = Counted {
        items: exactly(found.scanned),
        unaccounted: 0.0,
        bytes: exactly(found.bytes),
        changed: exactly(found.would_change),
        exceeding: Some(exactly(found.would_exceed)),
        table_write: Range::exactly(table_write(found)),
        index_write: by_index,
        key: key_load(found),
    };
    Estimate::of(Basis::Whole, counted, &setting(job))
}

fn setting(job: &Job) -> Setting<'_> {
    let choice = job.segments();
    let segments = choice.segments;
    Setting {
        table: &job.description,
        budgets: &job.budgets,
        prices: UnitPrices::of(&job.description, &job.plan.prices),
        segments,
        lanes: choice.lanes(),
        page_items: job.reading(segments).page_items(),
        consistent: job.reads_consistently(),
    }
}

/// The need of the partition key that needs the most capacity, in the items that were read.
fn key_load(found: &Prediction) -> KeyLoad {
    let least = found.heaviest.least();
    let most = found.heaviest.most();
    KeyLoad { write: Range::between(least.write, most.write), bytes: Range::between(least.bytes, most.bytes) }
}

fn table_write(found: &Prediction) -> f64 {
    found.write_units - found.index_write_units.values().sum::<f64>()
}

/// The figures of one cluster, in the order of [`Figure`].
fn figures(cluster: &Prediction, indexes: &[String]) -> Figures {
    let mut figures = vec![0.0; FIGURES];
    for (figure, value) in [
        (Figure::Items, cluster.scanned as f64),
        (Figure::Bytes, cluster.bytes as f64),
        (Figure::Changed, cluster.would_change as f64),
        (Figure::Already, cluster.already_applied as f64),
        (Figure::Nothing, cluster.nothing_to_do as f64),
        (Figure::Skipped, cluster.skipped as f64),
        (Figure::Diverged, cluster.diverged as f64),
        (Figure::Exceeding, cluster.would_exceed as f64),
        (Figure::Rejected, cluster.rejected as f64),
        (Figure::TableWrite, table_write(cluster)),
    ] {
        figures[figure as usize] = value;
    }
    figures.extend(indexes.iter().map(|name| cluster.index_write_units.get(name).copied().unwrap_or(0.0)));
    figures
}
