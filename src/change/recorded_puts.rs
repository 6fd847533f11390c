//! Determines from the journal of a derived item which puts DynamoDB confirmed, and which may still be in flight.
//!
//! The record of a put has two rows: the key of its source, then the derived item. A confirmation has the same two rows
//! and then a mark, all in one transaction of the journal. Records of several sources can alternate.

use super::pre_image::{ItemMark, PriorValue};
use crate::item::{Item, ItemKey, Value};

/// A derived item that the journal records, with the key of its source.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedPut {
    /// The derived item.
    pub item: Item,
    /// The key of the source. `None` if the record has no source.
    pub source: Option<ItemKey>,
}

/// What the journal says about the puts with one derived key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PutRecord {
    /// The newest put that DynamoDB confirmed. The record of another source may be newer.
    pub confirmed: Option<RecordedPut>,
    /// The newest recorded put, confirmed or not.
    pub newest: Option<RecordedPut>,
    /// Whether a recorded transaction may still be in flight, because its record has no confirmation of its own.
    pub has_unconfirmed: bool,
}

impl PutRecord {
    /// Returns the record of the put of exactly this item: the newest confirmed put, or else the newest recorded put.
    /// Returns `None` if neither of them put this item.
    pub(crate) fn of(&self, item: &Item) -> Option<&RecordedPut> {
        self.confirmed.iter().chain(&self.newest).find(|put| put.item == *item)
    }

    /// `removed` is an item that a rollback deleted. Returns the recorded item that the rollback intended to delete.
    /// The condition of the delete compared every attribute of the recorded item.
    pub(super) fn planned_for(&self, removed: &Item) -> Option<&Item> {
        let is_part = |put: &&RecordedPut| put.item.iter().all(|(name, value)| removed.get(name) == Some(value));
        self.confirmed.iter().find(is_part).map(|put| &put.item)
    }

    /// Returns whether the newest confirmed put has put exactly this item.
    pub(super) fn has_put(&self, item: &Item) -> bool {
        self.confirmed.as_ref().is_some_and(|put| put.item == *item)
    }
}

/// Collects the recorded puts of one derived key.
#[derive(Debug, Default)]
pub(super) struct RecordedPuts {
    /// The puts, newest first. The flag says whether the put is a confirmation.
    puts: Vec<(RecordedPut, bool)>,
    /// Number of `puts` that are newer than the last rollback's mark.
    newer_than_mark: Option<usize>,
    is_confirmation: bool,
    expects_source: bool,
}

impl RecordedPuts {
    /// Adds a row of the journal. The newest row comes first.
    pub(super) fn add(&mut self, row: &PriorValue) {
        let expects_source = std::mem::take(&mut self.expects_source);
        match row {
            PriorValue::Item(item) => {
                let put = RecordedPut { item: item.clone(), source: None };
                self.puts.push((put, std::mem::take(&mut self.is_confirmation)));
                self.expects_source = true;
            }
            PriorValue::Value(Value::M(source)) if expects_source => {
                if let Some((put, _)) = self.puts.last_mut() {
                    put.source = Some(ItemKey::new(source.clone()));
                }
            }
            PriorValue::Mark(ItemMark::Deleted | ItemMark::DeletedChanged) => self.is_confirmation = true,
            PriorValue::Mark(ItemMark::PutBack) if !self.puts.is_empty() => {
                self.newer_than_mark.get_or_insert(self.puts.len());
            }
            PriorValue::Mark(ItemMark::PutBack | ItemMark::PuttingBack)
            | PriorValue::Value(_)
            | PriorValue::Nothing
            | PriorValue::SameAsSource
            | PriorValue::Leftover(_) => {}
        }
    }

    /// Returns the result.
    pub(super) fn record(self) -> PutRecord {
        let has_unconfirmed = self.has_unconfirmed();
        let newest = self.puts.first().map(|(put, _)| put.clone());
        let counted = self.newer_than_mark.unwrap_or(self.puts.len());
        // A put requires that no item with its key exists. So the items of all older puts were already gone.
        let confirmed = self.puts.into_iter().take(counted).find(|(_, confirms)| *confirms).map(|(put, _)| put);
        PutRecord { confirmed, newest, has_unconfirmed }
    }

    /// Returns whether one of the records has no confirmation of its own. Each confirmation counts for one record with
    /// the same source and the same item.
    fn has_unconfirmed(&self) -> bool {
        let mut confirmations: Vec<&RecordedPut> = Vec::new();
        self.puts.iter().any(|(put, confirms)| {
            if *confirms {
                confirmations.push(put);
                return false;
            }
            match confirmations.iter().position(|confirmation| *confirmation == put) {
                Some(at) => {
                    confirmations.swap_remove(at);
                    false
                }
                None => true,
            }
        })
    }
}
