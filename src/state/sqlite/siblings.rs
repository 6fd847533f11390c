//! Checks that a state file and its siblings belong to this program, before any of these files is read, written or
//! removed.
//!
//! Siblings of a state file are files whose name is the state file's name with a suffix. This program writes `.lock`,
//! and SQLite writes `-wal`, `-shm` and `-journal`. A foreign file may have such a name, for example `Gemfile.lock` if
//! the operator passes `--state Gemfile`. This program or SQLite would overwrite the foreign file. So each file is
//! inspected before it is opened for writing, and the program does not follow links.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::error::{REMEDY, io_error};
use super::layout::{APPLICATION_ID, LAYOUT_VERSION, check_known_version, foreign_program_error};

/// The first bytes of a SQLite database (sqlite.org, "Database File Format").
const DATABASE_MAGIC: &[u8] = b"SQLite format 3\0";
const LOG_MAGICS: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The version of a log's index, in the byte order of the machine.
const LOG_INDEX_VERSION: u32 = 3_007_000;

/// The size of a database header, and the offsets of the two numbers in the header that this program sets.
const HEADER_BYTES: usize = 100;
const USER_VERSION_OFFSET: usize = 60;
const APPLICATION_ID_OFFSET: usize = 68;

/// Returns the path of the state file's sibling with this suffix.
pub(super) fn sibling(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns whether the state file has a log that is not empty.
pub(super) fn has_log(state: &Path) -> bool {
    fs::symlink_metadata(sibling(state, "-wal")).is_ok_and(|meta| meta.len() > 0)
}

/// Refuses a file if it does not belong to this program, or if SQLite would misread it. Does not change the file.
pub(super) fn refuse_foreign_file(path: &Path) -> Result<(), StoreError> {
    let file = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Io(format!(
                "there is no state file {file}: no run of this plan has begun on this machine, or its state is elsewhere \
                 (--state). Nothing was done."
            )));
        }
        Err(e) => return Err(io_error(path, "inspect the state file", &e)),
    };
    if meta.is_dir() {
        return Err(StoreError::Io(format!(
            "{file} is a directory, not a state file. Nothing was done. Name a file with --state."
        )));
    }
    if !meta.is_file() {
        return Err(StoreError::Io(format!(
            "{file} is not a regular file, so it cannot store the state. Nothing was done. Name a file with --state."
        )));
    }
    if meta.len() == 0 {
        return Err(StoreError::Corrupt(format!(
            "the state file {file} is empty: it was truncated, or another program created it. {REMEDY}."
        )));
    }
    let header = read_start(path, HEADER_BYTES).map_err(|e| io_error(path, "read the state file", &e))?;
    if !header.starts_with(DATABASE_MAGIC) || header.len() < HEADER_BYTES {
        return Err(StoreError::Corrupt(format!(
            "{file} is not a state file: it is not a SQLite database, or was truncated. {REMEDY}."
        )));
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(APPLICATION_ID_OFFSET) != APPLICATION_ID {
        return Err(foreign_program_error(path));
    }
    if has_log(path) {
        // Do not check the version here, because the header may be older than the log. SQLite reads the version later.
        return Ok(());
    }
    check_known_version(number(USER_VERSION_OFFSET), path, LAYOUT_VERSION).map(|_| ())
}

/// Refuses a state file if there is a foreign file next to it that SQLite would overwrite or remove.
pub(super) fn refuse_foreign_siblings(state: &Path) -> Result<(), StoreError> {
    for (suffix, is_expected) in
        [("-wal", is_log as fn(&[u8]) -> bool), ("-shm", is_log_index), ("-journal", is_journal)]
    {
        let path = sibling(state, suffix);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(io_error(&path, "inspect", &e)),
        };
        let ours = meta.is_file()
            && match read_start(&path, 8) {
                Ok(start) => is_expected(&start),
                // The owner has removed the file during the check.
                Err(e) if e.kind() == io::ErrorKind::NotFound => true,
                Err(e) => return Err(io_error(&path, "read", &e)),
            };
        if !ours {
            return Err(foreign_sibling_error(state, &path));
        }
    }
    Ok(())
}

/// Creates the error for a foreign file that has a sibling's name.
pub(super) fn foreign_sibling_error(state: &Path, path: &Path) -> StoreError {
    StoreError::Foreign(format!(
        "{} is not a backfill file, but the state file {} would need this name. Nothing was changed, and nothing was read \
         from or written to the table. Name another file with --state.",
        path.display(),
        state.display()
    ))
}

/// Opens an existing regular file for reading and, if `write`, for writing. Does not follow a link.
pub(super) fn open_regular(path: &Path, write: bool) -> io::Result<File> {
    let metadata = fs::symlink_metadata(path)?;
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    if !metadata.is_file() {
        return Err(other());
    }
    let file = OpenOptions::new().read(true).write(write).open(path)?;
    // Check again, because a different program may have replaced the file since the first check.
    if is_same(&metadata, &file.metadata()?) { Ok(file) } else { Err(other()) }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

fn read_start(path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes);
    File::open(path)?.take(bytes as u64).read_to_end(&mut read)?;
    Ok(read)
}

/// Returns whether the start of a file is empty or contains only zeros. After a power cut, a file that was not synced
/// may have this content.
fn is_blank(start: &[u8]) -> bool {
    start.iter().all(|byte| *byte == 0)
}

fn is_log(start: &[u8]) -> bool {
    is_blank(start) || LOG_MAGICS.iter().any(|magic| start.starts_with(magic))
}

/// Returns whether a file with this start can be the index of a log. The first process that opens a state file
/// truncates the index to three bytes and then rebuilds it. After a kill between these two steps, the index is three
/// bytes long.
fn is_log_index(start: &[u8]) -> bool {
    let version = LOG_INDEX_VERSION.to_ne_bytes();
    let start = start.get(..version.len()).unwrap_or(start);
    is_blank(start) || start == version || start == &version[..3]
}

/// Returns whether a file with this start can be a rollback journal. SQLite first writes zeros at the start of the
/// journal. After SQLite has synced the journal, it replaces the zeros with the magic number.
fn is_journal(start: &[u8]) -> bool {
    is_blank(start) || start.starts_with(&JOURNAL_MAGIC)
}
