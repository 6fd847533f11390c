//! The overloads of the operators.

use super::function::{Form, Overload, Returns, overload, p};
use super::node::Operator;
use super::types::Kinds;
use super::value::View;
use super::{decimal, function::Fails};

const S: Kinds = Kinds::S;
const N: Kinds = Kinds::N;
const B: Kinds = Kinds::B;
const T: Kinds = Kinds::TIMESTAMP;
const D: Kinds = Kinds::DURATION;
const BOOL: Returns = Returns::Kinds(Kinds::BOOL);

const ADD: &[Overload] = &[
    overload(&[p(S), p(S)], Returns::Kinds(S)),
    overload(&[p(N), p(N)], Returns::Kinds(N)),
    overload(&[p(B), p(B)], Returns::Kinds(B)),
    overload(&[p(Kinds::L), p(Kinds::L)], Returns::SameList),
    overload(&[p(T), p(D)], Returns::Kinds(T)),
    overload(&[p(D), p(T)], Returns::Kinds(T)),
    overload(&[p(D), p(D)], Returns::Kinds(D)),
];

const SUBTRACT: &[Overload] = &[
    overload(&[p(N), p(N)], Returns::Kinds(N)),
    overload(&[p(T), p(T)], Returns::Kinds(D)),
    overload(&[p(T), p(D)], Returns::Kinds(T)),
    overload(&[p(D), p(D)], Returns::Kinds(D)),
];

const NUMBERS: &[Overload] = &[overload(&[p(N), p(N)], Returns::Kinds(N))];

const NEGATE: &[Overload] = &[overload(&[p(N)], Returns::Kinds(N)), overload(&[p(D)], Returns::Kinds(D))];

const COMPARE: &[Overload] = &[
    overload(&[p(S), p(S)], BOOL),
    overload(&[p(N), p(N)], BOOL),
    overload(&[p(B), p(B)], BOOL),
    overload(&[p(T), p(T)], BOOL),
    overload(&[p(D), p(D)], BOOL),
];

impl Operator {
    pub(super) fn overloads(self) -> &'static [Overload] {
        match self {
            Operator::Add => ADD,
            Operator::Subtract => SUBTRACT,
            Operator::Multiply | Operator::Divide | Operator::Remainder => NUMBERS,
            Operator::Negate => NEGATE,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => COMPARE,
        }
    }

    /// When an operation on operands of the right types has no result. Limits are not included.
    pub(super) fn fails(self) -> Fails {
        match self {
            Operator::Divide => Fails::Unless(divides_exactly, NO_QUOTIENT),
            Operator::Remainder => Fails::Unless(is_not_zero, "the divisor is 0"),
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Negate
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => Fails::Never,
        }
    }
}

/// The reason why a division has no result.
pub(super) const NO_QUOTIENT: &str = "the divisor is 0, or the quotient is not a finite decimal";

fn divides_exactly(args: &[Form<'_>]) -> bool {
    let [_, Form::Const(divisor)] = args else { return false };
    divisor.view().number().is_some_and(|divisor| decimal::divides_all(&divisor))
}

fn is_not_zero(args: &[Form<'_>]) -> bool {
    let [_, Form::Const(divisor)] = args else { return false };
    matches!(divisor.view(), View::N(_)) && divisor.view().number().is_some_and(|n| n.sign() != NO_SIGN)
}

const NO_SIGN: bigdecimal::num_bigint::Sign = bigdecimal::num_bigint::Sign::NoSign;
