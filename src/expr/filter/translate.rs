//! Translates single terms. Only an exact translation counts.

use super::{FilterComparison, FilterTerm};
use crate::expr::node::{Node, NodeForm, Operator, Place, Root};
use crate::expr::types::Kind;
use crate::expr::value::Const;
use crate::item::{Num, Path, Value};

/// The largest number of constants of `IN` (developer guide, "Comparison operator and function reference").
const MAX_LIST: usize = 100;

/// Translates a boolean part.
pub(super) fn term(node: &Node) -> Option<FilterTerm> {
    match &node.form {
        NodeForm::Has(place) => Some(FilterTerm::Exists(path(place)?)),
        NodeForm::Not(a) => Some(negated(term(a)?)),
        NodeForm::And(a, b) => Some(FilterTerm::All(vec![term(a)?, term(b)?])),
        NodeForm::Or(a, b) => Some(FilterTerm::Any(vec![term(a)?, term(b)?])),
        NodeForm::Equal(a, b, is_negated) => {
            let equal = equal(a, b).or_else(|| equal(b, a))?;
            Some(if *is_negated { negated(equal) } else { equal })
        }
        NodeForm::In(a, b) => one_of(a, b),
        NodeForm::Operation(operator, operands) => {
            let [a, b] = operands.as_slice() else { return None };
            let comparison = comparison(*operator)?;
            compare(a, comparison, b).or_else(|| compare(b, flipped(comparison), a))
        }
        NodeForm::Call(function, _, arguments) => {
            let [of, text] = arguments.as_slice() else { return None };
            let path = path(of.place()?)?;
            let text = text.constant()?.text().filter(|text| !text.is_empty())?.to_owned();
            match function.name {
                "startsWith" => Some(FilterTerm::BeginsWith(path, text)),
                "contains" => Some(FilterTerm::Contains(path, text)),
                _ => None,
            }
        }
        // A path alone tests whether an attribute of type BOOL is true.
        NodeForm::Place(place) => Some(FilterTerm::Compare(path(place)?, FilterComparison::Equal, Value::Bool(true))),
        NodeForm::Const(_)
        | NodeForm::StartedAt
        | NodeForm::Member(..)
        | NodeForm::Index(..)
        | NodeForm::HasMember(..)
        | NodeForm::TypeOf(_)
        | NodeForm::If(..)
        | NodeForm::List(_)
        | NodeForm::Map(_)
        | NodeForm::Macro(_) => None,
    }
}

fn negated(term: FilterTerm) -> FilterTerm {
    FilterTerm::Not(Box::new(term))
}

fn path(place: &Place) -> Option<Path> {
    match place.root {
        Root::Item => Path::from_steps(place.steps.clone()),
        Root::Variable(_) => None,
    }
}

/// Returns the path whose type a part tests.
fn tested(node: &Node) -> Option<Path> {
    if let NodeForm::TypeOf(of) = &node.form { path(of.place()?) } else { None }
}

/// Translates a test of a type. A name that is not a type has no translation, because the test is always false.
fn has_type(path: Path, name: &str) -> Option<FilterTerm> {
    match Kind::named(name)? {
        Kind::Missing => Some(FilterTerm::Missing(path)),
        Kind::Timestamp | Kind::Duration => None,
        kind @ (Kind::S
        | Kind::N
        | Kind::B
        | Kind::Bool
        | Kind::Null
        | Kind::Ss
        | Kind::Ns
        | Kind::Bs
        | Kind::L
        | Kind::M) => Some(FilterTerm::HasType(path, kind.name())),
    }
}

fn equal(a: &Node, b: &Node) -> Option<FilterTerm> {
    if let Some(path) = tested(a) {
        return has_type(path, b.constant()?.text()?);
    }
    compare(a, FilterComparison::Equal, b)
}

fn one_of(a: &Node, b: &Node) -> Option<FilterTerm> {
    let list = b.constant()?.view().list()?;
    if list.is_empty() || list.len() > MAX_LIST {
        return None;
    }
    if let Some(path) = tested(a) {
        let name = |value: &Value| if let Value::S(name) = value { has_type(path.clone(), name) } else { None };
        return Some(FilterTerm::Any(list.iter().map(name).collect::<Option<_>>()?));
    }
    let constants = list.iter().cloned().map(operand).collect::<Option<_>>()?;
    Some(FilterTerm::OneOf(path(a.place()?)?, constants))
}

fn compare(a: &Node, comparison: FilterComparison, b: &Node) -> Option<FilterTerm> {
    let path = path(a.place()?)?;
    let value = match b.constant()? {
        Const::Value(value) => operand(value.clone())?,
        Const::Number(number, _) => operand(Value::N(number.clone()))?,
        Const::Timestamp(_) | Const::Duration(_) => return None,
    };
    let is_ordered = matches!(value, Value::S(_) | Value::N(_) | Value::B(_));
    (is_ordered || comparison == FilterComparison::Equal).then_some(FilterTerm::Compare(path, comparison, value))
}

/// Returns a constant that every engine accepts as an operand. Leaves out documents, sets and empty texts. Also leaves
/// out numbers that DynamoDB cannot store, because they would make the request invalid.
fn operand(value: Value) -> Option<Value> {
    match value {
        Value::S(text) => (!text.is_empty()).then_some(Value::S(text)),
        Value::B(bytes) => (!bytes.is_empty()).then_some(Value::B(bytes)),
        Value::N(number) => Num::parse(number.as_str()).ok().map(Value::N),
        Value::Bool(_) | Value::Null => Some(value),
        Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => None,
    }
}

fn comparison(operator: Operator) -> Option<FilterComparison> {
    match operator {
        Operator::Less => Some(FilterComparison::Less),
        Operator::LessOrEqual => Some(FilterComparison::LessOrEqual),
        Operator::Greater => Some(FilterComparison::Greater),
        Operator::GreaterOrEqual => Some(FilterComparison::GreaterOrEqual),
        Operator::Add
        | Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::Remainder
        | Operator::Negate => None,
    }
}

/// Returns the comparison with swapped sides.
fn flipped(comparison: FilterComparison) -> FilterComparison {
    match comparison {
        FilterComparison::Equal => FilterComparison::Equal,
        FilterComparison::Less => FilterComparison::Greater,
        FilterComparison::LessOrEqual => FilterComparison::GreaterOrEqual,
        FilterComparison::Greater => FilterComparison::Less,
        FilterComparison::GreaterOrEqual => FilterComparison::LessOrEqual,
    }
}
