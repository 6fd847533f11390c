//! The arguments of `report`.

use std::net::SocketAddr;
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
    /// Returns the format's name on the command line, which is also the file extension.
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
    /// Serve the report as a page that stays current, at http://ADDRESS/, until Ctrl-C. Loopback only, without a
    /// password: every user of this machine can read it (example: 127.0.0.1:8080; port 0 selects a free port)
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["out", "format"], value_parser = loopback)]
    pub serve: Option<SocketAddr>,
    /// Also show the keys of items that failed, diverged or did not match; they are data from your table
    #[arg(long)]
    pub show_keys: bool,
}

/// Parses an address on loopback. The page has no password, so other machines must not be able to reach it.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "it must be an IP address and a port, such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("it must be on loopback, such as 127.0.0.1:8080, because the page has no password. To read it from another machine, forward \
             the port, for example with `ssh -L`"
            .to_owned())
    }
}
