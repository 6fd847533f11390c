//! The embedded engine (dynoxide), an HTTP proxy for it, and sample data.
//!
//! [`Engine`] serves DynamoDB's API on loopback from a file or from memory. [`Proxy`] is an HTTP proxy in front of this
//! engine or another endpoint. The proxy counts requests and replies, injects faults, and throttles requests according
//! to a model of [`capacity`]. [`sample`] generates a table that looks like a real one. [`Local`] combines the engine,
//! the proxy and the sample table. [`traffic`] simulates an application that uses the table at the same time. Each
//! server runs on its own threads, so it answers requests even while its caller is blocked.
//!
//! Only the code in this folder uses `dynoxide`. Within this folder, only `sqlite.rs` uses `rusqlite`.

pub mod capacity;
mod checks;
mod engine;
mod error;
pub mod proxy;
pub mod sample;
mod server;
mod sqlite;
mod stack;
pub mod traffic;

pub use engine::{Engine, EngineOptions};
pub use error::LocalError;
pub use proxy::{Corruption, Fault, Proxy, ProxyOptions, ProxyTally, RequestGate, RequestInfo};
pub use stack::{Local, LocalOptions, SampleOrigin, TableReport};
