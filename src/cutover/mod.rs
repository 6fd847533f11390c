//! The cutover: which attribute applications write and read, and how that moves, one step at a time.

mod flag;
mod percent;
pub mod schema;

pub use flag::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};
pub use percent::bucket;
pub use schema::{FlagMeta, SchemaError};
