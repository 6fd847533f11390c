//! The history of the table in memory. It records every version of every item, with the version's author and time. It
//! also records the capacity that each request from the tool consumed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dynamodb::WriteConsumption;
use crate::item::{Item, ItemKey, Units};

/// The author of an item version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Author {
    /// The initial contents.
    Seed,
    /// The application.
    Application,
    /// The tool. The number identifies the tool's process.
    Tool(u32),
}

/// One state of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// The time at which this version was created, measured from the table's creation.
    pub at: Duration,
    /// The number of the change that created this version. All changes to the table are numbered in order, from 0.
    pub number: u64,
    /// The author of this version.
    pub author: Author,
    /// The item, or `None` if this version deleted it.
    pub item: Option<Item>,
}

/// A request from the tool that the table carried out. Refused and lost requests consume nothing and are not recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The time at which the request was sent, measured from the table's creation. The request arrived at the table
    /// later.
    pub sent: Duration,
    /// The sender of the request.
    pub author: Author,
    /// The capacity that the request consumed.
    pub consumed: ChargedUnits,
}

/// The capacity that a request consumed.
#[derive(Debug, Clone, PartialEq)]
pub enum ChargedUnits {
    /// Read units that the table charged for a page or an item.
    Read(Units),
    /// Write units that the table and its indexes charged for a write to this item. A write consumes units even if its
    /// condition fails.
    Write(ItemKey, WriteConsumption),
}

/// The position of an item in scan order. Items are ordered by the hash of the partition key, then by the partition
/// key, then by the sort key. A segment is a range in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScanPosition {
    pub(super) hash: u64,
    key: String,
}

impl ScanPosition {
    pub(super) fn new(key: &ItemKey, partition: &str) -> ScanPosition {
        ScanPosition { hash: key.partition_hash(partition).number(), key: key.to_text() }
    }

    /// Returns the segment that contains this position, if the table is divided into `total` segments.
    pub(super) fn segment(&self, total: u32) -> u32 {
        ((u128::from(self.hash) * u128::from(total)) >> 64) as u32
    }
}

/// All versions of all items, and all recorded requests.
#[derive(Debug, Default)]
pub struct TableHistory {
    items: BTreeMap<ScanPosition, (ItemKey, Vec<Version>)>,
    changes: u64,
    charges: Vec<Charge>,
}

impl TableHistory {
    /// Returns the current item.
    pub(super) fn current(&self, place: &ScanPosition) -> Option<&Item> {
        self.items.get(place)?.1.last()?.item.as_ref()
    }

    /// Returns the item as it was at the time `at`.
    fn as_of(versions: &[Version], at: Duration) -> Option<&Item> {
        versions.iter().rev().find(|version| version.at <= at)?.item.as_ref()
    }

    pub(super) fn put(&mut self, place: ScanPosition, key: &ItemKey, at: Duration, author: Author, item: Option<Item>) {
        let version = Version { at, number: self.changes, author, item };
        self.changes += 1;
        self.items.entry(place).or_insert_with(|| (key.clone(), Vec::new())).1.push(version);
    }

    /// Returns a segment's items as they were at the time `at`, in scan order. Omits the items up to and including the
    /// position `after`.
    pub(super) fn segment(
        &self,
        segment: u32,
        total: u32,
        after: Option<&ScanPosition>,
        at: Duration,
    ) -> impl Iterator<Item = (&ItemKey, &Item)> {
        let behind = move |place: &ScanPosition| after.is_none_or(|after| place > after);
        self.items
            .iter()
            .filter(move |(place, _)| place.segment(total) == segment && behind(place))
            .filter_map(move |(_, (key, versions))| Some((key, TableHistory::as_of(versions, at)?)))
    }

    /// Returns whether any item in this segment has changed since the time `since`.
    pub(super) fn has_changed(&self, segment: u32, total: u32, since: Duration) -> bool {
        let newest = |versions: &[Version]| versions.last().map(|version| version.at);
        self.items
            .iter()
            .any(|(place, (_, versions))| place.segment(total) == segment && newest(versions) > Some(since))
    }

    /// Returns the key of each item that has ever existed, together with the item's versions. The oldest version comes
    /// first.
    pub fn all(&self) -> impl Iterator<Item = (&ItemKey, &[Version])> {
        self.items.values().map(|(key, versions)| (key, versions.as_slice()))
    }

    /// Returns the current items.
    pub fn items(&self) -> impl Iterator<Item = (&ItemKey, &Item)> {
        self.all().filter_map(|(key, versions)| Some((key, versions.last()?.item.as_ref()?)))
    }

    pub(super) fn charge(&mut self, sent: Duration, author: Author, consumed: ChargedUnits) {
        self.charges.push(Charge { sent, author, consumed });
    }

    /// Returns the requests that the table carried out, in order of arrival.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// Returns the number of changes so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}
