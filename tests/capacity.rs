//! scratch
#![cfg(feature = "local")]
mod simulator;
