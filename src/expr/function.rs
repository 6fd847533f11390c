//! The form of an operator or function: its overloads, its documentation, and its code.

use std::borrow::Cow;
use std::fmt;

use jiff::tz::TimeZone;
use regex::Regex;

use super::run::{Fail, Res, Run};
use super::types::{Kind, Kinds, Type, kind_of};
use super::value::{Const, Val};

/// The values that one parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Param {
    pub(super) kinds: Kinds,
    /// The kinds of the elements, if the value is a list.
    pub(super) elements: Kinds,
}

/// One combination of types that an operator or function takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overload {
    pub(super) params: &'static [Param],
    pub(super) result: Returns,
}

/// The type of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returns {
    /// One of these kinds. If the result is a list, its elements have any type.
    Kinds(Kinds),
    /// A list whose elements have one of these kinds.
    List(Kinds),
    /// A list of the elements of the list arguments, or of the members of a set.
    SameList,
    /// One of the elements of the first argument, or the first argument itself.
    Element,
    /// A list of the elements of the first argument's inner lists.
    Flat,
}

/// When a call with arguments of the right types has no result.
#[derive(Clone, Copy)]
pub(super) enum Fails {
    Never,
    /// For some values, for this reason.
    Sometimes(&'static str),
    /// For some values, for this reason. The call always has a result if the function returns true for the forms of the
    /// arguments.
    Unless(fn(&[Form<'_>]) -> bool, &'static str),
}

/// What the source of an expression shows about an argument.
pub(super) enum Form<'n> {
    Const(&'n Const),
    /// A list that is written out, with at least one element.
    WrittenList,
    Other,
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)`
    Global,
    /// `x.f()`
    Method,
    /// Either way.
    Both,
}

/// An argument that must be a constant, because it is checked and prepared when the plan is loaded.
#[derive(Debug, Clone)]
pub(super) enum Prepared {
    Nothing,
    Pattern(Box<Regex>),
    Zone(TimeZone),
}

/// Prepares a constant argument, or says what is wrong with it.
pub(super) type Prepare = fn(&Const) -> Result<Prepared, String>;

/// Why a function has no result.
pub(super) enum Stop {
    /// The function does not take arguments of these types.
    Types,
    /// The function has no result for these values.
    Reason(Cow<'static, str>),
    /// A limit is reached.
    Limit(Box<Fail>),
}

impl From<Box<Fail>> for Stop {
    fn from(fail: Box<Fail>) -> Stop {
        Stop::Limit(fail)
    }
}

impl Stop {
    pub(super) fn reason(text: impl Into<Cow<'static, str>>) -> Stop {
        Stop::Reason(text.into())
    }
}

/// The code of a function.
pub(super) type Body = for<'a> fn(&mut Run<'a>, &mut [Val<'a>], &Prepared) -> Result<Val<'a>, Stop>;

/// A function.
pub(super) struct Function {
    /// The name, with its namespace: `math.abs`.
    pub(super) name: &'static str,
    pub(super) style: Style,
    pub(super) overloads: &'static [Overload],
    /// One sentence for the reference.
    pub(super) about: &'static str,
    /// Expressions and their results.
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) fails: Fails,
    /// The argument that must be a constant, by position.
    pub(super) constant: Option<(usize, Prepare)>,
    pub(super) body: Body,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(super) const fn p(kinds: Kinds) -> Param {
    Param { kinds, elements: Kinds::STORED }
}

pub(super) const fn list(elements: Kinds) -> Param {
    Param { kinds: Kinds::L, elements }
}

pub(super) const fn overload(params: &'static [Param], result: Returns) -> Overload {
    Overload { params, result }
}

impl Returns {
    /// Returns the type of the result for these arguments.
    pub(super) fn of(self, args: &[Type]) -> Type {
        let members = || args.iter().fold(Kinds::NONE, |all, arg| all.or(arg.members()));
        match self {
            Returns::Kinds(kinds) => Type::of(kinds),
            Returns::List(elements) => Type::list(elements),
            Returns::SameList => Type::list(members()),
            Returns::Element => Type::of(members()),
            Returns::Flat => {
                let all = members();
                Type::list(if all.has(Kind::L) { Kinds::STORED } else { all })
            }
        }
    }
}

/// Returns the kinds that an operator or function takes as argument `at`, if the other arguments have these kinds.
/// Empty if no overload fits the others.
pub(super) fn takes(overloads: &[Overload], at: usize, args: &[Kinds]) -> Kinds {
    let fits = |overload: &&Overload| {
        overload.params.len() == args.len()
            && overload
                .params
                .iter()
                .zip(args)
                .enumerate()
                .all(|(i, (param, kinds))| i == at || kinds.is_empty() || !param.kinds.and(*kinds).is_empty())
    };
    overloads.iter().filter(fits).fold(Kinds::NONE, |all, overload| all.or(overload.params[at].kinds))
}

/// Returns the kinds that an operator or function takes as argument `at` of `count` arguments, whatever the other
/// arguments are.
pub(super) fn takes_at_all(overloads: &[Overload], at: usize, count: usize) -> Kinds {
    takes(overloads, at, &vec![Kinds::NONE; count])
}

/// Explains why an operator or function does not take these values. `parts` are the texts of the arguments.
pub(super) fn mismatch(name: &str, overloads: &[Overload], parts: &[&str], args: &[Val<'_>]) -> Box<Fail> {
    let kinds: Vec<Kinds> = args.iter().map(|arg| Kinds::one(kind_of(&arg.view()))).collect();
    for (at, (part, kind)) in parts.iter().zip(&kinds).enumerate() {
        let mut takes = takes(overloads, at, &kinds);
        if takes.is_empty() {
            takes = takes_at_all(overloads, at, kinds.len());
        }
        if !kind.is_within(takes) {
            return Fail::new(format!("`{part}` is of {kind}, and `{name}` needs {takes} here"));
        }
    }
    let parts: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
    Fail::new(format!("`{name}` has no result for the types of {}", parts.join(" and ")))
}

/// Converts the reason why a function has no result to an error that names the part of the expression.
pub(super) fn explain<'a>(
    result: Result<Val<'a>, Stop>,
    part: &str,
    types: impl FnOnce() -> Box<Fail>,
) -> Res<Val<'a>> {
    result.map_err(|stop| match stop {
        Stop::Types => types(),
        Stop::Reason(why) => Fail::new(format!("`{part}` has no result: {why}")),
        Stop::Limit(fail) => Box::new(Fail { text: format!("`{part}` has no result: {}", fail.text), ..*fail }),
    })
}
