//! Digests of values. With digests, the tool can compare a value with an earlier value that it did not store.

use sha2::{Digest as _, Sha256};

use crate::item::{Num, Value};

/// The first eight bytes of the SHA-256 of a value's DynamoDB JSON. Digests distinguish values without storing the
/// values themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 8]);

impl Digest {
    /// Returns the digest of a value.
    pub fn from_value(value: &Value) -> Digest {
        Digest::from_text(&value.to_json().to_string())
    }

    /// Returns a digest that does not depend on how a number is written. The text of a computed number may differ from
    /// the text that DynamoDB returns (`1.50` and `1.5`).
    pub fn by_number(value: &Value) -> Digest {
        Digest::from_value(&with_canonical_numbers(value))
    }

    /// Returns the digest of a stable attribute's value, or of its absence. The spelling of numbers does not matter.
    pub(super) fn of_stable(value: Option<&Value>) -> Digest {
        // The empty text stands for a missing attribute, because no value has an empty text.
        value.map_or_else(|| Digest::from_text(""), Digest::by_number)
    }

    /// Returns the digest of a text, such as the text of an item key.
    pub fn from_text(text: &str) -> Digest {
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(text).into();
        Digest([a, b, c, d, e, f, g, h])
    }
}

/// Both digests of a value. A journal row has only one of them. For a moved or copied value, this is the digest of the
/// text. For a computed value, this is the digest that does not depend on how numbers are written.
/// [`ValueDigests::contains`] accepts either, so it recognises the value of any kind of change. For a value without
/// numbers, the two digests are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueDigests {
    /// [`Digest::from_value`].
    pub text: Digest,
    /// [`Digest::by_number`].
    pub number: Digest,
}

impl ValueDigests {
    /// Returns the digests of a value.
    pub fn from_value(value: &Value) -> ValueDigests {
        ValueDigests { text: Digest::from_value(value), number: Digest::by_number(value) }
    }

    /// Returns whether a journal row with this digest can refer to this value.
    pub fn contains(&self, written: Digest) -> bool {
        self.both().contains(&written)
    }

    /// Returns the two digests. The digest of the text is the first.
    pub(super) fn both(&self) -> [Digest; 2] {
        [self.text, self.number]
    }
}

/// Returns the same value with every number in canonical form.
pub(super) fn with_canonical_numbers(value: &Value) -> Value {
    let canonical = |number: &Num| Num::from_wire(number.canonical());
    match value {
        Value::N(number) => Value::N(canonical(number)),
        Value::Ns(set) => Value::Ns(set.iter().map(canonical).collect()),
        Value::L(list) => Value::L(list.iter().map(with_canonical_numbers).collect()),
        Value::M(map) => {
            Value::M(map.iter().map(|(name, value)| (name.clone(), with_canonical_numbers(value))).collect())
        }
        Value::S(_) | Value::B(_) | Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Bs(_) => value.clone(),
    }
}
