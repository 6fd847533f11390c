//! Reports on a run: live figures, the progress line, and the final summary.

mod activity;
pub mod display;
mod dry_run;
pub mod heat;
mod live;
pub mod metrics;
mod monitor;
mod pace;
mod pace_history;
mod pace_record;
mod report;
mod spend;
mod summary;
mod unrestored;
mod watchdog;

pub use activity::{Activity, ActivityChange, ActivityClocks, ClocksByRun, CurrentActivity, Signals};
pub use dry_run::{DryRunReport, PAIRS_UNRECORDED};
pub use live::{
    AccessKind, EtaFigures, HotKeyFigures, KeyRangeFigures, LimitFigures, LiveFigures, RangeFigures, RateFigures,
    ScopeFigures, ScopeKind, SpendFigures, WaitFigures, forecast,
};
pub use monitor::{CapacityView, LOOK_EVERY, LastTimes, Monitor, PassView, ProgressSources, RunningMonitor};
pub use pace::{Eta, ProgressMeter, Rates, eta_text};
pub use pace_history::{KEPT_RUNS, MAX_SLOTS, PaceHistory, PaceSampler, PaceSlot, kept_runs};
pub use pace_record::{Liveness, PACE_RECORD_INTERVAL, PaceRecord, Worker};
pub use report::{RunReport, Subject};
pub use spend::{limits_text, write_spend};
pub use summary::{counts_json, outcome_note, write_counts};
pub use unrestored::{UnrestoredItems, affected_json, write_listed, write_noted};
pub use watchdog::{HungRequests, Silence, Watchdog};

pub use crate::engine::{Progress, Snapshot, StoredBudgets};
pub use crate::figure::number;
