//! Steers a running migration: pause, resume, change the rate, drain.
//!
//! `backfill ctl` sends a [`Command`] through a Unix socket beside the state file ([`socket`]). The process that works
//! on the migration stores the resulting [`Settings`] before it obeys them, so that a killed process finds them after a
//! restart. If no process works on the migration, `ctl` locks the state file and stores the settings itself.

mod command;
mod settings;
pub mod socket;

pub use command::{Command, Reply, Request};
pub use settings::{CapacityMark, Paused, Rate, Settings, Steered};
