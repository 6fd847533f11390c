//! The arguments of `report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The format of `report`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A self-contained page with charts.
    Html,
    /// Markdown, for a ticket.
    Md,
}

impl ReportFormat {
    /// Returns the name on the command line, which is also the ending of the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ReportFormat::Html => "html",
            ReportFormat::Md => "md",
        }
    }
}

/// `report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// File to write, readable only by you; `-` writes to stdout [default: the state file's name with .report.html or
    /// .report.md]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Html, value_name = "FORMAT")]
    pub format: ReportFormat,
    /// Also show the keys of items that failed, diverged or did not match; they are data from your table
    #[arg(long)]
    pub show_keys: bool,
}
