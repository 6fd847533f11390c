//! DynamoDB as the tool sees it: the ports [`Describe`], [`Source`], [`Sink`] and [`control::Control`], and their
//! implementations: [`sdk`] (the AWS SDK), and [`memory`] for tests in virtual time.

pub mod control;
mod describe;
mod error;
pub mod memory;
pub mod patience;
pub mod sdk;
mod sink;
mod source;
mod surroundings;

use std::sync::Arc;

pub use describe::{Describe, IndexDescription, TableDescription};
pub use error::{Directive, FatalKind, TableError, ThrottlingReason};
pub use sink::{Consumed, Got, Sink, WriteReply};
pub use source::{Page, PageRequest, Source};
pub use surroundings::{Features, Recovery, StreamView, TableClass};

/// The tables of a migration: the source of its items, the sink of its writes, and the table that budgets follow. One
/// table may be all three.
#[derive(Clone)]
pub struct Tables {
    /// Describes the table whose capacity the run uses.
    pub described: Arc<dyn Describe>,
    /// Where items come from.
    pub source: Arc<dyn Source>,
    /// Where writes go, and where single items are read.
    pub sink: Arc<dyn Sink>,
}

impl Tables {
    /// One table that is source and sink.
    pub fn one<T: Describe + Source + Sink + 'static>(table: Arc<T>) -> Tables {
        Tables { described: table.clone(), source: table.clone(), sink: table }
    }
}
