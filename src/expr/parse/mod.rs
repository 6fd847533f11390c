//! Parses source text into the syntax tree of the `cel` crate. Spans and numbers are read from the source again,
//! because the tree contains neither complete spans nor exact numbers.

mod scan;
mod syntax_error;

use std::ops::Range;

use cel::Env;
use cel::common::ast::{Expr as CelExpr, IdedExpr, SourceInfo};

use self::scan::{TokenForm, Tokens, masked};
use self::syntax_error::{syntax_errors, whole};
use super::error::ExprError;

/// The maximum length of an expression. DynamoDB has the same limit for its own expressions.
pub(super) const MAX_SOURCE_BYTES: usize = 4096;

/// The maximum number of tokens. The parser calls itself for each operator of a chain such as `a + b + c`, so this
/// bounds its stack.
pub(super) const MAX_TOKENS: usize = 1000;

/// The maximum nesting depth of brackets, which also bounds the parser's stack.
pub(super) const MAX_BRACKETS: usize = 24;

/// A parsed source.
pub(super) struct Parsed<'s> {
    pub(super) source: &'s str,
    pub(super) root: IdedExpr,
    info: SourceInfo,
    tokens: Tokens,
}

/// Parses a source.
pub(super) fn parse(source: &str) -> Result<Parsed<'_>, Vec<ExprError>> {
    let refuse = |span: Range<usize>, title: String, label: &str| Err(vec![ExprError::new(span, title, label)]);
    if source.len() > MAX_SOURCE_BYTES {
        let title = format!("the expression has {} bytes, and at most {MAX_SOURCE_BYTES} are allowed", source.len());
        return refuse(whole(source), title, "too long");
    }
    if source.trim().is_empty() {
        return refuse(whole(source), "the expression is empty".to_owned(), "write an expression here");
    }
    let tokens = Tokens::of(source);
    if tokens.all.len() > MAX_TOKENS {
        let title = format!("the expression has {} tokens, and at most {MAX_TOKENS} are allowed", tokens.all.len());
        return refuse(whole(source), title, "too long");
    }
    if tokens.depth > MAX_BRACKETS {
        let title = format!("brackets are nested {} deep, and at most {MAX_BRACKETS} levels are allowed", tokens.depth);
        return refuse(whole(source), title, "nested too deeply");
    }
    // Parse without macros, so that `has`, `all` and the other macros stay calls. Calls keep their places in the
    // source.
    let parser = Env::default().parser().enable_optional_syntax(false).enable_ident_escape_syntax(true);
    match parser.parse_with_source_info(&masked(source, &tokens)) {
        Ok((root, info)) => Ok(Parsed { source, root, info, tokens }),
        Err(errors) => Err(syntax_errors(source, &tokens, &errors)),
    }
}

impl Parsed<'_> {
    /// Returns the text of a part of the source.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        self.source.get(span.clone()).unwrap_or_default()
    }

    /// Returns the place of the token that a node of the tree stands for: an operator, a bracket, a name or a literal.
    fn token(&self, id: u64) -> Option<usize> {
        let (start, _) = self.info.offset_for(id)?;
        self.tokens.at(usize::try_from(start).ok()?)
    }

    /// Returns the place of a node's own token.
    pub(super) fn own_span(&self, expr: &IdedExpr) -> Range<usize> {
        self.token(expr.id).map_or_else(|| whole(self.source), |at| self.tokens.all[at].span.clone())
    }

    /// Returns the place of a node with all its parts.
    pub(super) fn span(&self, expr: &IdedExpr) -> Range<usize> {
        let join = |a: Range<usize>, b: Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        let Some(at) = self.token(expr.id) else { return whole(self.source) };
        let mut span = self.tokens.all[at].span.clone();
        let token = |at: usize| self.tokens.all.get(at).map(|token| token.span.clone());
        match &expr.expr {
            CelExpr::Call(call) => {
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    span = join(span, self.span(part));
                }
                // The token of a call is its bracket; the name precedes it.
                let is_call = self.tokens.all[at].form == TokenForm::Mark('(');
                if let Some(name) = at.checked_sub(1).filter(|_| is_call).and_then(token) {
                    span = join(span, name);
                }
            }
            CelExpr::Select(select) => {
                span = join(span, self.span(&select.operand));
                if let Some(field) = token(at + 1) {
                    span = join(span, field);
                }
            }
            CelExpr::Unspecified
            | CelExpr::Comprehension(_)
            | CelExpr::Ident(_)
            | CelExpr::List(_)
            | CelExpr::Literal(_)
            | CelExpr::Map(_)
            | CelExpr::Struct(_) => {}
        }
        self.tokens.balanced(span)
    }
}
