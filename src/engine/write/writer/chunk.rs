//! Bounds the writes that are sent together.

use super::PendingWrite;
use crate::engine::client::Requests;
use crate::item::Units;

/// What bounds the writes of a chunk.
pub(crate) struct ChunkBounds<'r> {
    requests: &'r Requests,
    /// The maximum number of writes in a request.
    pub(super) max_chunk: usize,
    /// The write units that the spending limits leave. `None` if there is no limit, or if each write is a chunk.
    affordable: Option<Units>,
}

impl<'r> ChunkBounds<'r> {
    pub(crate) fn new(requests: &'r Requests) -> ChunkBounds<'r> {
        let max_chunk = requests.max_chunk();
        let affordable = if max_chunk > 1 { requests.allowance().affordable_write() } else { None };
        ChunkBounds { requests, max_chunk, affordable }
    }

    /// Returns whether this write can be sent together with the writes of the chunk. A chunk has no item twice, because a
    /// source may return an item twice. A write that needs a request of its own is alone. Together, the writes need no
    /// more units than the budgets allow in one burst, and no more than the spending limits leave.
    pub(crate) fn allow(&self, chunk: &[PendingWrite], next: &PendingWrite) -> bool {
        let Some(last) = chunk.last() else { return true };
        let writes = || chunk.iter().chain([next]).map(|member| &member.write);
        chunk.len() < self.max_chunk
            && !chunk.iter().any(|member| member.write.key == next.write.key)
            && self.affordable.is_none_or(|units| writes().map(|write| write.cost.total()).sum::<Units>() <= units)
            && self.requests.fit_burst(writes())
            && (chunk.len() > 1 || self.requests.can_share_request(&last.write))
            && self.requests.can_share_request(&next.write)
    }
}
