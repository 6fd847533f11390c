//! What is known about the items before any item is read.

use std::collections::BTreeMap;

use super::Expr;
use super::check::KnownType;
use super::types::{Kind, Kinds};
use crate::item::{Path, PathStep};

/// The paths about which something is known: the attributes of the table's key, and the paths that a plan writes or
/// removes. Each path has its type, or a type that is not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownTypes(BTreeMap<Path, KnownType>);

impl KnownTypes {
    /// Adds an attribute. `kind` is `S`, `N` or `B`. If it is `None`, the check omits faults about the attribute's
    /// type, so repeat the check as soon as the table's description is known.
    #[must_use]
    pub fn with(mut self, name: &str, kind: Option<&str>) -> KnownTypes {
        let kinds = kind.and_then(Kind::named).map(Kinds::one).filter(|kinds| kinds.is_within(Kinds::KEYS));
        self.0.insert(Path::attribute(name), kinds.map_or(KnownType::Later, KnownType::Exactly));
        self
    }

    /// Adds an attribute that has a value of any type.
    #[must_use]
    pub fn with_any_type(mut self, name: &str) -> KnownTypes {
        self.0.insert(Path::attribute(name), KnownType::Exactly(Kinds::STORED));
        self
    }

    /// Adds an attribute of this type. The type is a name such as `N` or `BOOL`. An unknown name means any type.
    #[must_use]
    pub fn with_type(mut self, name: &str, type_name: &str) -> KnownTypes {
        let kinds = Kind::named(type_name).map_or(Kinds::STORED, Kinds::one);
        self.0.insert(Path::attribute(name), KnownType::Exactly(kinds.and(Kinds::STORED)));
        self
    }

    /// Adds a path that has a value of any type in every item.
    #[must_use]
    pub fn with_any_type_at(self, path: &Path) -> KnownTypes {
        self.at(path, Kinds::STORED)
    }

    /// Adds a path that has no value in any item. In every item, its parent maps and lists exist.
    #[must_use]
    pub fn with_missing(self, path: &Path) -> KnownTypes {
        self.at(path, Kinds::MISSING)
    }

    fn at(mut self, path: &Path, kinds: Kinds) -> KnownTypes {
        for (above, step) in path.ancestors().zip(path.steps().iter().skip(1)) {
            let holder = match step {
                PathStep::Name(_) => Kinds::M,
                PathStep::Index(_) => Kinds::L,
            };
            self.0.insert(above, KnownType::Exactly(holder));
        }
        self.0.insert(path.clone(), KnownType::Exactly(kinds));
        self
    }

    /// Adds an attribute whose value is a result of this expression. `known` is what is known about the items for which
    /// the expression is evaluated.
    #[must_use]
    pub fn with_result_of(mut self, name: &str, expression: &Expr, known: &KnownTypes) -> KnownTypes {
        self.0.insert(Path::attribute(name), KnownType::Exactly(expression.result_kinds(known)));
        self
    }

    pub(super) fn types(&self) -> &BTreeMap<Path, KnownType> {
        &self.0
    }
}
