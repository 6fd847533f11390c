//! `backfill` moves, computes or removes attributes on every item of a live Amazon DynamoDB table.

pub mod cli;

pub mod commands;

pub mod plan;

pub mod item;

pub mod change;

pub mod table;

pub mod throttle;

pub mod checkpoint;

pub mod engine;

pub mod preflight;

pub mod telemetry;

pub mod clock;

#[cfg(feature = "local")]
pub mod local;
