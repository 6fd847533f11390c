//! The limits of a run: how much it may spend and scan in total, its working hours, its current budgets, and its number
//! of segments and lanes.

pub(crate) mod allowance;
pub(crate) mod pause;
pub(crate) mod segments;
pub(crate) mod slowdown;
pub(crate) mod stored_budgets;
pub(crate) mod table_watch;
pub(crate) mod window;

pub use allowance::{Allowance, AllowanceStatus, LimitStatus, slice};
pub use pause::{PauseSource, PauseSwitch};
pub use segments::{SegmentChoice, auto_segments};
pub use slowdown::Slowdown;
pub use stored_budgets::{CurrentBudgets, StoredBudgets};
pub use table_watch::{DESCRIBE_INTERVAL, TableWatch};
pub use window::WorkWindow;
