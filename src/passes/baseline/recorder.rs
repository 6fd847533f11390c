//! Records the baseline of a page, before the migration writes any item of the page. The baseline is the set of items
//! that already have their new attribute.
//!
//! `state/sqlite/baseline.rs` explains why the baseline is recorded for each item and not for each page, and how later
//! passes use it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::change::{Changes, Digest};
use crate::item::Item;
use crate::state::{BaselinePage, FilledTargets, History, SessionId, StoreError};

/// Records the baseline of each page before the run's first write to it.
pub struct BaselineRecorder {
    changes: Arc<Changes>,
    store: Arc<dyn History>,
    session: SessionId,
    /// Whether the run had earlier sessions. Such a session may have written items of pages that it did not commit.
    resumed: bool,
    /// For each segment in progress, digests of the items that earlier sessions may have written.
    items_under_way: Mutex<HashMap<u32, Arc<HashSet<Digest>>>>,
}

impl BaselineRecorder {
    /// Creates the recorder for a session of the table's first run. `resumed` is true if the run had earlier sessions.
    pub fn new(changes: Arc<Changes>, store: Arc<dyn History>, session: SessionId, resumed: bool) -> BaselineRecorder {
        BaselineRecorder { changes, store, session, resumed, items_under_way: Mutex::default() }
    }

    /// Records the baseline of a page's items. When this function returns, the baseline is durable. The caller must not
    /// write any item of the page before that.
    pub(crate) async fn record_baseline(&self, segment: u32, number: u64, items: &[Item]) -> Result<(), StoreError> {
        let written = self.written_before(segment).await?;
        let nothing = BaselinePage::empty(self.session, segment, number);
        let mut page = nothing.clone();
        for item in items {
            let baseline = self.changes.baseline(item);
            if baseline.preexisting.is_empty() && baseline.pairs.is_empty() && !baseline.may_write {
                continue;
            }
            // Skip an item without a key. A later step rejects it.
            let Some(key) = self.changes.key().key_of(item) else { continue };
            let digest = Digest::from_text(&key.to_text());
            if written.contains(&digest) {
                // Either an earlier session or a live writer filled these targets. The store determines from the
                // journal which of the two did.
                let targets = self.changes.skipped_targets(item);
                page.filled.extend((!targets.is_empty()).then(|| FilledTargets { key, targets, refused: Vec::new() }));
                continue;
            }
            page.may_write.extend(baseline.may_write.then_some(digest));
            if !baseline.stable.is_empty() {
                page.stable.push((key.clone(), baseline.stable));
            }
            if !baseline.pairs.is_empty() {
                page.pairs.push((key.clone(), baseline.pairs));
            }
            if !baseline.preexisting.is_empty() {
                page.preexisting.push((key, baseline.preexisting));
            }
        }
        if page == nothing {
            return Ok(());
        }
        self.store.record_baseline(page).await
    }

    /// Forgets a segment's digests. Call this method after the segment's last page, when the digests are no longer
    /// needed.
    pub(crate) fn forget_segment(&self, segment: u32) {
        self.items_under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
    }

    /// Returns the digests of a segment's items that earlier sessions may have written in uncommitted pages. Each
    /// killed session left only a few such pages. The digests stay in memory until the segment ends.
    async fn written_before(&self, segment: u32) -> Result<Arc<HashSet<Digest>>, StoreError> {
        if !self.resumed {
            return Ok(Arc::default());
        }
        let known = self.items_under_way.lock().unwrap_or_else(PoisonError::into_inner).get(&segment).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Arc::new(self.store.items_under_way(self.session.run, segment).await?);
        self.items_under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(segment, Arc::clone(&read));
        Ok(read)
    }
}
