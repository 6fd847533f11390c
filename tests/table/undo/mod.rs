//! Tests contract and rollback through the library, on a server, with and without live writers and kills.

mod alone;
mod contract_phase;
mod in_place;
mod killed_baseline;
mod late;
mod leftovers;
mod live;
mod pieces;
mod quiet;
mod repair;
mod scene;
mod stale;
mod stopped;
