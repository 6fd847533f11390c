//! The rules that a write must follow. DynamoDB rejects a write that breaks them, so each write is checked before it is
//! sent.
//!
//! Every write is checked against these rules: in a run, a dry run, a repair, contract and rollback. A dry run and a
//! later run therefore make the same decision about every item. The check also saves the cost of a write that DynamoDB
//! would reject.
//!
//! Sources: developer guide, "Service quotas" (item size, nesting, length of key values), "Supported data types" (key
//! types, no empty key values). Third-party recordings of AWS responses show that DynamoDB checks only index keys that
//! a write changes. They also show that the innermost of 32 nested documents must be empty, and how the size of the
//! update itself counts towards the item size limit. If an index key has several attributes, this module applies the
//! length limit to each attribute. It is not documented whether AWS adds the lengths of the attributes.

use std::collections::BTreeMap;
use std::fmt;

use super::expression::{MAX_EXPRESSION_BYTES, MAX_OPERATORS, render};
use super::{Action, GuardedWrite};
use crate::item::{IndexSchema, Item, MAX_ITEM_BYTES, MAX_LEVELS, Path, PathStep, Value, value_bytes};

/// Maximum length of a partition key's value, in bytes.
const MAX_PARTITION_KEY: usize = 2048;

/// Maximum length of a sort key's value, in bytes.
const MAX_SORT_KEY: usize = 1024;

/// A rule that forbids a write. `ClientEncryption` is this tool's own rule; all others are DynamoDB's rules. A rule's
/// text contains no values, so that items with the same fault can be counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The item would exceed 400 KB.
    ItemSize {
        /// Whether the item would fit if the same write removed the old attributes.
        fits_in_place: bool,
    },
    /// The update itself exceeds the maximum size of an item.
    UpdateSize,
    /// An attribute would be nested too deeply.
    Nesting {
        /// The written path.
        path: Path,
    },
    /// The condition of a delete is too long, because the item has too many attributes.
    GuardSize,
    /// A value is not valid in the key of an index.
    IndexKey(IndexKeyFault),
    /// The item is signed or encrypted on the client. DynamoDB would accept the write, but the item's readers would
    /// reject the changed item.
    ClientEncryption {
        /// The attribute that marks the item as signed or encrypted.
        mark: &'static str,
    },
}

/// A value that is not valid in the key of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexKeyFault {
    /// The name of the key attribute.
    pub attribute: String,
    /// The name of the index.
    pub index: String,
    /// What is wrong with the value.
    pub fault: KeyFault,
}

/// What is wrong with a key value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// The value has a different type than the key attribute.
    Type {
        /// The key's type.
        expected: KeyType,
        /// The value's type.
        found: &'static str,
    },
    /// The value is an empty string or an empty binary.
    Empty,
    /// The value has more bytes than a partition key may have.
    PartitionTooLong,
    /// The value has more bytes than a sort key may have.
    SortTooLong,
}

/// The type of a key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// Returns the rule that forbids this write, or `None` if the write is allowed. `image` is the image from which the
/// write was planned.
pub(super) fn broken_rule(write: &GuardedWrite, image: &Item, indexes: &[IndexSchema]) -> Option<Rule> {
    let nothing = Item::new();
    // The derived item is a new item, so all its values count as changed.
    let image = if write.derived_item().is_some() { &nothing } else { image };
    nesting(write, image)
        .or_else(|| {
            written_attributes(write, image).find_map(|(name, value)| index_key_rule(name, &value, image, indexes))
        })
        .or_else(|| size(write))
        .or_else(|| guard_size(write))
}

/// Looks for an index that does not allow this value in the key attribute. Returns the fault for the first such index.
pub fn index_key_fault(attribute: &str, value: &Value, indexes: &[IndexSchema]) -> Option<IndexKeyFault> {
    indexes.iter().find_map(|index| {
        let position = index.key.iter().position(|key| key.name == attribute)?;
        let fault = key_fault(value, &index.key[position].kind, position < index.partition)?;
        Some(IndexKeyFault { attribute: attribute.to_owned(), index: index.name.clone(), fault })
    })
}

/// Checks the size of the item and the size of the update. By the tool's calculation, an item may already exceed the
/// limit before the write. The tool writes such an item if the write does not make it larger.
fn size(write: &GuardedWrite) -> Option<Rule> {
    if write.bytes_after > MAX_ITEM_BYTES && write.bytes_after > write.bytes_before {
        return Some(Rule::ItemSize { fits_in_place: false });
    }
    (update_bytes(&write.actions) > MAX_ITEM_BYTES).then_some(Rule::UpdateSize)
}

/// Checks the length of a delete's condition. It can pin every attribute of the item, so its length does not depend on
/// the plan alone.
fn guard_size(write: &GuardedWrite) -> Option<Rule> {
    write.deleted_item()?;
    // Each term has one operator or function, and `AND` joins the terms.
    let operators = 2 * write.conditions.len() - 1;
    (operators > MAX_OPERATORS || render(write).condition.len() > MAX_EXPRESSION_BYTES).then_some(Rule::GuardSize)
}

/// Returns the number of bytes of an update that count towards the item size limit. The base is 3 bytes. Each value
/// that is set adds 19 bytes, the size of its target path, and the size of the value or of the source path. Each
/// removal adds 1 byte and the size of its target path.
pub(super) fn update_bytes(actions: &[Action]) -> usize {
    let element = |step: &PathStep| match step {
        PathStep::Name(name) => name.len(),
        PathStep::Index(index) => index.to_string().len(),
    };
    let target = |path: &Path| path.steps().iter().map(|step| 4 + element(step)).sum::<usize>() - 4;
    let source = |path: &Path| 1 + path.steps().iter().map(|step| 14 + element(step)).sum::<usize>();
    let action = |action: &Action| match action {
        Action::SetFrom { to, from, .. } => 19 + target(to) + source(from),
        Action::SetValue { to, value } => 19 + target(to) + value_bytes(value),
        Action::Remove { path } => 1 + target(path),
        // These actions are not updates. Only the size of the item itself counts.
        Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => 0,
    };
    3 + actions.iter().map(action).sum::<usize>()
}

fn nesting(write: &GuardedWrite, image: &Item) -> Option<Rule> {
    write.actions.iter().find_map(|action| {
        let (to, value) = match action {
            // If the target is not deeper than the source, the value is valid, because DynamoDB already stores it at
            // the source.
            Action::SetFrom { to, from, .. } if to.steps().len() <= from.steps().len() => return None,
            Action::SetFrom { to, from, .. } => (to, from.get(image)?),
            Action::SetValue { to, value } => (to, value),
            Action::PutDerived { item, .. } => {
                let is_too_deep = |value: &Value| value.nests_deeper_than(MAX_LEVELS);
                let (name, _) = item.iter().find(|(_, value)| is_too_deep(value))?;
                return Some(Rule::Nesting { path: Path::attribute(name.as_str()) });
            }
            // The table once contained the restored item, so its nesting is valid.
            Action::Remove { .. } | Action::DeleteItem { .. } | Action::PutItem { .. } => return None,
        };
        let remaining_levels = (MAX_LEVELS + 1).saturating_sub(to.steps().len());
        value.nests_deeper_than(remaining_levels).then(|| Rule::Nesting { path: to.clone() })
    })
}

/// What a write stores in a top-level attribute.
#[derive(Clone, Copy)]
enum AttributeWrite<'a> {
    Value(&'a Value),
    /// A document with changed members.
    Document,
}

/// Returns the top-level attributes that a write sets, and those in which it changes a member.
fn written_attributes<'a>(
    write: &'a GuardedWrite,
    image: &'a Item,
) -> impl Iterator<Item = (&'a str, AttributeWrite<'a>)> {
    let mut written = BTreeMap::new();
    for action in &write.actions {
        if let Some(item) = action.created_item().or(action.derived_item()) {
            written.extend(item.iter().map(|(name, value)| (name.as_str(), AttributeWrite::Value(value))));
        }
        let Some(path) = action.path() else { continue };
        let value = action.written_value(image);
        match (path.is_top_level(), value) {
            (true, Some(value)) => drop(written.insert(path.root(), AttributeWrite::Value(value))),
            (true, None) => {}
            (false, _) => drop(written.insert(path.root(), AttributeWrite::Document)),
        }
    }
    written.into_iter()
}

fn index_key_rule(name: &str, written: &AttributeWrite<'_>, image: &Item, indexes: &[IndexSchema]) -> Option<Rule> {
    let fault = match written {
        // DynamoDB checks only changed values.
        AttributeWrite::Value(value) if image.get(name) == Some(value) => None,
        AttributeWrite::Value(value) => index_key_fault(name, value, indexes),
        AttributeWrite::Document => {
            let document = image.get(name).filter(|value| matches!(value, Value::L(_)));
            index_key_fault(name, document.unwrap_or(&Value::M(Item::new())), indexes)
        }
    };
    fault.map(Rule::IndexKey)
}

pub(super) fn key_fault(value: &Value, kind: &str, is_partition: bool) -> Option<KeyFault> {
    let expected = KeyType::from_name(kind)?;
    let bytes = match value {
        Value::S(text) if expected == KeyType::S => text.len(),
        Value::B(bytes) if expected == KeyType::B => bytes.len(),
        Value::N(_) if expected == KeyType::N => return None,
        Value::S(_)
        | Value::B(_)
        | Value::N(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_)
        | Value::L(_)
        | Value::M(_) => return Some(KeyFault::Type { expected, found: value.type_name() }),
    };
    match bytes {
        0 => Some(KeyFault::Empty),
        _ if is_partition && bytes > MAX_PARTITION_KEY => Some(KeyFault::PartitionTooLong),
        _ if !is_partition && bytes > MAX_SORT_KEY => Some(KeyFault::SortTooLong),
        _ => None,
    }
}

impl KeyType {
    /// Returns the type with this name, or `None` if this version of the tool does not know the name.
    fn from_name(name: &str) -> Option<KeyType> {
        [KeyType::S, KeyType::N, KeyType::B].into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            KeyType::S => "S",
            KeyType::N => "N",
            KeyType::B => "B",
        }
    }
}

impl Rule {
    /// Returns whether the rule is about an item that is signed or encrypted on the client.
    pub fn is_client_encryption(&self) -> bool {
        matches!(self, Rule::ClientEncryption { .. })
    }

    /// Returns whether the rule is about the size of the item.
    pub fn is_item_size(&self) -> bool {
        matches!(self, Rule::ItemSize { .. })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::ItemSize { fits_in_place } => {
                write!(f, "the item size would exceed 400 KB (409,600 bytes, names included), DynamoDB's limit")?;
                if *fits_in_place {
                    write!(f, "; it would fit with strategy = \"in-place\", which does not keep the old attribute")?;
                }
                Ok(())
            }
            Rule::GuardSize => write!(
                f,
                "the item has too many attributes to pin each of them: a condition has at most 4,096 bytes and 300 \
                 operators. With `version`, the condition of a delete pins only the version and what `where` reads"
            ),
            Rule::UpdateSize => write!(f, "the update would carry more than 400 KB (409,600 bytes), DynamoDB's limit"),
            Rule::Nesting { path } => {
                write!(f, "`{path}` would be nested deeper than {MAX_LEVELS} levels, DynamoDB's limit")
            }
            Rule::IndexKey(fault) => fault.fmt(f),
            Rule::ClientEncryption { mark } => {
                write!(
                    f,
                    "the item is signed or encrypted on the client (it has `{mark}`), so a change would break its \
                     signature; --accept client-encryption changes it anyway"
                )
            }
        }
    }
}

impl fmt::Display for IndexKeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribute = Path::attribute(self.attribute.clone());
        let index = &self.index;
        let is_in = |f: &mut fmt::Formatter<'_>, key: &str| {
            write!(f, "`{attribute}` is in the {key} of the index `{index}`, and the value would be ")
        };
        match self.fault {
            KeyFault::Type { expected, found } => {
                is_in(f, "key")?;
                write!(f, "of type {found}, not {}", expected.name())
            }
            KeyFault::Empty => {
                is_in(f, "key")?;
                write!(f, "empty: a key value needs at least one byte")
            }
            KeyFault::PartitionTooLong => {
                is_in(f, "partition key")?;
                write!(f, "longer than 2,048 bytes, DynamoDB's limit")
            }
            KeyFault::SortTooLong => {
                is_in(f, "sort key")?;
                write!(f, "longer than 1,024 bytes, DynamoDB's limit")
            }
        }
    }
}
