//! What follows about paths from a condition that is true, or from one that is false.

use super::env::Env;
use crate::expr::node::{MacroKind, Node, NodeForm, Place, Root};
use crate::expr::types::{Kind, Kinds, Type, kind_of};
use crate::expr::value::{Const, View};

/// Returns what is known where the condition has this value.
pub(super) fn narrowed(condition: &Node, truth: bool, env: &Env) -> Env {
    let mut env = env.clone();
    match &condition.form {
        NodeForm::Not(a) => return narrowed(a, !truth, &env),
        NodeForm::And(a, b) if truth => return narrowed(b, true, &narrowed(a, true, &env)),
        NodeForm::Or(a, b) if !truth => return narrowed(b, false, &narrowed(a, false, &env)),
        NodeForm::And(a, b) | NodeForm::Or(a, b) => {
            let first = narrowed(a, truth, &env);
            return first.either(narrowed(b, truth, &narrowed(a, !truth, &env)));
        }
        NodeForm::Has(place) => {
            let kinds = if truth { Kinds::STORED } else { Kinds::MISSING };
            env.keep(place, kinds);
        }
        NodeForm::Equal(a, b, negated) => {
            let equal = truth != *negated;
            compared(a, b, equal, &mut env);
            compared(b, a, equal, &mut env);
        }
        NodeForm::In(a, b) => {
            if let (Some(place), Some(names)) = (tested(a), names(b)) {
                keep_or_drop(place, names, truth, &mut env);
            }
        }
        NodeForm::Macro(of) if of.kind == MacroKind::All && truth => {
            if let Some(place) = of.range.place()
                && env.get(place).kinds.is_within(Kinds::L)
            {
                let is = env.get(place);
                let variable = Place { root: Root::Variable(of.slot), steps: Vec::new() };
                let mut inner = env.clone();
                inner.set(&variable, Type::of(is.elements));
                let elements = narrowed(&of.body, true, &inner).get(&variable).kinds;
                env.set(place, Type { elements: is.elements.and(elements), ..is });
            }
        }
        NodeForm::Const(_)
        | NodeForm::StartedAt
        | NodeForm::Place(_)
        | NodeForm::Member(..)
        | NodeForm::Index(..)
        | NodeForm::HasMember(..)
        | NodeForm::TypeOf(_)
        | NodeForm::If(..)
        | NodeForm::Operation(..)
        | NodeForm::List(_)
        | NodeForm::Map(_)
        | NodeForm::Macro(_)
        | NodeForm::Call(..) => {}
    }
    env
}

/// Returns the path whose type a part tests.
fn tested(node: &Node) -> Option<&Place> {
    if let NodeForm::TypeOf(of) = &node.form { of.place() } else { None }
}

/// Returns the types that a constant text or list of texts names.
fn names(node: &Node) -> Option<Kinds> {
    let view = node.constant()?.view();
    let named = |view: View<'_>| view.text().map(|name| Kind::named(name).map_or(Kinds::NONE, Kinds::one));
    match view.list() {
        Some(list) => list.iter().try_fold(Kinds::NONE, |all, name| Some(all.or(named(View::of(name))?))),
        None => named(view),
    }
}

fn keep_or_drop(place: &Place, kinds: Kinds, keep: bool, env: &mut Env) {
    let all = Kinds::VALUES.or(Kinds::MISSING);
    env.keep(place, if keep { kinds } else { all.without(kinds) });
}

fn compared(a: &Node, b: &Node, equal: bool, env: &mut Env) {
    if let Some(place) = tested(a) {
        if let Some(other) = tested(b) {
            if equal {
                env.set_same(place, other);
            }
        } else if let Some(kinds) = names(b).filter(|_| b.constant().is_some_and(|value| value.text().is_some())) {
            keep_or_drop(place, kinds, equal, env);
        }
    }
    if let (Some(place), Some(value)) = (a.place(), b.constant()) {
        let kind = kind(value);
        if equal {
            env.keep(place, kind);
        } else if kind == Kinds::NULL {
            keep_or_drop(place, kind, false, env);
        }
    }
}

fn kind(value: &Const) -> Kinds {
    Kinds::one(kind_of(&value.view()))
}
