//! Translates the first terms of a condition to a filter (`FilterExpression`), which DynamoDB evaluates during a scan.
//!
//! A filter only saves transfer and work: DynamoDB still reads every item and charges for it. So the filter must never
//! leave out an item that the condition includes, or for which the condition has no result. The caller still evaluates
//! the whole condition on every item that the filter includes.
//!
//! # Why the filter is right
//!
//! The condition is a chain of terms: `t1 && t2 && …`. The filter consists of the first terms, up to the first one that
//! has no exact translation. The conjunction of these terms must have a result for every item (`check`). A single term
//! can lack a result, for example because an attribute has an unexpected type. Then another term of the filter is
//! false, and the filter is false too. Therefore each atom needs only this property: **if the evaluator has a result
//! for the atom, DynamoDB has the same result**. `!`, `&&` and `||` keep the property. If the filter is false for an
//! item, one of its terms is false, and so is the whole condition. No earlier term can reach a limit and end the
//! evaluation, because every earlier term is in the filter too, and a translated term takes only a few steps.
//!
//! DynamoDB's semantics are from the developer guide, "Comparison operator and function reference". A comparison of
//! values of different types is false. Each function is false for a missing path, except `attribute_not_exists`.

mod render;
mod translate;

use std::collections::BTreeMap;

use super::check::check;
use super::node::{Node, NodeForm};
use super::types::Kinds;
use super::{Expr, KnownTypes};
use crate::item::{Path, Value};

/// A filter for a scan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Filter {
    /// The condition that an item must meet to be included.
    pub condition: FilterTerm,
    /// `FilterExpression`.
    pub expression: String,
    /// `ExpressionAttributeNames`.
    pub names: BTreeMap<String, String>,
    /// `ExpressionAttributeValues`. They are constants of the plan.
    pub values: BTreeMap<String, Value>,
    /// How many of the condition's terms the filter contains, and how many terms the condition has.
    pub terms: (usize, usize),
}

/// A part of a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterTerm {
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Missing(Path),
    /// The path has a value of the type with this name (`S`, `N`, `BOOL` …).
    HasType(Path, &'static str),
    /// The path's value and the constant have the same type, and this comparison is true for them.
    Compare(Path, FilterComparison, Value),
    /// The path's value equals one of the constants.
    OneOf(Path, Vec<Value>),
    /// The path's value is a text that starts with this text.
    BeginsWith(Path, String),
    /// The path's value is a text that contains this text. (DynamoDB also accepts sets and lists here.)
    Contains(Path, String),
    /// The term is false.
    Not(Box<FilterTerm>),
    /// All terms are true.
    All(Vec<FilterTerm>),
    /// At least one term is true.
    Any(Vec<FilterTerm>),
}

impl FilterTerm {
    /// Returns whether the term reads a path for which `is_such` returns true.
    fn reads(&self, is_such: &dyn Fn(&Path) -> bool) -> bool {
        match self {
            FilterTerm::Exists(path)
            | FilterTerm::Missing(path)
            | FilterTerm::HasType(path, _)
            | FilterTerm::Compare(path, ..)
            | FilterTerm::OneOf(path, _)
            | FilterTerm::BeginsWith(path, _)
            | FilterTerm::Contains(path, _) => is_such(path),
            FilterTerm::Not(term) => term.reads(is_such),
            FilterTerm::All(terms) | FilterTerm::Any(terms) => terms.iter().any(|term| term.reads(is_such)),
        }
    }
}

/// How a value compares with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterComparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Filter {
    /// Returns the expression with names and constants instead of placeholders, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut rest = self.expression.as_str();
        while let Some(at) = rest.find(['#', ':']) {
            let end = rest[at + 1..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |digits| at + 1 + digits);
            let placeholder = &rest[at..end];
            text.push_str(&rest[..at]);
            match (self.names.get(placeholder), self.values.get(placeholder)) {
                (Some(name), _) => text.push_str(&Path::attribute(name.clone()).to_string()),
                (None, Some(value)) => text.push_str(&constant(value)),
                (None, None) => text.push_str(placeholder),
            }
            rest = &rest[end..];
        }
        text + rest
    }
}

/// Returns a constant as it looks in a plan. Documents and sets do not occur.
fn constant(value: &Value) -> String {
    match value {
        Value::S(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::N(number) => number.as_str().to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        Value::B(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
            value.to_json().to_string()
        }
    }
}

impl Expr {
    /// Returns a filter for a scan, or `None` if the filter would contain no term of the condition. `known` contains
    /// the attributes that every item has, with their exact types.
    ///
    /// If the filter excludes an item, the condition is false for it.
    pub fn filter(&self, known: &KnownTypes) -> Option<Filter> {
        let mut terms = Vec::new();
        flatten(&self.0.root, &mut terms);
        // A key attribute has no members, and DynamoDB might reject a path to a member of a key attribute.
        let is_member_of_key =
            |path: &Path| path.steps().len() > 1 && known.types().contains_key(&Path::attribute(path.root()));
        let translate = |term: &&Node| translate::term(term).filter(|term| !term.reads(&is_member_of_key));
        let translated: Vec<FilterTerm> = terms.iter().map_while(translate).collect();
        (1..=translated.len()).rev().find_map(|count| {
            let chain = chain(&terms[..count])?;
            let found = check(&self.0.source, &chain, known.types(), &[], Kinds::BOOL, false);
            if !(found.errors.is_empty() && found.faults.is_empty()) {
                return None;
            }
            render::render(all(translated[..count].to_vec()), (count, terms.len()))
        })
    }
}

/// Collects the terms that `&&` joins, in the order of their evaluation.
fn flatten<'n>(node: &'n Node, terms: &mut Vec<&'n Node>) {
    match &node.form {
        NodeForm::And(a, b) => {
            flatten(a, terms);
            flatten(b, terms);
        }
        NodeForm::Const(_)
        | NodeForm::StartedAt
        | NodeForm::Place(_)
        | NodeForm::Member(..)
        | NodeForm::Index(..)
        | NodeForm::Has(_)
        | NodeForm::HasMember(..)
        | NodeForm::TypeOf(_)
        | NodeForm::Not(_)
        | NodeForm::Or(..)
        | NodeForm::If(..)
        | NodeForm::Equal(..)
        | NodeForm::In(..)
        | NodeForm::Operation(..)
        | NodeForm::List(_)
        | NodeForm::Map(_)
        | NodeForm::Macro(_)
        | NodeForm::Call(..) => terms.push(node),
    }
}

/// Joins these terms with `&&`.
fn chain(terms: &[&Node]) -> Option<Node> {
    let (first, rest) = terms.split_first()?;
    Some(rest.iter().fold((*first).clone(), |joined, term| {
        let span = joined.span.start..term.span.end;
        Node { span, form: NodeForm::And(Box::new(joined), Box::new((*term).clone())) }
    }))
}

/// Returns the conjunction of these terms.
fn all(mut terms: Vec<FilterTerm>) -> FilterTerm {
    if terms.len() == 1 { terms.remove(0) } else { FilterTerm::All(terms) }
}
