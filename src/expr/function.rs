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

/// One combination of types that an operator or function accepts.
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
    /// For some values, for this reason. The predicate takes the forms of the arguments, and returns true if such a
    /// call always has a result.
    Unless(fn(&[Form<'_>]) -> bool, &'static str),
}

/// What the source of an expression shows about an argument.
pub(super) enum Form<'n> {
    Const(&'n Const),
    /// A list literal with at least one element.
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
    Pattern {
        pattern: Box<Regex>,
        /// The approximate size of the compiled pattern.
        bytes: usize,
        /// The approximate size without the tables of Unicode classes. This size determines the cost of a match.
        states: usize,
    },
    Zone(TimeZone),
}

/// Prepares a constant argument, or says what is wrong with it.
pub(super) type Prepare = fn(&Const) -> Result<Prepared, String>;

/// Why a function has no result.
pub(super) enum Stop {
    /// The function does not accept arguments of these types.
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

/// Returns the kinds that an operator or function accepts as argument `at`, if the other arguments have these kinds.
/// Empty if no overload fits the other arguments.
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

/// Returns the kinds that an operator or function accepts as argument `at` of `count` arguments, for any kinds of the
/// other arguments.
pub(super) fn takes_at_all(overloads: &[Overload], at: usize, count: usize) -> Kinds {
    takes(overloads, at, &vec![Kinds::NONE; count])
}

/// The argument to blame when no overload accepts the combination of arguments.
pub(super) struct WrongArgument {
    /// The position of the argument.
    pub(super) at: usize,
    /// The kinds that it should have.
    pub(super) needed: Kinds,
}

/// Returns the argument to blame if no overload accepts the combination of arguments. `args` contains the kinds that
/// each argument can have.
///
/// In such a combination, each argument can look wrong because of the others. First choice: an argument that no
/// overload accepts in any combination. Last choice: a constant, because the author knows its type. Otherwise, blames
/// the last argument, because the earlier arguments set the author's expectation.
pub(super) fn wrong_argument(
    overloads: &[Overload],
    args: &[Kinds],
    is_constant: impl Fn(usize) -> bool,
) -> Option<WrongArgument> {
    let present: Vec<Kinds> = args.iter().map(|kinds| kinds.without(Kinds::MISSING)).collect();
    let at_all = |at| takes_at_all(overloads, at, args.len());
    let wrong = (0..args.len()).filter_map(|at| {
        let mut needed = takes(overloads, at, &present);
        if needed.is_empty() {
            needed = at_all(at);
        }
        args[at].and(needed).is_empty().then_some(WrongArgument { at, needed })
    });
    wrong.max_by_key(|wrong| (args[wrong.at].and(at_all(wrong.at)).is_empty(), !is_constant(wrong.at), wrong.at))
}

/// Explains why an operator or function does not accept these values. `parts` contains the text of each argument, and
/// whether the argument is a constant.
pub(super) fn mismatch(name: &str, overloads: &[Overload], parts: &[(&str, bool)], args: &[Val<'_>]) -> Box<Fail> {
    let kinds: Vec<Kinds> = args.iter().map(|arg| Kinds::one(kind_of(&arg.view()))).collect();
    let is_constant = |at: usize| parts.get(at).is_some_and(|(_, is_constant)| *is_constant);
    if let Some(WrongArgument { at, needed }) = wrong_argument(overloads, &kinds, is_constant)
        && let Some((part, _)) = parts.get(at)
    {
        return Fail::new(format!("`{part}` is of {}, and `{name}` needs {needed} here", kinds[at]));
    }
    let parts: Vec<String> = parts.iter().map(|(part, _)| format!("`{part}`")).collect();
    Fail::new(format!("`{name}` has no result for the types of {}", parts.join(" and ")))
}

/// Converts the reason why a function has no result to an error. The error names the part of the expression.
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
