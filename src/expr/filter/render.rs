//! Renders a filter as `FilterExpression`.

use std::collections::BTreeMap;

use super::{Filter, FilterComparison, FilterTerm};
use crate::item::{Path, PathStep, Value};

/// The longest expression, and the largest number of operators and functions in it (developer guide, "Service quotas").
const MAX_BYTES: usize = 4096;
const MAX_OPERATORS: usize = 300;

/// Renders this condition. Returns `None` if the expression would be too long. `terms` are [`Filter::terms`].
pub(super) fn render(condition: FilterTerm, terms: (usize, usize)) -> Option<Filter> {
    let mut out = Placeholders::default();
    let expression = out.term(&condition);
    let fits = expression.len() <= MAX_BYTES && out.operators <= MAX_OPERATORS;
    let names = out.names.into_iter().map(|(name, placeholder)| (placeholder, name)).collect();
    fits.then_some(Filter { condition, expression, names, values: out.values, terms })
}

#[derive(Default)]
struct Placeholders {
    names: BTreeMap<String, String>,
    values: BTreeMap<String, Value>,
    operators: usize,
}

impl Placeholders {
    fn term(&mut self, term: &FilterTerm) -> String {
        self.operators += 1;
        match term {
            FilterTerm::Exists(path) => format!("attribute_exists({})", self.path(path)),
            FilterTerm::Missing(path) => format!("attribute_not_exists({})", self.path(path)),
            FilterTerm::HasType(path, name) => {
                let path = self.path(path);
                format!("attribute_type({path}, {})", self.value(&Value::S((*name).to_owned())))
            }
            FilterTerm::Compare(path, comparison, value) => {
                let path = self.path(path);
                format!("{path} {} {}", comparison.symbol(), self.value(value))
            }
            FilterTerm::OneOf(path, values) => {
                let path = self.path(path);
                self.operators += values.len();
                let values: Vec<String> = values.iter().map(|value| self.value(value)).collect();
                format!("{path} IN ({})", values.join(", "))
            }
            FilterTerm::BeginsWith(path, text) => {
                let path = self.path(path);
                format!("begins_with({path}, {})", self.value(&Value::S(text.clone())))
            }
            FilterTerm::Contains(path, text) => {
                let path = self.path(path);
                format!("contains({path}, {})", self.value(&Value::S(text.clone())))
            }
            FilterTerm::Not(term) => format!("NOT ({})", self.term(term)),
            FilterTerm::All(terms) => self.joined(terms, " AND "),
            FilterTerm::Any(terms) => self.joined(terms, " OR "),
        }
    }

    fn joined(&mut self, terms: &[FilterTerm], operator: &str) -> String {
        self.operators += terms.len();
        let terms: Vec<String> = terms
            .iter()
            .map(|term| match term {
                FilterTerm::All(_) | FilterTerm::Any(_) => format!("({})", self.term(term)),
                FilterTerm::Exists(_)
                | FilterTerm::Missing(_)
                | FilterTerm::HasType(..)
                | FilterTerm::Compare(..)
                | FilterTerm::OneOf(..)
                | FilterTerm::BeginsWith(..)
                | FilterTerm::Contains(..)
                | FilterTerm::Not(_) => self.term(term),
            })
            .collect();
        terms.join(operator)
    }

    fn path(&mut self, path: &Path) -> String {
        let mut text = String::new();
        for step in path.steps() {
            match step {
                PathStep::Name(name) => {
                    let dot = if text.is_empty() { "" } else { "." };
                    let next = format!("#{}", self.names.len());
                    let name = self.names.entry(name.clone()).or_insert(next);
                    text = format!("{text}{dot}{name}");
                }
                PathStep::Index(index) => text = format!("{text}[{index}]"),
            }
        }
        text
    }

    fn value(&mut self, value: &Value) -> String {
        let known = self.values.iter().find(|(_, known)| known.to_json() == value.to_json());
        if let Some((placeholder, _)) = known {
            return placeholder.clone();
        }
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value.clone());
        placeholder
    }
}

impl FilterComparison {
    /// Returns the operator in expressions.
    fn symbol(self) -> &'static str {
        match self {
            FilterComparison::Equal => "=",
            FilterComparison::Less => "<",
            FilterComparison::LessOrEqual => "<=",
            FilterComparison::Greater => ">",
            FilterComparison::GreaterOrEqual => ">=",
        }
    }
}
