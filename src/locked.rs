//! A lock on an open file that is free the moment its owner lets go of it.

use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};

/// A file that this process has locked. The lock goes when this is dropped, or when the process ends, however it ends.
///
/// Closing the file is not enough: the lock belongs to the open file, which a child process shares from its fork until it
/// begins another program. In that instant the lock would still be seen, and another process, or this one, refused.
#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    /// Locks an open file against everybody else; gives it back where somebody else holds it.
    pub fn take(file: File) -> Result<LockedFile, (TryLockError, File)> {
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
        // Where it fails, closing the file does it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Does something again and again while other threads start processes.
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
    fn a_lock_that_is_dropped_is_free_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("a.lock")).unwrap();
        while_processes_start(|| {
            let held = LockedFile::take(open()).unwrap();
            assert!(matches!(LockedFile::take(open()), Err((TryLockError::WouldBlock, _))));
            drop(held);
        });
    }
}
