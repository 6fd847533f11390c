//! A lock on an open file. The lock is released as soon as its owner drops it.

use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};

/// A file that this process has locked. The lock is released when this value is dropped, or when the process ends for
/// any reason.
///
/// Closing the file may not release the lock at once. The lock belongs to the open file, and a forked child process
/// shares the open file until the child starts another program. Until then, no other process could take the lock.
#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    /// Locks an open file exclusively. If the file is already locked, returns the error and the file.
    pub fn lock(file: File) -> Result<LockedFile, (TryLockError, File)> {
        match file.try_lock() {
            Ok(()) => Ok(LockedFile(file)),
            Err(error) => Err((error, file)),
        }
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for LockedFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Calls `then` repeatedly while other threads start processes.
    pub(crate) fn while_processes_start(mut then: impl FnMut()) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        Command::new("true").status().unwrap();
                    }
                });
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..100).for_each(|_| then())));
            stop.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    #[test]
    fn a_dropped_lock_is_free_immediately() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("a.lock")).unwrap();
        while_processes_start(|| {
            let held = LockedFile::lock(open()).unwrap();
            assert!(matches!(LockedFile::lock(open()), Err((TryLockError::WouldBlock, _))));
            drop(held);
        });
    }
}
