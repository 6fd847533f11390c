//! Sends items to the programs of `exec` changes. Each change has a pool of processes ([`Pools`]). A process reads
//! items and prints answers, one JSON document for each line (`protocol.rs`).
//!
//! A process that crashes, hangs or breaks the protocol is killed with its whole process group, and another one is
//! started for the next batch. Only the items without a valid answer become failures.

mod files;
mod pool;
mod process;
mod protocol;
#[cfg(all(test, unix))]
mod tests;

use std::fmt::Debug;

use async_trait::async_trait;

pub use files::find_programs;
pub use pool::Pools;
pub use protocol::{MAX_LINE_BYTES, Replies, replies, request};

use crate::change::{ProgramAnswer, ProgramQuestion};

/// A function that is called after each batch.
pub type OnAnswered<'a> = &'a (dyn Fn() + Send + Sync);

/// Answers the questions of `exec` changes.
#[async_trait]
pub trait Programs: Debug + Send + Sync {
    /// Returns one answer for each question, in the same order. Calls `progress` after each batch, so that a run with a
    /// slow program does not count as stalled. The future can be dropped at any point. Dropping it kills the processes
    /// that work on the questions.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be started, or if it has given no valid answer for too many batches. Then no answer
    /// is returned.
    async fn ask(
        &self,
        questions: &[ProgramQuestion],
        progress: OnAnswered<'_>,
    ) -> Result<Vec<ProgramAnswer>, ExecError>;

    /// From now on, never fails because of batches without a valid answer. A retry needs this: if it stopped at items
    /// that crash the program, it would never reach the later items.
    fn keep_asking(&self) {}
}

/// Why the programs cannot be used any more. The run stops and can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// A process could not be started.
    #[error("the program {program} could not be started: {why}")]
    NotStarted {
        /// The program, escaped.
        program: String,
        /// The reason.
        why: String,
    },
    /// The files of the program have changed since the plan was read.
    #[error("the files of the program {program} changed while the command was running")]
    Changed {
        /// The program, escaped.
        program: String,
    },
    /// Many batches in a row had no valid answer.
    #[error(
        "the program {program} gave no valid answer in {batches} batches in a row ({items} items). In the last one, \
         it {why}"
    )]
    Failing {
        /// The program, escaped.
        program: String,
        /// Number of batches.
        batches: u64,
        /// Number of items in these batches.
        items: u64,
        /// What happened last.
        why: String,
    },
}
