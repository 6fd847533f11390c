//! What can be undone, through the library, on a server: contract and rollback, quiet and with live writers, whole and in
//! pieces.
#![cfg(feature = "local")]

#[path = "../common/mod.rs"]
mod common;

mod alone;
mod contract;
mod late;
mod leftovers;
mod live;
mod look;
mod pieces;
mod quiet;
mod repair;
mod scene;
mod stale;
mod stopped;
