//! The report of a migration: one document for the people who approve, check and archive it.
//!
//! [`MigrationReport::gather`] reads the facts from the state file, even while a process works on it or after a process
//! died. The limits, the next step and the clean-up list come from the current plan file. [`MigrationReport::html`] and
//! [`MigrationReport::markdown`] format the report. What the state file does not record is called unknown.
//!
//! Text from outside (keys, reasons, names, errors) reaches a page in two steps: the template escapes HTML, and the
//! finished document escapes control characters and characters that reverse or hide text.
//!
//! [`LiveListener`] serves the page and keeps it current.

mod charts;
mod cleanup;
mod facts;
mod html;
mod live;
mod markdown;
mod rows;
mod runs;
mod steps;
mod verifications;

pub use charts::{ActivityShare, ClockChart, HeatCell, HeatMap, PaceChart};
pub use cleanup::CleanupEntry;
pub use facts::{MigrationReport, ReportSource};
pub use live::{FirstPage, LiveListener, LiveServer, LiveSource, PlanReader};
pub use runs::RunEntry;
pub use steps::{GateResult, StepEntry};
pub use verifications::VerificationEntry;
