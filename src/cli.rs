//! The command line: definitions only.

mod decide;

pub(crate) use decide::{BackFacts, Decide, DualFact, ForwardFacts, Go};

use std::path::PathBuf;

use backfill::internals::preflight::{Accept, FinishIn, SampleSize};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Moves, copies, sets or removes attributes on every item of a live Amazon DynamoDB table, while the application keeps
/// serving from it. It can be killed at any moment and continues where it was.
#[derive(Debug, Parser)]
#[command(name = "backfill", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done · 1 unexpected · 2 bad usage or bad plan · 3 preflight refused · \
    4 finished, with failures · 5 diverged items, or parity mismatch · 6 stopped by a limit or an error of the whole, \
    resumable · 7 state is locked, damaged, or of another plan or table · 130 interrupted, resumable")]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// State file [default: .backfill/<migration name>.db]
    #[arg(long, global = true, value_name = "PATH")]
    pub state: Option<PathBuf>,
    /// How the result is written to stdout
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub output: Output,
    /// More log lines on stderr; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How log lines are written to stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// DynamoDB endpoint, instead of the plan's
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// AWS region, instead of the plan's
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// AWS profile, instead of the plan's
    #[arg(long, global = true)]
    pub profile: Option<String>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Human,
    /// One JSON document with `schema_version`.
    Json,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Walks a whole migration, every step, on an embedded engine with sample data: try this first
    #[cfg(feature = "local")]
    Demo(DemoArgs),
    /// Writes a commented plan, from the table's description where it can be reached
    Init(InitArgs),
    /// Checks a plan, and asks the table about it; changes nothing
    Check(CheckArgs),
    /// Runs the plan over the table, or resumes where it was
    Run(RunArgs),
    /// Compare the table with the plan using shadow reads; --repair fixes mismatches
    Verify(VerifyArgs),
    /// Moves readers and writers to the new attribute, step by step, and back
    Cutover(CutoverArgs),
    /// Removes the old attribute, after cutover: there is no way back from it
    Contract(ContractArgs),
    /// Undoes the migration, from wherever it is before contract
    Rollback(RollbackArgs),
    /// Tells where the migration stands and which command is next; works while one is on and after it died
    Status(StatusArgs),
    /// Items that could not be changed, and items found diverged
    Failures(FailuresArgs),
    /// Values that were overwritten or removed, and are kept in the state file
    Journal(JournalArgs),
    /// Serves the embedded engine on loopback
    #[cfg(feature = "local")]
    Local(LocalArgs),
}

/// `demo`
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Items in the sample table
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub items: u64,
    /// Where the demo keeps its table, its plan and its state
    #[arg(long, default_value = ".backfill/demo", value_name = "DIR")]
    pub dir: PathBuf,
    /// Start over, even if an earlier demo was stopped in the middle
    #[arg(long)]
    pub fresh: bool,
}

/// `local`
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Address to listen on. Any address but loopback serves everyone who can reach it, without credentials; for containers
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: std::net::IpAddr,
    /// Port on that address; 0 takes any free one
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Load the sample table `shop` with so many items, unless it is there
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub items: Option<u64>,
    /// Keep the tables in this file [default: in memory]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// Which sample table: equal seeds make equal tables
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Throttle as the table of this TOML file would, and run an application beside it; the README has an example
    #[arg(long, value_name = "FILE")]
    pub capacity: Option<PathBuf>,
}

/// `init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write; `-` writes to stdout
    #[arg(default_value = "plan.toml", value_name = "PLAN")]
    pub plan: PathBuf,
    /// The table that the plan is for
    #[arg(long)]
    pub table: Option<String>,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Read only the state file. By default the flag is read too, for at most 2 seconds
    #[arg(long)]
    pub offline: bool,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Estimate from a sample of the table, read now: a percentage or a number of items
    #[arg(long, value_name = "5%|ITEMS", num_args = 0..=1, default_missing_value = "1%")]
    pub sample: Option<SampleSize>,
    /// Print the budgets that let a run end within this time, what prevents it, and the commands that raise and lower the
    /// table's capacity
    #[arg(long, value_name = "TIME")]
    pub finish_in: Option<FinishIn>,
    /// Accept what a run would be refused for; may be repeated
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Accept>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write nothing; count what a run would do
    #[arg(long, conflicts_with_all = ["again", "restart", "yes"])]
    pub dry_run: bool,
    /// Of a dry run: read a sample of the table, a percentage or a number of items, and estimate the rest
    #[arg(long, value_name = "5%|ITEMS", requires = "dry_run", num_args = 0..=1, default_missing_value = "5%")]
    pub sample: Option<SampleSize>,
    /// Accept what the run is refused for; may be repeated, and is recorded with the run
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Accept>,
    /// Make another pass over the table, after a complete one
    #[arg(long, conflicts_with = "restart")]
    pub again: bool,
    /// Start a new run from the beginning; the old one stays on record
    #[arg(long)]
    pub restart: bool,
    /// Do not ask before a new run
    #[arg(short, long)]
    pub yes: bool,
}

/// `verify`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub(crate) struct VerifyArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Compare every item, by strongly consistent reads: what opens the gate of the cutover
    #[arg(long, group = "scope")]
    pub all: bool,
    /// Compare so many randomly chosen clusters, and say what that proves
    #[arg(long, group = "scope", value_name = "CLUSTERS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sample: Option<u32>,
    /// Fix mismatches: fill or overwrite the side that is not the truth. Shows counts and asks first; the journal keeps the
    /// overwritten values
    #[arg(long)]
    pub repair: bool,
    /// With --repair: also remove values that nothing implies, such as a new value without an old one; the journal keeps
    /// them. By default they are left and reported
    #[arg(long, requires = "repair")]
    pub repair_remove: bool,
    /// With --repair: accept a finding that keeps items from being changed: client-encryption. It is recorded with the run
    /// and applies to later commands too
    #[arg(long, value_name = "FINDING", requires = "repair", value_parser = accept_parser())]
    pub accept: Vec<Accept>,
    /// With --repair: do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Where `cutover --to` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CutoverStep {
    /// Writers write both attributes.
    DualWrite,
    /// Readers read the new one.
    ReadNew,
    /// Writers write only the new one.
    WriteNew,
}

/// `cutover`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub(crate) struct CutoverArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// The step to take
    #[arg(long, value_enum, group = "way", value_name = "STEP")]
    pub to: Option<CutoverStep>,
    /// One step back; while both are written it asks nobody, and works beside whatever is running
    #[arg(long, group = "way")]
    pub back: bool,
    /// With --to read-new: for so many percent of the keys
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "back")]
    pub percent: u8,
    /// Change nothing; say whether the step would be taken, and which values readers would see for the first time
    #[arg(long, conflicts_with_all = ["yes", "back"])]
    pub dry_run: bool,
    /// With --back: at once, although readers may then read old values that are stale
    #[arg(long, requires = "back")]
    pub now: bool,
    /// Go past a closed gate (mismatches, diverged items, the age of a verification), or give up a way back, for this
    /// reason, which is recorded; never past an incomplete expansion, nor to write-new past items that have failed. With
    /// --back: leave items unequal, no more than were named before
    #[arg(long, value_name = "REASON", value_parser = decide::reason)]
    pub force: Option<String>,
    /// What goes before
    #[command(flatten)]
    pub go: Go,
    /// In place of a flag
    #[command(flatten)]
    pub dual: DualFact,
    /// The same, forward
    #[command(flatten)]
    pub forward: ForwardFacts,
    /// The same, on the way back
    #[command(flatten)]
    pub backward: BackFacts,
}

/// What a later phase works on.
#[derive(Debug, Args)]
pub(crate) struct Phased {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write nothing; count what it would do to the table as it is now
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// `contract`
#[derive(Debug, Args)]
pub(crate) struct ContractArgs {
    /// On what
    #[command(flatten)]
    pub on: Phased,
    /// End a contract that another state file has begun, which is lost, or whose flag was removed; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = decide::reason)]
    pub force: Option<String>,
    /// What goes before
    #[command(flatten)]
    pub go: Go,
    /// In place of a flag
    #[command(flatten)]
    pub forward: ForwardFacts,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// On what
    #[command(flatten)]
    pub on: Phased,
    /// Go on although not everything can be put back, for this reason, which is recorded; it is for no more items than were
    /// named before
    #[arg(long, value_name = "REASON", value_parser = decide::reason)]
    pub force: Option<String>,
    /// What goes before
    #[command(flatten)]
    pub go: Go,
    /// In place of a flag
    #[command(flatten)]
    pub dual: DualFact,
    /// The same, on the way back
    #[command(flatten)]
    pub backward: BackFacts,
}

/// `failures`
#[derive(Debug, Args)]
pub(crate) struct FailuresArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// What to do with them
    #[command(subcommand)]
    pub action: FailuresAction,
}

/// `journal`
#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Only those of this run
    #[arg(long)]
    pub run: Option<i64>,
    /// Only those behind this one, by the number in front of it
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub after: i64,
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    pub limit: u32,
    /// Print the values too: they are data of the table's items
    #[arg(long)]
    pub show_values: bool,
}

/// `failures list|retry`
#[derive(Debug, Subcommand)]
pub(crate) enum FailuresAction {
    /// Lists open failures and diverged items with their keys
    List {
        /// At most so many of each
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Tries the open failures once more
    Retry {
        /// Accept a finding that keeps items from being changed: client-encryption. It is recorded with the run and applies
        /// to later commands too
        #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
        accept: Vec<Accept>,
    },
}

/// Reads the name of a finding, and lists what each one means in the help text.
pub(crate) fn accept_parser() -> impl TypedValueParser<Value = Accept> {
    let names = Accept::ALL.map(|accept| PossibleValue::new(accept.name()).help(accept_help(accept)));
    PossibleValuesParser::new(names).try_map(|name| Accept::from_name(&name).ok_or("no finding has this name"))
}

fn accept_help(accept: Accept) -> &'static str {
    match accept {
        Accept::NoPitr => "there is no point-in-time recovery, or nobody knows: there is another way back",
        Accept::MultiRegion => "the table is replicated: no other region writes while the run goes on",
        Accept::EmptyTable => "the table is empty: let a verification that compared no item open the cutover gate",
        Accept::ClientEncryption => {
            "items are signed or encrypted on the client: their signature covers no changed attribute"
        }
    }
}
