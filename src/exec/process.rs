//! One process of a program. It reads batches and prints answers.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::ExecError;
use super::files;
use super::protocol::{MAX_LINE_BYTES, is_empty};
use crate::change::{Exec, ProgramFiles};
use crate::outside::escaped;
use crate::program::Group;

/// The maximum size of the answers to a batch.
pub(super) const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// The maximum number of lines that a process prints for a batch in addition to one line for each item. Some libraries
/// print a few lines of their own.
pub(super) const MAX_MORE_LINES: usize = 100;

/// The time that a process has to end after it has closed its stdout. Then it is killed. Only a log message needs its
/// exit status.
const WAIT_FOR_STATUS: Duration = Duration::from_millis(500);

/// The maximum number of bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// A process that runs or has ended. Dropping it kills the process and the programs that it has started, except those
/// that have left its process group.
pub(super) struct Process {
    group: Group,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Output that was read beyond the end of the last batch.
    unread: Vec<u8>,
    /// Number of bytes that the process has written to stderr. They are read and discarded.
    stderr_bytes: Arc<AtomicU64>,
    _drain: AbortOnDropHandle<()>,
    /// Whether the process has answered a batch.
    pub(super) is_proven: bool,
}

/// How the answers to a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchEnd {
    /// The process printed the empty line, and has read the whole batch.
    Complete,
    /// The process printed the empty line before it had read the whole batch.
    Early,
    /// The process closed its stdout, or it cannot be read.
    Closed,
    /// The time limit passed.
    TimedOut,
    /// A line was too long, or the whole answer was too long or had too many lines.
    TooLong,
}

impl Process {
    /// Starts a process. Fails if the process cannot be started, if its files have changed since the plan was read, or
    /// if they cannot be read within the time limit of the first batch.
    pub(super) async fn start(exec: &Arc<Exec>) -> Result<Process, ExecError> {
        let program = exec.argv.first().map_or_else(String::new, |program| escaped(program).to_string());
        let failed = |why: String| ExecError::NotStarted { program: program.clone(), why };
        let Some(known) = &exec.program else { return Err(failed("it was not looked up".to_owned())) };
        let (shared, folder) = (Arc::clone(exec), known.folder.clone());
        let find = tokio::task::spawn_blocking(move || files::find(&shared, &folder));
        let limit = exec.timeout + exec.start_timeout;
        let found = match timeout(limit, find).await {
            Ok(found) => found.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("its files could not be read within {} s", limit.as_secs_f64()))),
        };
        let ProgramFiles { folder, executable, digest, .. } = &found;
        let executable = executable.clone().map_err(failed)?;
        if *digest != known.digest {
            return Err(ExecError::Changed { program });
        }
        let mut command = Command::new(executable);
        command.args(exec.argv.iter().skip(1)).current_dir(folder).env_clear();
        command.envs(exec.env.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut group = Group::spawn(&mut command).map_err(|error| failed(error.to_string()))?;
        let pipes = group.take_pipes();
        let Some((stdin, stdout, stderr)) = pipes else { return Err(failed("it has no pipes".to_owned())) };
        let stderr_bytes = Arc::new(AtomicU64::new(0));
        let drain = AbortOnDropHandle::new(tokio::spawn(discard(stderr, Arc::clone(&stderr_bytes))));
        Ok(Process { group, stdin, stdout, unread: Vec::new(), stderr_bytes, _drain: drain, is_proven: false })
    }

    /// Sends a batch and reads what the process prints, up to the empty line. Returns what it printed, and how the
    /// answers ended. Unless the end is `Complete`, the process must not get another batch.
    pub(super) async fn ask(&mut self, batch: &[u8], items: usize, limit: Duration) -> (Vec<u8>, BatchEnd) {
        let Process { stdin, stdout, unread, .. } = self;
        let mut printed = std::mem::take(unread);
        let mut is_sent = false;
        let send = async {
            // Ignore an error. It means that the process has ended or closed its stdin, and reading the answers shows
            // this.
            let _ = stdin.write_all(batch).await;
            let _ = stdin.flush().await;
            is_sent = true;
            std::future::pending::<()>().await;
        };
        let end = {
            let read = read_batch(stdout, &mut printed, items + MAX_MORE_LINES);
            let exchange = async {
                tokio::select! {
                    biased;
                    () = send => (0, BatchEnd::Closed),
                    end = read => end,
                }
            };
            timeout(limit, exchange).await
        };
        match end {
            Err(_) => (printed, BatchEnd::TimedOut),
            Ok((length, BatchEnd::Complete)) => {
                *unread = printed.split_off(length);
                let end = if is_sent && unread.is_empty() { BatchEnd::Complete } else { BatchEnd::Early };
                (printed, end)
            }
            Ok((_, end)) => (printed, end),
        }
    }

    /// Kills the process and the programs that it has started. Returns its exit status and the number of bytes on
    /// stderr, in words. The exit status is known only if the process has already ended by itself.
    pub(super) async fn end(mut self, has_ended: bool) -> String {
        let status = match has_ended {
            true => self.group.end(WAIT_FOR_STATUS).await,
            false => None,
        };
        let status = status.map_or_else(|| "killed".to_owned(), |status| status.to_string());
        format!("{status}; {} bytes on stderr, which are not shown", self.stderr_bytes.load(Ordering::Relaxed))
    }
}

/// Reads up to the first empty line. Returns the length of the text up to that line, and how it ended.
async fn read_batch(stdout: &mut ChildStdout, printed: &mut Vec<u8>, max_lines: usize) -> (usize, BatchEnd) {
    let mut line = 0;
    let mut lines = 0;
    let mut searched = 0;
    loop {
        while let Some(length) = printed[searched..].iter().position(|byte| *byte == b'\n') {
            let end = searched + length;
            let is_last = is_empty(&printed[line..end]);
            line = end + 1;
            searched = line;
            lines += 1;
            if is_last {
                return (line, BatchEnd::Complete);
            }
        }
        searched = printed.len();
        if printed.len() - line > MAX_LINE_BYTES || printed.len() > MAX_BATCH_BYTES || lines > max_lines {
            return (line, BatchEnd::TooLong);
        }
        printed.reserve(READ_BYTES);
        match (&mut *stdout).take(READ_BYTES as u64).read_buf(printed).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return (line, BatchEnd::Closed),
        }
    }
}

/// Reads to the end and discards everything. If nobody read the output, the process would block.
async fn discard(mut from: impl AsyncRead + Unpin, bytes: Arc<AtomicU64>) {
    let mut part = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}
