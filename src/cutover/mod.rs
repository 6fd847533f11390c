//! The cutover: which attribute applications write and read, and how that moves, one step at a time.

mod flag;

pub use flag::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};
