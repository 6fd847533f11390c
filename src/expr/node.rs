//! The expression after parsing: names are resolved, and every part knows its place in the source.

use std::fmt;
use std::ops::Range;

use super::function::{Function, Prepared};
use super::value::Const;
use crate::item::PathStep;

/// One part of an expression.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The bytes of the source that the part covers.
    pub(super) span: Range<usize>,
    pub(super) form: NodeForm,
}

/// The form of a part.
#[derive(Debug, Clone)]
pub(super) enum NodeForm {
    Const(Const),
    /// `migration.started_at`
    StartedAt,
    /// A path below `item` or below a macro's variable.
    Place(Place),
    /// A member of a computed value: `json(item.a).b`, `f(x)[0]`
    Member(Box<Node>, PathStep),
    /// `list[i]` or `map[key]`, where the index is computed.
    Index(Box<Node>, Box<Node>),
    /// `has(item.a.b)`
    Has(Place),
    /// `has(json(item.a).b)`
    HasMember(Box<Node>, PathStep),
    /// `type(x)`
    TypeOf(Box<Node>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    /// `==`; if the flag is set, `!=`.
    Equal(Box<Node>, Box<Node>, bool),
    In(Box<Node>, Box<Node>),
    Operation(Operator, Vec<Node>),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Macro(Box<MacroNode>),
    Call(&'static Function, Prepared, Vec<Node>),
}

/// A macro: a loop over the members of a collection.
#[derive(Debug, Clone)]
pub(super) struct MacroNode {
    pub(super) kind: MacroKind,
    pub(super) range: Node,
    /// The variable's slot. Every macro of an expression has its own.
    pub(super) slot: usize,
    /// The filter of `x.map(v, filter, body)`. The macro maps only the members for which the filter is true.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

/// The macros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl MacroKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            MacroKind::All => "all",
            MacroKind::Exists => "exists",
            MacroKind::ExistsOne => "exists_one",
            MacroKind::Map => "map",
            MacroKind::Filter => "filter",
        }
    }
}

/// The operators that evaluate all their operands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Negate,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The slot of the variable `element`, if the expression belongs to an element of a list or map.
pub(super) const ELEMENT_SLOT: usize = 0;

/// Where a path starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Root {
    Item,
    /// The variable in this slot: that of a macro, or `element`.
    Variable(usize),
}

/// A path with a known form. A path below `item` has at least one step, and its first step is a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) steps: Vec<PathStep>,
}

impl Operator {
    /// Returns the spelling.
    pub(super) fn name(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract | Operator::Negate => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Node {
    /// Returns the parts of this part, in the order of their evaluation.
    pub(super) fn children(&self) -> Vec<&Node> {
        match &self.form {
            NodeForm::Const(_) | NodeForm::StartedAt | NodeForm::Place(_) | NodeForm::Has(_) => Vec::new(),
            NodeForm::Member(a, _) | NodeForm::HasMember(a, _) | NodeForm::TypeOf(a) | NodeForm::Not(a) => vec![a],
            NodeForm::Index(a, b)
            | NodeForm::And(a, b)
            | NodeForm::Or(a, b)
            | NodeForm::Equal(a, b, _)
            | NodeForm::In(a, b) => vec![a, b],
            NodeForm::If(a, b, c) => vec![a, b, c],
            NodeForm::Operation(_, all) | NodeForm::List(all) | NodeForm::Call(_, _, all) => all.iter().collect(),
            NodeForm::Map(entries) => entries.iter().map(|(_, value)| value).collect(),
            NodeForm::Macro(of) => {
                [Some(&of.range), of.filter.as_ref(), Some(&of.body)].into_iter().flatten().collect()
            }
        }
    }

    /// Returns the constant, if the part is one.
    pub(super) fn constant(&self) -> Option<&Const> {
        if let NodeForm::Const(value) = &self.form { Some(value) } else { None }
    }

    /// Returns the path, if the part is one.
    pub(super) fn place(&self) -> Option<&Place> {
        if let NodeForm::Place(place) = &self.form { Some(place) } else { None }
    }

    /// Returns the number of parts, this one included.
    pub(super) fn count(&self) -> usize {
        1 + self.children().into_iter().map(Node::count).sum::<usize>()
    }
}

/// The maximum length of a part's text in a message.
const MAX_SNIPPET: usize = 60;

/// Returns a part's text for a message.
pub(super) fn snippet(source: &str, span: &Range<usize>) -> String {
    let text = source.get(span.clone()).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_SNIPPET) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
