//! The arguments of `explain`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

/// `explain`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true))]
pub(crate) struct ExplainArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Explain the item with this key; the read is strongly consistent. Write the key as JSON ('{"pk": "a", "sk": 1}'),
    /// as DynamoDB JSON, or as `failures list` prints it ('pk=a sk=1')
    #[arg(long, group = "source")]
    pub key: Option<String>,
    /// Explain the items in this file, in DynamoDB JSON, without contacting the table; `-` reads stdin. The plan must
    /// state `key` in [table]
    #[arg(long, group = "source", value_name = "FILE")]
    pub item: Option<PathBuf>,
    /// The pass to explain
    #[arg(long, value_enum, default_value = "expand")]
    pub pass: PassArg,
    /// Also print the values; they are data from your items
    #[arg(long)]
    pub show_values: bool,
}

/// A pass of `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PassArg {
    /// The pass of `run`
    Expand,
    /// The pass of `contract`
    Contract,
    /// The last pass of `rollback`: it undoes what the migration wrote
    Undo,
    /// The pass that makes old attributes equal to the new ones, before readers return to the old ones
    OldFromNew,
}
