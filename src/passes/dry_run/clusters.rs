//! A dry run over a sample. The table is divided into many small segments called clusters, and the sample consists of
//! some of these clusters.

use futures::stream::{self, StreamExt};

use super::Prediction;
use crate::change::{Changes, ItemHistory};
use crate::dynamodb::PageRequest;
use crate::engine::client::Requests;
use crate::engine::scan::read_settings::{PageSize, ReadSettings};
use crate::engine::stop::Stopped;

/// Reads each of these segments to its end. Decides on every item, but writes nothing. `read_settings` determines the
/// number of segments that are read at the same time. Calls `each` with the counts of each finished segment. This
/// function does not look up recorded history, so it works only for expand changes.
///
/// Returns `Err` if the job was stopped. Even then, `each` is never called for a partly read segment.
pub async fn read_clusters(
    read_settings: &ReadSettings,
    segments: Vec<u32>,
    changes: &Changes,
    requests: &Requests,
    mut each: impl FnMut(Prediction),
) -> Result<(), Stopped> {
    let _watch = requests.watch().await;
    let lanes = usize::try_from(read_settings.active).unwrap_or(1).max(1);
    let mut clusters = stream::iter(segments)
        .map(|segment| read_cluster(segment, read_settings, changes, requests.in_segment(segment)))
        .buffer_unordered(lanes);
    while let Some(cluster) = clusters.next().await {
        each(cluster?);
    }
    Ok(())
}

async fn read_cluster(
    segment: u32,
    read_settings: &ReadSettings,
    changes: &Changes,
    requests: Requests,
) -> Result<Prediction, Stopped> {
    requests.progress().segment_started();
    let mut cluster = Prediction::default();
    let total_segments = read_settings.total_segments;
    let consistent = read_settings.consistent;
    let mut size = PageSize::first(read_settings, &requests);
    let mut start = None;
    loop {
        let limit = size.limit(read_settings, &requests);
        let request = PageRequest { segment, total_segments, start, limit: Some(limit), consistent, keys_only: false };
        let page = requests.stop().unless_stopping(requests.read_page(&request, size.estimate(limit))).await??;
        size.learn_cost(&page);
        let mut found = Prediction { pages: 1, read_units: page.units.unwrap_or(0.0), ..Prediction::default() };
        let mut counts = crate::state::Counts { read_units: found.read_units, ..Default::default() };
        for item in &page.items {
            counts.count(found.add(item, changes, &ItemHistory::default()).outcome());
        }
        cluster.merge(found);
        requests.progress().record_commit(Some(segment), &counts, 1, page.next.is_none());
        start = page.next;
        if start.is_none() {
            requests.progress().segment_released();
            return Ok(cluster);
        }
    }
}
