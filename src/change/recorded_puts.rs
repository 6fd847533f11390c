//! Finds out from the journal of a derived item which puts DynamoDB confirmed, and which may still arrive.
//!
//! Each record of a put is the key of its source followed by the derived item. A confirmation is the same two rows
//! followed by a mark, in one transaction of the journal. Records of several sources can alternate.

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
    /// Whether a recorded transaction may still arrive, because its record has no confirmation of its own.
    pub has_unconfirmed: bool,
}

impl PutRecord {
    /// Returns the newest confirmed put, or else the newest put, if it put exactly this item.
    pub(crate) fn of(&self, item: &Item) -> Option<&RecordedPut> {
        self.confirmed.iter().chain(&self.newest).find(|put| put.item == *item)
    }

    /// Returns the recorded item that a rollback wanted to delete when it deleted this item. Its delete compared every
    /// attribute of the recorded item.
    pub(super) fn planned_for(&self, removed: &Item) -> Option<&Item> {
        let is_part = |put: &&RecordedPut| put.item.iter().all(|(name, value)| removed.get(name) == Some(value));
        self.confirmed.iter().find(is_part).map(|put| &put.item)
    }

    /// Returns whether the newest confirmed put is of exactly this item.
    pub(super) fn has_put(&self, item: &Item) -> bool {
        self.confirmed.as_ref().is_some_and(|put| put.item == *item)
    }
}

/// Collects the recorded puts of one derived key.
#[derive(Debug, Default)]
pub(super) struct RecordedPuts {
    /// The puts, newest first, each with whether it is a confirmation.
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
            PriorValue::Mark(ItemMark::Deleted) => self.is_confirmation = true,
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
        // A put requires that no item with its key exists. So the items of all older puts were gone before it.
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
