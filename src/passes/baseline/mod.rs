//! Records the baseline: the state of an item before the migration writes it for the first time.

pub(crate) mod first_look;
mod look_through;
mod record_first;

pub use first_look::FirstLook;
pub(crate) use record_first::RecordFirst;
