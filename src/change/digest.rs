//! Digests of values. With digests, the tool can compare a value with an earlier value that it did not store.

use sha2::{Digest as _, Sha256};

use crate::item::Value;

/// The first eight bytes of the SHA-256 of a value's DynamoDB JSON. Digests distinguish values without storing the
/// values themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 8]);

impl Digest {
    /// Returns the digest of a value.
    pub fn from_value(value: &Value) -> Digest {
        Digest::from_text(&value.to_json().to_string())
    }

    /// Returns the digest of a text, such as the text of an item key.
    pub fn from_text(text: &str) -> Digest {
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(text).into();
        Digest([a, b, c, d, e, f, g, h])
    }
}
