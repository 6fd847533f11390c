//! Runs of the real binary, with the counts of the server. The tests and `benches/spend.rs` share this code.

pub(crate) mod limited;
pub(crate) mod whole_run;
