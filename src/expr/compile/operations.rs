//! Operators, functions, and literals of lists and maps.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;

use super::{Part, boxed};
use crate::expr::decimal;
use crate::expr::function::{Function, Prepared, Stop, explain, mismatch};
use crate::expr::functions::times::{TIME_TOO_LARGE, is_duration, plus};
use crate::expr::node::Operator;
use crate::expr::operators::NO_QUOTIENT;
use crate::expr::run::{Code, Fail, MAX_BYTES, Res, Run};
use crate::expr::value::{Val, View, compare, view_weight, weight};
use crate::item::{Item, Value, value_bytes};

/// An operator.
pub(super) fn operation(operator: Operator, args: Vec<Part>, text: String) -> Code {
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (Some(a), Some(b)) => boxed(move |run| {
            let mut values = [(a.code)(run)?, (b.code)(run)?];
            let result = binary(run, operator, &mut values);
            explain(result, &text, || mismatch(operator.name(), operator.overloads(), &[a.named(), b.named()], &values))
        }),
        (Some(a), None) => boxed(move |run| {
            let value = [(a.code)(run)?];
            let result = if let View::Duration(span) = value[0].view() {
                Ok(Val::Duration(-span))
            } else {
                let number = value[0].view().number();
                number.map(|number| Val::Number(-number.into_owned())).ok_or(Stop::Types)
            };
            explain(result, &text, || mismatch(operator.name(), operator.overloads(), &[a.named()], &value))
        }),
        (None, _) => boxed(move |_| Err(Fail::new(format!("`{text}` has no operand")))),
    }
}

fn binary<'a>(run: &mut Run<'a>, operator: Operator, values: &mut [Val<'a>; 2]) -> Result<Val<'a>, Stop> {
    let ordered = |values: &[Val<'a>; 2], is: fn(Ordering) -> bool| {
        compare(values[0].view(), values[1].view()).map(|order| Val::Bool(is(order))).ok_or(Stop::Types)
    };
    match operator {
        Operator::Add => add(run, values),
        Operator::Subtract => subtract(values),
        Operator::Multiply => numbers(values, |a, b| Ok(a * b)),
        Operator::Divide => numbers(values, |a, b| decimal::divide(a, b).ok_or(Stop::reason(NO_QUOTIENT))),
        Operator::Remainder => numbers(values, |a, b| decimal::remainder(a, b).ok_or(Stop::reason("the divisor is 0"))),
        Operator::Less => ordered(values, Ordering::is_lt),
        Operator::LessOrEqual => ordered(values, Ordering::is_le),
        Operator::Greater => ordered(values, Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(values, Ordering::is_ge),
        Operator::Negate => Err(Stop::Types),
    }
}

fn numbers<'a>(
    values: &[Val<'a>; 2],
    f: impl FnOnce(&BigDecimal, &BigDecimal) -> Result<BigDecimal, Stop>,
) -> Result<Val<'a>, Stop> {
    let (Some(a), Some(b)) = (values[0].view().number(), values[1].view().number()) else { return Err(Stop::Types) };
    let too_large = || Stop::Limit(Fail::limit(decimal::TOO_LARGE));
    decimal::checked(f(&a, &b)?).map(Val::Number).ok_or_else(too_large)
}

fn time<'a>(result: Option<Val<'a>>) -> Result<Val<'a>, Stop> {
    result.ok_or_else(|| Stop::Limit(Fail::limit(TIME_TOO_LARGE)))
}

fn add<'a>(run: &mut Run<'a>, values: &mut [Val<'a>; 2]) -> Result<Val<'a>, Stop> {
    let [left, right] = values;
    if let (Some(a), Some(b)) = (left.view().text(), right.view().text()) {
        let bytes = a.len() + b.len();
        run.spend_bytes(bytes)?;
        return Ok(Val::Own(Value::S(joined(left, right, bytes))));
    }
    if let (View::N(_), View::N(_)) = (left.view(), right.view()) {
        return numbers(values, |a, b| Ok(a + b));
    }
    if let (View::B(a), View::B(b)) = (left.view(), right.view()) {
        run.spend_bytes(a.len() + b.len())?;
        return Ok(Val::Own(Value::B([a, b].concat())));
    }
    if let (View::L(a), View::L(b)) = (left.view(), right.view()) {
        run.spend(view_weight(left.view()).saturating_add(view_weight(right.view())))?;
        let list = [a, b].concat();
        fits(value_bytes_of(&list))?;
        return Ok(Val::Own(Value::L(list)));
    }
    if let (View::Timestamp(at), View::Duration(span)) | (View::Duration(span), View::Timestamp(at)) =
        (left.view(), right.view())
    {
        return time(plus(at, span).map(Val::Timestamp));
    }
    if let (View::Duration(a), View::Duration(b)) = (left.view(), right.view()) {
        return time(Some(a + b).filter(|sum| is_duration(*sum)).map(Val::Duration));
    }
    Err(Stop::Types)
}

/// Joins two texts. If the previous operator created the left text, extends it instead of copying it.
fn joined(left: &mut Val<'_>, right: &Val<'_>, bytes: usize) -> String {
    let mut text = if let Val::Own(Value::S(text)) = left {
        std::mem::take(text)
    } else {
        let mut text = String::with_capacity(bytes);
        text.push_str(left.view().text().unwrap_or_default());
        text
    };
    text.push_str(right.view().text().unwrap_or_default());
    text
}

fn subtract<'a>(values: &[Val<'a>; 2]) -> Result<Val<'a>, Stop> {
    if let (View::Timestamp(a), View::Timestamp(b)) = (values[0].view(), values[1].view()) {
        let span = a.as_nanosecond() - b.as_nanosecond();
        return time(Some(span).filter(|span| is_duration(*span)).map(Val::Duration));
    }
    if let (View::Timestamp(at), View::Duration(span)) = (values[0].view(), values[1].view()) {
        return time(plus(at, -span).map(Val::Timestamp));
    }
    if let (View::Duration(a), View::Duration(b)) = (values[0].view(), values[1].view()) {
        return time(Some(a - b).filter(|span| is_duration(*span)).map(Val::Duration));
    }
    numbers(values, |a, b| Ok(a - b))
}

/// Refuses a list or map that exceeds the size limit.
pub(super) fn fits(bytes: usize) -> Res<()> {
    if bytes > MAX_BYTES {
        return Err(Fail::limit("a list or map has more than 1,600,000 bytes"));
    }
    Ok(())
}

fn value_bytes_of(list: &[Value]) -> usize {
    list.iter().map(value_bytes).sum()
}

/// A list literal or, if there are keys, a map literal.
pub(super) fn documents(keys: Option<Vec<String>>, parts: Vec<Part>) -> Code {
    boxed(move |run| {
        let mut values = Vec::with_capacity(parts.len());
        let mut bytes = 0;
        for part in &parts {
            let value = stored((part.code)(run)?, &part.text)?;
            run.spend(weight(&value))?;
            bytes += value_bytes(&value);
            fits(bytes)?;
            values.push(value);
        }
        Ok(Val::Own(match &keys {
            Some(keys) => Value::M(keys.iter().cloned().zip(values).collect::<Item>()),
            None => Value::L(values),
        }))
    })
}

/// Returns the value if a document can contain it.
pub(super) fn stored(value: Val<'_>, text: &str) -> Res<Value> {
    value.into_value().ok_or_else(|| Fail::new(format!("`{text}` is a time, which a document cannot contain")))
}

/// A function.
pub(super) fn call(function: &'static Function, prepared: Prepared, args: Vec<Part>, text: String) -> Code {
    let mut args = args.into_iter();
    match (args.next(), args.next(), args.next(), args.next()) {
        (Some(a), None, None, None) => boxed(move |run| {
            let values = [(a.code)(run)?];
            apply(run, function, &prepared, [&a], values, &text)
        }),
        (Some(a), Some(b), None, None) => boxed(move |run| {
            let values = [(a.code)(run)?, (b.code)(run)?];
            apply(run, function, &prepared, [&a, &b], values, &text)
        }),
        (Some(a), Some(b), Some(c), None) => boxed(move |run| {
            let values = [(a.code)(run)?, (b.code)(run)?, (c.code)(run)?];
            apply(run, function, &prepared, [&a, &b, &c], values, &text)
        }),
        (Some(a), Some(b), Some(c), Some(d)) => boxed(move |run| {
            let values = [(a.code)(run)?, (b.code)(run)?, (c.code)(run)?, (d.code)(run)?];
            apply(run, function, &prepared, [&a, &b, &c, &d], values, &text)
        }),
        (_, _, _, _) => boxed(move |_| Err(Fail::new(format!("`{text}` has the wrong number of arguments")))),
    }
}

fn apply<'a, const COUNT: usize>(
    run: &mut Run<'a>,
    function: &Function,
    prepared: &Prepared,
    parts: [&Part; COUNT],
    mut values: [Val<'a>; COUNT],
    text: &str,
) -> Res<Val<'a>> {
    let result = (function.body)(run, &mut values, prepared);
    explain(result, text, || {
        let texts = parts.map(Part::named);
        mismatch(function.name, function.overloads, &texts, &values)
    })
}
