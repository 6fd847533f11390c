//! Runs of the real binary and what the server counted for them. The tests and `benches/spend.rs` share them.

pub(crate) mod limited;
pub(crate) mod whole_run;
