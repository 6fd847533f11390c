//! Source code for the application's side of a plan, for `backfill shim`.
//!
//! [`shim`] returns one file. It contains the language's example from `docs/examples/flag`: the flag, the bucket of a
//! key, and the cache. It also contains functions for each attribute that the plan moves. One of them reads the value,
//! and the others write and remove it. The plan's names are literals in the code.
//!
//! Each language has a folder with its templates. A template is source code with slots, such as `{{partition_key}}`.
//! Each name from the plan reaches the code as a literal ([`literal`]), a comment ([`comment`]) or a part of an
//! identifier ([`names`]). Each of these makes any name harmless.

mod comment;
mod go;
mod java;
mod literal;
mod model;
mod names;
mod python;
mod refusal;
mod rust;
mod template;
#[cfg(test)]
mod tests;
mod typescript;

pub use refusal::ShimRefusal;

use crate::plan::Plan;
use model::ShimModel;

/// A language for which [`shim`] generates code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python 3.9 or later.
    Python,
    /// TypeScript for Node.js 20 or later.
    TypeScript,
    /// Java 17 or later.
    Java,
    /// Go 1.21 or later.
    Go,
    /// Rust, edition 2024, with the crate `sha2`.
    Rust,
}

impl Language {
    /// All languages.
    pub const ALL: [Language; 5] =
        [Language::Python, Language::TypeScript, Language::Java, Language::Go, Language::Rust];

    /// Returns the language's name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::TypeScript => "typescript",
            Language::Java => "java",
            Language::Go => "go",
            Language::Rust => "rust",
        }
    }
}

/// The generated code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// The source code of one file.
    pub code: String,
    /// A name for the file. Java needs exactly this name, because it is the name of the class.
    pub file_name: String,
}

/// Generates the application's code for a plan.
///
/// # Errors
///
/// Returns every reason why the plan needs no such code, or why the code cannot be generated.
pub fn shim(plan: &Plan, language: Language) -> Result<Shim, Vec<ShimRefusal>> {
    let model = ShimModel::new(plan)?;
    Ok(match language {
        Language::Python => python::render(&model),
        Language::TypeScript => typescript::render(&model),
        Language::Java => java::render(&model),
        Language::Go => go::render(&model),
        Language::Rust => rust::render(&model),
    })
}
