//! The baseline: what is recorded about an item before the migration first writes it.

pub(crate) mod first_look;
mod look_through;
mod record_first;

pub use first_look::FirstLook;
pub(crate) use record_first::RecordFirst;
