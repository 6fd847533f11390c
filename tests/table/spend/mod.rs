//! Runs of the real binary, and the server's counts for these runs. The tests and `benches/spend.rs` share this code.

pub(crate) mod limited;
pub(crate) mod whole_run;
