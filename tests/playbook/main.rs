//! The whole life of a migration, with an application beside it that obeys the flag, as docs/flag.md tells it to.
//!
//! The application ([`app`]) checks every read on the spot: it never returns a value that is older than the last write
//! which was complete before it began, nor older than one that was read before ([`history`]). [`by_hand`] shows that this
//! finds what is wrong, with a flag that the test moves itself; the other modules drive the real binary.
#![cfg(feature = "local")]
#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

mod app;
mod astray;
mod by_hand;
mod clocks;
mod corrected;
mod documents;
mod ends;
#[path = "../../docs/examples/flag/rust/flag.rs"]
#[expect(dead_code, unreachable_pub, reason = "an example is a file of an application, where it is a module like this")]
mod example;
#[expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]
#[path = "../harness/mod.rs"]
mod harness;
mod history;
mod hostile;
mod killed_runs;
mod kills;
mod life;
mod model;
mod older_files;
mod order;
mod quiet;
mod scene;
mod skip;
mod status;
