//! Operators, functions, macros and tests.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr as CelExpr, IdedExpr, operators};

use super::{Lower, MAX_MACROS, no_clock};
use crate::expr::error::ExprError;
use crate::expr::function::{Function, Prepared};
use crate::expr::functions::{NAMESPACES, named};
use crate::expr::node::{MacroKind, MacroNode, Node, NodeForm, Operator};
use crate::expr::similar::similar_function;
use crate::expr::types::{Kind, Kinds};
use crate::expr::value::{Const, View};

/// The page that lists the functions.
const REFERENCE: &str = "docs/expressions.md lists the functions";

/// When the compiled patterns of an expression have more bytes than this, no further pattern is compiled. A pattern of a
/// few characters can take a megabyte.
const MAX_ALL_PATTERN_BYTES: usize = 4 << 20;

impl Lower<'_, '_> {
    pub(super) fn call(&mut self, call: &CallExpr, own: Range<usize>, span: Range<usize>) -> Option<Node> {
        if let Some(operator) = operator(call) {
            let args = self.all(None, &call.args)?;
            return Some(Node { span, form: NodeForm::Operation(operator, args) });
        }
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [a]) => self.one(a, span, NodeForm::Not),
            (operators::LOGICAL_AND, None, [a, b]) => self.two(a, b, span, NodeForm::And),
            (operators::LOGICAL_OR, None, [a, b]) => self.two(a, b, span, NodeForm::Or),
            (operators::EQUALS, None, [a, b]) => self.two(a, b, span, |a, b| NodeForm::Equal(a, b, false)),
            (operators::NOT_EQUALS, None, [a, b]) => self.two(a, b, span, |a, b| NodeForm::Equal(a, b, true)),
            (operators::IN, None, [a, b]) => self.two(a, b, span, NodeForm::In),
            (operators::CONDITIONAL, None, [a, b, c]) => {
                let (a, b, c) = (self.node(a), self.node(b), self.node(c));
                let form = NodeForm::If(Box::new(a?), Box::new(b?), Box::new(c?));
                Some(Node { span, form })
            }
            ("has", None, [path]) => self.has(path, span),
            ("type", None, [of]) => self.one(of, span, NodeForm::TypeOf),
            (name, Some(range), args) if macro_kind(name, args.len()).is_some() => {
                let kind = macro_kind(name, args.len())?;
                self.a_macro(kind, range, args, span)
            }
            (name, target, args) => {
                let namespace = target.and_then(|target| self.namespace(target));
                let (name, target) = match namespace {
                    Some(space) => (format!("{space}.{name}"), None),
                    None => (name.to_owned(), target),
                };
                self.function(&name, target, args, own, span)
            }
        }
    }

    fn namespace(&self, target: &IdedExpr) -> Option<&'static str> {
        let CelExpr::Ident(name) = &target.expr else { return None };
        NAMESPACES.into_iter().find(|space| space == name && self.variable(name).is_none())
    }

    fn all(&mut self, target: Option<&IdedExpr>, args: &[IdedExpr]) -> Option<Vec<Node>> {
        let nodes: Vec<Option<Node>> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect();
        nodes.into_iter().collect()
    }

    fn one(&mut self, a: &IdedExpr, span: Range<usize>, form: impl FnOnce(Box<Node>) -> NodeForm) -> Option<Node> {
        let a = self.node(a)?;
        Some(Node { span, form: form(Box::new(a)) })
    }

    fn two(
        &mut self,
        a: &IdedExpr,
        b: &IdedExpr,
        span: Range<usize>,
        form: impl FnOnce(Box<Node>, Box<Node>) -> NodeForm,
    ) -> Option<Node> {
        let (a, b) = (self.node(a), self.node(b));
        let form = form(Box::new(a?), Box::new(b?));
        for wrong in wrong_type_names(&form) {
            let error = ExprError::new(wrong, "no type has this name", "never the result of type()");
            self.error(error.help(
                "the names are \"S\", \"N\", \"B\", \"BOOL\", \"NULL\", \"SS\", \"NS\", \"BS\", \"L\", \"M\" and \"MISSING\"",
            ));
        }
        Some(Node { span, form })
    }

    fn has(&mut self, path: &IdedExpr, span: Range<usize>) -> Option<Node> {
        let path = self.node(path)?;
        let form = match path.form {
            NodeForm::Place(place) if !place.steps.is_empty() => NodeForm::Has(place),
            NodeForm::Member(of, step) => NodeForm::HasMember(of, step),
            NodeForm::Const(_)
            | NodeForm::StartedAt
            | NodeForm::Place(_)
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
            | NodeForm::Call(..) => {
                let error = ExprError::new(path.span, "has() tests a path", "not a path");
                return self.error(error.help("write has(item.a), has(item.a.b) or has(item.list[0])"));
            }
        };
        Some(Node { span, form })
    }

    fn a_macro(&mut self, kind: MacroKind, range: &IdedExpr, args: &[IdedExpr], span: Range<usize>) -> Option<Node> {
        let range = self.node(range);
        let (variable, bodies) = args.split_first()?;
        let CelExpr::Ident(name) = &variable.expr else {
            let span = self.parsed.span(variable);
            let error = ExprError::new(
                span,
                format!("the first argument of {}() must be a new name", kind.name()),
                "not a name",
            );
            return self.error(error.help(format!("write list.{}(x, …), where x is each element", kind.name())));
        };
        let is_element = self.outer > 0 && self.scopes[..self.outer].iter().any(|(known, _)| known == name);
        if is_element || ["item", "migration"].contains(&name.as_str()) {
            let span = self.parsed.span(variable);
            return self.error(ExprError::new(span, format!("`{name}` is already defined"), "choose another name"));
        }
        if self.scopes.len() - self.outer >= MAX_MACROS {
            let title = format!("macros are nested, and at most {MAX_MACROS} levels are allowed");
            return self.error(ExprError::new(span, title, "nested too deeply"));
        }
        let slot = self.variables;
        self.variables += 1;
        self.scopes.push((name.clone(), slot));
        let bodies: Vec<Option<Node>> = bodies.iter().map(|body| self.node(body)).collect();
        self.scopes.pop();
        let mut bodies: Vec<Node> = bodies.into_iter().collect::<Option<_>>()?;
        let body = bodies.pop()?;
        let form = NodeForm::Macro(Box::new(MacroNode { kind, range: range?, slot, filter: bodies.pop(), body }));
        Some(Node { span, form })
    }

    fn function(
        &mut self,
        name: &str,
        target: Option<&IdedExpr>,
        args: &[IdedExpr],
        own: Range<usize>,
        span: Range<usize>,
    ) -> Option<Node> {
        let nodes = self.all(target, args);
        let Some(function) = named(name) else {
            let error = unknown_function(name, span);
            return self.error(error);
        };
        if !function.can_be_called(target.is_some()) {
            let title = format!("`{name}` is called in the wrong form");
            let error = ExprError::new(span, title, "wrong form");
            return self.error(error.help(format!("write {}", function.signatures().join(" or "))));
        }
        let args = nodes?;
        if !function.overloads.iter().any(|overload| overload.params.len() == args.len()) {
            let title = format!("`{name}` has the wrong number of arguments");
            let error = ExprError::new(own.start.min(span.start)..span.end, title, "wrong number of arguments");
            return self.error(error.help(format!("write {}", function.signatures().join(" or "))));
        }
        let prepared = self.prepared(function, &args)?;
        Some(Node { span, form: NodeForm::Call(function, prepared, args) })
    }

    fn prepared(&mut self, function: &Function, args: &[Node]) -> Option<Prepared> {
        let Some((at, prepare)) = function.constant else { return Some(Prepared::Nothing) };
        let Some(arg) = args.get(at) else { return Some(Prepared::Nothing) };
        let result = match arg.constant() {
            Some(_) if self.pattern_bytes > MAX_ALL_PATTERN_BYTES => {
                Err("the patterns of this expression are too large in total".to_owned())
            }
            Some(value) => prepare(value),
            None => {
                let title = format!("`{}` needs a constant here", function.name);
                self.error(ExprError::new(arg.span.clone(), title, "not a constant").help("write a text in quotes"));
                return None;
            }
        };
        match result {
            Ok(prepared) => {
                if let Prepared::Pattern { bytes, .. } = &prepared {
                    self.pattern_bytes += bytes;
                }
                Some(prepared)
            }
            Err(why) => {
                // Rejecting a pattern that is too large takes as long as compiling the largest allowed pattern.
                self.pattern_bytes += MAX_ALL_PATTERN_BYTES / 4;
                let title = format!("`{}` cannot use this: {why}", function.name);
                self.error(ExprError::new(arg.span.clone(), title, "wrong here"));
                None
            }
        }
    }
}

fn operator(call: &CallExpr) -> Option<Operator> {
    match (call.func_name.as_str(), call.args.len()) {
        (operators::ADD, 2) => Some(Operator::Add),
        (operators::SUBSTRACT, 2) => Some(Operator::Subtract),
        (operators::MULTIPLY, 2) => Some(Operator::Multiply),
        (operators::DIVIDE, 2) => Some(Operator::Divide),
        (operators::MODULO, 2) => Some(Operator::Remainder),
        (operators::NEGATE, 1) => Some(Operator::Negate),
        (operators::LESS, 2) => Some(Operator::Less),
        (operators::LESS_EQUALS, 2) => Some(Operator::LessOrEqual),
        (operators::GREATER, 2) => Some(Operator::Greater),
        (operators::GREATER_EQUALS, 2) => Some(Operator::GreaterOrEqual),
        _ => None,
    }
}

fn macro_kind(name: &str, args: usize) -> Option<MacroKind> {
    match (name, args) {
        ("all", 2) => Some(MacroKind::All),
        ("exists", 2) => Some(MacroKind::Exists),
        ("exists_one" | "existsOne", 2) => Some(MacroKind::ExistsOne),
        ("map", 2 | 3) => Some(MacroKind::Map),
        ("filter", 2) => Some(MacroKind::Filter),
        _ => None,
    }
}

fn unknown_function(name: &str, span: Range<usize>) -> ExprError {
    if name == "now" {
        return no_clock(span);
    }
    let error = ExprError::new(span, format!("there is no function `{name}`"), "unknown function");
    match name {
        "int" | "uint" | "double" => {
            error.help("there is only one number type: number(text) converts a text, math.trunc(n) drops the decimals")
        }
        "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" => {
            error.help(format!("write list.{name}(x, …), where x is each element"))
        }
        "has" | "type" => error.help(format!("write {name}(item.a)")),
        "dyn" => error.help("leave it out: every part has its type when it is evaluated"),
        "matches_regex" | "regex" => error.help("write text.matches(\"pattern\")"),
        _ => {
            let error = match similar_function(name).and_then(named) {
                Some(known) => error.help(format!("did you mean {}?", known.signatures().join(" or "))),
                None => error,
            };
            error.help(REFERENCE)
        }
    }
}

/// Returns the places of texts that are compared with `type()` but are not the name of a type.
fn wrong_type_names(form: &NodeForm) -> Vec<Range<usize>> {
    let is_wrong = |value: &Const| {
        let views: Vec<View<'_>> = match value.view().list() {
            Some(list) => list.iter().map(View::of).collect(),
            None => vec![value.view()],
        };
        let is_name = |view: View<'_>| {
            let kind = view.text().and_then(Kind::named);
            kind.is_some_and(|kind| Kinds::one(kind).is_within(Kinds::VALUES.or(Kinds::MISSING)))
        };
        !views.into_iter().all(is_name)
    };
    let is_type = |node: &Node| matches!(node.form, NodeForm::TypeOf(_));
    let mut wrong = Vec::new();
    let mut look = |name: &Node| {
        if name.constant().is_some_and(is_wrong) {
            wrong.push(name.span.clone());
        }
    };
    if let NodeForm::Equal(a, b, _) = form {
        if is_type(a) {
            look(b);
        } else if is_type(b) {
            look(a);
        }
    }
    if let NodeForm::In(a, b) = form
        && is_type(a)
        && let NodeForm::List(names) = &b.form
    {
        names.iter().for_each(look);
    }
    wrong
}
