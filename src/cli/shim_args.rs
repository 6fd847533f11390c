//! The arguments of `shim`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `shim`
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// The language of the code
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    pub lang: LanguageArg,
    /// Write the code to this file instead of stdout; fail if the file exists
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// With --out: replace an existing file
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// A language of `shim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanguageArg {
    /// Python 3.9 or later; only the standard library
    Python,
    /// TypeScript for Node.js 20 or later; only Node's own modules
    #[value(name = "typescript")]
    TypeScript,
    /// Java 17 or later; only the standard library
    Java,
    /// Go 1.21 or later; only the standard library
    Go,
    /// Rust, edition 2024; needs the crate `sha2`
    Rust,
}
