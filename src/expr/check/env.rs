//! What is known about paths at one point of an expression.

use std::collections::{BTreeMap, BTreeSet};

use crate::expr::node::{Place, Root};
use crate::expr::types::{Kinds, Type};
use crate::item::PathStep;

/// The known types of paths. A path without an entry can be missing or of any type.
#[derive(Debug, Clone, Default)]
pub(super) struct Env {
    types: BTreeMap<Place, Type>,
    /// Pairs of paths that have the same type.
    same: BTreeSet<(Place, Place)>,
}

impl Env {
    /// Returns what is known about a path.
    pub(super) fn get(&self, place: &Place) -> Type {
        if let Some(known) = self.types.get(place) {
            return *known;
        }
        let Some((last, container)) = above(place) else { return Type::UNKNOWN };
        let around = self.get(&container);
        if around.kinds.and(holder(last)).is_empty() && !around.kinds.is_empty() {
            return Type::of(Kinds::MISSING);
        }
        match last {
            PathStep::Index(_) => Type::of(around.elements.or(Kinds::MISSING)),
            PathStep::Name(_) => Type::UNKNOWN,
        }
    }

    /// Records what is known about a path. If the path has a value, also records that its parent is a map or a list.
    pub(super) fn set(&mut self, place: &Place, is: Type) {
        self.types.insert(place.clone(), is);
        if is.kinds.and(Kinds::MISSING).is_empty() {
            let mut inner = place.clone();
            while let Some((last, container)) = above(&inner) {
                let around = self.get(&container).only(holder(last));
                self.types.insert(container.clone(), around);
                inner = container;
            }
        }
    }

    /// Narrows the type of a path to these kinds.
    pub(super) fn keep(&mut self, place: &Place, kinds: Kinds) {
        let is = self.get(place).only(kinds);
        self.set(place, is);
        let others: Vec<Place> = self.same.iter().filter(|(a, _)| a == place).map(|(_, b)| b.clone()).collect();
        for other in others {
            let same = self.get(&other).only(is.kinds);
            self.set(&other, same);
        }
    }

    /// Records that two paths have the same type.
    pub(super) fn set_same(&mut self, a: &Place, b: &Place) {
        let both = self.get(a).kinds.and(self.get(b).kinds);
        self.keep(a, both);
        self.keep(b, both);
        self.same.insert((a.clone(), b.clone()));
        self.same.insert((b.clone(), a.clone()));
    }

    /// Whether two paths have the same type.
    pub(super) fn is_same(&self, a: &Place, b: &Place) -> bool {
        a == b || self.same.contains(&(a.clone(), b.clone()))
    }

    /// Whether this point is unreachable for every item.
    pub(super) fn is_impossible(&self) -> bool {
        self.types.values().any(|is| is.kinds.is_empty())
    }

    /// Returns what is known if at least one of the two environments applies.
    pub(super) fn either(self, other: Env) -> Env {
        if self.is_impossible() {
            return other;
        }
        if other.is_impossible() {
            return self;
        }
        let places: BTreeSet<&Place> = self.types.keys().chain(other.types.keys()).collect();
        let types = places.into_iter().map(|place| (place.clone(), self.get(place).either(other.get(place)))).collect();
        let same = self.same.intersection(&other.same).cloned().collect();
        Env { types, same }
    }
}

/// Returns the last step of a path, and the path of the map or list that contains it.
fn above(place: &Place) -> Option<(&PathStep, Place)> {
    let (last, steps) = place.steps.split_last()?;
    if place.root == Root::Item && steps.is_empty() {
        return None;
    }
    Some((last, Place { root: place.root, steps: steps.to_vec() }))
}

fn holder(step: &PathStep) -> Kinds {
    match step {
        PathStep::Name(_) => Kinds::M,
        PathStep::Index(_) => Kinds::L,
    }
}
