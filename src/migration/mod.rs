//! Carries out the playbook's steps on a table.
//!
//! A command is a loop over [`Driver::advance`], which asks [`crate::playbook::step`] for the next step and carries it
//! out. Each step is durable before the next step is requested, so a killed command can be rerun and continues where it
//! stopped. If the next step is a preflight, a confirmation, a backup, a wait or a pass, [`Driver::advance`] only
//! returns the step, and the command carries it out.

mod back;
mod driver;
mod dual_writes;
mod error;
mod facade;
mod flag_tracker;
mod health;
mod history;
mod hooks;
mod input;
mod job;
mod not_as_before;
mod observer;
mod options;
mod outcome;
mod pause_file;
mod plan_files;
mod preflight;
mod preview;
mod reason;
mod repair;
mod request;
mod run_request;
mod session;
mod status;
mod steer;
mod target;

pub use driver::{Advance, Driver, DriverSetup, PassEnd, PassResult, PassStart};
pub use dual_writes::MissingDualWrites;
pub use error::{DriverError, MigrationError};
#[cfg(feature = "internals")]
pub use facade::{Explainer, ItemReader, PurgeOutcome};
pub use facade::{Migration, SteerError, SteerOutcome};
pub use flag_tracker::{FlagTracker, Wait};
pub use history::{has_not_computable, kind, parse_event, read};
pub use input::OperatorInput;
pub use job::job_for_phase;
pub use observer::{Answer, Notice, Observer, ProgressUpdate, Question, Silent};
pub use options::command_line;
pub use options::{
    CheckOptions, CutoverStep, DryRunOptions, DryRunPhase, Options, RunOptions, StatsOptions, StatusOptions,
    StepOptions, VerifyOptions,
};
pub use outcome::{
    CheckOutcome, CutoverDryRunOutcome, CutoverOutcome, DryRunOutcome, PassOutcome, PassSummary, RetryOutcome,
    RunOutcome, StatsOutcome, StatusOutcome, VerifyOutcome,
};
pub use preflight::{ItemsRead, PreflightReport, run_preflight};
pub use preview::{Preview, preview};
pub use reason::reason;
pub use request::CommandRequest;
pub use session::Session;
pub use status::{FlagRecord, MigrationSnapshot, is_suspended, read_flag_now, record_flag, snapshot};
pub use steer::{Remembered, Steerer};
pub use target::{MigrationTarget, ReadPlan, apply_options, read_plan, state_path};
