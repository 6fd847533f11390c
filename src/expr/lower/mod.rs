//! Converts the syntax tree to parts with resolved names: paths, variables, operators and functions.

mod calls;
mod literals;

use std::ops::Range;

use cel::common::ast::{EntryExpr, Expr as CelExpr, IdedExpr, LiteralValue, operators};

use super::error::ExprError;
use super::node::{ELEMENT_SLOT, Node, NodeForm, Place, Root};
use super::parse::Parsed;
use super::value::Const;
use crate::item::{MAX_LEVELS, PathStep, Value};

/// The maximum number of parts, so that an evaluation without macros is short.
pub(super) const MAX_PARTS: usize = 500;

/// The maximum nesting depth of parts. The evaluator calls itself for each level, so this bounds its stack.
pub(super) const MAX_DEPTH: usize = 100;

/// The maximum nesting depth of macros. Each level multiplies the number of steps of an evaluation.
pub(super) const MAX_MACROS: usize = 3;

/// An expression with resolved names.
pub(super) struct Lowered {
    pub(super) root: Node,
    /// The number of variables: those of macros, and `element`.
    pub(super) variables: usize,
}

/// The name of the variable for an element of a list or map.
const ELEMENT: &str = "element";

/// Resolves every name, and reports every error. `in_element` defines the variable `element`.
pub(super) fn lower(parsed: &Parsed<'_>, in_element: bool) -> Result<Lowered, Vec<ExprError>> {
    let depth = depth(&parsed.root);
    if depth > MAX_DEPTH {
        let title = format!("parts are nested {depth} deep, and at most {MAX_DEPTH} levels are allowed");
        let error = ExprError::new(parsed.span(&parsed.root), title, "nested too deeply");
        return Err(vec![error.help("each operator of a chain such as a + b + c is one level; use [a, b, c].join()")]);
    }
    let scopes: Vec<(String, usize)> = in_element.then(|| (ELEMENT.to_owned(), ELEMENT_SLOT)).into_iter().collect();
    let variables = scopes.len();
    let mut lower = Lower { parsed, outer: scopes.len(), scopes, variables, pattern_bytes: 0, errors: Vec::new() };
    let root = lower.node(&parsed.root);
    if let Some(root) = root.as_ref().filter(|_| in_element) {
        lower.refuse_whole_element(root);
    }
    match root {
        Some(root) if lower.errors.is_empty() => {
            let count = root.count();
            if count > MAX_PARTS {
                let title = format!("the expression has {count} parts, and at most {MAX_PARTS} are allowed");
                return Err(vec![ExprError::new(root.span, title, "too long")]);
            }
            Ok(Lowered { root, variables: lower.variables })
        }
        _ => {
            lower.errors.sort_by_key(|error| error.span.start);
            Err(lower.errors)
        }
    }
}

fn depth(expr: &IdedExpr) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or(0);
    1 + match &expr.expr {
        CelExpr::Call(call) => deepest(&mut call.target.iter().map(AsRef::as_ref).chain(&call.args)),
        CelExpr::Select(select) => depth(&select.operand),
        CelExpr::List(list) => deepest(&mut list.elements.iter()),
        CelExpr::Map(map) => map.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        CelExpr::Struct(fields) => fields.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        CelExpr::Unspecified | CelExpr::Comprehension(_) | CelExpr::Ident(_) | CelExpr::Literal(_) => 0,
    }
}

fn entry_depth(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        EntryExpr::StructField(field) => depth(&field.value),
    }
}

struct Lower<'p, 's> {
    parsed: &'p Parsed<'s>,
    /// The variables in scope, innermost last, with their slots.
    scopes: Vec<(String, usize)>,
    /// The number of variables in scope that no macro defines.
    outer: usize,
    variables: usize,
    /// The size of the patterns that were compiled.
    pattern_bytes: usize,
    errors: Vec<ExprError>,
}

/// What a path can start with.
enum Base {
    Item,
    Node(Node),
}

impl Lower<'_, '_> {
    fn error(&mut self, error: ExprError) -> Option<Node> {
        self.errors.push(error);
        None
    }

    fn node(&mut self, expr: &IdedExpr) -> Option<Node> {
        let span = self.parsed.span(expr);
        let form = match &expr.expr {
            CelExpr::Literal(literal) => return self.literal(literal, span),
            CelExpr::Ident(name) => return self.name(name, span),
            CelExpr::Select(select) => {
                let is_start = matches!(&select.operand.expr, CelExpr::Ident(root) if root == "migration");
                if is_start && self.variable("migration").is_none() {
                    return self.migration(&select.field, span);
                }
                let base = self.base(&select.operand);
                return self.step(base?, PathStep::Name(select.field.clone()), span);
            }
            CelExpr::Call(call) if call.func_name == operators::INDEX => {
                let (base, index) = (call.args.first()?, call.args.get(1)?);
                return self.index(base, index, span);
            }
            CelExpr::Call(call) => return self.call(call, self.parsed.own_span(expr), span),
            CelExpr::List(list) => {
                let elements: Vec<Option<Node>> = list.elements.iter().map(|element| self.node(element)).collect();
                NodeForm::List(elements.into_iter().collect::<Option<_>>()?)
            }
            CelExpr::Map(map) => {
                let entries: Vec<Option<(String, Node)>> =
                    map.entries.iter().map(|entry| self.entry(&entry.expr)).collect();
                let entries: Vec<(String, Node)> = entries.into_iter().collect::<Option<_>>()?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    if entries[..at].iter().any(|(before, _)| before == key) {
                        let error = ExprError::new(value.span.clone(), "a key occurs twice in this map", "again here");
                        return self.error(error);
                    }
                }
                NodeForm::Map(entries)
            }
            CelExpr::Struct(_) => {
                let error = ExprError::new(span, "the message types of CEL are not supported", "a message");
                return self.error(error.help("write a map with quoted keys: {\"a\": 1}"));
            }
            CelExpr::Unspecified | CelExpr::Comprehension(_) => {
                return self.error(ExprError::new(span, "this is not a CEL expression", "cannot be parsed"));
            }
        };
        Some(Node { span, form })
    }

    fn entry(&mut self, entry: &EntryExpr) -> Option<(String, Node)> {
        let EntryExpr::MapEntry(entry) = entry else { return None };
        let value = self.node(&entry.value);
        if let CelExpr::Literal(LiteralValue::String(key)) = &entry.key.expr {
            return Some((key.inner().to_owned(), value?));
        }
        let error =
            ExprError::new(self.parsed.span(&entry.key), "the keys of a map must be constant texts", "not a text");
        self.error(error.help("put the key in quotes"));
        None
    }

    /// Refuses `element` without a member, except in `type(element)`. The element contains what
    /// the change itself writes.
    fn refuse_whole_element(&mut self, node: &Node) {
        let is_whole = |place: &Place| place.root == Root::Variable(ELEMENT_SLOT) && place.steps.is_empty();
        match &node.form {
            NodeForm::TypeOf(of) if of.place().is_some_and(is_whole) => return,
            NodeForm::Place(place) | NodeForm::Has(place) if is_whole(place) => {
                let title = "an expression cannot use the whole element";
                self.errors.push(
                    ExprError::new(node.span.clone(), title, "name a member")
                        .help("write element.a, element[\"a b\"] or type(element)"),
                );
            }
            NodeForm::Index(of, _) if of.place().is_some_and(is_whole) => {
                let title = "the name of a member of the element must be a constant";
                self.errors.push(
                    ExprError::new(node.span.clone(), title, "computed name")
                        .help("write element.a or element[\"a b\"]: the plan must show what the expression reads"),
                );
                return;
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
            | NodeForm::And(..)
            | NodeForm::Or(..)
            | NodeForm::If(..)
            | NodeForm::Equal(..)
            | NodeForm::In(..)
            | NodeForm::Operation(..)
            | NodeForm::List(_)
            | NodeForm::Map(_)
            | NodeForm::Macro(_)
            | NodeForm::Call(..) => {}
        }
        node.children().into_iter().for_each(|child| self.refuse_whole_element(child));
    }

    fn variable(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rev().find(|(known, _)| known == name).map(|(_, slot)| *slot)
    }

    fn name(&mut self, name: &str, span: Range<usize>) -> Option<Node> {
        if let Some(slot) = self.variable(name) {
            let place = Place { root: Root::Variable(slot), steps: Vec::new() };
            return Some(Node { span, form: NodeForm::Place(place) });
        }
        let before = self.parsed.source.get(..span.start).unwrap_or_default();
        let is_after_dash = before.strip_suffix('-').is_some_and(|text| text.ends_with(|c: char| c.is_alphanumeric()));
        let error = match name {
            other if is_after_dash => ExprError::new(span, format!("there is no variable `{other}`"), "unknown name")
                .help("quote an attribute name that contains a dash: item[\"e-mail\"]")
                .help(format!("to subtract the attribute, write item.{other}")),
            "item" => ExprError::new(span, "an expression cannot use the whole item", "name an attribute").help(
                "write item.a, item[\"a b\"] or item.list[0]: the write is conditional on what the expression reads",
            ),
            "migration" => {
                ExprError::new(span, "`migration` has one member", "not a value").help("write migration.started_at")
            }
            "now" => no_clock(span),
            ELEMENT => ExprError::new(span, "there is no variable `element` here", "unknown name")
                .help("only the `as` of a change with `each` reads an element; write item.element for the attribute"),
            other => ExprError::new(span, format!("there is no variable `{other}`"), "unknown name")
                .help(format!("write item.{other} for the attribute, or \"{other}\" for a text")),
        };
        self.error(error)
    }

    fn migration(&mut self, field: &str, span: Range<usize>) -> Option<Node> {
        if field == "started_at" {
            return Some(Node { span, form: NodeForm::StartedAt });
        }
        let error = ExprError::new(span, format!("`migration` has no member `{field}`"), "unknown name");
        self.error(error.help("its only member is migration.started_at"))
    }

    fn base(&mut self, expr: &IdedExpr) -> Option<Base> {
        match &expr.expr {
            CelExpr::Ident(name) if name == "item" && self.variable(name).is_none() => Some(Base::Item),
            _ => self.node(expr).map(Base::Node),
        }
    }

    fn step(&mut self, base: Base, step: PathStep, span: Range<usize>) -> Option<Node> {
        let form = match base {
            Base::Item => match step {
                PathStep::Name(name) if name.is_empty() => {
                    return self.error(ExprError::new(span, "an attribute's name must not be empty", "empty name"));
                }
                PathStep::Name(_) => NodeForm::Place(Place { root: Root::Item, steps: vec![step] }),
                PathStep::Index(_) => {
                    let error = ExprError::new(span, "an item has attributes, not positions", "not an attribute");
                    return self.error(error.help("write item.list[0] for an element of a list"));
                }
            },
            Base::Node(Node { form: NodeForm::Place(mut place), .. }) => {
                place.steps.push(step);
                if place.steps.len() > MAX_LEVELS {
                    let title = "a path can have at most 32 steps, DynamoDB's limit on nesting";
                    return self.error(ExprError::new(span, title, "too long"));
                }
                let is_empty_name = matches!(place.steps.last(), Some(PathStep::Name(name)) if name.is_empty());
                if is_empty_name && place.root == Root::Item {
                    return self.error(ExprError::new(span, "an attribute's name must not be empty", "empty name"));
                }
                NodeForm::Place(place)
            }
            Base::Node(node) => NodeForm::Member(Box::new(node), step),
        };
        Some(Node { span, form })
    }

    fn index(&mut self, base: &IdedExpr, index: &IdedExpr, span: Range<usize>) -> Option<Node> {
        let base = self.base(base);
        if let CelExpr::Literal(LiteralValue::String(name)) = &index.expr {
            return self.step(base?, PathStep::Name(name.inner().to_owned()), span);
        }
        let index = self.node(index);
        let (base, index) = (base?, index?);
        if let NodeForm::Const(Const::Number(num, _)) = &index.form {
            return match num.as_str().parse() {
                Ok(at) => self.step(base, PathStep::Index(at), span),
                Err(_) => {
                    let title = "a position in a list must be a whole number; the first position is 0";
                    self.error(ExprError::new(index.span, title, "not a position"))
                }
            };
        }
        match base {
            Base::Node(base) => Some(Node { span, form: NodeForm::Index(Box::new(base), Box::new(index)) }),
            Base::Item => {
                let title = "the name of an attribute must be a constant";
                let error = ExprError::new(index.span, title, "computed name");
                self.error(
                    error.help("write item.a or item[\"a b\"]: the write is conditional on what the expression reads"),
                )
            }
        }
    }
}

fn no_clock(span: Range<usize>) -> ExprError {
    ExprError::new(span, "an expression has no clock", "gives another result at each evaluation")
        .help("use migration.started_at, the time at which this migration began")
}

fn constant(span: Range<usize>, value: Value) -> Node {
    Node { span, form: NodeForm::Const(Const::of(value)) }
}
