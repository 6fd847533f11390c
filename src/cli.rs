//! Defines the command line. Other modules carry out the commands.

mod arguments;
mod ctl_args;
mod explain_args;
mod export_args;
mod global;
mod reads_plan;
mod record_args;
mod report_args;
mod shim_args;
mod step_args;
mod table_args;

pub(crate) use arguments::normalize_order;
pub(crate) use ctl_args::{CtlAction, CtlArgs};
pub(crate) use explain_args::{ExplainArgs, PassArg};
pub(crate) use export_args::ExportArgs;
pub(crate) use global::{Color, Global, LogFormat, Output};
pub(crate) use record_args::{FailuresAction, FailuresArgs, JournalAction, JournalArgs};
pub(crate) use report_args::{ReportArgs, ReportFormat};
pub(crate) use shim_args::{LanguageArg, ShimArgs};
pub(crate) use step_args::{BackwardFacts, ConfirmArgs, DerivedFacts, DualWriteFacts, ForwardFacts, StepArgs};
pub(crate) use table_args::{InitArgs, StatsArgs};

use std::path::PathBuf;

use backfill::internals::preflight::{Acceptance, FinishIn, SampleSize};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Change the attributes of items in a live Amazon DynamoDB table while applications keep using the table. You can kill
/// a command at any moment: run the same command again, and it resumes where it stopped.
#[derive(Debug, Parser)]
#[command(name = "backfill", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done · 1 unexpected · 2 bad usage or bad plan · 3 refused, nothing begun · \
    4 finished, with failures · 5 diverged items or mismatches · 6 stopped by a limit, by `ctl drain` or by a run-wide error, \
    resumable · 7 state is locked, damaged, or of another plan or table · 130 interrupted, resumable")]
pub(crate) struct Cli {
    /// Options that every command accepts.
    #[command(flatten)]
    pub global: Global,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Walk through a whole migration on an embedded engine with sample data: try this first
    #[cfg(feature = "local")]
    Demo(DemoArgs),
    /// Write a commented plan; if the table is reachable, base the plan on its description and a sample of its items
    Init(InitArgs),
    /// Read a sample of a table; show item sizes, attributes with types and shares, and items per partition key
    Stats(StatsArgs),
    /// Check a plan against the table; change nothing
    Check(CheckArgs),
    /// Explain what a pass does with one item, and why; write nothing
    Explain(ExplainArgs),
    /// Apply the plan to the table, or resume a stopped run
    Run(RunArgs),
    /// Compare the table with the plan using shadow reads; --repair fixes mismatches
    Verify(VerifyArgs),
    /// Move readers and writers to the new attribute step by step, or move them back
    Cutover(CutoverArgs),
    /// Remove the old attribute after cutover; no command can undo this
    Contract(ContractArgs),
    /// Undo the migration; possible at any step before contract
    Rollback(RollbackArgs),
    /// Show the state of the migration and the next command; works during a run and after a crash
    Status(StatusArgs),
    /// Pause, resume, slow down, speed up or stop a migration, or show what it is doing
    Ctl(CtlArgs),
    /// List or retry items that could not be changed; list diverged items
    Failures(FailuresArgs),
    /// List the overwritten, removed and deleted values that the state file stores
    Journal(JournalArgs),
    /// Write a report of the migration for people: an HTML page, or Markdown for a ticket
    Report(ReportArgs),
    /// Print the JSON Schema of a plan, for editors
    Schema,
    /// Generate application code that reads and writes the moved attributes as the flag requires
    Shim(ShimArgs),
    /// Print the smallest IAM policy that a plan needs
    Iam(IamArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
    /// Serve the embedded engine on loopback
    #[cfg(feature = "local")]
    Local(LocalArgs),
}

impl Command {
    /// Whether this command runs until a signal arrives, and handles the signal itself.
    pub(crate) fn serves(&self) -> bool {
        #[cfg(feature = "local")]
        if matches!(self, Command::Local(_)) {
            return true;
        }
        matches!(self, Command::Report(args) if args.serve.is_some())
            || matches!(self, Command::Status(args) if args.watch)
    }

    /// Returns the name on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "local")]
            Command::Demo(_) => "demo",
            Command::Init(_) => "init",
            Command::Stats(_) => "stats",
            Command::Check(_) => "check",
            Command::Explain(_) => "explain",
            Command::Run(_) => "run",
            Command::Verify(_) => "verify",
            Command::Cutover(_) => "cutover",
            Command::Contract(_) => "contract",
            Command::Rollback(_) => "rollback",
            Command::Status(_) => "status",
            Command::Ctl(_) => "ctl",
            Command::Failures(_) => "failures",
            Command::Journal(_) => "journal",
            Command::Report(_) => "report",
            Command::Schema => "schema",
            Command::Shim(_) => "shim",
            Command::Iam(_) => "iam",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
            #[cfg(feature = "local")]
            Command::Local(_) => "local",
        }
    }
}

/// `demo`
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Number of items in the sample table
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub items: u64,
    /// Directory for the demo's table, plan and state
    #[arg(long, default_value = ".backfill/demo", value_name = "DIR")]
    pub dir: PathBuf,
    /// Start over, even if an earlier demo stopped halfway
    #[arg(long)]
    pub fresh: bool,
}

/// `local`
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Address to listen on. Everyone who can reach an address other than loopback (for containers) has access without
    /// credentials
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: std::net::IpAddr,
    /// Port to listen on; 0 picks any free port
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Create the sample table `shop` with this number of items, unless the table exists
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub items: Option<u64>,
    /// Keep the tables in this file [default: in memory]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// Seed for the sample table; equal seeds produce equal tables
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulate a table's capacity: read the capacity from this TOML file, throttle requests like DynamoDB, and run a
    /// sample application. The README has an example
    #[arg(long, value_name = "FILE")]
    pub capacity: Option<PathBuf>,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Read only the state file. Without this option, the command also tries to read the flag, for at most 2 seconds
    #[arg(long)]
    pub offline: bool,
    /// Fill the terminal with a live view. Its keys pause the run, resume it and change its rate
    #[arg(long)]
    pub watch: bool,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Estimate from a sample of the table: a percentage or a number of items
    #[arg(long, value_name = "5%|ITEMS", num_args = 0..=1, default_missing_value = "1%")]
    pub sample: Option<SampleSize>,
    /// Print the budgets that a run needs to end within this time, the obstacles, and the commands that raise and lower
    /// the table's capacity
    #[arg(long, value_name = "TIME")]
    pub finish_in: Option<FinishIn>,
    /// Accept a finding that would prevent a run; repeatable
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Acceptance>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write nothing; count the changes that the run would make
    #[arg(long, conflicts_with_all = ["again", "restart", "yes", "exports"])]
    pub dry_run: bool,
    /// With --dry-run: read a sample of the table (a percentage or a number of items) and estimate the rest
    #[arg(long, value_name = "5%|ITEMS", requires = "dry_run", num_args = 0..=1, default_missing_value = "5%")]
    pub sample: Option<SampleSize>,
    /// Accept a finding that would prevent the run; repeatable, recorded with the run
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Acceptance>,
    /// After a complete pass, start another pass over the table
    #[arg(long, conflicts_with = "restart")]
    pub again: bool,
    /// Start a new run from the beginning; keep the record of the old run
    #[arg(long)]
    pub restart: bool,
    /// Do not ask before starting a new run
    #[arg(short, long)]
    pub yes: bool,
    /// Skip the plan's health checks: the pass begins and continues even if the application is unhealthy
    #[arg(long, conflicts_with = "dry_run")]
    pub ignore_health_checks: bool,
    /// Where the command sends its metrics
    #[command(flatten)]
    pub exports: ExportArgs,
}

/// `verify`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub(crate) struct VerifyArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Compare every item, with strongly consistent reads; needed to open the cutover gate
    #[arg(long, group = "scope")]
    pub all: bool,
    /// Compare this number of randomly chosen clusters of items, and report what the comparison proves
    #[arg(long, group = "scope", value_name = "CLUSTERS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sample: Option<u32>,
    /// Fix mismatches by filling or overwriting the derived attribute. The command shows counts and asks first; the
    /// journal keeps overwritten values
    #[arg(long)]
    pub repair: bool,
    /// With --repair: also remove values that the plan does not explain, such as a new value without an old value. The
    /// journal keeps them. By default, the command only reports such values
    #[arg(long, requires = "repair")]
    pub repair_remove: bool,
    /// With --repair: accept a finding that prevents changes to items. The finding is client-encryption (recorded with
    /// the run, so it applies to later commands too) or no-way-back (after a purge of the journal)
    #[arg(long, value_name = "FINDING", requires = "repair", value_parser = accept_parser())]
    pub accept: Vec<Acceptance>,
    /// With --repair: do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Skip the plan's health checks: the pass begins and continues even if the application is unhealthy
    #[arg(long)]
    pub ignore_health_checks: bool,
    /// Where the command sends its metrics
    #[command(flatten)]
    pub exports: ExportArgs,
}

/// The target of `cutover --to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CutoverStepArg {
    /// Writers write both attributes.
    DualWrite,
    /// Readers read the new attribute.
    ReadNew,
    /// Writers write only the new attribute.
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
    pub to: Option<CutoverStepArg>,
    /// Go back: readers read the old attribute and writers write both. If readers already read the old attribute, end
    /// dual writes. The command asks only before it ends dual writes, and only on a terminal. As long as applications
    /// write both attributes, this step is possible even while another command runs
    #[arg(long, group = "way")]
    pub back: bool,
    /// With --to read-new: the percentage of keys for which readers read the new attribute
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "back")]
    pub percent: u8,
    /// Change nothing; report whether the step is possible, and count the values that readers would see for the first
    /// time
    #[arg(long, conflicts_with_all = ["yes", "back", "exports"])]
    pub dry_run: bool,
    /// With --back: move readers back without updating the old values first. Readers can then read stale values
    #[arg(long, requires = "back")]
    pub now: bool,
    /// Where the command sends its metrics
    #[command(flatten)]
    pub exports: ExportArgs,
    /// Override a closed gate (mismatches, diverged items, an old verification) or accept that a rollback may become
    /// impossible, and record this reason. An incomplete expansion cannot be overridden. For write-new, failed items
    /// cannot be overridden either. With --back: continue although some items stay unequal. Refused if more items are
    /// unequal than the earlier refusal reported
    #[arg(long, value_name = "REASON", value_parser = step_args::reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub dual_writes: DualWriteFacts,
    /// Facts that the operator states for a step forward
    #[command(flatten)]
    pub forward: ForwardFacts,
    /// Facts that the operator states for a step back
    #[command(flatten)]
    pub backward: BackwardFacts,
}

/// Arguments that `contract` and `rollback` share.
#[derive(Debug, Args)]
pub(crate) struct PhaseArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write nothing; count the changes that the command would make now
    #[arg(long, conflicts_with_all = ["yes", "exports"])]
    pub dry_run: bool,
    /// Where the command sends its metrics
    #[command(flatten)]
    pub exports: ExportArgs,
}

/// `contract`
#[derive(Debug, Args)]
pub(crate) struct ContractArgs {
    /// The plan, and whether this is a dry run
    #[command(flatten)]
    pub phase: PhaseArgs,
    /// Skip the plan's health checks: the pass begins and continues even if the application is unhealthy
    #[arg(long, conflicts_with = "dry_run")]
    pub ignore_health_checks: bool,
    /// Finish `contract` although its state file is lost or its flag was removed; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = step_args::reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub forward: ForwardFacts,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The plan, and whether this is a dry run
    #[command(flatten)]
    pub phase: PhaseArgs,
    /// Continue although some items cannot be restored, and record this reason. Refused if the number of such items is
    /// higher than in the earlier refusal
    #[arg(long, value_name = "REASON", value_parser = step_args::reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub dual_writes: DualWriteFacts,
    /// Facts that the operator states for a step back
    #[command(flatten)]
    pub backward: BackwardFacts,
    /// The fact that the operator states about the writers of derived items
    #[command(flatten)]
    pub derived: DerivedFacts,
}

/// `iam`
#[derive(Debug, Args)]
pub(crate) struct IamArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Print only the permissions that `check`, `explain`, `run --dry-run` and `status` need
    #[arg(long)]
    pub read_only: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Parses the name of a finding. The help text lists the meaning of each finding.
pub(crate) fn accept_parser() -> impl TypedValueParser<Value = Acceptance> {
    let names = Acceptance::ALL.map(|accept| PossibleValue::new(accept.name()).help(accept_help(accept)));
    PossibleValuesParser::new(names).try_map(|name| Acceptance::from_name(&name).ok_or("no finding has this name"))
}

fn accept_help(accept: Acceptance) -> &'static str {
    match accept {
        Acceptance::NoPitr => {
            "point-in-time recovery is off or unknown. Accept this if you can restore the table in another way"
        }
        Acceptance::MultiRegion => "the table is replicated. Accept this if no other region writes during the run",
        Acceptance::EmptyTable => {
            "the table is empty. Accept this to let a verification of no items open the cutover gate"
        }
        Acceptance::ClientEncryption => {
            "items are signed or encrypted on the client. Accept this if the signature covers no attribute that the plan changes"
        }
        Acceptance::ReadersAcceptBoth => {
            "a value changes its type or form in one step. Accept this if every reader accepts both forms"
        }
        Acceptance::WritersWriteNew => {
            "a value changes its type or form in one step. Accept this if every writer writes the new form"
        }
        Acceptance::DeletesItems => "the plan deletes items. Accept this if you have checked which items it deletes",
        Acceptance::NoWayBack => {
            "deleted or overwritten values are not kept, or the journal was purged, so a rollback cannot restore them"
        }
    }
}
