//! Finds the parts of an expression that have no result for some items. The analysis follows the types of all parts
//! from left to right: a test such as `has(item.a)` or `type(item.a) == "S"` narrows the types in the parts that follow
//! it.

mod apply;
mod blame;
mod env;
mod narrow;

use std::collections::BTreeMap;

use self::env::Env;
use self::narrow::narrowed;
use super::error::ExprError;
use super::function::{Overload, Returns, overload, p};
use super::node::{ELEMENT_SLOT, MacroKind, MacroNode, Node, NodeForm, Place, Root};
use super::types::{Kinds, Type, kind_of};
use super::value::{Const, View};
use crate::item::{Path, PathStep};

/// The findings of the analysis.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Parts that never have a result.
    pub(super) errors: Vec<ExprError>,
    /// Parts that have no result for some items.
    pub(super) faults: Vec<ExprError>,
    /// The kinds of value that a result can have.
    pub(super) result: Kinds,
}

/// What is known about a path in every item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownType {
    Exactly(Kinds),
    /// The path has a value of a key type. The exact type will be known later.
    Later,
}

/// Follows the types through an expression whose result must be of one of these kinds. If the expression belongs to an
/// element of a list or map, the element can have any type. The expression is evaluated only for items for which each
/// of the `guards` is true.
pub(super) fn check(
    source: &str,
    root: &Node,
    known: &BTreeMap<Path, KnownType>,
    guards: &[&Node],
    result: Kinds,
    in_element: bool,
) -> Findings {
    let mut env = Env::default();
    if in_element {
        env.set(&Place { root: Root::Variable(ELEMENT_SLOT), steps: Vec::new() }, Type::of(Kinds::STORED));
    }
    for (path, is) in known {
        let place = Place { root: Root::Item, steps: path.steps().to_vec() };
        let is = match is {
            KnownType::Exactly(kinds) => Type::of(*kinds),
            KnownType::Later => Type { open: true, ..Type::of(Kinds::KEYS) },
        };
        env.set(&place, is);
    }
    env = guards.iter().fold(env, |env, guard| narrowed(guard, true, &env));
    let is_condition = result == Kinds::BOOL;
    let mut check = Check { source, is_condition, findings: Findings::default() };
    let is = check.value(root, &mut env);
    check.findings.result = is.kinds.and(result);
    let what = if is_condition { "a condition" } else { "an attribute" };
    check.need(root, is, result, what, &mut env);
    for list in [&mut check.findings.errors, &mut check.findings.faults] {
        list.sort_by_key(|error| (error.span.start, error.span.end));
        list.dedup();
    }
    check.findings
}

struct Check<'c> {
    source: &'c str,
    is_condition: bool,
    findings: Findings,
}

/// The overloads of `list[i]` and `map[key]`.
const INDEX: &[Overload] = &[
    overload(&[p(Kinds::L), p(Kinds::N)], Returns::Element),
    overload(&[p(Kinds::M), p(Kinds::S)], Returns::Kinds(Kinds::STORED)),
];

impl Check<'_> {
    /// Returns the type of a part. The type of a path can include MISSING. A part that uses the path's value calls
    /// `need`.
    fn value(&mut self, node: &Node, env: &mut Env) -> Type {
        match &node.form {
            NodeForm::Const(value) => type_of(value),
            NodeForm::StartedAt => Type::of(Kinds::TIMESTAMP),
            NodeForm::Place(place) => env.get(place),
            NodeForm::Has(_) => Type::of(Kinds::BOOL),
            NodeForm::Member(of, step) => {
                let holder = match step {
                    PathStep::Name(_) => Kinds::M,
                    PathStep::Index(_) => Kinds::L,
                };
                let of = self.used(of, holder, "a member", env);
                match step {
                    PathStep::Name(_) => Type::UNKNOWN,
                    PathStep::Index(_) => Type::of(of.elements.or(Kinds::MISSING)),
                }
            }
            NodeForm::HasMember(of, _) => {
                self.used(of, Kinds::VALUES, "has()", env);
                Type::of(Kinds::BOOL)
            }
            NodeForm::Index(of, at) => {
                let is = self.apply("an index", INDEX, &[of, at], node, env);
                Type { kinds: is.kinds.or(Kinds::MISSING), ..is }
            }
            NodeForm::TypeOf(of) => {
                if of.place().is_none() {
                    self.used(of, Kinds::VALUES, "type()", env);
                }
                Type::of(Kinds::S)
            }
            NodeForm::Not(a) => {
                self.used(a, Kinds::BOOL, "`!`", env);
                Type::of(Kinds::BOOL)
            }
            NodeForm::And(a, b) => {
                self.used(a, Kinds::BOOL, "`&&`", env);
                self.used(b, Kinds::BOOL, "`&&`", &mut narrowed(a, true, env));
                Type::of(Kinds::BOOL)
            }
            NodeForm::Or(a, b) => {
                self.used(a, Kinds::BOOL, "`||`", env);
                self.used(b, Kinds::BOOL, "`||`", &mut narrowed(a, false, env));
                Type::of(Kinds::BOOL)
            }
            NodeForm::If(condition, yes, no) => {
                self.used(condition, Kinds::BOOL, "`?:`", env);
                let yes = self.used(yes, Kinds::VALUES, "`?:`", &mut narrowed(condition, true, env));
                let no = self.used(no, Kinds::VALUES, "`?:`", &mut narrowed(condition, false, env));
                yes.either(no)
            }
            NodeForm::Equal(a, b, negated) => {
                let (is_a, is_b) = (self.value(a, env), self.value(b, env));
                self.equal(node, (a, is_a), (b, is_b), if *negated { "`!=`" } else { "`==`" }, env);
                Type::of(Kinds::BOOL)
            }
            NodeForm::In(a, b) => {
                let (is_a, is_b) = (self.value(a, env), self.value(b, env));
                let is_b = self.need(b, is_b, Kinds::COLLECTIONS, "`in`", env);
                self.is_in(node, (a, is_a), (b, is_b), env);
                Type::of(Kinds::BOOL)
            }
            NodeForm::Operation(operator, args) => {
                let args: Vec<&Node> = args.iter().collect();
                let is = self.apply(&format!("`{operator}`"), operator.overloads(), &args, node, env);
                self.fails(operator.fails(), &args, node, env);
                is
            }
            NodeForm::Call(function, _, args) => {
                let args: Vec<&Node> = args.iter().collect();
                let is = self.apply(&format!("`{}`", function.name), function.overloads, &args, node, env);
                self.fails(function.fails, &args, node, env);
                is
            }
            NodeForm::List(elements) => {
                let all = elements
                    .iter()
                    .fold(Kinds::NONE, |all, element| all.or(self.used(element, Kinds::STORED, "a list", env).kinds));
                Type::list(all)
            }
            NodeForm::Map(entries) => {
                for (_, value) in entries {
                    self.used(value, Kinds::STORED, "a map", env);
                }
                Type::of(Kinds::M)
            }
            NodeForm::Macro(of) => self.a_macro(of, env),
        }
    }

    /// Checks a part that must be of one of these kinds, and returns its type.
    fn used(&mut self, node: &Node, needed: Kinds, what: &str, env: &mut Env) -> Type {
        let is = self.value(node, env);
        self.need(node, is, needed, what, env)
    }

    fn a_macro(&mut self, of: &MacroNode, env: &mut Env) -> Type {
        let name = format!("`{}`", of.kind.name());
        let range = self.used(&of.range, Kinds::COLLECTIONS, &name, env);
        let variable = Place { root: Root::Variable(of.slot), steps: Vec::new() };
        let mut inner = env.clone();
        inner.set(&variable, Type::of(range.members()));
        if range.members().is_empty() {
            // The list is empty, so the body is never evaluated.
            return if matches!(of.kind, MacroKind::Map | MacroKind::Filter) {
                Type::list(Kinds::NONE)
            } else {
                Type::of(Kinds::BOOL)
            };
        }
        if let Some(filter) = &of.filter {
            self.used(filter, Kinds::BOOL, &name, &mut inner);
            inner = narrowed(filter, true, &inner);
        }
        match of.kind {
            MacroKind::Map => Type::list(self.used(&of.body, Kinds::STORED, &name, &mut inner).kinds),
            MacroKind::Filter => {
                self.used(&of.body, Kinds::BOOL, &name, &mut inner);
                Type::list(narrowed(&of.body, true, &inner).get(&variable).kinds)
            }
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne => {
                self.used(&of.body, Kinds::BOOL, &name, &mut inner);
                Type::of(Kinds::BOOL)
            }
        }
    }
}

fn type_of(value: &Const) -> Type {
    let view = value.view();
    let kinds = Kinds::one(kind_of(&view));
    match view.list() {
        Some(list) => Type {
            elements: list.iter().fold(Kinds::NONE, |all, one| all.or(Kinds::one(kind_of(&View::of(one))))),
            ..Type::of(kinds)
        },
        None => Type::of(kinds),
    }
}
