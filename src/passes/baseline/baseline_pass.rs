//! A pass that records the baseline of all items of a page before it writes any of these items.

use async_trait::async_trait;

use super::recorder::BaselineRecorder;
use crate::engine::{
    CommitPage, ItemOutcomes, PageItems, Pages, PartialOutcome, ProcessPage, Requests, StopReason, Stopped, WritePages,
};

/// Records the baseline of each page, then writes the page.
pub(crate) struct BaselinePass {
    baseline: BaselineRecorder,
    pages: WritePages,
    requests: Requests,
}

impl BaselinePass {
    pub(crate) fn new(baseline: BaselineRecorder, pages: WritePages, requests: Requests) -> BaselinePass {
        BaselinePass { baseline, pages, requests }
    }

    /// Returns the handler that writes and commits the pages.
    pub(crate) fn pages(&self) -> &WritePages {
        &self.pages
    }
}

#[async_trait]
impl ProcessPage for BaselinePass {
    type Outcome = ItemOutcomes;

    async fn process(&self, page: PageItems, requests: &Requests) -> Result<PartialOutcome, Stopped> {
        if let Err(error) = self.baseline.record_baseline(page.segment, page.number, &page.items).await {
            self.requests.stop().stop(StopReason::Store(error.to_string()));
            return Err(Stopped);
        }
        self.pages.process(page, requests).await
    }
}

#[async_trait]
impl CommitPage<ItemOutcomes> for BaselinePass {
    async fn commit(&self, pages: Pages) -> Result<(), Stopped> {
        let segment = pages.segment;
        let ends = pages.next.is_none();
        self.pages.commit(pages).await?;
        if ends {
            self.baseline.forget_segment(segment);
        }
        Ok(())
    }

    async fn abandon(&self, outcome: ItemOutcomes) {
        self.pages.abandon(outcome).await;
    }
}
