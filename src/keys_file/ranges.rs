//! Reads ranges of a file of keys.

use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::prepare::PreparedKeys;
use super::{FileVersion, KeysFileError, MAX_LINE_BYTES, trimmed};
use crate::item::ItemKey;

/// The number of bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Some keys of a range, and where the range continues.
#[derive(Debug, Clone, PartialEq)]
pub struct KeysPage {
    /// The keys, in the order of the file. A key that an earlier line of the file contains is left out.
    pub keys: Vec<ItemKey>,
    /// The offset of the next line. `None` if the range has ended.
    pub next: Option<u64>,
}

impl PreparedKeys {
    /// Reads at most `limit` keys of range number `part` of `parts`. The ranges have about the same number of bytes.
    /// Each line belongs to the range that contains its first byte. `start` is the `next` of the previous page, or
    /// `None` at the start of the range.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or if it has changed since it was prepared.
    pub fn read(&self, part: u32, parts: u32, start: Option<u64>, limit: usize) -> Result<KeysPage, KeysFileError> {
        if FileVersion::of(&self.file)? != self.version {
            return Err(KeysFileError::Changed);
        }
        let range = self.range(part, parts);
        let mut lines = Lines { keys: self, at: 0, chunk: Vec::new(), chunk_start: 0 };
        lines.at = match start {
            Some(offset) => offset,
            None if range.start <= self.data_start => self.data_start,
            // The range begins at the first line that starts in it: after the line that contains the byte before the
            // range.
            None => {
                lines.at = range.start - 1;
                lines.next()?;
                lines.at
            }
        };
        // A page must make progress even if the plan's limits allow no item.
        let limit = limit.max(1);
        let mut parser = self.parser.clone();
        let mut keys = Vec::new();
        while lines.at < range.end {
            if keys.len() == limit {
                return Ok(KeysPage { keys, next: Some(lines.at) });
            }
            let offset = lines.at;
            let Some(text) = lines.next()? else { break };
            if self.repeated.binary_search(&offset).is_ok() {
                continue;
            }
            let key = parser.key(trimmed(&text, offset), &self.schema);
            keys.extend(key.map_err(|_| KeysFileError::Changed)?);
        }
        Ok(KeysPage { keys, next: None })
    }

    /// Returns the bytes of a range.
    fn range(&self, part: u32, parts: u32) -> Range<u64> {
        let parts = u128::from(parts.max(1));
        let bytes = u128::from(self.version.bytes - self.data_start);
        let border = |part: u128| self.data_start + u64::try_from(bytes * part / parts).unwrap_or(u64::MAX);
        border(u128::from(part).min(parts))..border((u128::from(part) + 1).min(parts))
    }
}

/// Reads lines one after the other, from a given offset.
struct Lines<'a> {
    keys: &'a PreparedKeys,
    /// The offset of the next line.
    at: u64,
    chunk: Vec<u8>,
    chunk_start: u64,
}

impl Lines<'_> {
    /// Returns the next line with its line break, or `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Vec<u8>>, KeysFileError> {
        let mut line = Vec::new();
        loop {
            let ahead = usize::try_from(self.at.saturating_sub(self.chunk_start)).unwrap_or(usize::MAX);
            if self.at < self.chunk_start || ahead >= self.chunk.len() {
                self.fill()?;
                if self.chunk.is_empty() {
                    return Ok(if line.is_empty() { None } else { Some(line) });
                }
                continue;
            }
            let rest = &self.chunk[ahead..];
            let end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            self.at += end.unwrap_or(rest.len()) as u64;
            if end.is_some() {
                return Ok(Some(line));
            }
            if line.len() > 2 * MAX_LINE_BYTES {
                // `prepare` has refused a file with longer lines.
                return Err(KeysFileError::Changed);
            }
        }
    }

    /// Reads the bytes from the current offset.
    fn fill(&mut self) -> Result<(), KeysFileError> {
        self.chunk.resize(CHUNK_BYTES, 0);
        self.chunk_start = self.at;
        let read = self.keys.file.read_at(&mut self.chunk, self.at)?;
        self.chunk.truncate(read);
        Ok(())
    }
}
