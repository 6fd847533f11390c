//! Carries out the playbook's steps on a real table.
//!
//! A command is a loop over [`Driver::advance`], which asks [`crate::playbook::step`] for the next step and carries it
//! out. Each step is durable before the next one is requested, so a killed command can be run again and continues where
//! it stopped. If the next step is a preflight, a confirmation or a long pass, [`Driver::advance`] returns and the
//! command carries out the step itself.

mod back;
mod begun;
mod driver;
mod error;
mod facade;
mod input;
mod job;
mod not_as_before;
mod observer;
mod options;
mod order;
mod outcome;
mod preflight;
mod preview;
mod pursue;
mod reason;
mod repair;
mod session;
mod standing;
mod target;
mod watched;

pub use begun::{from_text, kind, read};
pub use driver::{Advance, Begins, Driver, PassEnd, PassResult, Stage};
pub use error::{DriverError, MigrationError};
pub use facade::Migration;
pub use input::OperatorInput;
pub use job::job_of;
pub use observer::{Answer, Figures, Notice, Observer, Question, Silent};
pub use options::command_line;
pub use options::{
    CheckOptions, CutoverStep, DryRunOf, DryRunOptions, Options, RunOptions, StatusOptions, StepOptions, VerifyOptions,
};
pub use order::Order;
pub use outcome::{
    CheckOutcome, CutoverDryRunOutcome, CutoverOutcome, DryRunOutcome, PassOutcome, RetryOutcome, RunOutcome,
    StatusOutcome, VerifyOutcome, WorkedPass,
};
pub use preflight::{Preflight, Read, hold_preflight};
pub use preview::{Preview, preview};
pub use reason::reason;
pub use session::Session;
pub use standing::{Known, Seen, known, read_now, record_seen};
pub use target::{Target, apply, read_plan, state_path};
pub use watched::{Wait, Watched};
