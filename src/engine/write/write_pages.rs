//! A pass that writes the items of each page and then commits the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::engine::client::Requests;
use crate::engine::stop::{StopReason, Stopped};
use crate::engine::write::page::{CommitPage, PageItems, Pages, ProcessPage};
use crate::engine::write::probation::{CommitDecision, Probation};
use crate::engine::write::writer::{ItemOutcomes, PartialOutcome, Writer};
use crate::state::{Checkpoints, Commit, RunId, SegmentEvent, SessionId};

/// Writes pages and commits them.
pub struct WritePages {
    writer: Writer,
    checkpoints: Arc<dyn Checkpoints>,
    run: RunId,
    requests: Requests,
    probation: Probation,
    max_failures: u64,
    failures: AtomicU64,
}

impl WritePages {
    /// Creates the handler for a run that already has `failures` open failures. If `proven` is true, DynamoDB has
    /// already accepted a write of this plan. Rejected writes then do not mean that the plan is wrong.
    pub fn new(
        writer: Writer,
        checkpoints: Arc<dyn Checkpoints>,
        run: RunId,
        requests: Requests,
        max_failures: u64,
        failures: u64,
        proven: bool,
    ) -> WritePages {
        let probation = Probation::new(proven);
        let failures = AtomicU64::new(failures);
        WritePages { writer, checkpoints, run, requests, probation, max_failures, failures }
    }

    /// Commits the pages that the probation still holds, if they may be committed. Call this method when all workers
    /// have ended.
    pub async fn finish(&self, every_segment_ended: bool) -> Result<(), Stopped> {
        let (held_pages, may_commit) = self.probation.finish(every_segment_ended, self.requests.has_accepted_write());
        for pages in held_pages {
            if may_commit {
                self.make_durable(pages).await?;
            } else {
                self.abandon(pages.outcome).await;
            }
        }
        Ok(())
    }

    async fn make_durable(&self, pages: Pages) -> Result<(), Stopped> {
        let Pages { segment, epoch, first, pages, next, outcome } = pages;
        let ItemOutcomes { counts, failures, diverged, refused, encrypted, .. } = outcome;
        let failed = failures.len() as u64;
        let progress = counts.clone();
        let ends = next.is_none();
        let event = SegmentEvent::PagesDone { first, pages, next, counts };
        let session = SessionId { run: self.run, epoch };
        let commit = Commit { session, segment, event, failures, diverged, refused };
        if let Err(error) = self.checkpoints.commit(commit).await {
            self.requests.stop().stop(StopReason::Store(error.to_string()));
            return Err(Stopped);
        }
        self.requests.progress().record_commit(Some(segment), &progress, pages, ends);
        if encrypted > 0 {
            self.requests.stop().stop(StopReason::ClientEncryption);
        }
        let failures = self.failures.fetch_add(failed, Ordering::Relaxed) + failed;
        if failed > 0 && failures > self.max_failures {
            self.requests.stop().stop(StopReason::MaxFailures { failures, limit: self.max_failures });
        }
        Ok(())
    }
}

#[async_trait]
impl ProcessPage for WritePages {
    type Outcome = ItemOutcomes;

    async fn process(&self, page: PageItems, requests: &Requests) -> Result<PartialOutcome, Stopped> {
        self.writer.process(page.items, requests).await
    }
}

#[async_trait]
impl CommitPage<ItemOutcomes> for WritePages {
    async fn abandon(&self, ItemOutcomes { refused, .. }: ItemOutcomes) {
        self.writer.mark_refused(refused).await;
    }

    async fn commit(&self, pages: Pages) -> Result<(), Stopped> {
        match self.probation.submit(pages, self.requests.has_accepted_write()) {
            CommitDecision::Commit(pages) => self.make_durable(*pages).await,
            CommitDecision::Hold => Ok(()),
            CommitDecision::Gap(why) => {
                self.requests.stop().stop(StopReason::Internal(why));
                Err(Stopped)
            }
            CommitDecision::AllFailing { refused, reason } => {
                self.requests.stop().stop(StopReason::AllFailing { refused, reason });
                Err(Stopped)
            }
        }
    }
}
