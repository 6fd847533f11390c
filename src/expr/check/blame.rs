//! Reports faults and errors, and suggests guards.

use super::Check;
use super::env::Env;
use crate::expr::error::ExprError;
use crate::expr::node::{Node, snippet};
use crate::expr::types::{Kind, Kinds, Type};

/// The remedy that works for every fault, if the plan allows it.
const SKIP: &str =
    "or decide in [migration] about such items: on_not_computable = \"fail\" makes them failures, \"skip\" skips them";

/// The title of a fault.
const TITLE: &str = "the expression has no result for some items";

impl Check<'_> {
    pub(super) fn text(&self, node: &Node) -> String {
        snippet(self.source, &node.span)
    }

    /// Reports a part that never has a result.
    pub(super) fn error(&mut self, error: ExprError, env: &Env) {
        if !env.is_impossible() {
            self.findings.errors.push(error);
        }
    }

    /// Reports a part that has no result for some items.
    pub(super) fn fault(&mut self, node: &Node, label: String, guard: Option<String>, env: &Env) {
        if env.is_impossible() {
            return;
        }
        let error = ExprError::new(node.span.clone(), TITLE, label);
        let error = match guard {
            Some(guard) if self.is_condition => error.help(format!("guard it: {guard} && …")).help(SKIP),
            Some(guard) => error.help(format!("guard it: {guard} ? … : …")).help(SKIP),
            None => error.help(SKIP.trim_start_matches("or ")),
        };
        self.findings.faults.push(error);
    }

    /// Checks that a part has a value of one of the kinds that `what` needs. Returns the part's type, limited to these
    /// kinds.
    pub(super) fn need(&mut self, node: &Node, is: Type, needed: Kinds, what: &str, env: &mut Env) -> Type {
        let fits = is.only(needed);
        if is.kinds.is_within(needed) {
            return fits;
        }
        let text = self.text(node);
        if fits.kinds.is_empty() {
            let label = if is.kinds == Kinds::MISSING {
                format!("`{text}` is always missing here")
            } else if needed == Kinds::STORED {
                format!("`{text}` is of {}, which DynamoDB cannot store", is.kinds)
            } else {
                format!("`{text}` is of {}, and {what} needs {needed} here", is.kinds.without(Kinds::MISSING))
            };
            let error = ExprError::new(node.span.clone(), "the expression never has a result", label);
            let error = match conversion(&text, is.kinds, needed, node.constant().is_some()) {
                Some(help) => error.help(help),
                None => error,
            };
            self.error(error, env);
            let is = Type { kinds: needed, open: true, ..is };
            if let Some(place) = node.place() {
                env.set(place, is);
            }
            return is;
        }
        let others = is.kinds.without(needed);
        if !is.open || others.has(Kind::Missing) {
            self.fault_of_type(node, others, needed, env);
        }
        if let Some(place) = node.place() {
            env.set(place, fits);
        }
        fits
    }

    fn fault_of_type(&mut self, node: &Node, others: Kinds, needed: Kinds, env: &Env) {
        let text = self.text(node);
        let label = match (others.has(Kind::Missing), others.without(Kinds::MISSING).is_empty()) {
            (true, true) => format!("`{text}` can be missing"),
            (true, false) => format!("`{text}` can be missing or of another type"),
            (false, _) => format!("`{text}` can be of another type"),
        };
        let guard = node.place().map(|_| guard(&text, others, needed));
        self.fault(node, label, guard, env);
    }
}

/// Returns advice to convert a part to a type that fits, if a function can convert it.
fn conversion(text: &str, is: Kinds, needed: Kinds, is_constant: bool) -> Option<String> {
    let needed = needed.without(Kinds::NULL);
    if !is.and(Kinds::TIMESTAMP.or(Kinds::DURATION)).is_empty() {
        Some("convert the time: string(t) is RFC 3339 text, epochSeconds(t) a number".to_owned())
    } else if is.is_empty() || is.has(Kind::Missing) {
        None
    } else if is_constant {
        (needed == Kinds::S && is == Kinds::N).then(|| format!("write a text: \"{text}\""))
    } else if needed == Kinds::S && is.is_within(Kinds::N.or(Kinds::BOOL)) {
        Some(format!("convert it to a text: string({text})"))
    } else if needed == Kinds::N && is == Kinds::S {
        Some(format!("convert it to a number: number({text})"))
    } else {
        None
    }
}

/// Returns a guard: a test that ensures that a path has one of these types.
fn guard(path: &str, others: Kinds, needed: Kinds) -> String {
    if others == Kinds::MISSING {
        return format!("has({path})");
    }
    let needed = if needed == Kinds::NULL { needed } else { needed.without(Kinds::NULL) };
    let names: Vec<String> = needed.and(Kinds::STORED).iter().map(|kind| format!("\"{}\"", kind.name())).collect();
    match names.as_slice() {
        [one] => format!("type({path}) == {one}"),
        several => format!("type({path}) in [{}]", several.join(", ")),
    }
}
