//! Expressions of plans: CEL over the attributes of an item.
//!
//! The parser and the syntax tree are those of the `cel` crate. The evaluator is our own, because here every DynamoDB
//! type is native: a number has 38 exact digits, and sets and binary values are values. An expression is compiled once,
//! to closures. This module is pure: an evaluation depends only on the expression, the item and the [`Facts`].
//!
//! # Meaning
//!
//! - `item.a.b`, `item["a b"]` and `item.list[0]` are paths. `migration.started_at` is the only other root.
//! - `==` and `!=` compare values of one type. A comparison of two types has no result, because a selection that is
//!   silently false would skip items. NULL is the exception: it is unequal to every value of another type.
//! - `x in list` is `==` with any element. If no element is equal and one has another type, there is no result.
//! - A division has a result only if the quotient is a finite decimal. `%` is the remainder of a division that rounds
//!   towards zero, also of decimals.
//! - `type(x)` is the name of a DynamoDB type, and `"MISSING"` for a path without a value. `has()` and `type()` of a
//!   path always have a result.
//! - As in CEL, `&&`, `||`, `all` and `exists` have a result if one side decides, even if another side has none. A
//!   limit is the exception: it ends the evaluation.
//! - A macro visits the elements of a list, the sorted members of a set, or the sorted keys of a map.
//!
//! # Faults and limits
//!
//! [`Expr::faults`] finds the parts that can have no result because an attribute is missing or of another type, or
//! because of a text or number that a function does not take. It does not report limits: more than 38 digits, a time
//! outside the years -9999 to 9999, a value that is too large or too deep, and an evaluation with too many steps. No
//! guard could exclude them. An expression that reaches a limit is not computable for that item.

mod check;
mod compile;
mod decimal;
mod differences;
mod error;
mod fold;
mod function;
mod functions;
mod known;
mod lower;
mod node;
mod operators;
mod parse;
mod reference;
mod run;
mod similar;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use self::check::check;
use self::compile::Program;
pub use self::differences::{DIFFERENCES, Difference, DifferentResult, differences};
pub use self::error::ExprError;
use self::fold::fold;
pub use self::known::KnownTypes;
use self::lower::lower;
use self::node::{Node, NodeForm, Place, Root};
use self::parse::parse;
pub use self::reference::{Example, examples, reference};
use self::run::{Fail, Res};
pub(crate) use self::similar::edit_distance;
use self::types::Kinds;
use self::value::{Val, View};
use crate::item::{Item, MAX_ITEM_BYTES, MAX_LEVELS, NotComputable, Path, Value, value_bytes};

/// A checked and compiled expression. Clones share it.
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

/// What an expression must evaluate to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A boolean, for a selection.
    Bool,
    /// Any value that DynamoDB can store.
    Value,
}

/// What an expression can read besides the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// When the migration began: recorded once, so that every run computes the same.
    pub started_at: Timestamp,
}

struct Compiled {
    source: String,
    expected: Expected,
    root: Node,
    program: Program,
    inputs: Vec<Path>,
}

impl Expected {
    fn kinds(self) -> Kinds {
        match self {
            Expected::Bool => Kinds::BOOL,
            Expected::Value => Kinds::STORED,
        }
    }
}

impl Expr {
    /// Parses, checks and compiles an expression. Reports every error at once, with its place in the source.
    pub fn compile(source: &str, expected: Expected) -> Result<Expr, Vec<ExprError>> {
        let lowered = lower(&parse(source)?)?;
        let mut errors = Vec::new();
        let root = fold(source, lowered.root, &mut errors);
        if errors.is_empty() {
            errors = check(source, &root, KnownTypes::default().types(), expected.kinds()).errors;
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let program = Program::new(source, &root, lowered.variables);
        let inputs = inputs(&root);
        Ok(Expr(Arc::new(Compiled { source: source.to_owned(), expected, root, program, inputs })))
    }

    /// Returns the text from which the expression was compiled.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Returns the paths that the result depends on. They are distinct, and none is inside another.
    pub fn inputs(&self) -> &[Path] {
        &self.0.inputs
    }

    /// Returns whether the result depends on a fact about the migration.
    pub fn reads_facts(&self) -> bool {
        reads_facts(&self.0.root)
    }

    /// Returns the parts that have no result for some items, given what is known about the items. If there are none, the
    /// expression has a result for every such item, limits aside.
    pub fn faults(&self, known: &KnownTypes) -> Vec<ExprError> {
        let found = check(&self.0.source, &self.0.root, known.types(), self.0.expected.kinds());
        let mut all = found.errors;
        all.extend(found.faults);
        all.sort_by_key(|error| (error.span.start, error.span.end));
        all
    }

    /// Returns the types that a result can have.
    fn result_kinds(&self, known: &KnownTypes) -> Kinds {
        check(&self.0.source, &self.0.root, known.types(), self.0.expected.kinds()).result
    }

    /// Evaluates the expression to a value that DynamoDB can store.
    pub fn evaluate(&self, item: &Item, facts: &Facts) -> Result<Value, NotComputable> {
        Ok(self.value(item, facts)?)
    }

    /// Evaluates a condition: an expression that was compiled with [`Expected::Bool`].
    pub fn test(&self, item: &Item, facts: &Facts) -> Result<bool, NotComputable> {
        Ok(self.condition(item, facts)?)
    }

    fn condition(&self, item: &Item, facts: &Facts) -> Res<bool> {
        let result = self.run(item, facts)?;
        if let View::Bool(value) = result.view() {
            return Ok(value);
        }
        let kind = Kinds::one(types::kind_of(&result.view()));
        Err(Fail::new(format!("the result is of {kind}, and a condition needs type BOOL")))
    }

    fn value(&self, item: &Item, facts: &Facts) -> Res<Value> {
        if self.0.expected == Expected::Bool {
            return self.condition(item, facts).map(Value::Bool);
        }
        let value = self.run(item, facts)?.into_value();
        let value = value.ok_or_else(|| Fail::new("the result is a time, which DynamoDB cannot store"))?;
        if value.nests_deeper_than(MAX_LEVELS) {
            return Err(Fail::limit("the result has more than 32 levels, DynamoDB's limit on nesting"));
        }
        if value_bytes(&value) > MAX_ITEM_BYTES {
            return Err(Fail::limit("the result is larger than 400 KB, DynamoDB's limit on an item"));
        }
        Ok(value)
    }

    fn run<'a>(&'a self, item: &'a Item, facts: &Facts) -> Res<Val<'a>> {
        self.0.program.run(item, facts.started_at)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source())
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expr {}

/// Returns the paths that a part reads, without those inside another.
fn inputs(root: &Node) -> Vec<Path> {
    let mut all = BTreeSet::new();
    collect(root, &mut all);
    let mut kept: Vec<Path> = Vec::new();
    // A path sorts before the paths inside it.
    for path in all {
        if !kept.iter().any(|before| before.overlaps(&path)) {
            kept.push(path);
        }
    }
    kept
}

fn reads_facts(node: &Node) -> bool {
    matches!(node.form, NodeForm::StartedAt) || node.children().into_iter().any(reads_facts)
}

fn collect(node: &Node, all: &mut BTreeSet<Path>) {
    if let NodeForm::Place(place) | NodeForm::Has(place) = &node.form {
        all.extend(path(place));
    }
    node.children().into_iter().for_each(|child| collect(child, all));
}

fn path(place: &Place) -> Option<Path> {
    match place.root {
        Root::Item => Path::from_steps(place.steps.clone()),
        Root::Variable(_) => None,
    }
}
