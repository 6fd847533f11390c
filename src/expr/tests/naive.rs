//! A second evaluator: a simple recursion over the syntax tree. It copies values at every step. It uses no types, no
//! closures and no resolved paths. It shares only the functions' bodies and the parsing of literals with the real
//! evaluator.

use std::cmp::Ordering;

use bigdecimal::num_bigint::BigInt;
use cel::common::ast::{CallExpr, EntryExpr, Expr as CelExpr, IdedExpr, LiteralValue, operators};
use jiff::Timestamp;

use super::facts;
use super::school::Absent::{self, Limit, NoResult};
use super::school::{Decimal, aligned, quotient, read, stored};
use crate::expr::Expected;
use crate::expr::function::{Prepared, Stop};
use crate::expr::functions::named;
use crate::expr::parse::{Parsed, parse};
use crate::expr::run::Run;
use crate::expr::value::Val;
use crate::item::{Item, Num, Value};

/// A value, or a time.
#[derive(Debug, Clone)]
pub(super) enum Any {
    Value(Value),
    Timestamp(Timestamp),
    Duration(i128),
}

type Outcome = Result<Any, Absent>;

/// Evaluates a source that parses.
pub(super) fn evaluate(source: &str, expected: Expected, item: &Item) -> Result<Value, Absent> {
    let parsed = parse(source).unwrap();
    let naive = Naive { parsed: &parsed, item };
    match naive.eval(&parsed.root, &[])? {
        Any::Value(value) if expected == Expected::Bool && value.type_name() != "BOOL" => Err(NoResult),
        Any::Value(value) if !value.nests_deeper_than(32) => Ok(value),
        Any::Value(_) => Err(Limit),
        Any::Timestamp(_) | Any::Duration(_) => Err(NoResult),
    }
}

struct Naive<'n> {
    parsed: &'n Parsed<'n>,
    item: &'n Item,
}

type Scope = [(String, Value)];

fn bool_of(outcome: Outcome) -> Result<bool, Absent> {
    if let Any::Value(Value::Bool(value)) = outcome? { Ok(value) } else { Err(NoResult) }
}

fn boolean(value: bool) -> Outcome {
    Ok(Any::Value(Value::Bool(value)))
}

impl Naive<'_> {
    fn eval(&self, expr: &IdedExpr, scope: &Scope) -> Outcome {
        match &expr.expr {
            CelExpr::Literal(literal) => Ok(Any::Value(self.literal(literal, expr))),
            CelExpr::Ident(name) => match scope.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => Ok(Any::Value(value.clone())),
                None if name == "item" => Ok(Any::Value(Value::M(self.item.clone()))),
                None => Err(NoResult),
            },
            CelExpr::Select(select) => {
                if matches!(&select.operand.expr, CelExpr::Ident(name) if name == "migration") {
                    return Ok(Any::Timestamp(facts().started_at));
                }
                let Any::Value(Value::M(map)) = self.eval(&select.operand, scope)? else { return Err(NoResult) };
                map.get(&select.field).cloned().map(Any::Value).ok_or(NoResult)
            }
            CelExpr::List(list) => {
                let mut values = Vec::new();
                for element in &list.elements {
                    let Any::Value(value) = self.eval(element, scope)? else { return Err(NoResult) };
                    values.push(value);
                }
                Ok(Any::Value(Value::L(values)))
            }
            CelExpr::Map(map) => {
                let mut values = Item::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err(NoResult) };
                    let Any::Value(Value::S(key)) = self.eval(&entry.key, scope)? else { return Err(NoResult) };
                    let Any::Value(value) = self.eval(&entry.value, scope)? else { return Err(NoResult) };
                    values.insert(key, value);
                }
                Ok(Any::Value(Value::M(values)))
            }
            CelExpr::Call(call) => self.call(call, scope),
            _ => Err(NoResult),
        }
    }

    fn literal(&self, literal: &LiteralValue, expr: &IdedExpr) -> Value {
        let text = self.parsed.text(&self.parsed.own_span(expr)).to_owned();
        match literal {
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Bytes(value) => Value::B(value.inner().to_vec()),
            LiteralValue::Null => Value::Null,
            LiteralValue::String(value) => Value::S(value.inner().to_owned()),
            LiteralValue::Int(value) if *value.inner() < 0 => Value::N(Num::parse(&format!("-{text}")).unwrap()),
            LiteralValue::Double(value) if value.inner().is_sign_negative() => {
                Value::N(Num::parse(&format!("-{text}")).unwrap())
            }
            LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => {
                Value::N(Num::parse(&text).unwrap())
            }
        }
    }

    /// Whether the part is a path. For `has` and `type`, a path without a value is not a failure.
    fn is_path(&self, expr: &IdedExpr, scope: &Scope) -> bool {
        match &expr.expr {
            CelExpr::Ident(name) => name == "item" || scope.iter().any(|(known, _)| known == name),
            CelExpr::Select(select) => self.is_path(&select.operand, scope),
            CelExpr::Call(call) if call.func_name == operators::INDEX => {
                self.is_path(&call.args[0], scope) && matches!(call.args[1].expr, CelExpr::Literal(_))
            }
            _ => false,
        }
    }

    fn call(&self, call: &CallExpr, scope: &Scope) -> Outcome {
        let arg = |at: usize| self.eval(&call.args[at], scope);
        match call.func_name.as_str() {
            operators::LOGICAL_NOT => boolean(!bool_of(arg(0))?),
            operators::LOGICAL_AND => decided([0, 1].map(|at| bool_of(arg(at))), false),
            operators::LOGICAL_OR => decided([0, 1].map(|at| bool_of(arg(at))), true),
            operators::CONDITIONAL => {
                if bool_of(arg(0))? {
                    arg(1)
                } else {
                    arg(2)
                }
            }
            operators::EQUALS => boolean(equal(&arg(0)?, &arg(1)?)?),
            operators::NOT_EQUALS => boolean(!equal(&arg(0)?, &arg(1)?)?),
            operators::IN => is_in(&arg(0)?, &arg(1)?),
            operators::LESS => boolean(order(&arg(0)?, &arg(1)?)?.is_lt()),
            operators::LESS_EQUALS => boolean(order(&arg(0)?, &arg(1)?)?.is_le()),
            operators::GREATER => boolean(order(&arg(0)?, &arg(1)?)?.is_gt()),
            operators::GREATER_EQUALS => boolean(order(&arg(0)?, &arg(1)?)?.is_ge()),
            operators::ADD => add(arg(0)?, arg(1)?),
            operators::SUBSTRACT => subtract(arg(0)?, arg(1)?),
            operators::MULTIPLY => {
                let (a, b) = (decimal(&arg(0)?)?, decimal(&arg(1)?)?);
                number(Decimal { digits: a.digits * b.digits, exponent: a.exponent + b.exponent })
            }
            operators::DIVIDE => number(quotient(decimal(&arg(0)?)?, decimal(&arg(1)?)?)?),
            operators::MODULO => {
                let (a, b, exponent) = aligned(decimal(&arg(0)?)?, decimal(&arg(1)?)?);
                if b == BigInt::from(0) {
                    return Err(NoResult);
                }
                number(Decimal { digits: a % b, exponent })
            }
            operators::NEGATE => match arg(0)? {
                Any::Duration(span) => Ok(Any::Duration(-span)),
                other => {
                    let Decimal { digits, exponent } = decimal(&other)?;
                    number(Decimal { digits: -digits, exponent })
                }
            },
            operators::INDEX => index(arg(0)?, arg(1)?),
            "has" if call.target.is_none() => {
                let (of, found) = match &call.args[0].expr {
                    CelExpr::Select(select) => (&*select.operand, arg(0)),
                    CelExpr::Call(inner) => (&inner.args[0], arg(0)),
                    _ => return Err(NoResult),
                };
                match self.eval(of, scope) {
                    Err(why) if !self.is_path(of, scope) => Err(why),
                    _ => boolean(found.is_ok()),
                }
            }
            "type" if call.target.is_none() => match arg(0) {
                Ok(Any::Value(value)) => Ok(Any::Value(Value::S(value.type_name().to_owned()))),
                Ok(Any::Timestamp(_)) => Ok(Any::Value(Value::S("TIMESTAMP".to_owned()))),
                Ok(Any::Duration(_)) => Ok(Any::Value(Value::S("DURATION".to_owned()))),
                Err(_) if self.is_path(&call.args[0], scope) => Ok(Any::Value(Value::S("MISSING".to_owned()))),
                Err(why) => Err(why),
            },
            "all" | "exists" | "exists_one" | "map" | "filter" if call.target.is_some() => self.a_macro(call, scope),
            name => self.function(name, call, scope),
        }
    }

    fn a_macro(&self, call: &CallExpr, scope: &Scope) -> Outcome {
        let members = members(self.eval(call.target.as_ref().unwrap(), scope)?)?;
        let CelExpr::Ident(name) = &call.args[0].expr else { return Err(NoResult) };
        let within = |member: &Value| [scope, &[(name.clone(), member.clone())]].concat();
        let tests = || members.iter().map(|member| bool_of(self.eval(&call.args[1], &within(member))));
        match call.func_name.as_str() {
            "all" => decided(tests(), false),
            "exists" => decided(tests(), true),
            "exists_one" => {
                let tests = tests().collect::<Result<Vec<bool>, _>>()?;
                boolean(tests.into_iter().filter(|test| *test).count() == 1)
            }
            "filter" => {
                let tests = tests().collect::<Result<Vec<bool>, _>>()?;
                let kept = members.iter().zip(tests).filter(|(_, test)| *test).map(|(member, _)| member.clone());
                Ok(Any::Value(Value::L(kept.collect())))
            }
            _ => {
                let mut made = Vec::new();
                for member in &members {
                    let scope = within(member);
                    if call.args.len() == 3 && !bool_of(self.eval(&call.args[1], &scope))? {
                        continue;
                    }
                    let body = call.args.last().unwrap();
                    let Any::Value(value) = self.eval(body, &scope)? else { return Err(NoResult) };
                    made.push(value);
                }
                Ok(Any::Value(Value::L(made)))
            }
        }
    }

    fn function(&self, name: &str, call: &CallExpr, scope: &Scope) -> Outcome {
        let space = call.target.as_deref().and_then(|target| match &target.expr {
            CelExpr::Ident(space) => named(&format!("{space}.{name}")),
            _ => None,
        });
        let target = if space.is_some() { None } else { call.target.as_deref() };
        let function = space.or_else(|| named(name)).unwrap();
        let mut args = Vec::new();
        for arg in target.into_iter().chain(&call.args) {
            args.push(match self.eval(arg, scope)? {
                Any::Value(value) => Val::Own(value),
                Any::Timestamp(time) => Val::Timestamp(time),
                Any::Duration(span) => Val::Duration(span),
            });
        }
        let prepared = match function.constant.and_then(|(at, prepare)| Some((args.get(at)?, prepare))) {
            Some((arg, prepare)) => prepare(&arg.clone().into_const().unwrap()).unwrap(),
            None => Prepared::Nothing,
        };
        let item = Item::new();
        let mut run = Run::new(&item, facts().started_at, &[], 0);
        match (function.body)(&mut run, &mut args, &prepared) {
            Ok(Val::Timestamp(time)) => Ok(Any::Timestamp(time)),
            Ok(Val::Duration(span)) => Ok(Any::Duration(span)),
            Ok(other) => other.into_value().map(Any::Value).ok_or(NoResult),
            Err(Stop::Limit(_)) => Err(Limit),
            Err(Stop::Types | Stop::Reason(_)) => Err(NoResult),
        }
    }
}

/// The first test that has the value `decisive`, or that reaches a limit, decides. Otherwise, the result exists only if
/// every test has one.
fn decided(tests: impl IntoIterator<Item = Result<bool, Absent>>, decisive: bool) -> Outcome {
    let mut all = Ok(!decisive);
    for test in tests {
        match test {
            Ok(value) if value == decisive => return boolean(decisive),
            Err(Limit) => return Err(Limit),
            Err(NoResult) => all = Err(NoResult),
            Ok(_) => {}
        }
    }
    all.and_then(boolean)
}

fn members(collection: Any) -> Result<Vec<Value>, Absent> {
    let Any::Value(collection) = collection else { return Err(NoResult) };
    let mut members: Vec<Value> = match collection {
        Value::L(list) => return Ok(list),
        Value::M(map) => return Ok(map.into_keys().map(Value::S).collect()),
        Value::Ss(set) => set.into_iter().map(Value::S).collect(),
        Value::Ns(set) => set.into_iter().map(Value::N).collect(),
        Value::Bs(set) => set.into_iter().map(Value::B).collect(),
        _ => return Err(NoResult),
    };
    members.sort_by(|a, b| order(&Any::Value(a.clone()), &Any::Value(b.clone())).unwrap());
    Ok(members)
}

fn index(of: Any, at: Any) -> Outcome {
    match (of, at) {
        (Any::Value(Value::M(map)), Any::Value(Value::S(key))) => {
            map.get(&key).cloned().map(Any::Value).ok_or(NoResult)
        }
        (Any::Value(Value::L(list)), at @ Any::Value(Value::N(_))) => {
            let Decimal { digits, exponent } = decimal(&at)?;
            let (at, rest) = match usize::try_from(exponent) {
                Ok(zeros) => (digits * BigInt::from(10).pow(u32::try_from(zeros).unwrap()), BigInt::from(0)),
                Err(_) => {
                    let unit = BigInt::from(10).pow(u32::try_from(-exponent).unwrap());
                    (&digits / &unit, digits % unit)
                }
            };
            if rest != BigInt::from(0) {
                return Err(NoResult);
            }
            let at = usize::try_from(at).map_err(|_| NoResult)?;
            list.get(at).cloned().map(Any::Value).ok_or(NoResult)
        }
        _ => Err(NoResult),
    }
}

fn equal(a: &Any, b: &Any) -> Result<bool, Absent> {
    match (a, b) {
        (Any::Timestamp(a), Any::Timestamp(b)) => Ok(a == b),
        (Any::Duration(a), Any::Duration(b)) => Ok(a == b),
        (Any::Value(Value::Null), Any::Value(Value::Null)) => Ok(true),
        (Any::Value(Value::Null), _) | (_, Any::Value(Value::Null)) => Ok(false),
        (Any::Value(a), Any::Value(b)) if a.type_name() == b.type_name() => Ok(a == b),
        _ => Err(NoResult),
    }
}

fn is_in(value: &Any, collection: &Any) -> Outcome {
    let Any::Value(collection) = collection else { return Err(NoResult) };
    let one = Any::Value;
    let found = match (collection, value) {
        (Value::L(list), _) => {
            let tests: Vec<Result<bool, Absent>> =
                list.iter().map(|member| equal(value, &one(member.clone()))).collect();
            if !tests.contains(&Ok(true)) && tests.contains(&Err(NoResult)) {
                return Err(NoResult);
            }
            tests.contains(&Ok(true))
        }
        (Value::Ss(set), Any::Value(Value::S(value))) => set.contains(value),
        (Value::Ns(set), Any::Value(Value::N(value))) => set.contains(value),
        (Value::Bs(set), Any::Value(Value::B(value))) => set.contains(value),
        (Value::M(map), Any::Value(Value::S(value))) => map.contains_key(value),
        _ => return Err(NoResult),
    };
    boolean(found)
}

fn order(a: &Any, b: &Any) -> Result<Ordering, Absent> {
    match (a, b) {
        (Any::Timestamp(a), Any::Timestamp(b)) => Ok(a.cmp(b)),
        (Any::Duration(a), Any::Duration(b)) => Ok(a.cmp(b)),
        (Any::Value(Value::S(a)), Any::Value(Value::S(b))) => Ok(a.as_bytes().cmp(b.as_bytes())),
        (Any::Value(Value::B(a)), Any::Value(Value::B(b))) => Ok(a.cmp(b)),
        (Any::Value(Value::N(_)), Any::Value(Value::N(_))) => {
            let (a, b, _) = aligned(decimal(a)?, decimal(b)?);
            Ok(a.cmp(&b))
        }
        _ => Err(NoResult),
    }
}

fn add(a: Any, b: Any) -> Outcome {
    match (a, b) {
        (Any::Value(Value::S(a)), Any::Value(Value::S(b))) => Ok(Any::Value(Value::S(a + &b))),
        (Any::Value(Value::B(a)), Any::Value(Value::B(b))) => Ok(Any::Value(Value::B([a, b].concat()))),
        (Any::Value(Value::L(a)), Any::Value(Value::L(b))) => Ok(Any::Value(Value::L([a, b].concat()))),
        (Any::Timestamp(at), Any::Duration(span)) | (Any::Duration(span), Any::Timestamp(at)) => moment(at, span),
        (Any::Duration(a), Any::Duration(b)) => Ok(Any::Duration(a + b)),
        (a, b) => {
            let (a, b, exponent) = aligned(decimal(&a)?, decimal(&b)?);
            number(Decimal { digits: a + b, exponent })
        }
    }
}

fn subtract(a: Any, b: Any) -> Outcome {
    match (a, b) {
        (Any::Timestamp(a), Any::Timestamp(b)) => Ok(Any::Duration(a.as_nanosecond() - b.as_nanosecond())),
        (Any::Timestamp(at), Any::Duration(span)) => moment(at, -span),
        (Any::Duration(a), Any::Duration(b)) => Ok(Any::Duration(a - b)),
        (a, b) => {
            let (a, b, exponent) = aligned(decimal(&a)?, decimal(&b)?);
            number(Decimal { digits: a - b, exponent })
        }
    }
}

fn moment(at: Timestamp, span: i128) -> Outcome {
    Timestamp::from_nanosecond(at.as_nanosecond() + span).map(Any::Timestamp).map_err(|_| Limit)
}

fn decimal(value: &Any) -> Result<Decimal, Absent> {
    let Any::Value(Value::N(num)) = value else { return Err(NoResult) };
    Ok(read(num.as_str()))
}

/// Returns a number that DynamoDB can store.
fn number(of: Decimal) -> Outcome {
    stored(of).map(|num| Any::Value(Value::N(num)))
}
