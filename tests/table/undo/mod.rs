//! What can be undone, through the library, on a server: contract and rollback, quiet and with live writers, whole and in
//! pieces.

mod alone;
mod contract_phase;
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
