//! The processes of a plan's programs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::try_join_all;
use tokio::sync::Semaphore;

use super::process::{BatchEnd, MAX_BATCH_BYTES, MAX_MORE_LINES, Process};
use super::protocol::{MAX_LINE_BYTES, replies, request};
use super::{ExecError, OnAnswered, Programs};
use crate::change::{Change, Exec, ProgramAnswer, ProgramQuestion};
use crate::item::{Path, item_bytes};
use crate::outside::escaped;

/// The run stops after this number of consecutive batches without a valid answer, if they had at least
/// [`MAX_FAILED_ITEMS`] items in total.
const MAX_FAILED_BATCHES: u64 = 10;

/// See [`MAX_FAILED_BATCHES`]. After a conflict, the program computes a single item again, so a batch can be very
/// small. A few items that crash the program must not stop the run.
const MAX_FAILED_ITEMS: u64 = 100;

/// The maximum size of the items in a batch. Suppose that each answer is as large as its item, and that its JSON text
/// is sixteen times longer. Then the answers still fit into [`MAX_BATCH_BYTES`].
const MAX_BATCH_INPUT: usize = MAX_BATCH_BYTES / 16;

/// The programs of a plan, each with its processes. A process is started when it is needed. All processes are killed
/// when the pools are dropped.
#[derive(Debug)]
pub struct Pools(BTreeMap<usize, Pool>);

/// The processes of one program.
struct Pool {
    exec: Arc<Exec>,
    /// One permit for each process that may run.
    permits: Semaphore,
    idle: Mutex<Vec<Process>>,
    next_id: AtomicU64,
    failed: Mutex<FailedBatches>,
    /// Whether an unlimited number of batches is allowed to fail.
    keeps_asking: AtomicBool,
}

/// What a process printed for a batch.
struct Exchange {
    printed: Vec<u8>,
    /// The process, if it followed the protocol so far.
    process: Option<Process>,
    /// What the process did wrong.
    why: Option<String>,
}

/// The consecutive batches without a valid answer, counted since the last batch that had one.
#[derive(Default)]
struct FailedBatches {
    batches: u64,
    items: u64,
}

impl Pools {
    /// Creates the pools for a plan's changes. Starts no process. Returns `None` if the plan has no `exec`.
    pub fn new(changes: &[Change]) -> Option<Pools> {
        let programs = changes.iter().enumerate();
        let programs =
            programs.filter_map(|(position, change)| Some((position, Pool::new(Arc::clone(change.program()?)))));
        let pools: BTreeMap<usize, Pool> = programs.collect();
        (!pools.is_empty()).then_some(Pools(pools))
    }
}

#[async_trait]
impl Programs for Pools {
    async fn ask(
        &self,
        questions: &[ProgramQuestion],
        progress: OnAnswered<'_>,
    ) -> Result<Vec<ProgramAnswer>, ExecError> {
        let mut batches = Vec::new();
        for (position, pool) in &self.0 {
            let mine = questions.iter().enumerate().filter(|(_, question)| question.position == *position);
            batches.extend(pool.batches(mine).into_iter().map(|batch| async move {
                let answers = pool.ask(batch).await;
                progress();
                answers
            }));
        }
        let mut answers = vec![Err("was not asked".to_owned()); questions.len()];
        for (place, answer) in try_join_all(batches).await?.into_iter().flatten() {
            answers[place] = answer;
        }
        Ok(answers)
    }

    fn keep_asking(&self) {
        self.0.values().for_each(|pool| pool.keeps_asking.store(true, Ordering::Relaxed));
    }
}

/// The questions of a batch, each with its place in the list of all questions.
type Batch<'a> = Vec<(usize, &'a ProgramQuestion)>;

impl Pool {
    fn new(exec: Arc<Exec>) -> Pool {
        Pool {
            permits: Semaphore::new(exec.workers),
            exec,
            idle: Mutex::default(),
            next_id: AtomicU64::new(1),
            failed: Mutex::default(),
            keeps_asking: AtomicBool::new(false),
        }
    }

    /// Divides questions into batches of limited number and size.
    fn batches<'a>(&self, questions: impl Iterator<Item = (usize, &'a ProgramQuestion)>) -> Vec<Batch<'a>> {
        let mut batches: Vec<Batch<'a>> = Vec::new();
        let mut bytes = 0;
        for (place, question) in questions {
            let size = item_bytes(&question.inputs);
            match batches.last_mut() {
                Some(batch) if batch.len() < self.exec.batch && bytes + size <= MAX_BATCH_INPUT => {
                    batch.push((place, question));
                    bytes += size;
                }
                Some(_) | None => {
                    batches.push(vec![(place, question)]);
                    bytes = size;
                }
            }
        }
        batches
    }

    /// Asks about one batch. Waits until a process may run.
    async fn ask(&self, batch: Batch<'_>) -> Result<Vec<(usize, ProgramAnswer)>, ExecError> {
        // The semaphore is never closed, so this cannot fail.
        let _permit = self.permits.acquire().await;
        let first = self.next_id.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let last = first + batch.len() as u64 - 1;
        let text = request((first..).zip(batch.iter().map(|(_, question)| &question.inputs)));
        let Exchange { printed, process, why } = self.exchange(&text, batch.len()).await?;
        let names: Vec<&str> = self.exec.outputs.iter().map(Path::root).collect();
        let mut found = replies(&printed, (first, last), &names);
        match process {
            Some(process) if found.stray_lines == 0 => self.idle().push(process),
            // The output of this process is no longer reliable, so the process gets no further batch.
            Some(process) => self.warn("printed lines that answer no item of its batch", process, false).await,
            None => {}
        }
        let unanswered = why.unwrap_or_else(|| "gave no answer for this item".to_owned());
        self.count(batch.len(), found.valid_lines > 0, &unanswered)?;
        let answer = |((place, _), id): ((usize, &ProgramQuestion), u64)| {
            (place, found.answers.remove(&id).unwrap_or_else(|| Err(unanswered.clone())))
        };
        Ok(batch.into_iter().zip(first..).map(answer).collect())
    }

    /// Sends a batch to a process. An idle process can have ended since its last batch. In this case, sends the batch
    /// to another process. The loop ends with a new process at the latest: if a new process ends early, the batch
    /// fails.
    async fn exchange(&self, text: &[u8], items: usize) -> Result<Exchange, ExecError> {
        loop {
            let idle = self.idle().pop();
            let mut process = match idle {
                Some(process) => process,
                None => Process::start(&self.exec).await?,
            };
            let limit = match process.is_proven {
                true => self.exec.timeout,
                false => self.exec.timeout + self.exec.start_timeout,
            };
            let (printed, end) = process.ask(text, items, limit).await;
            let why = match end {
                BatchEnd::Complete => {
                    process.is_proven = true;
                    return Ok(Exchange { printed, process: Some(process), why: None });
                }
                BatchEnd::Closed if process.is_proven && printed.is_empty() => {
                    tracing::debug!("the program {} ended after a batch ({})", self.name(), process.end(true).await);
                    continue;
                }
                BatchEnd::Closed => "ended, or closed its stdout, before it had answered its batch".to_owned(),
                BatchEnd::Early => "printed more after the empty line, or did not read its whole batch".to_owned(),
                BatchEnd::TimedOut => {
                    format!("did not answer its batch within {} s and was killed", limit.as_secs_f64())
                }
                BatchEnd::TooLong => format!(
                    "printed a line of more than {MAX_LINE_BYTES} bytes, more than {MAX_BATCH_BYTES} bytes for a batch, \
                     or {MAX_MORE_LINES} lines more than its batch has items, and was killed"
                ),
            };
            self.warn(&why, process, end == BatchEnd::Closed).await;
            return Ok(Exchange { printed, process: None, why: Some(why) });
        }
    }

    /// Ends a process that broke the protocol, and logs why. The log has no output of the process.
    async fn warn(&self, why: &str, process: Process, has_ended: bool) {
        tracing::warn!("the program {} {why} ({})", self.name(), process.end(has_ended).await);
    }

    /// Counts consecutive batches without a valid answer. Fails if there are too many.
    fn count(&self, items: usize, is_valid: bool, why: &str) -> Result<(), ExecError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if is_valid || self.keeps_asking.load(Ordering::Relaxed) {
            *failed = FailedBatches::default();
            return Ok(());
        }
        failed.batches += 1;
        failed.items += items as u64;
        if failed.batches < MAX_FAILED_BATCHES || failed.items < MAX_FAILED_ITEMS {
            return Ok(());
        }
        let FailedBatches { batches, items } = *failed;
        Err(ExecError::Failing { program: self.name(), batches, items, why: why.to_owned() })
    }

    fn name(&self) -> String {
        self.exec.argv.first().map_or_else(String::new, |program| escaped(program).to_string())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("exec", &self.exec).finish_non_exhaustive()
    }
}
