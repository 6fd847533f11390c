//! Exclusive ownership of a state file. The owner holds an OS lock on a sibling of the state file. This sibling also
//! contains the owner's process id and host.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use super::super::{LockHolder, StoreError};
use super::error::io_error;
use super::siblings::{foreign_sibling_error, open_regular, sibling};
use crate::host;
use crate::locked::LockedFile;
use crate::outside::UntrustedText;

/// The lock on a state file. The process holds the lock until this value is dropped. The OS releases it when the
/// process ends, even after a kill.
#[derive(Debug)]
pub(super) struct Lock {
    file: LockedFile,
    /// The offset of the last line in the lock file. This line contains the number of commits.
    commits_at: u64,
    /// The number of commits that the previous owner left in the lock file. `None` if the previous owner left no
    /// number.
    recorded_commits: Option<CommitCount>,
    closed: bool,
}

/// The number of commits that a state file contains. The owner writes this number to the lock file after each commit.
/// The owner does not sync the lock file after these writes, because written data survives a kill of the process even
/// without a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitCount {
    /// The state file's identifier: a random number that the lock file repeats.
    pub(super) mark: i64,
    /// The number of commits in the state file.
    pub(super) commits: i64,
}

impl CommitCount {
    /// Returns the lock file's line with this number. The line has a constant length, so each new line completely
    /// overwrites the previous one.
    fn line(self) -> String {
        format!("commits={:020}/{:020}\n", self.mark, self.commits)
    }
}

/// The number of failed attempts after which a lock counts as held. Several attempts are needed, because a reader
/// briefly takes the lock to find out who holds it.
const MAX_ATTEMPTS: u32 = 10;
/// The time between two attempts to take a lock.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// The fields of a lock file, one per line.
const FIELDS: [&str; 4] = ["pid", "host", "since", "commits"];

/// Every lock file of this program is shorter than this, because a lock file contains three short fields, and a host
/// name of at most 253 characters (RFC 1035). A longer file is refused.
const MAX_LOCK_FILE_BYTES: u64 = 4096;

impl Lock {
    /// Takes the lock of a state file. If another process holds the lock, fails with an error that names that process.
    pub(super) fn acquire(state: &Path, now: &str) -> Result<Lock, StoreError> {
        let path = lock_path(state);
        let file = open_or_create(&path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput => foreign_sibling_error(state, &path),
            _ => io_error(&path, "create the lock file", &e),
        })?;
        let mut file = lock(file, state, &path)?;
        if !is_lock_file(&mut file).map_err(|e| io_error(&path, "read the lock file", &e))? {
            return Err(foreign_sibling_error(state, &path));
        }
        let recorded_commits = read_commit_count(&mut file);
        let mut text = format!("pid={}\nhost={}\nsince={now}\n", process::id(), host::name());
        let commits_at = text.len() as u64;
        // Keep the number of commits that the previous owner left. If this process refuses the state file, the next
        // process still needs that number.
        text.extend(recorded_commits.map(CommitCount::line));
        rewrite(&mut file, text).map_err(|e| io_error(&path, "write the lock file", &e))?;
        Ok(Lock { file, commits_at, recorded_commits, closed: false })
    }

    /// Returns the number of commits that the previous owner left; `None` if that owner closed the file properly.
    pub(super) fn recorded_commits(&self) -> Option<CommitCount> {
        self.recorded_commits
    }

    /// Writes the current number of commits to the lock file. Ignores a failed write, because its only consequence is
    /// that the lock file contains an older number.
    pub(super) fn write_commit_count(&mut self, commit_count: CommitCount) {
        let line = commit_count.line();
        let _ = self.file.seek(SeekFrom::Start(self.commits_at)).and_then(|_| self.file.write_all(line.as_bytes()));
    }

    /// Writes the number of commits to the lock file and syncs the lock file, so that the number survives a power cut.
    /// Call this function before a session begins.
    pub(super) fn write_commit_count_durably(&mut self, commit_count: CommitCount) {
        self.write_commit_count(commit_count);
        let _ = self.file.sync_all();
    }

    /// Drops the lock and clears the lock file, because the state file was closed properly.
    pub(super) fn mark_closed(mut self) {
        self.closed = true;
    }

    /// Returns the number of commits that the last holder of the lock wrote. Readers of the state file use this
    /// function.
    pub(super) fn last_commit_count(state: &Path) -> Option<CommitCount> {
        read_commit_count(&mut open_regular(&lock_path(state), false).ok()?)
    }

    /// Returns the process that holds a state file's lock. Returns `None` if no process holds it, or if the lock file
    /// cannot be read.
    pub(super) fn holder(state: &Path) -> Option<LockHolder> {
        let mut file = open_regular(&lock_path(state), false).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
            Ok(()) => {
                let _ = file.unlock();
                None
            }
            Err(TryLockError::Error(_)) => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Clear the lock file, but do not remove it. After a removal, two processes could each lock a different file of
        // this name. A failure to clear the file is harmless.
        if self.closed {
            let _ = self.file.set_len(0);
        }
    }
}

/// Locks the open lock file. If another process holds the lock, fails with an error that names that process.
fn lock(mut file: File, state: &Path, path: &Path) -> Result<LockedFile, StoreError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        file = match LockedFile::lock(file) {
            Ok(locked) => return Ok(locked),
            Err((TryLockError::WouldBlock, file)) if attempts < MAX_ATTEMPTS => file,
            Err((TryLockError::WouldBlock, mut file)) => return Err(locked_error(state, &read_holder(&mut file))),
            Err((TryLockError::Error(e), _)) => return Err(io_error(path, "lock", &e)),
        };
        thread::sleep(RETRY_DELAY);
    }
}

fn locked_error(state: &Path, holder: &LockHolder) -> StoreError {
    StoreError::Locked(format!(
        "the state file {} is in use by {holder}. Nothing was read from or written to the table. Wait for that \
         process, or stop it (SIGTERM stops it cleanly). `backfill status` works in the meantime. If the process runs on \
         another host, the file is on a shared disk: run backfill from one host only.",
        state.display()
    ))
}

/// Opens a file. If the file is new, only the current user can access it.
pub(super) fn open_private(options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

fn lock_path(state: &Path) -> PathBuf {
    sibling(state, ".lock")
}

/// Opens or creates the lock file. Does not change an existing file, because it may belong to a different program.
fn open_or_create(path: &Path) -> io::Result<File> {
    match open_private(OpenOptions::new().read(true).write(true).create_new(true), path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open_regular(path, true),
        created => created,
    }
}

/// Returns whether the locked file can be a lock file of this program. It can be one if it is empty, or if it has the
/// fields that [`Lock::acquire`] writes. Fields at the end may be missing, because a process may die while it writes
/// the file.
fn is_lock_file(file: &mut File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_LOCK_FILE_BYTES).read_to_end(&mut bytes)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(false) };
    // The last line is missing if a process died before it wrote that line. After a power cut, the file may end with
    // zeros.
    let mut lines = text.trim_end_matches('\0').lines().peekable();
    let fields = FIELDS.iter().all(|field| {
        let Some(line) = lines.next() else { return true };
        let prefix = format!("{field}=");
        line.starts_with(&prefix) || (lines.peek().is_none() && prefix.starts_with(line))
    });
    Ok(fields && lines.next().is_none() && (bytes.len() as u64) < MAX_LOCK_FILE_BYTES)
}

/// Overwrites the whole file in one write, so that a killed process leaves either the old text or the new text.
fn rewrite(file: &mut File, text: String) -> io::Result<()> {
    let length = text.len();
    let mut bytes = text.into_bytes();
    let old = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    bytes.resize(length.max(old), 0);
    file.rewind()?;
    file.write_all(&bytes)?;
    file.set_len(length as u64)
}

fn read_commit_count(file: &mut File) -> Option<CommitCount> {
    let text = read_text(file);
    let (mark, commits) = field(&text, "commits")?.split_once('/')?;
    Some(CommitCount { mark: mark.parse().ok()?, commits: commits.parse().ok()? })
}

fn read_text(file: &mut File) -> String {
    let mut text = String::new();
    // If the lock file cannot be read, the holder is unknown, but the lock is still held.
    let _ = file.rewind().and_then(|()| file.take(MAX_LOCK_FILE_BYTES).read_to_string(&mut text));
    text
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

fn read_holder(file: &mut File) -> LockHolder {
    let text = read_text(file);
    let outside = |name: &str| field(&text, name).map(UntrustedText::from);
    let pid = field(&text, "pid").and_then(|pid| pid.parse().ok());
    LockHolder { pid, host: outside("host"), since: outside("since") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;
    use crate::locked::tests::while_processes_start;

    const NOW: &str = "2026-01-01T00:00:00Z";

    /// While a child process starts, it briefly shares every open file of this process, including the lock file.
    #[test]
    fn a_lock_has_no_holder_after_release_or_refusal() {
        let dir = scratch();
        let ours = dir.path().join("s.db");
        let theirs = dir.path().join("Gemfile");
        std::fs::write(dir.path().join("Gemfile.lock"), "GEM\n  specs:\n").unwrap();
        while_processes_start(|| {
            let lock = Lock::acquire(&ours, NOW).unwrap();
            assert_eq!(Lock::holder(&ours).unwrap().pid, Some(process::id()));
            drop(lock);
            assert_eq!(Lock::holder(&ours), None, "after the release");
            assert!(matches!(Lock::acquire(&theirs, NOW), Err(StoreError::Foreign(_))));
            assert_eq!(Lock::holder(&theirs), None, "after the refusal");
        });
    }
}
