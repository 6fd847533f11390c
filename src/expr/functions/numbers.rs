//! Functions of numbers. All are exact.

use std::cmp::Ordering;

use bigdecimal::{BigDecimal, Signed};

use crate::expr::decimal::{self, Rounding};
use crate::expr::function::{Fails, Form, Function, Overload, Prepared, Returns, Stop, Style, list, overload, p};
use crate::expr::run::{Fail, Run};
use crate::expr::types::Kinds;
use crate::expr::value::{Val, View};
use crate::item::Num;

const N: Kinds = Kinds::N;
const NUMBER: Returns = Returns::Kinds(Kinds::N);

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "math.abs",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "The number without its sign.",
        examples: &[("math.abs(-1.5)", "1.5")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| one(args, |n| n.abs()),
    },
    Function {
        name: "math.sign",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "-1, 0 or 1: the sign of the number.",
        examples: &[("math.sign(-7)", "-1")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| {
            one(args, |n| BigDecimal::from(if n.is_negative() { -1 } else { i32::from(n.is_positive()) }))
        },
    },
    Function {
        name: "math.floor",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "The number, rounded down to a whole number.",
        examples: &[("math.floor(-1.5)", "-2")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| one(args, |n| decimal::round(n, Rounding::Down)),
    },
    Function {
        name: "math.ceil",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "The number, rounded up to a whole number.",
        examples: &[("math.ceil(1.2)", "2")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| one(args, |n| decimal::round(n, Rounding::Up)),
    },
    Function {
        name: "math.round",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "The nearest whole number. A half is rounded away from zero.",
        examples: &[("math.round(2.5)", "3"), ("math.round(-2.5)", "-3")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| one(args, |n| decimal::round(n, Rounding::Nearest)),
    },
    Function {
        name: "math.trunc",
        style: Style::Global,
        overloads: &[overload(&[p(N)], NUMBER)],
        about: "The number without its decimals.",
        examples: &[("math.trunc(-1.7)", "-1")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| one(args, |n| decimal::round(n, Rounding::TowardsZero)),
    },
    Function {
        name: "math.greatest",
        style: Style::Global,
        overloads: EXTREME,
        about: "The greatest of the numbers.",
        examples: &[("math.greatest(1, 2.5)", "2.5"), ("math.greatest([3, 1, 2])", "3")],
        fails: Fails::Unless(has_numbers, "the list is empty"),
        constant: None,
        body: |run, args, _| extreme(run, args, Ordering::Greater),
    },
    Function {
        name: "math.least",
        style: Style::Global,
        overloads: EXTREME,
        about: "The least of the numbers.",
        examples: &[("math.least(1, 2.5)", "1"), ("math.least([3, 1, 2])", "1")],
        fails: Fails::Unless(has_numbers, "the list is empty"),
        constant: None,
        body: |run, args, _| extreme(run, args, Ordering::Less),
    },
    Function {
        name: "number",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::S)], NUMBER)],
        about: "The number that a text contains: digits with an optional sign, decimals and exponent, nothing else.",
        examples: &[(r#"number("-12.50")"#, "-12.5"), (r#"number("1E-130") < 1"#, "true")],
        fails: Fails::Sometimes("the text is not a number that DynamoDB can store"),
        constant: None,
        body: number,
    },
];

const EXTREME: &[Overload] =
    &[overload(&[p(N), p(N)], NUMBER), overload(&[p(N), p(N), p(N)], NUMBER), overload(&[list(N)], NUMBER)];

fn one<'a>(args: &[Val<'a>], f: impl FnOnce(&BigDecimal) -> BigDecimal) -> Result<Val<'a>, Stop> {
    let number = args[0].view().number().ok_or(Stop::Types)?;
    let too_large = || Stop::Limit(Fail::limit(decimal::TOO_LARGE));
    decimal::checked(f(&number)).map(Val::Number).ok_or_else(too_large)
}

fn has_numbers(args: &[Form<'_>]) -> bool {
    match args {
        [Form::Const(list)] => list.view().list().is_some_and(|list| !list.is_empty()),
        [Form::WrittenList] | [_, _, ..] => true,
        [Form::Other] | [] => false,
    }
}

fn extreme<'a>(run: &mut Run<'a>, args: &[Val<'a>], wanted: Ordering) -> Result<Val<'a>, Stop> {
    let views: Vec<View<'_>> = match args {
        [one] => one.view().list().ok_or(Stop::Types)?.iter().map(View::of).collect(),
        several => several.iter().map(Val::view).collect(),
    };
    run.spend(1 + views.len() as u64)?;
    let mut best: Option<BigDecimal> = None;
    for view in views {
        let number = match view.number() {
            Some(number) => number,
            None if args.len() == 1 => return Err(Stop::reason("an element of the list is not of type N")),
            None => return Err(Stop::Types),
        };
        if best.as_ref().is_none_or(|best| number.as_ref().cmp(best) == wanted) {
            best = Some(number.into_owned());
        }
    }
    best.map(Val::Number).ok_or(Stop::reason("the list is empty"))
}

fn number<'a>(_: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let text = args[0].view().text().ok_or(Stop::Types)?;
    let num = Num::parse(text)
        .map_err(|error| Stop::reason(format!("the text is not a number that DynamoDB can store: {error}")))?;
    decimal::parse(&num).map(Val::Number).ok_or(Stop::Types)
}
