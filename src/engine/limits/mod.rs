//! The limits of a run: how much it may spend and scan in total, when it may work, which budgets it has now, and into
//! how many segments and lanes it divides the table.

pub(crate) mod allowance;
pub(crate) mod kept_budgets;
pub(crate) mod segments;
pub(crate) mod table_watch;
pub(crate) mod window;

pub use allowance::{Allowance, slice};
pub use kept_budgets::{Followed, KeptBudgets};
pub use segments::{SegmentChoice, auto_segments};
pub use table_watch::{LOOK_EVERY, TableWatch};
pub use window::WorkWindow;
