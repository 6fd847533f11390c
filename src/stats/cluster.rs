//! Counts the items of one cluster. This module is pure.

use std::collections::{BTreeMap, HashMap};

use super::distribution::Distribution;
use super::names::Names;
use crate::item::{Item, KeySchema, PartitionHash, Units, Value, attribute_bytes, item_bytes};

/// Maximum number of partition keys whose items are counted, for each cluster. A cluster usually has fewer than 100
/// items. It has more if DynamoDB's count of the items is unknown or wrong.
const MAX_KEYS: usize = 100_000;

/// The items that have an attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeCount {
    /// Number of items that have the attribute.
    pub items: u64,
    /// Total size of its names and values in bytes.
    pub bytes: u64,
    /// Number of items for each type of the value.
    pub types: BTreeMap<&'static str, u64>,
}

/// The items of one cluster. No values are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterCounts {
    /// Number of items.
    pub items: u64,
    /// Total size of the items in bytes.
    pub bytes: u64,
    /// Number of pages read.
    pub pages: u64,
    /// Read capacity units that DynamoDB reported.
    pub read_units: Units,
    /// The sizes of the items in bytes.
    pub sizes: Distribution,
    /// The attributes, by their number in [`Names`].
    pub attributes: BTreeMap<usize, AttributeCount>,
    /// Number of values whose name has no number.
    pub without_number: u64,
    /// The number of items, and their total size, for each partition key.
    pub(super) keys: HashMap<PartitionHash, (u64, u64)>,
    /// Whether the cluster has too many partition keys.
    pub(super) has_too_many_keys: bool,
}

impl ClusterCounts {
    /// Counts an item of a table with this key.
    pub fn add(&mut self, item: &Item, key: &KeySchema, names: &mut Names) {
        let bytes = item_bytes(item) as u64;
        self.items += 1;
        self.bytes += bytes;
        self.sizes.add(bytes);
        if let Some(value) = item.get(&key.partition.name) {
            self.add_key(PartitionHash::from_value(value), bytes);
        }
        for (name, value) in item {
            let number = names.number(name);
            self.add_attribute(number, value, attribute_bytes(name, value));
            if let Value::M(members) = value {
                for (member, value) in members {
                    let number = names.member(name, member);
                    // A member of a map needs one more byte than an attribute.
                    self.add_attribute(number, value, 1 + attribute_bytes(member, value));
                }
            }
        }
    }

    /// Returns the number of items, and their total size, for each partition key. `None` if there are too many
    /// partition keys.
    pub fn collections(&self) -> Option<impl ExactSizeIterator<Item = (u64, u64)> + '_> {
        (!self.has_too_many_keys).then(|| self.keys.values().copied())
    }

    fn add_key(&mut self, key: PartitionHash, bytes: u64) {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            self.has_too_many_keys = true;
            return;
        }
        let (items, total) = self.keys.entry(key).or_default();
        *items += 1;
        *total += bytes;
    }

    fn add_attribute(&mut self, number: Option<usize>, value: &Value, bytes: usize) {
        match number {
            Some(number) => self.attributes.entry(number).or_default().add(value.type_name(), bytes as u64),
            None => self.without_number += 1,
        }
    }
}

impl AttributeCount {
    fn add(&mut self, type_name: &'static str, bytes: u64) {
        self.items += 1;
        self.bytes += bytes;
        *self.types.entry(type_name).or_default() += 1;
    }

    /// Adds the items of another cluster.
    pub fn merge(&mut self, other: &AttributeCount) {
        self.items += other.items;
        self.bytes += other.bytes;
        for (name, items) in &other.types {
            *self.types.entry(name).or_default() += items;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::item::{KeyAttribute, item_from_json};

    #[test]
    fn attributes_and_members_are_counted_with_their_types_and_sizes() {
        let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
        let key = KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) };
        let mut names = Names::default();
        let mut cluster = ClusterCounts::default();
        for (pk, more) in [
            ("a", json!({ "S": "xyz" })),
            ("a", json!({ "M": { "zip": { "N": "7" }, "deep": { "M": { "no": { "S": "" } } } } })),
            ("b", json!({ "M": {} })),
        ] {
            let item = json!({ "pk": { "S": pk }, "sk": { "S": "1" }, "address": more });
            cluster.add(&item_from_json(&item).unwrap(), &key, &mut names);
        }
        let named: BTreeMap<String, &AttributeCount> =
            cluster.attributes.iter().map(|(number, count)| (names.paths()[*number].to_string(), count)).collect();
        assert_eq!(named.keys().collect::<Vec<_>>(), ["address", "address.deep", "address.zip", "pk", "sk"]);
        let address = named["address"];
        assert_eq!((address.items, &address.types), (3, &BTreeMap::from([("M", 2), ("S", 1)])));
        assert_eq!(named["address.zip"].types, BTreeMap::from([("N", 1)]));
        // The member's own byte, its name and its value.
        assert_eq!(named["address.zip"].bytes, 1 + 3 + 2);
        let top: u64 = ["pk", "sk", "address"].iter().map(|name| named[*name].bytes).sum();
        assert_eq!((cluster.bytes, cluster.items, cluster.sizes.count()), (top, 3, 3));
        let mut keys: Vec<u64> = cluster.collections().unwrap().map(|(items, _)| items).collect();
        keys.sort_unstable();
        assert_eq!(keys, [1, 2]);
    }
}
