//! Primary keys: the item key, and the table's key schema.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value as Json;

use super::{Item, JsonError, Value, item_from_json, item_to_json};

/// One key attribute of a table: its name and its type (`S`, `N` or `B`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAttribute {
    /// Attribute name.
    pub name: String,
    /// `S`, `N` or `B`.
    pub kind: String,
}

/// A table's primary key: the partition key, and the sort key if the table has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySchema {
    /// The partition key. The hash of the partition key's value determines the item's partition.
    pub partition: KeyAttribute,
    /// The sort key; `None` if the table has no sort key. Items with the same partition key are ordered by the sort
    /// key.
    pub sort: Option<KeyAttribute>,
}

impl KeySchema {
    /// Returns the names of the key attributes, partition key first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.partition).chain(&self.sort).map(|a| a.name.as_str())
    }

    /// Returns the key of an item. Returns `None` if a key attribute is missing, which is impossible for a stored item.
    pub fn key_of(&self, item: &Item) -> Option<ItemKey> {
        self.names().map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect::<Option<Item>>().map(ItemKey)
    }
}

/// The primary key of one item: the values of its key attributes, by attribute name. A scan's start key has the same
/// form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemKey(Item);

impl ItemKey {
    /// Creates a key from its attributes.
    pub fn new(attributes: Item) -> ItemKey {
        ItemKey(attributes)
    }

    /// Returns the key's attributes by name.
    pub fn attributes(&self) -> &Item {
        &self.0
    }

    /// Returns the hash of the value of the partition key. `partition_key` is the name of the partition key attribute.
    pub fn partition_hash(&self, partition_key: &str) -> PartitionHash {
        PartitionHash::from_value(self.0.get(partition_key).unwrap_or(&Value::Null))
    }

    /// Returns the key as DynamoDB JSON on one line, for storing and listing keys. Each key has exactly one such text.
    pub fn to_text(&self) -> String {
        item_to_json(&self.0).to_string()
    }

    /// Parses [`ItemKey::to_text`].
    pub fn from_text(text: &str) -> Result<ItemKey, JsonError> {
        let json: Json = serde_json::from_str(text).map_err(|_| JsonError::InvalidForm("M", "JSON"))?;
        item_from_json(&json).map(ItemKey)
    }
}

/// A 64-bit hash that identifies a partition key, so that each partition key has its own token bucket. If two partition
/// keys have the same hash, they share a token bucket, which is slower but safe. DynamoDB uses a different hash, which
/// is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionHash(u64);

impl PartitionHash {
    /// Returns the hash of a partition key's value. Equal numbers have the same hash, even if they are spelled
    /// differently.
    pub fn from_value(value: &Value) -> PartitionHash {
        let mut hasher = DefaultHasher::new();
        match value {
            Value::S(text) => text.hash(&mut hasher),
            Value::B(bytes) => bytes.hash(&mut hasher),
            Value::N(number) => number.canonical().hash(&mut hasher),
            // A key attribute never has one of the other types.
            other @ (Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_)
            | Value::L(_)
            | Value::M(_)) => other.type_name().hash(&mut hasher),
        }
        PartitionHash(hasher.finish())
    }

    /// Returns the hash as a number, evenly distributed.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Distributes all hashes evenly over `parts` shards. Returns the number of this hash's shard.
    pub(crate) fn shard(self, parts: usize) -> usize {
        // Use the upper half of the bits, because hash maps use the lower bits of the same hash.
        (self.0 >> 32) as usize % parts
    }
}

/// Formats the key for people: `pk=CUSTOMER#1 sk=ORDER#2`, with control characters escaped.
impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            match value {
                Value::S(s) => write!(f, "{space}{}={}", name.escape_debug(), s.escape_debug())?,
                Value::N(n) => write!(f, "{space}{}={}", name.escape_debug(), n.as_str())?,
                other @ (Value::B(_)
                | Value::Bool(_)
                | Value::Null
                | Value::Ss(_)
                | Value::Ns(_)
                | Value::Bs(_)
                | Value::L(_)
                | Value::M(_)) => {
                    write!(f, "{space}{}={}", name.escape_debug(), other.to_json())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_prints_safely() {
        let key = ItemKey::new(
            [("pk".to_owned(), Value::S("a\u{1b}[2J\n".into())), ("sk".to_owned(), Value::B(vec![0, 255]))].into(),
        );
        assert_eq!(ItemKey::from_text(&key.to_text()), Ok(key.clone()));
        assert_eq!(key.to_string(), "pk=a\\u{1b}[2J\\n sk={\"B\":\"AP8=\"}");
    }
}
