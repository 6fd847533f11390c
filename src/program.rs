//! Runs a program of the operator: a hook or a health check. `exec` uses only the type [`Group`]. No shell is involved.
//! The program must end within a time limit, and its output is limited.

use std::collections::BTreeSet;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::outside::escaped;

/// The maximum size of a program's output, in bytes.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// The time for which output is read after a program has ended. By then, the program's own output is in the pipe, and
/// only a child in the background can print more.
const READ_AFTER_END: Duration = Duration::from_millis(150);

/// The maximum time to wait for a killed program to end.
const WAIT_FOR_KILLED: Duration = Duration::from_millis(500);

/// The interval between checks whether a program has ended.
const CHECK_END: Duration = Duration::from_millis(5);

/// The maximum number of characters of a failed program's stderr that an error shows.
const SHOWN_STDERR: usize = 400;

/// The process group IDs of the running programs. This process has not waited for these programs yet, so the system has
/// not given their IDs to other processes.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Whether this process is about to exit.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// A program, its input and its time limit.
#[derive(Debug)]
pub struct Program<'a> {
    /// The program and its arguments.
    pub argv: &'a [String],
    /// The text that the program reads from stdin. If it is `None`, stdin is empty.
    pub input: Option<String>,
    /// Environment variables, in addition to those of this process.
    pub environment: Vec<(&'static str, String)>,
    /// The time within which the program must end.
    pub limit: Duration,
}

/// Why a program did not succeed. The text completes the sentence "the hook PROGRAM …".
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program could not be started. It did nothing.
    #[error("could not be started ({0})")]
    NotStarted(std::io::Error),
    /// The program did not end in time, and was killed. It may have done all or part of its work.
    #[error("did not end within its `timeout` ({} s)", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The program printed too much.
    #[error("printed more than {MAX_OUTPUT} bytes")]
    TooMuchOutput,
    /// The exit status is unknown.
    #[error("could not be waited for ({0})")]
    NotWaitedFor(std::io::Error),
    /// The program ended with an exit status that is not 0. The second field is the beginning of its stderr, escaped.
    #[error("failed ({0}){separator}{1}", separator = if .1.is_empty() { "" } else { ", saying: " })]
    Failed(ExitStatus, String),
    /// The output is not UTF-8.
    #[error("printed something that is not UTF-8 text")]
    NotText,
}

impl Program<'_> {
    /// Returns the name of the program, without its arguments.
    pub fn name(argv: &[String]) -> &str {
        argv.first().map_or("", String::as_str)
    }

    /// Runs the program to its end. Returns its output. Kills a program that does not end in time, and the programs
    /// that it has started, except those that have left its process group. The program does not receive the signals of
    /// the terminal: Ctrl-C ends this process only.
    ///
    /// This function waits only for the program itself. A child that the program leaves in the background continues to
    /// run. It does not delay the result, even if it holds stdout or stderr open. Its later output is lost.
    ///
    /// # Errors
    ///
    /// Fails if the program does not succeed within its time limit. See [`ProgramError`].
    pub async fn run(self) -> Result<String, ProgramError> {
        let (output, errors, status) = self.run_to_end(Stdio::piped).await?;
        if output.len() > MAX_OUTPUT {
            return Err(ProgramError::TooMuchOutput);
        }
        if !status.success() {
            let stderr: String = String::from_utf8_lossy(&errors).trim().chars().take(SHOWN_STDERR).collect();
            return Err(ProgramError::Failed(status, escaped(&stderr).to_string()));
        }
        String::from_utf8(output).map_err(|_| ProgramError::NotText)
    }

    /// Runs the program to its end, as [`Program::run`] does, but discards everything that it prints. The output can
    /// have any size. The text in [`ProgramError::Failed`] is empty.
    ///
    /// # Errors
    ///
    /// Fails if the program does not succeed within its time limit. See [`ProgramError`].
    pub async fn run_ignoring_output(self) -> Result<(), ProgramError> {
        let (_, _, status) = self.run_to_end(Stdio::null).await?;
        if status.success() { Ok(()) } else { Err(ProgramError::Failed(status, String::new())) }
    }

    /// Runs the program to its end. Returns the beginning of its output on stdout and stderr, and its exit status.
    async fn run_to_end(self, output: fn() -> Stdio) -> Result<(Vec<u8>, Vec<u8>, ExitStatus), ProgramError> {
        let mut command = Command::new(Program::name(self.argv));
        command.args(self.argv.iter().skip(1)).envs(self.environment);
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(output()).stderr(output()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = Group::spawn(&mut command).map_err(ProgramError::NotStarted)?;
        let (stdin, stdout, stderr) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let input = self.input;
        let write_input = async {
            if let (Some(mut stdin), Some(text)) = (stdin, input) {
                // Ignore an error here, because a program can read only a part of its input. The exit status shows
                // whether the program succeeded.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let status = {
            let mut pipes = pin!(async {
                tokio::join!(write_input, read_beginning(stdout, &mut output), read_beginning(stderr, &mut errors))
            });
            let end = async {
                tokio::select! {
                    biased;
                    status = child.wait() => (status, false),
                    _ = &mut pipes => (child.wait().await, true),
                }
            };
            let Ok((status, pipes_are_closed)) = timeout(self.limit, end).await else {
                // The program itself has not ended, so its process ID still belongs to its group, which is killed now.
                return Err(ProgramError::TimedOut(self.limit));
            };
            if !pipes_are_closed {
                let _ = timeout(READ_AFTER_END, pipes).await;
            }
            status.map_err(ProgramError::NotWaitedFor)?
        };
        Ok((output, errors, status))
    }
}

/// Kills all programs that run now, with the programs that they have started. Call this function immediately before the
/// process exits without waiting for its tasks. From now on, no program can start. No task is notified of a program's
/// end, so no task can react to it.
pub fn kill_all_before_exit() {
    IS_EXITING.store(true, Ordering::SeqCst);
    let running = running();
    running.iter().for_each(|id| kill_group(*id));
    // Keep the lock until the process ends.
    std::mem::forget(running);
}

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a process group. Call this function only if this process has not waited for the program yet. This is certain
/// before `RUNNING` contains the ID, and while `RUNNING` contains the ID and the lock is held.
fn kill_group(id: u32) {
    #[cfg(unix)]
    if let Ok(id) = i32::try_from(id) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
    }
}

/// A running program and its process group. Dropping it kills the group, unless the program has ended.
pub(crate) struct Group(Child);

impl Group {
    /// Starts the program. The command must put it into a process group of its own.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Group> {
        // Do not hold the lock while the program starts. If its file system hangs, every other program would wait for
        // the lock.
        let child = command.spawn()?;
        if let Some(id) = child.id() {
            if IS_EXITING.load(Ordering::SeqCst) {
                kill_group(id);
            }
            running().insert(id);
        }
        Ok(Group(child))
    }

    /// Takes the pipes to stdin, stdout and stderr. Returns `None` if one of them is not a pipe, or was taken before.
    pub(crate) fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.0.stdin.take()?, self.0.stdout.take()?, self.0.stderr.take()?))
    }

    /// Gives the program this time to end by itself. Then kills its group: the program, if it still runs, and the
    /// programs that it has started. Returns the exit status, if it is known.
    pub(crate) async fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        let id = self.0.id()?;
        let _ = timeout(grace, has_ended(id)).await;
        {
            // This process has not waited for the program yet. So the ID still belongs to the program's group, even if
            // the program has ended.
            let running = running();
            if running.contains(&id) {
                kill_group(id);
            }
        }
        timeout(WAIT_FOR_KILLED, self.wait()).await.ok()?.ok()
    }

    /// Waits until the program ends. After that, nothing kills children that still run: see [`Group::end`].
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let id = self.0.id();
        let mut ended = pin!(self.0.wait());
        std::future::poll_fn(|context| {
            // The system can reuse the process ID as soon as the call below returns the exit status.
            let mut running = running();
            let polled = ended.as_mut().poll(context);
            if let (Poll::Ready(_), Some(id)) = (&polled, id) {
                running.remove(&id);
            }
            polled
        })
        .await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After `wait` has returned, the process ID can belong to another process. But then the set no longer contains
        // the ID.
        if let Some(id) = self.0.id() {
            let mut running = running();
            if running.remove(&id) {
                kill_group(id);
            }
        }
    }
}

/// Returns when a program has ended. Does not collect its exit status, so the system cannot reuse its process ID. Never
/// returns on a system that does not support this check.
async fn has_ended(id: u32) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if let Ok(id) = i32::try_from(id) {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(nix::unistd::Pid::from_raw(id)), flags) == Ok(WaitStatus::StillAlive) {
            tokio::time::sleep(CHECK_END).await;
        }
        return;
    }
    std::future::pending().await
}

/// Reads to the end. Keeps one byte more than [`MAX_OUTPUT`], and discards the other bytes. It must not stop reading,
/// because the program's next write would then kill the program.
async fn read_beginning(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut part = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        let missing = (MAX_OUTPUT + 1).saturating_sub(kept.len());
        kept.extend(part.iter().take(length.min(missing)));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn sh(script: &str, input: Option<&str>, limit: Duration) -> Result<String, ProgramError> {
        let argv = ["/bin/sh", "-c", script, "sh", "an $argument"].map(str::to_owned);
        let environment = vec![("BACKFILL_TEST", "v".to_owned())];
        Program { argv: &argv, input: input.map(str::to_owned), environment, limit }.run().await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_program_gets_its_arguments_input_and_environment() {
        let output = sh("printf '%s|%s|' \"$1\" $BACKFILL_TEST; cat", Some("text"), LONG).await.unwrap();
        assert_eq!(output, "an $argument|v|text");
        assert_eq!(sh("cat", None, LONG).await.unwrap(), "");
        assert_eq!(sh("exit 0", Some(&"x".repeat(1 << 20)), LONG).await.unwrap(), "", "the input may stay unread");
    }

    #[tokio::test]
    async fn each_failure_says_what_happened() {
        for (script, says) in [
            ("echo '\u{1b}[2J' >&2; exit 3", "failed (exit status: 3), saying: \\u{1b}[2J"),
            ("exit 1", "failed (exit status: 1)"),
            ("head -c 100000 /dev/zero", "printed more than 65536 bytes"),
            ("printf '\\377'", "printed something that is not UTF-8 text"),
            ("kill -9 $$", "failed (signal: 9 (SIGKILL))"),
        ] {
            assert_eq!(sh(script, None, LONG).await.unwrap_err().to_string(), says);
        }
        let argv = ["/nowhere/at/all".to_owned()];
        let program = Program { argv: &argv, input: None, environment: Vec::new(), limit: LONG };
        assert!(matches!(program.run().await.unwrap_err(), ProgramError::NotStarted(_)));
    }

    #[tokio::test]
    async fn a_child_in_the_background_delays_nothing_and_is_left_alone() {
        let limit = Duration::from_secs(60);
        let began = std::time::Instant::now();
        let output = sh("sleep 1000 & echo $!; exit 0", None, limit).await.unwrap();
        let child = nix::unistd::Pid::from_raw(output.trim().parse().unwrap());
        let is_alive = nix::sys::signal::kill(child, None);
        let failed = sh("sleep 1000 & echo $! >&2; exit 3", None, limit).await.unwrap_err().to_string();
        let other = failed.strip_prefix("failed (exit status: 3), saying: ").unwrap().parse().unwrap();
        for child in [child, nix::unistd::Pid::from_raw(other)] {
            nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        assert_eq!(is_alive, Ok(()));
        assert!(began.elapsed() < limit / 2, "the result waited for the children");
    }

    #[tokio::test]
    async fn much_output_does_not_kill_the_program() {
        let print = "head -c 1000000 /dev/zero";
        assert_eq!(sh(&format!("{print} >&2 && echo done"), None, LONG).await.unwrap(), "done\n");
        let failed = sh(&format!("{print} && exit 3"), None, LONG).await.unwrap_err().to_string();
        assert_eq!(failed, "printed more than 65536 bytes");
        let argv = ["/bin/sh", "-c", "head -c 1000000 /dev/zero && head -c 1000000 /dev/zero >&2 && exit 3"];
        let argv = argv.map(str::to_owned);
        let program = Program { argv: &argv, input: None, environment: Vec::new(), limit: LONG };
        let failed = program.run_ignoring_output().await.unwrap_err().to_string();
        assert_eq!(failed, "failed (exit status: 3)");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", pid.display());
        let limit = Duration::from_millis(500);
        let error = loop {
            let error = sh(&script, None, limit).await.unwrap_err();
            // On a busy machine, the script can be killed before it has written the file.
            if pid.exists() {
                break error;
            }
        };
        assert_eq!(error.to_string(), "did not end within its `timeout` (0.5 s)");
        let child: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let is_gone = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
            // A killed process stays in the table until its new parent has waited for it.
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => true,
        };
        for _ in 0..200 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("process {child} still runs");
    }
}
