//! The reference of expressions, generated from the table of functions.

use std::fmt::Write as _;

use super::function::{Fails, Function};
use super::functions::FAMILIES;

/// An example of the reference: an expression, and an expression with the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The expression.
    pub source: &'static str,
    /// Its result, written as an expression.
    pub result: &'static str,
}

/// Returns the examples of all functions.
pub fn examples() -> impl Iterator<Item = Example> {
    let functions = FAMILIES.iter().flat_map(|family| family.functions);
    functions.flat_map(|function| function.examples).map(|(source, result)| Example { source, result })
}

/// Returns the tables of all functions as Markdown.
pub fn reference() -> String {
    let mut page = String::new();
    for family in FAMILIES {
        let _ = writeln!(page, "### {}\n\n| Function | Result | Examples |\n| --- | --- | --- |", family.title);
        for function in family.functions {
            page.push_str(&row(function));
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn row(function: &Function) -> String {
    let forms: Vec<String> = function.signatures().iter().map(|form| format!("`{form}`")).collect();
    let examples: Vec<String> =
        function.examples.iter().map(|(source, result)| format!("`{source}` is `{result}`")).collect();
    let fails = match function.fails {
        Fails::Never => String::new(),
        Fails::Sometimes(why) | Fails::Unless(_, why) => format!(" There is no result if {why}."),
    };
    format!("| {} | {}{fails} | {} |\n", forms.join("<br>"), function.about, examples.join("<br>"))
}
