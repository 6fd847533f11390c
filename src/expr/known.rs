//! What is known about the items before any is read.

use std::collections::BTreeMap;

use super::Expr;
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

    /// Adds an attribute that has a value of any type.
    #[must_use]
    pub fn with_any_type(mut self, name: &str) -> KnownTypes {
        self.0.insert(name.to_owned(), KnownType::Exactly(Kinds::STORED));
        self
    }

    /// Adds an attribute of this type. The type is a name such as `N` or `BOOL`. An unknown name means any type.
    #[must_use]
    pub fn with_type(mut self, name: &str, type_name: &str) -> KnownTypes {
        let kinds = Kind::named(type_name).map_or(Kinds::STORED, Kinds::one);
        self.0.insert(name.to_owned(), KnownType::Exactly(kinds.and(Kinds::STORED)));
        self
    }

    /// Adds an attribute that no item has.
    #[must_use]
    pub fn with_missing(mut self, name: &str) -> KnownTypes {
        self.0.insert(name.to_owned(), KnownType::Exactly(Kinds::MISSING));
        self
    }

    /// Adds an attribute that has a result of this expression. `known` is what is known about the items for which the
    /// expression is evaluated.
    #[must_use]
    pub fn with_result_of(mut self, name: &str, expression: &Expr, known: &KnownTypes) -> KnownTypes {
        self.0.insert(name.to_owned(), KnownType::Exactly(expression.result_kinds(known)));
        self
    }

    pub(super) fn types(&self) -> &BTreeMap<String, KnownType> {
        &self.0
    }
}
