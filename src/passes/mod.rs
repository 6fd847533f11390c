//! The passes: each is one walk over the table for one purpose.

pub(crate) mod baseline;
pub(crate) mod dry_run;
pub(crate) mod retry;
pub mod verify;

pub use baseline::FirstLook;
pub use dry_run::{Class, DryRun, Group, Heaviest, Load, Prediction, Shape, read_clusters};
pub use retry::Retried;
