//! One process owns a state file: an OS lock on a sibling file, which also names the owner.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::super::StoreError;
use super::error::io_error;
use crate::host;

/// The process that owns a state file, as its lock file tells. A field is missing where that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Holder {
    /// Process id.
    pub pid: Option<u32>,
    /// Host name.
    pub host: Option<String>,
    /// When it took the lock.
    pub since: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("an unnamed process")?,
        }
        write!(f, " on host {}", self.host.as_deref().unwrap_or("(unknown)"))?;
        write!(f, ", since {}", self.since.as_deref().unwrap_or("(unknown)"))
    }
}

/// The lock, held while this lives. The OS frees it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// How often, and how far apart, a lock is tried before it counts as held: a reader that asks who holds it takes it for
/// an instant.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl Lock {
    /// Takes the lock of a state file, or names its holder.
    pub(super) fn take(state: &Path, now: &str) -> Result<Lock, StoreError> {
        let path = lock_path(state);
        let mut file = open_private(OpenOptions::new().read(true).write(true).create(true).truncate(false), &path)
            .map_err(|e| io_error(&path, "create the lock file", &e))?;
        for tried in 1..=TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let text = format!("pid={}\nhost={}\nsince={now}\n", process::id(), host::name());
                    rewrite(&mut file, &text).map_err(|e| io_error(&path, "write the lock file", &e))?;
                    return Ok(Lock { file });
                }
                Err(TryLockError::WouldBlock) if tried < TRIES => thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(e)) => return Err(io_error(&path, "lock", &e)),
            }
        }
        Err(StoreError::Locked(format!(
            "the state file {} is in use by {}. Nothing was read from or written to the table. Wait for that process, or \
             stop it (it stops in good order on SIGTERM); `backfill status` works meanwhile. If that host is another one, \
             the file is on a shared disk: run from one host only.",
            state.display(),
            read_holder(&mut file)
        )))
    }

    /// Who holds the lock of a state file, if anyone does; also none where the lock file cannot be read.
    pub(super) fn holder(state: &Path) -> Option<Holder> {
        let mut file = File::open(lock_path(state)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
            // Freed again when `file` goes out of scope, which is now.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file itself stays: were it removed, two processes could each lock a file of that name. What it says is of
        // no use to anyone from here on, and failing to clear it harms nobody.
        let _ = self.file.set_len(0);
    }
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
    super::open::sibling(state, ".lock")
}

fn rewrite(file: &mut File, text: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.flush()
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    // A lock file that cannot be read leaves the holder without a name; it is still held.
    let _ = file.rewind().and_then(|()| file.take(4096).read_to_string(&mut text));
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.escape_debug().to_string())
    };
    Holder { pid: field("pid").and_then(|p| p.parse().ok()), host: field("host"), since: field("since") }
}
