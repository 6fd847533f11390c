//! The types of operators, functions, `==` and `in`.

use super::Check;
use super::env::Env;
use crate::expr::function::{Fails, Form, Overload, takes, takes_at_all, wrong_argument};
use crate::expr::node::{Node, NodeForm};
use crate::expr::types::{Kind, Kinds, Type};

impl Check<'_> {
    /// Checks the arguments of an operator or function, and returns the type of its result.
    pub(super) fn apply(
        &mut self,
        what: &str,
        overloads: &[Overload],
        args: &[&Node],
        node: &Node,
        env: &mut Env,
    ) -> Type {
        let types: Vec<Type> = args.iter().map(|arg| self.value(arg, env)).collect();
        let kinds: Vec<Kinds> = types.iter().map(|is| is.kinds).collect();
        // One wrong argument makes the others look wrong, so report only one.
        if let Some(wrong) = wrong_argument(overloads, &kinds, |at| args[at].constant().is_some()) {
            self.need(args[wrong.at], types[wrong.at], wrong.needed, what, env);
            let reached = overloads.iter().filter(|overload| overload.params.len() == args.len());
            let results = reached.map(|overload| overload.result.of(&types));
            return Type { open: true, ..results.reduce(Type::either).unwrap_or(Type::of(Kinds::VALUES)) };
        }
        let present: Vec<Kinds> = kinds.iter().map(|kinds| kinds.without(Kinds::MISSING)).collect();
        let mut fitting = Vec::new();
        for (at, (arg, is)) in args.iter().zip(&types).enumerate() {
            let mut needed = takes(overloads, at, &present);
            if needed.is_empty() {
                needed = takes_at_all(overloads, at, args.len());
            }
            fitting.push(self.need(arg, *is, needed, what, env));
        }
        self.combinations(what, overloads, args, &fitting, node, env)
    }

    /// Checks every combination of kinds that the arguments can have.
    fn combinations(
        &mut self,
        what: &str,
        overloads: &[Overload],
        args: &[&Node],
        types: &[Type],
        node: &Node,
        env: &Env,
    ) -> Type {
        let same = matches!(args, [a, b] if matches!((a.place(), b.place()), (Some(a), Some(b)) if env.is_same(a, b)));
        let (mut likely, mut possible): (Option<Type>, Option<Type>) = (None, None);
        let mut refused = false;
        for combination in combinations(types) {
            if same && combination.first() != combination.get(1) {
                continue;
            }
            let mut is_taken = false;
            for overload in overloads.iter().filter(|overload| overload.params.len() == args.len()) {
                let each = || overload.params.iter().zip(&combination).zip(types);
                if !each().all(|((param, kind), _)| param.kinds.has(*kind)) {
                    continue;
                }
                let lists = || each().filter(|((_, kind), _)| **kind == Kind::L);
                is_taken |= lists().all(|((param, _), is)| is.elements.is_within(param.elements));
                let kinds: Vec<Type> = each().map(|((_, kind), is)| is.only(Kinds::one(*kind))).collect();
                let of = overload.result.of(&kinds);
                let either = |before: Option<Type>| Some(before.map_or(of, |before| before.either(of)));
                possible = either(possible);
                let fits = |is: &Type, elements: Kinds| is.elements.is_empty() || !is.elements.and(elements).is_empty();
                if lists().all(|((param, _), is)| fits(is, param.elements)) {
                    likely = either(likely);
                }
            }
            refused |= !is_taken;
        }
        let is_open = types.iter().any(|is| is.open);
        if refused && !is_open {
            let label = match args {
                [one] => format!("an element of `{}` can be of a type that {what} does not accept", self.text(one)),
                several => {
                    let parts: Vec<String> = several.iter().map(|arg| format!("`{}`", self.text(arg))).collect();
                    format!("{} can have a combination of types that {what} does not accept", parts.join(" and "))
                }
            };
            let guard = elements_guard(self, args, overloads);
            self.fault(node, label, guard, env);
        }
        // A list whose elements fit no overload can still be empty.
        let result = likely.or(possible).unwrap_or(Type::of(Kinds::NONE));
        Type { open: is_open && result.kinds.len() > 1, ..result }
    }

    /// Reports a call that has no result for some arguments of the right types.
    pub(super) fn fails(&mut self, fails: Fails, args: &[&Node], node: &Node, env: &Env) {
        let why = match fails {
            Fails::Never => return,
            Fails::Sometimes(why) => why,
            Fails::Unless(is_safe, why) => {
                let forms: Vec<Form<'_>> = args.iter().map(|arg| form(arg)).collect();
                if is_safe(&forms) {
                    return;
                }
                why
            }
        };
        self.fault(node, format!("there is no result if {why}"), None, env);
    }

    /// Checks the operands of `==` and `!=`: values of one type, or NULL.
    pub(super) fn equal(&mut self, node: &Node, a: (&Node, Type), b: (&Node, Type), what: &str, env: &mut Env) {
        let comparable = |other: Type| {
            let kinds = other.kinds.without(Kinds::MISSING);
            if kinds.has(Kind::Null) || kinds.is_empty() { Kinds::VALUES } else { kinds.or(Kinds::NULL) }
        };
        // Blame the right side, because the left side set the author's expectation. The exception is a constant on the
        // right side. Then blame the left side, because the author knows the type of a constant.
        let is_right_first = b.0.constant().is_none();
        let (first, second) = if is_right_first { (b, a) } else { (a, b) };
        let before = self.findings.errors.len();
        let first_type = self.need(first.0, first.1, comparable(second.1), what, env);
        if self.findings.errors.len() > before {
            return;
        }
        let second_type = self.need(second.0, second.1, comparable(first.1), what, env);
        let (left, right) = if is_right_first { (second_type, first_type) } else { (first_type, second_type) };
        let is_same = matches!((a.0.place(), b.0.place()), (Some(a), Some(b)) if env.is_same(a, b));
        if is_same || left.open || right.open {
            return;
        }
        let differ =
            left.kinds.iter().any(|l| right.kinds.iter().any(|r| l != r && l != Kind::Null && r != Kind::Null));
        if differ {
            let (a, b) = (self.text(a.0), self.text(b.0));
            let guard = format!("type({a}) == type({b})");
            self.fault(node, format!("`{a}` and `{b}` can be of different types"), Some(guard), env);
        }
    }

    /// Checks the operands of `in`.
    pub(super) fn is_in(&mut self, node: &Node, a: (&Node, Type), b: (&Node, Type), env: &mut Env) {
        let members = b.1.members();
        let nothing = b.1.kinds.is_empty() || members.is_empty();
        let in_list = b.1.kinds.has(Kind::L);
        let needed = match (nothing, in_list) {
            (true, _) => Kinds::VALUES,
            (false, true) if members.has(Kind::Null) => Kinds::VALUES,
            (false, true) => members.or(Kinds::NULL),
            (false, false) => members,
        };
        let before = self.findings.errors.len();
        let left = self.need(a.0, a.1, needed, "`in`", env);
        if nothing || left.open || self.findings.errors.len() > before {
            return;
        }
        let refused = left.kinds.iter().any(|kind| {
            b.1.kinds.iter().any(|of| {
                let members = Type { kinds: Kinds::one(of), ..b.1 }.members();
                let same = Kinds::one(kind);
                let comparable = if of == Kind::L { same.or(Kinds::NULL) } else { same };
                !(members.is_within(comparable) || (of == Kind::L && kind == Kind::Null))
            })
        });
        if refused {
            let (value, list) = (self.text(a.0), self.text(b.0));
            let label = format!("`{value}` and an element of `{list}` can be of different types");
            let guard = in_list.then(|| b.0.place()).flatten().and_then(|_| all_of(&list, left.kinds));
            self.fault(node, label, guard, env);
        }
    }
}

/// Returns a guard: a test that ensures that the arguments or list elements have types that the function accepts.
fn elements_guard(check: &Check<'_>, args: &[&Node], overloads: &[Overload]) -> Option<String> {
    let list = args.first().filter(|first| first.place().is_some())?;
    let first = overloads.first()?.params.first()?;
    if first.elements == Kinds::STORED || !first.kinds.has(Kind::L) {
        let [a, b] = args else { return None };
        b.place()?;
        overloads.iter().find(|overload| matches!(overload.params, [a, b] if a == b))?;
        return Some(format!("type({}) == type({})", check.text(a), check.text(b)));
    }
    all_of(&check.text(list), first.elements)
}

fn all_of(list: &str, kinds: Kinds) -> Option<String> {
    let kind = kinds.without(Kinds::NULL).iter().next()?;
    Some(format!("type({list}) == \"L\" && {list}.all(x, type(x) == \"{}\")", kind.name()))
}

/// Returns what the source shows about an argument.
fn form(node: &Node) -> Form<'_> {
    if let Some(value) = node.constant() {
        return Form::Const(value);
    }
    if let NodeForm::List(elements) = &node.form
        && !elements.is_empty()
    {
        return Form::WrittenList;
    }
    Form::Other
}

fn combinations(types: &[Type]) -> Vec<Vec<Kind>> {
    types.iter().fold(vec![Vec::new()], |all, is| {
        all.iter()
            .flat_map(|before| is.kinds.iter().map(|kind| before.iter().copied().chain([kind]).collect()))
            .collect()
    })
}
