//! Tests complete migrations during which an application runs. The application obeys the flag as docs/flag.md requires.
//!
//! The application ([`app`]) checks every read immediately. A read must not return a value that is older than the last
//! write that completed before the read began, or older than the result of an earlier read ([`history`]). [`by_hand`]
//! changes the flag without the tool, and shows that these checks find errors. The other modules run the real binary.
#![cfg(feature = "local")]
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod app;
mod by_hand;
mod clocks;
mod corrected;
mod crash_points;
mod documents;
mod ends;
#[path = "../../docs/examples/flag/rust/flag.rs"]
#[expect(dead_code, unreachable_pub, reason = "an application includes the example as a module, as this test does")]
mod example;
mod generated_code;
#[expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]
#[path = "../harness/mod.rs"]
mod harness;
mod history;
mod hostile;
mod incidents;
mod killed_runs;
mod kills;
mod life;
mod model;
mod older_files;
mod order;
mod quiet;
mod replaces;
mod scene;
mod skip;
mod status;
