//! A file of keys: the items that a plan selects with `keys`.
//!
//! The file has one key per line, in one of two forms ([`KeysFormat`]). It is never read into memory as a whole. Before
//! a run, [`KeysFile::open`] reads the file from start to end. It computes the file's SHA-256, which is part of the
//! plan's fingerprint, and checks the form of every line. When the table's key is known, [`KeysFile::prepare`] checks
//! every key and finds the keys that appear twice. Then the passes read ranges of the file ([`PreparedKeys::read`]).
//!
//! A key never spans several lines. So each range of bytes can be read on its own, and the byte offset of a line is a
//! durable position.

mod csv;
mod line;
mod prepare;
mod ranges;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::item::{ItemKey, KeySchema};
use line::LineParser;
pub use prepare::PreparedKeys;
pub use ranges::KeysPage;

/// The maximum length of a line in bytes. The longest key has 3 KB, and JSON writes a byte with at most six characters.
const MAX_LINE_BYTES: usize = 32 * 1024;

/// The maximum number of wrong lines that an error lists.
const MAX_LISTED: usize = 5;

/// The form of the lines in a file of keys. The name of the file determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysFormat {
    /// One JSON object per line (`.ndjson` or `.jsonl`): the key as DynamoDB JSON, or with plain strings and numbers.
    Ndjson,
    /// Values separated by commas (`.csv`). The first line has the names of the key attributes.
    Csv,
}

impl KeysFormat {
    /// Returns the format that the name of a file stands for, or `None` if the name has another ending.
    pub fn from_name(path: &Path) -> Option<KeysFormat> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(KeysFormat::Ndjson),
            "csv" => Some(KeysFormat::Csv),
            _ => None,
        }
    }

    /// Returns the name of the format.
    pub fn name(self) -> &'static str {
        match self {
            KeysFormat::Ndjson => "NDJSON",
            KeysFormat::Csv => "CSV",
        }
    }
}

/// A file of keys whose lines have the right form. Two values are equal if the files have the same content and format.
#[derive(Debug, Clone)]
pub struct KeysFile {
    path: PathBuf,
    format: KeysFormat,
    sha256: String,
    keys: u64,
    version: FileVersion,
}

/// Metadata that shows whether a file has changed, so that the file need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    bytes: u64,
    /// `None` if the file system does not record it.
    modified: Option<SystemTime>,
}

/// The reason why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] std::io::Error),
    /// The path is not a file.
    #[error("it is not a file")]
    NotAFile,
    /// The file contains no key.
    #[error("it has no keys")]
    Empty,
    /// Some lines of the file are not keys.
    #[error("{0}")]
    Lines(WrongLines),
    /// The names in the first line of a CSV file are not the key attributes.
    #[error("line 1 must have exactly the names of the key attributes: {0}")]
    Header(String),
    /// Too many lines repeat an earlier key.
    #[error("more than {0} lines repeat a key of an earlier line")]
    Repeated(usize),
    /// The file changed while it was in use.
    #[error("it has changed since this command began")]
    Changed,
}

/// The lines of a file that are not keys: the first few with their reasons, and the total number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrongLines {
    /// The first wrong lines: the number of the line, from 1, and what is wrong.
    pub first: Vec<(u64, String)>,
    /// The total number of wrong lines.
    pub total: u64,
}

impl WrongLines {
    fn add(&mut self, line: u64, why: String) {
        self.total += 1;
        if self.first.len() < MAX_LISTED {
            self.first.push((line, why));
        }
    }

    fn into_result(self) -> Result<(), KeysFileError> {
        if self.total == 0 { Ok(()) } else { Err(KeysFileError::Lines(self)) }
    }
}

impl fmt::Display for WrongLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (line, why)) in self.first.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}line {line}: {why}")?;
        }
        match self.total - self.first.len() as u64 {
            0 => Ok(()),
            1 => f.write_str("; and 1 more line"),
            more => write!(f, "; and {more} more lines"),
        }
    }
}

impl PartialEq for KeysFile {
    fn eq(&self, other: &KeysFile) -> bool {
        self.sha256 == other.sha256 && self.format == other.format
    }
}

impl Eq for KeysFile {}

impl KeysFile {
    /// Reads a file from start to end, computes its SHA-256, and checks the form of every line. Does not check that the
    /// lines are keys of a table: [`KeysFile::prepare`] does.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, has no keys, or has lines that are not keys. No error contains a value.
    pub fn open(path: &Path, format: KeysFormat) -> Result<KeysFile, KeysFileError> {
        let file = File::open(path)?;
        let version = FileVersion::of(&file)?;
        let mut parser = LineParser::new(format);
        let mut wrong = WrongLines::default();
        let mut keys = 0;
        let sha256 = for_each_line(&file, |line| {
            match parser.check_form(line.text) {
                Ok(true) => keys += 1,
                Ok(false) => {}
                Err(why) => wrong.add(line.number, why),
            }
            Ok(())
        })?;
        wrong.into_result()?;
        if keys == 0 {
            return Err(KeysFileError::Empty);
        }
        Ok(KeysFile { path: path.to_owned(), format, sha256, keys, version })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the form of the lines.
    pub fn format(&self) -> KeysFormat {
        self.format
    }

    /// Returns the SHA-256 of the file's bytes, in lowercase hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the number of lines that contain a key. A key that appears twice counts twice.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Returns whether the file contains this key. Reads the file from its start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or if it has changed since it was opened.
    pub fn contains(&self, key: &ItemKey, schema: &KeySchema) -> Result<bool, KeysFileError> {
        let file = self.reopen()?;
        let mut parser = LineParser::new(self.format);
        let mut found = false;
        let sha256 = for_each_line(&file, |line| {
            found |= parser.key(line.text, schema).ok().flatten().is_some_and(|found| found == *key);
            Ok(())
        })?;
        if sha256 == self.sha256 { Ok(found) } else { Err(KeysFileError::Changed) }
    }

    /// Opens the file again, and checks that it is still the same version.
    fn reopen(&self) -> Result<File, KeysFileError> {
        let file = File::open(&self.path)?;
        if FileVersion::of(&file)? == self.version { Ok(file) } else { Err(KeysFileError::Changed) }
    }
}

impl FileVersion {
    fn of(file: &File) -> Result<FileVersion, KeysFileError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(KeysFileError::NotAFile);
        }
        Ok(FileVersion { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// A line of a file.
struct Line<'a> {
    /// The number of the line, from 1.
    number: u64,
    /// The byte offset of the line's first byte.
    offset: u64,
    /// The bytes of the line, without the line break. If the line is longer than [`MAX_LINE_BYTES`], contains only its
    /// beginning, which is longer than this limit.
    text: &'a [u8],
}

/// Calls `each` with every line, and returns the SHA-256 of the file's bytes.
fn for_each_line(
    file: &File,
    mut each: impl FnMut(Line<'_>) -> Result<(), KeysFileError>,
) -> Result<String, KeysFileError> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut hash = Sha256::new();
    let mut text = Vec::new();
    let (mut number, mut offset) = (0, 0);
    loop {
        text.clear();
        let most = MAX_LINE_BYTES as u64 + 2;
        let mut length = reader.by_ref().take(most).read_until(b'\n', &mut text)? as u64;
        if length == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&text);
        // Skip the rest of a line that is too long.
        while text.last() != Some(&b'\n') {
            let rest = reader.fill_buf()?;
            if rest.is_empty() {
                break;
            }
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            hash.update(&rest[..end]);
            let ends = rest[end - 1] == b'\n';
            reader.consume(end);
            length += end as u64;
            if ends {
                break;
            }
        }
        number += 1;
        each(Line { number, offset, text: trimmed(&text, offset) })?;
        offset += length;
    }
}

/// Removes the line break of a line, and the byte order mark that some editors write at the start of a file.
fn trimmed(text: &[u8], offset: u64) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if offset == 0 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text }
}
