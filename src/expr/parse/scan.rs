//! Splits a source into tokens. The parser does the same, but does not report where a part begins and ends.

use std::ops::Range;

/// The form of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenForm {
    Name,
    Number,
    Text,
    /// Any other character.
    Mark(char),
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) form: TokenForm,
    pub(super) span: Range<usize>,
}

/// The tokens of a source.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) all: Vec<Token>,
    /// For each bracket, the matching bracket.
    partners: Vec<Option<usize>>,
    /// The maximum nesting depth of brackets.
    pub(super) depth: usize,
}

impl Tokens {
    pub(super) fn of(source: &str) -> Tokens {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(c) = source[at..].chars().next() {
            let rest = &source[at..];
            let (form, len) = if c.is_whitespace() {
                at += c.len_utf8();
                continue;
            } else if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            } else if let Some(len) = text(rest) {
                (TokenForm::Text, len)
            } else if c == '`' {
                (TokenForm::Name, rest[1..].find('`').map_or(rest.len(), |end| end + 2))
            } else if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
                (TokenForm::Number, number(rest))
            } else if c.is_ascii_alphabetic() || c == '_' {
                let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
                (TokenForm::Name, rest.find(|c: char| !is_inside(c)).unwrap_or(rest.len()))
            } else {
                (TokenForm::Mark(c), c.len_utf8())
            };
            all.push(Token { form, span: at..at + len });
            at += len;
        }
        let (partners, depth) = partners(&all);
        Tokens { all, partners, depth }
    }

    /// Returns the token that starts at this byte.
    pub(super) fn at(&self, start: usize) -> Option<usize> {
        self.all.binary_search_by_key(&start, |token| token.span.start).ok()
    }

    /// Returns the first token that ends after this byte.
    pub(super) fn after(&self, byte: usize) -> Option<&Token> {
        self.all.iter().find(|token| token.span.end > byte)
    }

    /// Returns the matching bracket.
    pub(super) fn partner(&self, token: usize) -> Option<usize> {
        self.partners.get(token).copied().flatten()
    }

    /// Returns the last opening bracket that is never closed.
    pub(super) fn never_closed(&self) -> Option<&Token> {
        let is_open = |at: &usize| matches!(self.all[*at].form, TokenForm::Mark('(' | '[' | '{'));
        (0..self.all.len()).rev().find(|at| is_open(at) && self.partner(*at).is_none()).map(|at| &self.all[at])
    }

    /// Widens a span until it contains both brackets of every pair.
    pub(super) fn balanced(&self, span: Range<usize>) -> Range<usize> {
        let mut wide = span;
        loop {
            let inside =
                self.all.iter().enumerate().filter(|(_, t)| wide.start <= t.span.start && t.span.end <= wide.end);
            let partners = inside.filter_map(|(at, _)| self.partner(at)).map(|at| self.all[at].span.clone());
            let wider = partners.fold(wide.clone(), |all, one| all.start.min(one.start)..all.end.max(one.end));
            if wider == wide {
                return wide;
            }
            wide = wider;
        }
    }
}

fn partners(all: &[Token]) -> (Vec<Option<usize>>, usize) {
    let mut partners = vec![None; all.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut depth = 0;
    for (at, token) in all.iter().enumerate() {
        if matches!(token.form, TokenForm::Mark('(' | '[' | '{')) {
            open.push(at);
            depth = depth.max(open.len());
        }
        let opening = match token.form {
            TokenForm::Mark(')') => '(',
            TokenForm::Mark(']') => '[',
            TokenForm::Mark('}') => '{',
            TokenForm::Mark(_) | TokenForm::Name | TokenForm::Number | TokenForm::Text => continue,
        };
        if let Some(last) = open.pop_if(|last| all[*last].form == TokenForm::Mark(opening)) {
            partners[last] = Some(at);
            partners[at] = Some(last);
        }
    }
    (partners, depth)
}

/// Returns the length of the text or binary literal at the start.
fn text(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B'))?;
    if prefix > 2 {
        return None;
    }
    let raw = rest[..prefix].contains(['r', 'R']);
    let body = &rest[prefix..];
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| body.starts_with(quote))?;
    let mut at = quote.len();
    while let Some(c) = body[at..].chars().next() {
        if body[at..].starts_with(quote) {
            return Some(prefix + at + quote.len());
        }
        at += c.len_utf8();
        if c == '\\' && !raw {
            at += body[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    Some(rest.len())
}

/// Returns the length of the number at the start.
fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    if rest.starts_with("0x") {
        return 2 + bytes[2..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    }
    let mut at = digits(0);
    if bytes.get(at) == Some(&b'.') && digits(at + 1) > 0 {
        at += 1 + digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        at += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    at + usize::from(matches!(bytes.get(at), Some(b'u' | b'U')))
}

/// The parser would refuse or round some numbers. This function replaces each of them by another number of the same
/// length. The real numbers are read from the source later.
pub(super) fn masked(source: &str, tokens: &Tokens) -> String {
    let mut masked = source.to_owned();
    for token in tokens.all.iter().filter(|token| token.form == TokenForm::Number) {
        let text = &source[token.span.clone()];
        let is_decimal = !text.starts_with("0x") && !text.ends_with(['u', 'U']);
        let is_hard = text.len() > 18 || text.contains(['.', 'e', 'E']);
        if is_decimal && is_hard && text.len() >= 3 {
            masked.replace_range(token.span.clone(), &format!("0.{}", "0".repeat(text.len() - 2)));
        }
    }
    masked
}
