//! A dry run: the whole pipeline but the writes. It counts what a run would do, over the table or over a sample of it.

mod prediction;
mod sampled;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use prediction::{Class, Group, Prediction, Shape};
pub use sampled::read_clusters;

use super::requests::Requests;
use super::stop::Stopped;
use super::worker::{Handler, Pages};
use super::writer::{Settled, Settling};
use crate::change::Changes;
use crate::checkpoint::PreImageId;
use crate::item::Item;

/// Decides on every item and writes none.
pub struct DryRun {
    changes: Arc<Changes>,
    requests: Requests,
    seen: Mutex<Prediction>,
}

impl DryRun {
    /// A dry run of these changes.
    pub fn new(changes: Arc<Changes>, requests: Requests) -> DryRun {
        DryRun { changes, requests, seen: Mutex::new(Prediction::default()) }
    }

    /// What was counted so far.
    pub fn prediction(&self) -> Prediction {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone().sorted()
    }
}

#[async_trait]
impl Handler for DryRun {
    async fn settle(&self, items: Vec<Item>, _: &Requests) -> Result<Settling, Stopped> {
        let mut settled = Settled::default();
        let mut page = Prediction::default();
        for item in items {
            settled.counts.count(page.add(&item, &self.changes).outcome());
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).merge(page);
        Ok(Settling { settled, rest: None })
    }

    async fn abandon(&self, _: Vec<PreImageId>) {}

    async fn commit(&self, pages: Pages) -> Result<(), Stopped> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.read_units += pages.settled.counts.read_units;
        seen.pages += pages.pages;
        self.requests.progress().committed(&pages.settled.counts, pages.pages, pages.next.is_none());
        Ok(())
    }
}
