//! Reports on a run: live figures, the progress line, and the final summary.

pub mod display;
mod dry_run;
mod kept_pace;
mod not_as_before;
mod pace;
mod report;
mod spend;
mod summary;

pub use dry_run::{DryRunReport, PAIRS_UNRECORDED};
pub use kept_pace::{KEPT_EVERY, KeptPace, Liveliness, Worker};
pub use not_as_before::{NotAsBefore, write_listed};
pub use pace::Pace;
pub use report::{RunReport, Subject};
pub use spend::{limits_text, write_spend};
pub use summary::{counts_json, write_counts};

pub use crate::engine::{KeptBudgets, Progress, Snapshot};
pub use crate::figure::number;
