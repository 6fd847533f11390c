//! Reports on a run: live figures, the progress line, and the final summary.

pub mod display;
mod dry_run;
mod pace;
mod pace_record;
mod report;
mod spend;
mod summary;
mod unrestored;

pub use dry_run::{DryRunReport, PAIRS_UNRECORDED};
pub use pace::ProgressMeter;
pub use pace_record::{Liveness, PACE_RECORD_INTERVAL, PaceRecord, Worker};
pub use report::{RunReport, Subject};
pub use spend::{limits_text, write_spend};
pub use summary::{counts_json, write_counts};
pub use unrestored::{UnrestoredItems, write_listed};

pub use crate::engine::{Progress, Snapshot, StoredBudgets};
pub use crate::figure::number;
