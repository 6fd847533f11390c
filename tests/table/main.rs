//! Tests runs, verification and undo passes over a table, through the library and through the real binary. The tests
//! check the writes, the consumed capacity and the tool's reaction to faults. Each test starts its own server
//! (`harness`), except the tests in virtual time (`simulator`).
#![cfg(feature = "local")]

mod capacity;
mod contract;
mod estimate;
mod faults;
#[expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]
#[path = "../harness/mod.rs"]
mod harness;
mod limits;
mod live;
mod live_writers;
mod memory;
mod second_run;
mod simulator;
mod spend;
mod undo;
mod verify;
