//! Runs the real binary, and collects the server's counts. The tests and `benches/spend.rs` share this code.

pub(crate) mod limited;
pub(crate) mod whole_run;
