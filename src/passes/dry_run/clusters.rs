//! Reads a sample. The table is divided into many small segments called clusters, and the sample consists of some of
//! these clusters.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt};

use super::Prediction;
use crate::change::{Changes, ItemHistory};
use crate::dynamodb::PageRequest;
use crate::engine::client::{ReadPage, Requests};
use crate::engine::scan::read_settings::{PageSize, ReadSettings};
use crate::engine::stop::Stopped;
use crate::state::Counts;

/// Reads each of these segments to its end. `read_settings` determines the number of segments that are read at the same
/// time. `count` adds the items of a page to the figures of its segment, and returns the counts for the progress line.
/// After each segment, calls `each` with the segment's figures, and with true if the segment was read to its end.
///
/// `most_items` limits the number of items. When the limit is reached, each segment ends with its current page. So the
/// sample can exceed the limit by one page for each segment that is read at the same time.
///
/// Returns `Err` if the job was stopped. In that case, `each` is not called for unfinished segments.
pub async fn read_clusters<C: Default>(
    read_settings: &ReadSettings,
    segments: Vec<u32>,
    requests: &Requests,
    most_items: Option<u64>,
    count: impl Fn(&mut C, &ReadPage) -> Counts,
    mut each: impl FnMut(C, bool),
) -> Result<(), Stopped> {
    let _watch = requests.watch().await;
    let lanes = usize::try_from(read_settings.active).unwrap_or(1).max(1);
    let left = AtomicU64::new(most_items.unwrap_or(u64::MAX));
    let (count, left) = (&count, &left);
    let mut clusters = stream::iter(segments)
        .map(|segment| read_cluster(segment, read_settings, requests.in_segment(segment), left, count))
        .buffer_unordered(lanes);
    while let Some(cluster) = clusters.next().await {
        let (figures, is_complete) = cluster?;
        each(figures, is_complete);
    }
    Ok(())
}

async fn read_cluster<C: Default>(
    segment: u32,
    read_settings: &ReadSettings,
    requests: Requests,
    left: &AtomicU64,
    count: &impl Fn(&mut C, &ReadPage) -> Counts,
) -> Result<(C, bool), Stopped> {
    requests.progress().segment_started();
    let mut cluster = C::default();
    let total_segments = read_settings.total_segments;
    let consistent = read_settings.consistent;
    let mut size = PageSize::first(read_settings, &requests);
    let mut start = None;
    loop {
        let allowed = u32::try_from(left.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        if allowed == 0 {
            requests.progress().segment_released();
            return Ok((cluster, false));
        }
        let limit = size.limit(read_settings, &requests).min(allowed);
        let request = PageRequest { segment, total_segments, start, limit: Some(limit), consistent, keys_only: false };
        let read = requests.stop().unless_stopping(requests.read_page(&request, size.estimate(limit))).await??;
        let ReadPage { page, missing, left_out: _ } = &read;
        size.learn_cost(&read);
        let items = page.items.len() as u64 + missing;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(items)))
            .unwrap_or_default();
        let counts = count(&mut cluster, &read);
        requests.progress().record_commit(Some(segment), &counts, 1, page.next.is_none());
        start = read.page.next;
        if start.is_none() {
            requests.progress().segment_released();
            return Ok((cluster, true));
        }
    }
}

/// Makes a decision for every item of a page, and adds the decisions to the counts of a cluster. Writes nothing. Does
/// not read recorded history, so it works only for expand changes.
pub fn predict_page(cluster: &mut Prediction, read: &ReadPage, changes: &Changes) -> Counts {
    let ReadPage { page, missing, left_out: _ } = read;
    let read_units = page.units.unwrap_or(0.0);
    let mut found = Prediction { pages: 1, read_units, missing: *missing, ..Prediction::default() };
    let mut counts = Counts { read_units, ..Counts::default() };
    counts.count_missing(*missing);
    for item in &page.items {
        counts.count(found.add(item, changes, &ItemHistory::default()).outcome());
    }
    cluster.merge(found);
    counts
}
