//! The embedded engine (dynoxide), the HTTP layer in front of it, and sample data.
//!
//! [`Engine`] serves DynamoDB's API on loopback from a file or from memory. [`Front`] stands in front of it, or of any
//! other endpoint, counts what the server did, injects faults, and throttles as [`capacity`] says. [`sample`] makes a table
//! that looks like a real one. [`Local`] puts them together; [`traffic`] is an application beside them. Each server runs
//! on threads of its own, so that a caller that blocks starves none.
//!
//! Only this folder names `dynoxide`, and in it only `beneath.rs` names `rusqlite`.

mod beneath;
pub mod capacity;
mod checks;
mod engine;
mod error;
pub mod front;
pub mod sample;
mod server;
mod together;
pub mod traffic;

pub use engine::{Engine, EngineOptions};
pub use error::LocalError;
pub use front::{Fault, Front, FrontOptions, Gate, RequestInfo, Spoil, Tally};
pub use together::{Content, Local, LocalOptions, TableReport};
