//! Undo through the library, on a server: contract and rollback, with and without live writers, with and without kills.

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
