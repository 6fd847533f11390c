//! The statistics of a table: the counts of a sample, and the estimates for the whole table. This module is pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cluster::{AttributeCount, ClusterCounts};
use super::distribution::Distribution;
use super::names::Names;
use crate::dynamodb::TableDescription;
use crate::item::{MAX_ITEM_BYTES, Path, Units};
use crate::preflight::{Range, SampleTally};

/// The tally has these figures for each cluster: the number of items, their size in bytes, and the number of partition
/// keys. For each attribute, the number of items that have the attribute follows.
const BYTES: usize = 1;
const KEYS: usize = 2;
const FIRST_ATTRIBUTE: usize = 3;

/// The part of the table that a sample has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every item of the table.
    Whole,
    /// Every drawn cluster. The sample represents the table.
    Clusters,
    /// Only a part of the drawn clusters, because the sample reached its maximum number of items, or because it was
    /// stopped. The sample does not represent the table.
    Part,
}

/// The statistics of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableStats {
    /// Number of items in the sample.
    pub items: u64,
    /// Total size in bytes of the items in the sample.
    pub bytes: u64,
    /// Number of pages read.
    pub pages: u64,
    /// Read capacity units that DynamoDB reported.
    pub read_units: Units,
    /// The sizes of the sampled items in bytes.
    pub sizes: Distribution,
    /// The number of items per partition key. `None` if there are too many partition keys to count.
    pub collections: Option<Distribution>,
    /// Size in bytes of the largest item collection in the sample.
    pub largest_collection_bytes: u64,
    /// Number of values whose names have no figures, because there are too many names.
    pub without_number: u64,
    names: Names,
    attributes: Vec<AttributeCount>,
    tally: SampleTally,
    /// Number of drawn clusters.
    chosen: u32,
    /// Number of figures per cluster in the tally.
    figures: usize,
}

/// The statistics of one attribute, or of one member of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeStats {
    /// The attribute.
    pub path: Path,
    /// The purposes for which DynamoDB uses the attribute, such as `partition key`.
    pub roles: Vec<String>,
    /// The items of the sample that have the attribute.
    pub count: AttributeCount,
    /// The share of the table's items that have the attribute, between 0 and 1, with 95 % confidence. `None` if the
    /// sample does not represent the table.
    pub presence: Option<Range>,
}

impl TableStats {
    /// Creates empty statistics for a sample of `chosen` clusters, of `total` clusters in the table. `item_count` is
    /// DynamoDB's own count of the table's items, or 0 if it is unknown.
    pub fn new(chosen: u32, total: u32, item_count: u64) -> TableStats {
        TableStats {
            items: 0,
            bytes: 0,
            pages: 0,
            read_units: 0.0,
            sizes: Distribution::default(),
            collections: Some(Distribution::default()),
            largest_collection_bytes: 0,
            without_number: 0,
            names: Names::default(),
            attributes: Vec::new(),
            tally: SampleTally::new(total, FIRST_ATTRIBUTE, item_count),
            chosen,
            figures: FIRST_ATTRIBUTE,
        }
    }

    /// Adds a cluster. If the cluster was not read to its end, its items are counted but not extrapolated.
    pub fn add(&mut self, cluster: &ClusterCounts, is_complete: bool) {
        self.items += cluster.items;
        self.bytes += cluster.bytes;
        self.pages += cluster.pages;
        self.read_units += cluster.read_units;
        self.without_number += cluster.without_number;
        self.sizes.merge(&cluster.sizes);
        let keys = self.add_collections(cluster);
        let highest = cluster.attributes.last_key_value().map_or(0, |(number, _)| number + 1);
        self.attributes.resize(self.attributes.len().max(highest), AttributeCount::default());
        for (number, count) in &cluster.attributes {
            self.attributes[*number].merge(count);
        }
        if !is_complete {
            return;
        }
        self.figures = self.figures.max(FIRST_ATTRIBUTE + highest);
        self.tally.grow(self.figures);
        let mut figures = vec![0.0; self.figures];
        figures[0] = cluster.items as f64;
        figures[BYTES] = cluster.bytes as f64;
        figures[KEYS] = keys as f64;
        for (number, count) in &cluster.attributes {
            figures[FIRST_ATTRIBUTE + number] = count.items as f64;
        }
        self.tally.add(&figures);
    }

    /// Adds the item collections of a cluster. Returns their number. All items of one partition key are in one cluster.
    fn add_collections(&mut self, cluster: &ClusterCounts) -> usize {
        let (Some(known), Some(collections)) = (&mut self.collections, cluster.collections()) else {
            self.collections = None;
            return 0;
        };
        let keys = collections.len();
        for (items, bytes) in collections {
            known.add(items);
            self.largest_collection_bytes = self.largest_collection_bytes.max(bytes);
        }
        keys
    }

    /// Sets the names that the clusters' numbers refer to. Call this method when all clusters are added.
    pub fn set_names(&mut self, names: Names) {
        self.attributes.resize(names.paths().len(), AttributeCount::default());
        self.names = names;
    }

    /// Returns which part of the table was read.
    pub fn coverage(&self) -> Coverage {
        match self.clusters() {
            (read, _) if read < self.chosen => Coverage::Part,
            (read, total) if read >= total => Coverage::Whole,
            _ => Coverage::Clusters,
        }
    }

    /// Whether the sample represents the table.
    fn is_representative(&self) -> bool {
        match self.coverage() {
            Coverage::Whole | Coverage::Clusters => true,
            Coverage::Part => false,
        }
    }

    /// Returns the number of clusters that were read to their end, and the total number of clusters.
    pub fn clusters(&self) -> (u32, u32) {
        self.tally.clusters()
    }

    /// Returns the number of items in the table, estimated only from the sample. `None` if the sample does not
    /// represent the table.
    pub fn items_by_sample(&self) -> Option<Range> {
        self.is_representative().then(|| self.tally.items_by_sample())
    }

    /// Returns the number of items that DynamoDB has counted but that the sample does not account for.
    pub fn unaccounted(&self) -> f64 {
        if self.is_representative() { self.tally.unaccounted() } else { 0.0 }
    }

    /// Returns the mean size of an item in bytes. `None` if it is unknown.
    pub fn mean_bytes(&self) -> Option<Range> {
        let is_known = self.items > 0 && self.is_representative();
        is_known.then(|| self.tally.mean(BYTES, MAX_ITEM_BYTES as f64))
    }

    /// Returns the number of partition keys in the table. `None` if it is unknown.
    pub fn partition_keys(&self) -> Option<Range> {
        let is_known = self.collections.is_some() && self.is_representative();
        is_known.then(|| self.tally.count(KEYS))
    }

    /// Returns the attributes. The most frequent attributes come first. The members of a map follow the map.
    /// `time_to_live` is the attribute that expires items.
    pub fn attributes(&self, table: &TableDescription, time_to_live: Option<&str>) -> Vec<AttributeStats> {
        let counted = self.names.paths().iter().zip(&self.attributes).enumerate();
        // A failed read can leave a name without items.
        let counted = counted.filter(|(_, (_, count))| count.items > 0);
        let mut found: Vec<AttributeStats> = counted
            .map(|(number, (path, count))| {
                let is_key = path.is_top_level() && table.key.names().any(|name| name == path.root());
                let presence = if is_key { Range::exactly(1.0) } else { self.tally.share(FIRST_ATTRIBUTE + number) };
                AttributeStats {
                    path: path.clone(),
                    roles: roles(path, table, time_to_live),
                    count: count.clone(),
                    presence: self.is_representative().then_some(presence),
                }
            })
            .collect();
        let roots = self.names.paths().iter().zip(&self.attributes).filter(|(path, _)| path.is_top_level());
        let roots: BTreeMap<&str, u64> = roots.map(|(path, count)| (path.root(), count.items)).collect();
        found.sort_by_cached_key(|stats| {
            let root = stats.path.root();
            let is_member = !stats.path.is_top_level();
            let items_of_root = Reverse(roots.get(root).copied());
            (items_of_root, root.to_owned(), is_member, Reverse(stats.count.items), stats.path.clone())
        });
        found
    }
}

/// Returns the purposes for which DynamoDB uses an attribute.
fn roles(path: &Path, table: &TableDescription, time_to_live: Option<&str>) -> Vec<String> {
    let name = path.root();
    if !path.is_top_level() {
        return Vec::new();
    }
    let own = [
        (table.key.partition.name == name, "partition key"),
        (table.key.sort.as_ref().is_some_and(|sort| sort.name == name), "sort key"),
        (time_to_live == Some(name), "expires items"),
    ];
    let own = own.into_iter().filter(|(applies, _)| *applies).map(|(_, role)| role.to_owned());
    let indexes = table.indexes.iter().map(|index| &index.schema);
    let indexes = indexes.filter(|index| index.key.iter().any(|key| key.name == name));
    own.chain(indexes.map(|index| format!("key of index {}", index.name))).collect()
}

#[cfg(test)]
mod tests;
