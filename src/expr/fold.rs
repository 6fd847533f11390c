//! Evaluates the parts that are the same for every item.

use jiff::Timestamp;

use super::compile::Program;
use super::error::ExprError;
use super::node::{MacroNode, Node, NodeForm};
use super::run::StepBudget;
use crate::item::Item;

/// Replaces each part whose own parts are all constants with its result. A constant part without a result is an error.
///
/// All constant parts of an expression share one step budget, because an expression can have hundreds of large constant
/// parts.
pub(super) fn fold(source: &str, node: Node, steps: &mut StepBudget, errors: &mut Vec<ExprError>) -> Node {
    let mut one = |node: Box<Node>| Box::new(fold(source, *node, steps, errors));
    let Node { span, form } = node;
    let form = match form {
        NodeForm::Const(_) | NodeForm::StartedAt | NodeForm::Place(_) | NodeForm::Has(_) => {
            return Node { span, form };
        }
        NodeForm::Member(of, step) => NodeForm::Member(one(of), step),
        NodeForm::HasMember(of, step) => NodeForm::HasMember(one(of), step),
        NodeForm::TypeOf(of) => NodeForm::TypeOf(one(of)),
        NodeForm::Not(of) => NodeForm::Not(one(of)),
        NodeForm::Index(a, b) => NodeForm::Index(one(a), one(b)),
        NodeForm::And(a, b) => NodeForm::And(one(a), one(b)),
        NodeForm::Or(a, b) => NodeForm::Or(one(a), one(b)),
        NodeForm::Equal(a, b, negated) => NodeForm::Equal(one(a), one(b), negated),
        NodeForm::In(a, b) => NodeForm::In(one(a), one(b)),
        NodeForm::If(a, b, c) => NodeForm::If(one(a), one(b), one(c)),
        NodeForm::Operation(operator, all) => NodeForm::Operation(operator, each(source, all, steps, errors)),
        NodeForm::List(all) => NodeForm::List(each(source, all, steps, errors)),
        NodeForm::Call(function, prepared, all) => NodeForm::Call(function, prepared, each(source, all, steps, errors)),
        NodeForm::Map(entries) => {
            NodeForm::Map(entries.into_iter().map(|(key, value)| (key, fold(source, value, steps, errors))).collect())
        }
        NodeForm::Macro(of) => {
            let MacroNode { kind, range, slot, filter, body } = *of;
            let range = fold(source, range, steps, errors);
            let filter = filter.map(|filter| fold(source, filter, steps, errors));
            let body = fold(source, body, steps, errors);
            let form = NodeForm::Macro(Box::new(MacroNode { kind, range, slot, filter, body }));
            return Node { span, form };
        }
    };
    let node = Node { span, form };
    if node.children().iter().any(|child| child.constant().is_none()) {
        return node;
    }
    let program = Program::new(source, &node, 0);
    let item = Item::new();
    let result = match program.run_with(&item, Timestamp::UNIX_EPOCH, steps) {
        Ok(value) => value.into_const(),
        Err(fail) => {
            // The part is not replaced. So the parts that contain it do not count as constant, and the error is
            // reported only once.
            let why = if steps.is_used_up() { StepBudget::CONSTANTS_TAKE_TOO_LONG.to_owned() } else { fail.text };
            errors.push(ExprError::new(node.span.clone(), "this constant part has no result", why));
            None
        }
    };
    match result {
        Some(value) => Node { span: node.span, form: NodeForm::Const(value) },
        None => node,
    }
}

fn each(source: &str, nodes: Vec<Node>, steps: &mut StepBudget, errors: &mut Vec<ExprError>) -> Vec<Node> {
    nodes.into_iter().map(|node| fold(source, node, steps, errors)).collect()
}
