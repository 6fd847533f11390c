//! Connects a plan's custom changes to the functions that the embedding program supplies.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Problems};
use super::fields::join_with_or;
use super::{LoadedPlan, PlanErrors};
use crate::change::{Change, CustomChange, Formula};
use crate::outside::escaped;

impl LoadedPlan {
    /// Assigns to each custom change of the plan its function.
    ///
    /// # Errors
    ///
    /// Fails if the program supplies no function for a custom change, if it supplies two functions with the same name,
    /// or if a function has no version.
    pub fn supply(mut self, functions: &[Arc<dyn CustomChange>]) -> Result<LoadedPlan, PlanErrors> {
        let mut problems = Problems::new(self.file.text.clone());
        let mut reported = BTreeSet::new();
        for (change, written) in self.plan.changes.iter_mut().zip(&self.file.spans.changes) {
            let Change::Compute { formula: Formula::Custom(formula), .. } = change else { continue };
            let mut named = functions.iter().filter(|function| function.name() == formula.name);
            let problem = match (named.next(), named.next()) {
                (Some(function), None) if !function.version().is_empty() => {
                    formula.supply(Arc::clone(function));
                    continue;
                }
                (Some(_), None) => Diagnostic::new(
                    format!("the custom change `{}` has no version", formula.name),
                    written.first.clone(),
                    "`version` returns an empty text",
                )
                .help("return a version, and change this version whenever the function computes different values"),
                (Some(_), Some(_)) => Diagnostic::new(
                    format!("this program supplies two custom changes with the name `{}`", formula.name),
                    written.first.clone(),
                    "not unique",
                )
                .help("give each custom change a name of its own"),
                (None, _) => not_supplied(&formula.name, functions, written.first.clone()),
            };
            // Report a change with several outputs only once.
            if reported.insert(formula.name.clone()) {
                problems.add(problem);
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(problems.into_errors(&self.file.label)) }
    }
}

fn not_supplied(name: &str, functions: &[Arc<dyn CustomChange>], at: super::diagnostic::TextSpan) -> Diagnostic {
    let problem = Diagnostic::new(
        format!("this program does not supply the custom change `{name}`"),
        at,
        "no function with this name",
    );
    match functions.is_empty() {
        true => problem
            .help("the `backfill` command has no custom changes; to use them, write a Rust program that embeds the library")
            .help("see `examples/custom_change.rs`, `CustomChange` and `Options::custom_changes`"),
        false => {
            let names = functions.iter().map(|function| format!("`{}`", escaped(function.name())));
            problem.help(format!("this program supplies {}", join_with_or(names)))
        }
    }
}
