//! Compiles parts to closures. An expression is compiled once, and evaluated for each item.

mod logic;
mod loops;
mod operations;
mod paths;

use std::ops::Range;

use jiff::Timestamp;

use self::logic::{and, conditional, equal, is_in, not, or};
use self::loops::a_loop;
use self::operations::{call, documents, operation};
use self::paths::{has, has_member, index, kind, member, place};
use super::node::{ELEMENT_SLOT, Node, NodeForm, snippet};
use super::run::{Code, Res, Run, StepBudget};
use super::value::{Const, Val};
use crate::item::{Item, Value};

/// A compiled expression.
pub(super) struct Program {
    code: Code,
    constants: Vec<Const>,
    variables: usize,
}

impl Program {
    /// Compiles an expression with this number of variables.
    pub(super) fn new(source: &str, root: &Node, variables: usize) -> Program {
        let mut compiler = Compiler { source, constants: Vec::new() };
        let code = compiler.code(root);
        Program { code, constants: compiler.constants, variables }
    }

    /// Evaluates the expression.
    pub(super) fn run<'a>(&'a self, item: &'a Item, started_at: Timestamp) -> Res<Val<'a>> {
        (self.code)(&mut Run::new(item, started_at, &self.constants, self.variables))
    }

    /// Evaluates the expression. The steps of the evaluation are taken from this budget.
    pub(super) fn run_with<'a>(
        &'a self,
        item: &'a Item,
        started_at: Timestamp,
        budget: &mut StepBudget,
    ) -> Res<Val<'a>> {
        let mut run = Run::new(item, started_at, &self.constants, self.variables);
        run.steps = budget.0;
        let result = (self.code)(&mut run);
        budget.0 = run.steps;
        result
    }

    /// Evaluates the expression for one element of a container. `element` is the value of the variable in the first
    /// slot. The steps of the evaluation are taken from this budget.
    pub(super) fn run_in_element<'a>(
        &'a self,
        item: &'a Item,
        element: &'a Value,
        started_at: Timestamp,
        budget: &mut StepBudget,
    ) -> Res<Val<'a>> {
        let mut run = Run::new(item, started_at, &self.constants, self.variables);
        run.steps = budget.0;
        if let Some(variable) = run.variables.get_mut(ELEMENT_SLOT) {
            *variable = Val::Ref(element);
        }
        let result = (self.code)(&mut run);
        budget.0 = run.steps;
        result
    }
}

/// Boxes a closure that works for every lifetime.
fn boxed<F>(code: F) -> Code
where
    F: for<'a> Fn(&mut Run<'a>) -> Res<Val<'a>> + Send + Sync + 'static,
{
    Box::new(code)
}

/// A compiled part, and its text for messages.
struct Part {
    code: Code,
    text: String,
    is_constant: bool,
}

impl Part {
    /// Returns the text for messages, and whether the part is a constant.
    fn named(&self) -> (&str, bool) {
        (&self.text, self.is_constant)
    }
}

struct Compiler<'s> {
    source: &'s str,
    constants: Vec<Const>,
}

impl Compiler<'_> {
    fn text(&self, span: &Range<usize>) -> String {
        snippet(self.source, span)
    }

    fn part(&mut self, node: &Node) -> Part {
        Part { code: self.code(node), text: self.text(&node.span), is_constant: node.constant().is_some() }
    }

    fn parts(&mut self, nodes: &[Node]) -> Vec<Part> {
        nodes.iter().map(|node| self.part(node)).collect()
    }

    fn code(&mut self, node: &Node) -> Code {
        let text = || snippet(self.source, &node.span);
        match &node.form {
            NodeForm::Const(value) => {
                let at = self.constants.len();
                self.constants.push(value.clone());
                boxed(move |run| Ok(Val::Const(&run.constants[at])))
            }
            NodeForm::StartedAt => boxed(|run| Ok(Val::Timestamp(run.started_at))),
            NodeForm::Place(path) => place(path.clone(), text()),
            NodeForm::Has(path) => has(path.clone()),
            NodeForm::Member(of, step) => {
                let text = text();
                member(self.code(of), step.clone(), text)
            }
            NodeForm::HasMember(of, step) => has_member(self.code(of), step.clone()),
            NodeForm::Index(of, at) => {
                let text = text();
                index(self.part(of), self.part(at), text)
            }
            NodeForm::TypeOf(of) => match of.place() {
                Some(path) => kind(place(path.clone(), String::new()), true),
                None => kind(self.code(of), false),
            },
            NodeForm::Not(a) => not(self.part(a)),
            NodeForm::And(a, b) => and(self.part(a), self.part(b)),
            NodeForm::Or(a, b) => or(self.part(a), self.part(b)),
            NodeForm::If(a, b, c) => conditional(self.part(a), self.code(b), self.code(c)),
            NodeForm::Equal(a, b, negated) => equal(self.part(a), self.part(b), *negated),
            NodeForm::In(a, b) => is_in(self.part(a), self.part(b)),
            NodeForm::Operation(operator, args) => {
                let text = text();
                operation(*operator, self.parts(args), text)
            }
            NodeForm::List(elements) => documents(None, self.parts(elements)),
            NodeForm::Map(entries) => {
                let keys = entries.iter().map(|(key, _)| key.clone()).collect();
                let parts = entries.iter().map(|(_, value)| self.part(value)).collect();
                documents(Some(keys), parts)
            }
            NodeForm::Macro(of) => {
                let cost = of.body.count() + of.filter.as_ref().map_or(0, Node::count);
                let filter = of.filter.as_ref().map(|filter| self.part(filter));
                a_loop(of.kind, of.slot, self.part(&of.range), filter, self.part(&of.body), cost as u64)
            }
            NodeForm::Call(function, prepared, args) => {
                let text = text();
                call(function, prepared.clone(), self.parts(args), text)
            }
        }
    }
}
