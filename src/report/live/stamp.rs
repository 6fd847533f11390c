//! Detects changes of files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file system stores times with limited resolution (up to two seconds). Suppose that a file was written within this
/// time before it was read. Then a later write might not have changed its modification time.
const RESOLUTION: Duration = Duration::from_secs(3);

/// Identifies the content of files: as long as nobody writes to them or replaces them, the stamp stays equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<FileStamp>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: SystemTime,
}

impl Stamp {
    /// Returns the stamp of these files. A file that does not exist, or that cannot be inspected, has a stamp, too.
    pub(super) fn of(paths: &[PathBuf]) -> Stamp {
        Stamp(paths.iter().map(|path| FileStamp::of(path)).collect())
    }

    /// Returns whether an equal stamp at a later time proves that the files have not changed since this stamp. `at` is
    /// the time of this stamp.
    pub(super) fn is_settled(&self, at: SystemTime) -> bool {
        self.0.iter().flatten().all(|file| at.duration_since(file.modified).is_ok_and(|age| age >= RESOLUTION))
    }
}

impl FileStamp {
    fn of(path: &Path) -> Option<FileStamp> {
        let found = std::fs::metadata(path).ok()?;
        let modified = found.modified().ok()?;
        Some(FileStamp { device: found.dev(), inode: found.ino(), length: found.len(), modified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_changes_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let paths = [path.clone(), folder.path().join("missing")];
        let absent = Stamp::of(&paths);
        std::fs::write(&path, "a").unwrap();
        let first = Stamp::of(&paths);
        assert_eq!(first, Stamp::of(&paths));
        let old = SystemTime::now() - Duration::from_secs(100);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let touched = Stamp::of(&paths);
        std::fs::write(folder.path().join("other"), "b").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let replaced = Stamp::of(&paths);
        let all = [absent, first, touched, replaced];
        for (at, stamp) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(stamp), "{all:?}");
        }
    }

    #[test]
    fn a_stamp_settles_after_the_resolution_of_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "a").unwrap();
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let stamp = Stamp::of(&[path]);
        assert!(!stamp.is_settled(written) && !stamp.is_settled(written + RESOLUTION / 2));
        assert!(stamp.is_settled(written + RESOLUTION));
        // After the clock was set back, the stamp proves nothing.
        assert!(!stamp.is_settled(written - Duration::from_secs(100)));
    }
}
