//! What a run tells about itself: live figures, the progress line, and the summary at its end.

mod budgets;
pub mod display;
mod dry_run;
mod kept_pace;
mod not_as_before;
mod pace;
mod progress;
mod report;
mod spend;
mod summary;

pub use budgets::KeptBudgets;
pub use dry_run::{DryRunReport, PAIRS_UNRECORDED};
pub use kept_pace::{KEPT_EVERY, KeptPace, Liveliness, Worker};
pub use not_as_before::{NotAsBefore, write_listed};
pub use pace::Pace;
pub use progress::{Progress, Snapshot};
pub use report::{RunReport, Subject};
pub use spend::{limits_text, write_spend};
pub use summary::{counts_json, write_counts};

pub use crate::figure::number;
