//! Expressions of plans: CEL over the attributes of an item.
//!
//! The parser and the syntax tree come from the `cel` crate. The evaluator is our own, because it must support every
//! DynamoDB type: numbers with 38 exact digits, sets and binary values. An expression is compiled once, to closures.
//! This module is pure: an evaluation depends only on the expression, the item and the [`Facts`].
//!
//! # Meaning
//!
//! - `item.a.b`, `item["a b"]` and `item.list[0]` are paths. `migration.started_at` is a fact about the migration. In a
//!   change with `each`, `element` is one element of the list, or one value of the map.
//! - `==` and `!=` compare values of one type. A comparison of two types has no result. If it were false instead, a
//!   selection would silently skip items. NULL is the exception: it is unequal to every value of another type.
//! - `x in list` is true if `x == element` is true for any element. If no element is equal and at least one has another
//!   type, there is no result.
//! - A division has a result only if the quotient is a finite decimal. `%` is the remainder of a division that rounds
//!   towards zero. It also works for decimals.
//! - `type(x)` is the name of a DynamoDB type, and `"MISSING"` for a path without a value. `has()` and `type()` of a
//!   path always have a result.
//! - As in CEL, `&&`, `||`, `all` and `exists` have a result if one operand decides it, even if another operand has no
//!   result. Limits are the exception: once any operand reaches a limit, the whole expression has no result.
//! - A macro visits the elements of a list, the sorted members of a set, or the sorted keys of a map.
//!
//! # Faults and limits
//!
//! [`Expr::faults`] finds the parts that have no result for some items, because an attribute is missing or has an
//! unexpected type, or because a function does not accept a text or number. It does not report limits: more than 38
//! digits, a time outside the years -9999 to 9999, a value that is too large or too deep, and an evaluation with too
//! many steps. A guard could not exclude these cases. An expression that reaches a limit is not computable for that
//! item.

mod check;
mod compile;
mod decimal;
mod differences;
mod error;
mod filter;
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
pub use self::filter::{Filter, FilterComparison, FilterTerm};
use self::fold::fold;
pub use self::known::KnownTypes;
use self::lower::lower;
use self::node::{ELEMENT_SLOT, Node, NodeForm, Operator, Root};
use self::parse::parse;
pub use self::reference::{Example, examples, reference};
pub use self::run::StepBudget;
use self::run::{Fail, Res};
pub(crate) use self::similar::edit_distance;
use self::types::Kinds;
use self::value::{Const, Val, View};
use crate::item::{Item, MAX_ITEM_BYTES, MAX_LEVELS, NotComputable, Path, Value, value_bytes};

/// A checked and compiled expression. Clones share the compiled form.
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
    /// The time at which the migration began. It is recorded once, so that every run computes the same values.
    pub started_at: Timestamp,
}

struct Compiled {
    source: String,
    expected: Expected,
    root: Node,
    program: Program,
    inputs: Vec<Path>,
    /// Whether `element` is defined.
    in_element: bool,
    /// The paths below `element`.
    element_inputs: Vec<Path>,
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
        Expr::compile_with(source, expected, false)
    }

    /// Compiles an expression over one element of a list or map. It can read the element and the item.
    pub fn compile_in_element(source: &str, expected: Expected) -> Result<Expr, Vec<ExprError>> {
        Expr::compile_with(source, expected, true)
    }

    fn compile_with(source: &str, expected: Expected, in_element: bool) -> Result<Expr, Vec<ExprError>> {
        let lowered = lower(&parse(source)?, in_element)?;
        let mut errors = Vec::new();
        let root = fold(source, lowered.root, &mut StepBudget::of_constants(), &mut errors);
        if errors.is_empty() {
            errors = check(source, &root, KnownTypes::default().types(), &[], expected.kinds(), in_element).errors;
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let program = Program::new(source, &root, lowered.variables);
        let inputs = inputs(&root, Root::Item);
        let element_inputs = if in_element { self::inputs(&root, Root::Variable(ELEMENT_SLOT)) } else { Vec::new() };
        let source = source.to_owned();
        Ok(Expr(Arc::new(Compiled { source, expected, root, program, inputs, in_element, element_inputs })))
    }

    /// Returns the text from which the expression was compiled.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Returns the paths that the result depends on. They are distinct, and none is inside another.
    pub fn inputs(&self) -> &[Path] {
        &self.0.inputs
    }

    /// Returns the paths inside the element that the result depends on. They are distinct, and none is inside another.
    pub fn element_inputs(&self) -> &[Path] {
        &self.0.element_inputs
    }

    /// Returns whether the result depends on a fact about the migration.
    pub fn reads_facts(&self) -> bool {
        reads_facts(&self.0.root)
    }

    /// Returns the parts that have no result for some items, given what is known about the items. If there are none,
    /// the expression has a result for every such item, unless the evaluation reaches a limit.
    pub fn faults(&self, known: &KnownTypes) -> Vec<ExprError> {
        self.faults_where(known, &[])
    }

    /// Like [`Expr::faults`], for an expression that is evaluated only for items for which each of these conditions is
    /// true. The conditions must have no faults themselves: a condition that can lack a result proves nothing.
    pub fn faults_where(&self, known: &KnownTypes, guards: &[&Expr]) -> Vec<ExprError> {
        let found = self.check(known, guards);
        let mut all = found.errors;
        all.extend(found.faults);
        all.sort_by_key(|error| (error.span.start, error.span.end));
        all
    }

    /// Returns the types that a result can have.
    fn result_kinds(&self, known: &KnownTypes) -> Kinds {
        self.check(known, &[]).result
    }

    fn check(&self, known: &KnownTypes, guards: &[&Expr]) -> check::Findings {
        let Compiled { source, expected, root, in_element, .. } = &*self.0;
        let guards: Vec<&Node> = guards.iter().map(|guard| &guard.0.root).collect();
        check(source, root, known.types(), &guards, expected.kinds(), *in_element)
    }

    /// Returns the names of the DynamoDB types that a result can have, given what is known about the items. Each of the
    /// `guards` is true for these items, and has no faults.
    pub fn result_types(&self, known: &KnownTypes, guards: &[&Expr]) -> Vec<&'static str> {
        self.check(known, guards).result.and(Kinds::STORED).iter().map(types::Kind::name).collect()
    }

    /// Returns whether the form of the expression guarantees that every result of type S has at least one character.
    /// `known` contains the attributes that every item has: those of the table's key, which are never empty.
    pub fn is_never_empty(&self, known: &KnownTypes) -> bool {
        never_empty(&self.0.root, known)
    }

    /// Evaluates the expression to a value that DynamoDB can store.
    pub fn evaluate(&self, item: &Item, facts: &Facts) -> Result<Value, NotComputable> {
        Ok(self.value(item, facts)?)
    }

    /// Evaluates an expression over an element ([`Expr::compile_in_element`]) to a value that DynamoDB can store. The
    /// steps of the evaluation are taken from this budget.
    pub fn evaluate_element(
        &self,
        item: &Item,
        element: &Value,
        facts: &Facts,
        budget: &mut StepBudget,
    ) -> Result<Value, NotComputable> {
        let value = self.0.program.run_in_element(item, element, facts.started_at, budget)?;
        Ok(storable(value)?)
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
        storable(self.run(item, facts)?)
    }

    fn run<'a>(&'a self, item: &'a Item, facts: &Facts) -> Res<Val<'a>> {
        self.0.program.run(item, facts.started_at)
    }
}

/// Returns the value if DynamoDB can store it.
fn storable(value: Val<'_>) -> Res<Value> {
    let value = value.into_value();
    let value = value.ok_or_else(|| Fail::new("the result is a time, which DynamoDB cannot store"))?;
    if value.nests_deeper_than(MAX_LEVELS) {
        return Err(Fail::limit("the result has more than 32 levels, DynamoDB's limit on nesting"));
    }
    if value_bytes(&value) > MAX_ITEM_BYTES {
        return Err(Fail::limit("the result is larger than 400 KB, DynamoDB's limit on an item"));
    }
    Ok(value)
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

/// Returns the paths below this root that a part reads, without those inside another.
fn inputs(node: &Node, root: Root) -> Vec<Path> {
    let mut all = BTreeSet::new();
    collect(node, root, &mut all);
    let mut kept: Vec<Path> = Vec::new();
    // A path sorts before the paths inside it.
    for path in all {
        if !kept.iter().any(|before| before.overlaps(&path)) {
            kept.push(path);
        }
    }
    kept
}

fn never_empty(node: &Node, known: &KnownTypes) -> bool {
    match &node.form {
        NodeForm::Const(Const::Value(Value::S(text))) => !text.is_empty(),
        NodeForm::Place(place) => match place.root {
            Root::Item => Path::from_steps(place.steps.clone()).is_some_and(|path| known.types().contains_key(&path)),
            Root::Variable(_) => false,
        },
        NodeForm::If(_, one, other) => never_empty(one, known) && never_empty(other, known),
        NodeForm::Operation(Operator::Add, parts) => parts.iter().any(|part| never_empty(part, known)),
        NodeForm::Call(function, _, _) => matches!(function.name, "sha256" | "uuid5"),
        NodeForm::Const(_)
        | NodeForm::StartedAt
        | NodeForm::Member(..)
        | NodeForm::Index(..)
        | NodeForm::Has(_)
        | NodeForm::HasMember(..)
        | NodeForm::TypeOf(_)
        | NodeForm::Not(_)
        | NodeForm::And(..)
        | NodeForm::Or(..)
        | NodeForm::Equal(..)
        | NodeForm::In(..)
        | NodeForm::Operation(..)
        | NodeForm::List(_)
        | NodeForm::Map(_)
        | NodeForm::Macro(_) => false,
    }
}

fn reads_facts(node: &Node) -> bool {
    matches!(node.form, NodeForm::StartedAt) || node.children().into_iter().any(reads_facts)
}

fn collect(node: &Node, root: Root, all: &mut BTreeSet<Path>) {
    if let NodeForm::Place(place) | NodeForm::Has(place) = &node.form
        && place.root == root
    {
        all.extend(Path::from_steps(place.steps.clone()));
    }
    node.children().into_iter().for_each(|child| collect(child, root, all));
}
