//! One process owns a state file: an OS lock on a sibling file, which also names the owner.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use super::super::{Holder, StoreError};
use super::error::io_error;
use super::siblings::{neighbour, open_regular, sibling};
use crate::host;
use crate::locked::LockedFile;
use crate::outside::OutsideText;

/// The lock, held while this lives. The OS frees it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: LockedFile,
    /// Where its last line begins.
    commits_at: u64,
    /// What the process before it left there.
    left: Option<Committed>,
    closed: bool,
}

/// What a process has committed: noted in the lock file after each commit, without a sync, as a kill loses nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    /// The state file's own mark.
    pub(super) mark: i64,
    /// Its count of commits.
    pub(super) commits: i64,
}

impl Committed {
    /// Always of one length: a line is written over another one, and nothing of that is left.
    fn line(self) -> String {
        format!("commits={:020}/{:020}\n", self.mark, self.commits)
    }
}

/// How often, and how far apart, a lock is tried before it counts as held: a reader that asks who holds it takes it for
/// an instant.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What a lock file says, a line each.
const FIELDS: [&str; 4] = ["pid", "host", "since", "commits"];

/// A lock file is shorter than this: three short fields and a host's name, which has 253 characters at most (RFC 1035). One
/// that is not is refused.
const MOST_BYTES: u64 = 4096;

impl Lock {
    /// Takes the lock of a state file, or names its holder.
    pub(super) fn take(state: &Path, now: &str) -> Result<Lock, StoreError> {
        let path = lock_path(state);
        let file = open_or_create(&path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput => neighbour(state, &path),
            _ => io_error(&path, "create the lock file", &e),
        })?;
        let mut file = lock(file, state, &path)?;
        if !is_ours(&mut file).map_err(|e| io_error(&path, "read the lock file", &e))? {
            return Err(neighbour(state, &path));
        }
        let left = read_committed(&mut file);
        let mut text = format!("pid={}\nhost={}\nsince={now}\n", process::id(), host::name());
        let commits_at = text.len() as u64;
        // Should the state file be refused, the next process is told the same.
        text.extend(left.map(Committed::line));
        rewrite(&mut file, text).map_err(|e| io_error(&path, "write the lock file", &e))?;
        Ok(Lock { file, commits_at, left, closed: false })
    }

    /// What the process that held it before has committed; none if it closed the file in good order.
    pub(super) fn left(&self) -> Option<Committed> {
        self.left
    }

    /// Notes what is committed. Failing to say so makes no commit undone: then an older number stands there.
    pub(super) fn note(&mut self, committed: Committed) {
        let line = committed.line();
        let _ = self.file.seek(SeekFrom::Start(self.commits_at)).and_then(|_| self.file.write_all(line.as_bytes()));
    }

    /// Notes what is committed before a session begins, so that a power cut leaves it too. Later notes are made in its place.
    pub(super) fn note_durably(&mut self, committed: Committed) {
        self.note(committed);
        let _ = self.file.sync_all();
    }

    /// The state file was closed in good order: what the lock file says is of no use from here on.
    pub(super) fn closed(mut self) {
        self.closed = true;
    }

    /// What the last holder has committed, for one who only reads.
    pub(super) fn last_committed(state: &Path) -> Option<Committed> {
        read_committed(&mut open_regular(&lock_path(state), false).ok()?)
    }

    /// Who holds the lock of a state file, if anyone does; also none where the lock file cannot be read.
    pub(super) fn holder(state: &Path) -> Option<Holder> {
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
        // The file itself stays: were it removed, two processes could each lock a file of that name. Failing to clear it
        // harms nobody.
        if self.closed {
            let _ = self.file.set_len(0);
        }
    }
}

/// Locks the open lock file, or names its holder.
fn lock(mut file: File, state: &Path, path: &Path) -> Result<LockedFile, StoreError> {
    let mut tried = 0;
    loop {
        tried += 1;
        file = match LockedFile::take(file) {
            Ok(locked) => return Ok(locked),
            Err((TryLockError::WouldBlock, file)) if tried < TRIES => file,
            Err((TryLockError::WouldBlock, mut file)) => return Err(in_use(state, &read_holder(&mut file))),
            Err((TryLockError::Error(e), _)) => return Err(io_error(path, "lock", &e)),
        };
        thread::sleep(BETWEEN_TRIES);
    }
}

fn in_use(state: &Path, holder: &Holder) -> StoreError {
    StoreError::Locked(format!(
        "the state file {} is in use by {holder}. Nothing was read from or written to the table. Wait for that \
         process, or stop it (SIGTERM stops it in good order); `backfill status` works meanwhile. If that host is \
         another one, the file is on a shared disk: run from one host only.",
        state.display()
    ))
}

/// Opens with permissions for this user only, where the file is created.
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

/// Opens the lock file, or makes it. Nothing of it is changed: it may be somebody else's.
fn open_or_create(path: &Path) -> io::Result<File> {
    match open_private(OpenOptions::new().read(true).write(true).create_new(true), path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open_regular(path, true),
        made => made,
    }
}

/// Whether a file that is locked is a lock file: empty, or what [`Lock::take`] has written. A process that was killed left
/// it so.
fn is_ours(file: &mut File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(false) };
    // A process may have died before its last line was written, and a power cut leaves zeros.
    let mut lines = text.trim_end_matches('\0').lines().peekable();
    let fields = FIELDS.iter().all(|field| {
        let Some(line) = lines.next() else { return true };
        let begins = format!("{field}=");
        line.starts_with(&begins) || (lines.peek().is_none() && begins.starts_with(line))
    });
    Ok(fields && lines.next().is_none() && (bytes.len() as u64) < MOST_BYTES)
}

/// In one write, over everything that was there: a process that is killed leaves the old text or the new one.
fn rewrite(file: &mut File, text: String) -> io::Result<()> {
    let length = text.len();
    let mut bytes = text.into_bytes();
    let old = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    bytes.resize(length.max(old), 0);
    file.rewind()?;
    file.write_all(&bytes)?;
    file.set_len(length as u64)
}

fn read_committed(file: &mut File) -> Option<Committed> {
    let text = read_text(file);
    let (mark, commits) = field(&text, "commits")?.split_once('/')?;
    Some(Committed { mark: mark.parse().ok()?, commits: commits.parse().ok()? })
}

fn read_text(file: &mut File) -> String {
    let mut text = String::new();
    // A lock file that cannot be read leaves the holder without a name; it is still held.
    let _ = file.rewind().and_then(|()| file.take(MOST_BYTES).read_to_string(&mut text));
    text
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

fn read_holder(file: &mut File) -> Holder {
    let text = read_text(file);
    let outside = |name: &str| field(&text, name).map(OutsideText::from);
    let pid = field(&text, "pid").and_then(|pid| pid.parse().ok());
    Holder { pid, host: outside("host"), since: outside("since") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;
    use crate::locked::tests::while_processes_start;

    const NOW: &str = "2026-01-01T00:00:00Z";

    /// A process that is being started has every open file of this one for an instant.
    #[test]
    fn a_lock_has_no_holder_once_it_is_given_back_or_refused() {
        let dir = scratch();
        let (ours, theirs) = (dir.path().join("s.db"), dir.path().join("Gemfile"));
        std::fs::write(dir.path().join("Gemfile.lock"), "GEM\n  specs:\n").unwrap();
        while_processes_start(|| {
            let lock = Lock::take(&ours, NOW).unwrap();
            assert_eq!(Lock::holder(&ours).unwrap().pid, Some(process::id()));
            drop(lock);
            assert_eq!(Lock::holder(&ours), None, "after it was given back");
            assert!(matches!(Lock::take(&theirs, NOW), Err(StoreError::Foreign(_))));
            assert_eq!(Lock::holder(&theirs), None, "after it was refused");
        });
    }
}
