//! What is known about the items before any is read.

use std::collections::BTreeMap;

use super::check::KnownType;
use super::types::{Kind, Kinds};

/// Attributes that every item has: those of the table's key. Each has its type, or a type that is not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownTypes(BTreeMap<String, KnownType>);

impl KnownTypes {
    /// Adds an attribute. `kind` is `S`, `N` or `B`. Without it, faults about the attribute's type are left out: check
    /// again as soon as the table's description is known.
    #[must_use]
    pub fn with(mut self, name: &str, kind: Option<&str>) -> KnownTypes {
        let kinds = kind.and_then(Kind::named).map(Kinds::one).filter(|kinds| kinds.is_within(Kinds::KEYS));
        self.0.insert(name.to_owned(), kinds.map_or(KnownType::Later, KnownType::Exactly));
        self
    }

    pub(super) fn types(&self) -> &BTreeMap<String, KnownType> {
        &self.0
    }
}
