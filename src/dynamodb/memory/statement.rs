//! The rules by which DynamoDB carries out a PartiQL `UPDATE`. This module is pure.
//!
//! It reads the text of a statement, and does not use the code that renders statements. So tests can check that code
//! against this module. Sources: developer guide, "PartiQL update statements" and "PartiQL functions"; third-party
//! recordings of AWS (changelog of dynoxide, versions 0.13 to 3.2): an update of a missing item is a failed condition,
//! `IS NOT` counts as two operators, a key attribute has exactly one condition, and a condition is evaluated before
//! paths are checked.

use super::rules::{WriteEffect, effect};
use crate::change::{Action, GuardedWrite};
use crate::item::{IndexSchema, Item, ItemKey, KeySchema, Path, PathStep, Value};

/// The longest statement, in characters.
const MAX_CHARS: usize = 8192;

/// The largest number of operators and functions in a condition.
const MAX_OPERATORS: usize = 300;

/// The largest number of levels of a parameter.
const MAX_LEVELS: usize = 31;

/// The reason why DynamoDB refuses a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The whole request is refused.
    Request(&'static str),
    /// Only this statement is refused (`ValidationError`).
    Statement(&'static str),
}

/// One `UPDATE`, with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The name of the table.
    pub table: String,
    assignments: Vec<(Path, Option<Value>)>,
    terms: Vec<Term>,
}

/// One term of the condition. All terms must be true.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    Equals(Path, Value),
    Missing(Path),
    Present(Path),
    HasType(Path, String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Name(String),
    Text(String),
    Sign(char),
}

impl Update {
    /// Reads a statement. Checks everything that does not need the item.
    pub fn parse(text: &str, parameters: &[&Value]) -> Result<Update, Refusal> {
        if text.is_empty() || text.chars().count() > MAX_CHARS || parameters.is_empty() {
            return Err(Refusal::Request("Member must satisfy the constraint on its length"));
        }
        if parameters.iter().any(|value| value.nests_deeper_than(MAX_LEVELS)) {
            return Err(Refusal::Statement("Nesting Levels have exceeded supported limits"));
        }
        let tokens = tokens(text).ok_or(Refusal::Statement("Statement wasn't well formed, can't be processed"))?;
        let mut parser = Parser { tokens: tokens.into_iter().peekable(), parameters: parameters.iter(), operators: 0 };
        let update = parser.update();
        if parser.operators > MAX_OPERATORS {
            return Err(Refusal::Statement("The expression contains too many operators"));
        }
        update.ok_or(Refusal::Statement("Statement wasn't well formed, can't be processed"))
    }

    /// Returns the key of the item that the statement changes.
    pub fn key(&self, schema: &KeySchema) -> Result<ItemKey, Refusal> {
        let mut key = Item::new();
        for name in schema.names() {
            let of_key = |term: &&Term| term.path().root() == name;
            let mut terms = self.terms.iter().filter(of_key);
            let first = terms.next();
            if terms.next().is_some() {
                return Err(Refusal::Statement("Multiple conditions on same key"));
            }
            let Some(Term::Equals(path, value)) = first.filter(|term| term.path().is_top_level()) else {
                return Err(Refusal::Statement("Where clause does not contain a mandatory equality on all keys"));
            };
            key.insert(path.root().to_owned(), value.clone());
        }
        Ok(ItemKey::new(key))
    }

    /// Returns the effect on the item. `image` is the current item, or `None` if there is none.
    pub fn effect(
        &self,
        image: Option<&Item>,
        schema: &KeySchema,
        indexes: &[IndexSchema],
    ) -> Result<WriteEffect, Refusal> {
        let key = self.key(schema)?;
        if self.assignments.iter().any(|(path, _)| schema.names().any(|name| name == path.root())) {
            return Err(Refusal::Statement("Cannot update attribute. This attribute is part of the key"));
        }
        let paths: Vec<&Path> = self.assignments.iter().map(|(path, _)| path).collect();
        if paths.iter().enumerate().any(|(at, path)| paths[..at].iter().any(|other| path.overlaps(other))) {
            return Err(Refusal::Statement("Two document paths overlap with each other"));
        }
        let Some(item) = image.filter(|item| self.terms.iter().all(|term| term.is_met(item))) else {
            return Ok(WriteEffect::ConditionFailed);
        };
        let actions = self.assignments.iter().map(|(path, value)| match value {
            Some(value) => Action::SetValue { to: path.clone(), value: value.clone() },
            None => Action::Remove { path: path.clone() },
        });
        let unconditional = GuardedWrite {
            key,
            actions: actions.collect(),
            conditions: Vec::new(),
            equal_values: Vec::new(),
            pre_images: Vec::new(),
            bytes_before: 0,
            bytes_after: 0,
            cost: crate::change::WriteCost::default(),
            cost_elsewhere: None,
            next: None,
        };
        Ok(effect(&unconditional, Some(item), schema, indexes))
    }
}

impl Term {
    fn path(&self) -> &Path {
        match self {
            Term::Equals(path, _) | Term::Missing(path) | Term::Present(path) | Term::HasType(path, _) => path,
        }
    }

    fn is_met(&self, item: &Item) -> bool {
        let value = self.path().get(item);
        match self {
            Term::Equals(_, expected) => value == Some(expected),
            Term::Missing(_) => value.is_none(),
            Term::Present(_) => value.is_some(),
            Term::HasType(_, name) => value.is_some_and(|value| value.type_name() == name),
        }
    }
}

struct Parser<'p, T: Iterator<Item = Token>> {
    tokens: std::iter::Peekable<T>,
    parameters: std::slice::Iter<'p, &'p Value>,
    operators: usize,
}

impl<T: Iterator<Item = Token>> Parser<'_, T> {
    fn update(&mut self) -> Option<Update> {
        self.word("UPDATE")?;
        let Token::Name(table) = self.tokens.next()? else { return None };
        let mut assignments = Vec::new();
        loop {
            let Token::Word(word) = self.tokens.next()? else { return None };
            match word.as_str() {
                "SET" => {
                    let path = self.path()?;
                    self.sign('=')?;
                    assignments.push((path, Some(self.parameter()?)));
                }
                "REMOVE" => assignments.push((self.path()?, None)),
                "WHERE" => break,
                _ => return None,
            }
        }
        let mut terms = vec![self.term()?];
        while self.tokens.peek().is_some() {
            self.word("AND")?;
            self.operators += 1;
            terms.push(self.term()?);
        }
        (!assignments.is_empty()).then_some(Update { table, assignments, terms })
    }

    fn term(&mut self) -> Option<Term> {
        self.operators += 1;
        if let Some(Token::Word(word)) = self.tokens.peek() {
            if word != "attribute_type" {
                return None;
            }
            self.tokens.next();
            self.sign('(')?;
            let path = self.path()?;
            self.sign(',')?;
            let Token::Text(name) = self.tokens.next()? else { return None };
            self.sign(')')?;
            return Some(Term::HasType(path, name));
        }
        let path = self.path()?;
        if self.skip('=') {
            return Some(Term::Equals(path, self.parameter()?));
        }
        self.word("IS")?;
        let is_negated = self.tokens.peek() == Some(&Token::Word("NOT".to_owned()));
        if is_negated {
            self.word("NOT")?;
            self.operators += 1;
        }
        self.word("MISSING")?;
        Some(if is_negated { Term::Present(path) } else { Term::Missing(path) })
    }

    fn parameter(&mut self) -> Option<Value> {
        self.sign('?')?;
        self.parameters.next().map(|value| (*value).clone())
    }

    fn path(&mut self) -> Option<Path> {
        let Token::Name(root) = self.tokens.next()? else { return None };
        let mut steps = vec![PathStep::Name(root)];
        loop {
            if self.skip('.') {
                let Token::Name(name) = self.tokens.next()? else { return None };
                steps.push(PathStep::Name(name));
            } else if self.skip('[') {
                let Token::Word(index) = self.tokens.next()? else { return None };
                steps.push(PathStep::Index(index.parse().ok()?));
                self.sign(']')?;
            } else {
                return Path::from_steps(steps);
            }
        }
    }

    /// Skips this sign, if it is the next token.
    fn skip(&mut self, sign: char) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn word(&mut self, expected: &str) -> Option<()> {
        (self.tokens.next()? == Token::Word(expected.to_owned())).then_some(())
    }

    fn sign(&mut self, expected: char) -> Option<()> {
        (self.tokens.next()? == Token::Sign(expected)).then_some(())
    }
}

/// Splits a statement into tokens. Returns `None` if a character is not allowed outside names and texts.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            ' ' => {}
            '"' | '\'' => {
                let mut content = String::new();
                loop {
                    match rest.next()? {
                        c if c == first && rest.peek() == Some(&first) => content.extend(rest.next()),
                        c if c == first => break,
                        c => content.push(c),
                    }
                }
                tokens.push(if first == '"' { Token::Name(content) } else { Token::Text(content) });
            }
            c if c.is_ascii_alphanumeric() => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            '=' | '?' | '.' | ',' | '(' | ')' | '[' | ']' => tokens.push(Token::Sign(first)),
            _ => return None,
        }
    }
    Some(tokens)
}
