//! The whole life of a migration, next to an application that obeys the flag as docs/flag.md requires.
//!
//! The application ([`app`]) checks every read immediately. A read must not return a value older than the last write
//! that completed before the read began. It must not return a value older than one that an earlier read returned
//! ([`history`]). [`by_hand`] shows that these checks find errors: there the test itself moves the flag. The other
//! modules run the real binary.
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
