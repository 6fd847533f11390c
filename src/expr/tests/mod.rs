//! Tests of expressions: against a naive evaluator, against CEL's rules, and of their messages.

mod arithmetic;
mod cel_spec;
mod cel_table;
mod conformance;
mod elements;
mod examples;
mod faults;
mod filter;
mod generate;
mod limits;
mod messages;
mod naive;
mod properties;
mod school;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{Expected, Expr, Facts};
use crate::item::{Item, Value, item_from_json};

/// The facts of every test.
fn facts() -> Facts {
    Facts { started_at: "2025-06-01T12:00:00Z".parse::<Timestamp>().unwrap() }
}

fn item(json: &Json) -> Item {
    item_from_json(json).unwrap()
}

/// Compiles an expression that must be correct.
fn compiled(source: &str, expected: Expected) -> Expr {
    Expr::compile(source, expected).unwrap_or_else(|errors| panic!("{source}: {errors:#?}"))
}

/// Evaluates an expression of an item.
fn value(source: &str, of: &Item) -> Result<Value, String> {
    compiled(source, Expected::Value).evaluate(of, &facts()).map_err(|why| why.reason().to_owned())
}

/// Evaluates an expression that reads no attribute.
fn constant(source: &str) -> Result<Value, String> {
    value(source, &Item::new())
}
