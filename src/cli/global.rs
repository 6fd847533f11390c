//! The options that every command accepts.

use std::path::PathBuf;

use backfill::internals::plan::check_endpoint;
use clap::{ArgAction, Args, ValueEnum};

/// Options that every command accepts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// State file [default: .backfill/<migration name>.db]
    #[arg(long, global = true, value_name = "PATH")]
    pub state: Option<PathBuf>,
    /// Format of the result on stdout
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub output: Output,
    /// Log more on stderr; repeat to log everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Hide progress; print only warnings, errors, questions and the summary before a write
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colors on stderr and in `status --watch`; `auto` uses them on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// Format of log lines on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// DynamoDB endpoint; overrides the plan
    #[arg(long, global = true, value_name = "URL", value_parser = endpoint)]
    pub endpoint_url: Option<String>,
    /// AWS region; overrides the plan
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// AWS profile; overrides the plan
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// Replace a field of the plan, such as `table.name=orders-staging`; repeatable. The value is TOML, or text without
    /// quotes. The fingerprint covers the result
    #[arg(long = "set", global = true, value_name = "FIELD=VALUE", action = ArgAction::Append)]
    pub overrides: Vec<String>,
}

/// Format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Human,
    /// One JSON document with `schema_version`.
    Json,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether output on stderr uses colors. By the NO_COLOR convention, any value of the variable except the empty
    /// string turns colors off.
    pub(crate) fn on_stderr(self) -> bool {
        self.on(&std::io::stderr())
    }

    /// Like [`Color::on_stderr`], for the view of `status --watch` on stdout.
    #[cfg(feature = "watch")]
    pub(crate) fn on_stdout(self) -> bool {
        self.on(&std::io::stdout())
    }

    fn on(self, output: &impl std::io::IsTerminal) -> bool {
        let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !is_set && output.is_terminal(),
        }
    }
}

/// Parses an endpoint. Refuses an endpoint that contains credentials, because each suggested next command contains the
/// endpoint.
fn endpoint(url: &str) -> Result<String, String> {
    check_endpoint(url).map(|()| url.to_owned())
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
