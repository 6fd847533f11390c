//! The types of expressions: sets of the kinds of value that a part can have.

use std::fmt;

use super::value::View;

/// One kind of value. The first ten are DynamoDB's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    S,
    N,
    B,
    Bool,
    Null,
    Ss,
    Ns,
    Bs,
    L,
    M,
    /// A point in time. DynamoDB cannot store it.
    Timestamp,
    /// A length of time. DynamoDB cannot store it.
    Duration,
    /// There is no value at a path.
    Missing,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::S,
        Kind::N,
        Kind::B,
        Kind::Bool,
        Kind::Null,
        Kind::Ss,
        Kind::Ns,
        Kind::Bs,
        Kind::L,
        Kind::M,
        Kind::Timestamp,
        Kind::Duration,
        Kind::Missing,
    ];

    /// Returns the name that `type()` returns.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::S => "S",
            Kind::N => "N",
            Kind::B => "B",
            Kind::Bool => "BOOL",
            Kind::Null => "NULL",
            Kind::Ss => "SS",
            Kind::Ns => "NS",
            Kind::Bs => "BS",
            Kind::L => "L",
            Kind::M => "M",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Duration => "DURATION",
            Kind::Missing => "MISSING",
        }
    }

    /// Returns the kind with this name.
    pub(super) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) const NONE: Kinds = Kinds(0);
    pub(super) const S: Kinds = Kinds::one(Kind::S);
    pub(super) const N: Kinds = Kinds::one(Kind::N);
    pub(super) const B: Kinds = Kinds::one(Kind::B);
    pub(super) const BOOL: Kinds = Kinds::one(Kind::Bool);
    pub(super) const NULL: Kinds = Kinds::one(Kind::Null);
    pub(super) const SS: Kinds = Kinds::one(Kind::Ss);
    pub(super) const NS: Kinds = Kinds::one(Kind::Ns);
    pub(super) const BS: Kinds = Kinds::one(Kind::Bs);
    pub(super) const L: Kinds = Kinds::one(Kind::L);
    pub(super) const M: Kinds = Kinds::one(Kind::M);
    pub(super) const TIMESTAMP: Kinds = Kinds::one(Kind::Timestamp);
    pub(super) const DURATION: Kinds = Kinds::one(Kind::Duration);
    pub(super) const MISSING: Kinds = Kinds::one(Kind::Missing);
    /// The sets.
    pub(super) const SETS: Kinds = Kinds::SS.or(Kinds::NS).or(Kinds::BS);
    /// What DynamoDB can store.
    pub(super) const STORED: Kinds =
        Kinds::S.or(Kinds::N).or(Kinds::B).or(Kinds::BOOL).or(Kinds::NULL).or(Kinds::SETS).or(Kinds::L).or(Kinds::M);
    /// Every kind of value.
    pub(super) const VALUES: Kinds = Kinds::STORED.or(Kinds::TIMESTAMP).or(Kinds::DURATION);
    /// The types of key attributes.
    pub(super) const KEYS: Kinds = Kinds::S.or(Kinds::N).or(Kinds::B);
    /// What a macro can iterate over.
    pub(super) const COLLECTIONS: Kinds = Kinds::L.or(Kinds::SETS).or(Kinds::M);

    pub(super) const fn one(kind: Kind) -> Kinds {
        Kinds(1 << kind as u16)
    }

    pub(super) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the other set contains every kind of this set.
    pub(super) fn is_within(self, other: Kinds) -> bool {
        self.without(other).is_empty()
    }

    pub(super) fn has(self, kind: Kind) -> bool {
        !self.and(Kinds::one(kind)).is_empty()
    }

    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

/// `type N`, `type S, N or B`.
impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Kind::name).collect();
        match names.as_slice() {
            [] => write!(f, "no type"),
            [one] => write!(f, "type {one}"),
            [first @ .., last] => write!(f, "type {} or {last}", first.join(", ")),
        }
    }
}

/// What is known about the value of a part before any item is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    /// The kinds that the value can have. If there are none, the part is never evaluated.
    pub(super) kinds: Kinds,
    /// The kinds of the elements, if it is a list.
    pub(super) elements: Kinds,
    /// Whether the exact type will be known later. Until then, only a use that is wrong for every kind is an error.
    pub(super) open: bool,
}

impl Type {
    /// The type of a value at a path about which nothing is known.
    pub(super) const UNKNOWN: Type =
        Type { kinds: Kinds::STORED.or(Kinds::MISSING), elements: Kinds::STORED, open: false };

    pub(super) const fn of(kinds: Kinds) -> Type {
        Type { kinds, elements: Kinds::STORED, open: false }
    }

    pub(super) const fn list(elements: Kinds) -> Type {
        Type { kinds: Kinds::L, elements, open: false }
    }

    /// Returns the type of a value that has one of two types.
    pub(super) fn either(self, other: Type) -> Type {
        let elements = |of: Type| if of.kinds.has(Kind::L) { of.elements } else { Kinds::NONE };
        let kinds = self.kinds.or(other.kinds);
        let lists = elements(self).or(elements(other));
        Type { kinds, elements: if kinds.has(Kind::L) { lists } else { Kinds::STORED }, open: self.open || other.open }
    }

    /// Returns the type limited to these kinds.
    pub(super) fn only(self, kinds: Kinds) -> Type {
        let kinds = self.kinds.and(kinds);
        Type { kinds, open: self.open && kinds.len() > 1, ..self }
    }

    /// Returns the kinds of the members that a macro visits: elements, members of a set, or the keys of a map.
    pub(super) fn members(self) -> Kinds {
        self.kinds.iter().fold(Kinds::NONE, |all, kind| {
            all.or(match kind {
                Kind::L => self.elements,
                Kind::Ss | Kind::M => Kinds::S,
                Kind::Ns => Kinds::N,
                Kind::Bs => Kinds::B,
                Kind::S
                | Kind::N
                | Kind::B
                | Kind::Bool
                | Kind::Null
                | Kind::Timestamp
                | Kind::Duration
                | Kind::Missing => Kinds::NONE,
            })
        })
    }
}

/// Returns the kind of a value.
pub(super) fn kind_of(view: &View<'_>) -> Kind {
    match view {
        View::S(_) => Kind::S,
        View::N(_) => Kind::N,
        View::B(_) => Kind::B,
        View::Bool(_) => Kind::Bool,
        View::Null => Kind::Null,
        View::Ss(_) => Kind::Ss,
        View::Ns(_) => Kind::Ns,
        View::Bs(_) => Kind::Bs,
        View::L(_) => Kind::L,
        View::M(_) => Kind::M,
        View::Timestamp(_) => Kind::Timestamp,
        View::Duration(_) => Kind::Duration,
    }
}
