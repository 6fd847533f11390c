//! The arguments of the commands that read a table and need no plan.

use std::path::PathBuf;

use backfill::internals::preflight::SampleSize;
use clap::Args;

/// `init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write; `-` writes to stdout
    #[arg(default_value = "plan.toml", value_name = "PLAN")]
    pub plan: PathBuf,
    /// Table to migrate
    #[arg(long)]
    pub table: Option<String>,
    /// Sample of the table to read, for the names and types of attributes: a percentage or a number of items. The
    /// command first prints the expected number of items, and reads at most about ten times as many
    #[arg(long, value_name = "5%|ITEMS", default_value = "1000", requires = "table", conflicts_with = "no_sample")]
    pub sample: SampleSize,
    /// Read only the table's description, no items
    #[arg(long, requires = "table")]
    pub no_sample: bool,
}

/// `stats`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(crate) struct StatsArgs {
    /// The plan file, which names the table and the read budget
    #[arg(value_name = "PLAN", group = "target")]
    pub plan: Option<PathBuf>,
    /// Table to read, without a plan; uses the default read budget
    #[arg(long, group = "target")]
    pub table: Option<String>,
    /// Sample to read: a percentage or a number of items. The command first prints the expected number of items, and
    /// reads at most about ten times as many
    #[arg(long, value_name = "5%|ITEMS", default_value = "10000")]
    pub sample: SampleSize,
}
