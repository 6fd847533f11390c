//! Checks every key of a file against the table's key, and finds the keys that appear twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::line::LineParser;
use super::{FileVersion, KeysFile, KeysFileError, WrongLines, for_each_line};
use crate::item::{ItemKey, KeySchema, Value};

/// The number of hashes in memory while the file is searched for keys that appear twice (32 MB). A larger file is read
/// several times, and each time a different part of the hashes is in memory.
const MAX_HASHES: u64 = 4_000_000;

/// The maximum number of lines that may repeat a key of an earlier line. Their offsets stay in memory during a pass.
const MAX_REPEATED: usize = 100_000;

/// A file whose keys are keys of the table, open for reading.
#[derive(Debug, Clone)]
pub struct PreparedKeys {
    pub(super) file: Arc<File>,
    pub(super) version: FileVersion,
    pub(super) parser: LineParser,
    pub(super) schema: KeySchema,
    /// The offset of the first line that can contain a key.
    pub(super) data_start: u64,
    /// The offsets of the lines that repeat a key of an earlier line, in ascending order.
    pub(super) repeated: Arc<[u64]>,
    /// The number of different keys.
    keys: u64,
}

impl KeysFile {
    /// Checks that every line is a key of a table with this key schema, and finds the keys that appear twice. A pass
    /// reads each key once.
    ///
    /// # Errors
    ///
    /// Fails if lines are not keys, if too many keys appear twice, or if the file has changed since it was opened.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedKeys, KeysFileError> {
        self.prepare_within(schema, MAX_HASHES)
    }

    pub(super) fn prepare_within(&self, schema: &KeySchema, max_hashes: u64) -> Result<PreparedKeys, KeysFileError> {
        let search = Search { keys_file: self, schema, file: self.reopen()? };
        let (parser, data_start) = search.check_keys()?;
        let repeated = search.repeated_lines(self.keys.div_ceil(max_hashes).max(1))?;
        let keys = self.keys - repeated.len() as u64;
        let Search { file, .. } = search;
        Ok(PreparedKeys {
            file: Arc::new(file),
            version: self.version,
            parser,
            schema: schema.clone(),
            data_start,
            repeated: repeated.into(),
            keys,
        })
    }
}

impl PreparedKeys {
    /// Returns the number of different keys in the file.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Returns the number of lines that repeat a key of an earlier line. Passes do not read these lines.
    pub fn repeated(&self) -> u64 {
        self.repeated.len() as u64
    }
}

/// One search of a file.
struct Search<'a> {
    keys_file: &'a KeysFile,
    schema: &'a KeySchema,
    file: File,
}

impl Search<'_> {
    /// Checks every line. Returns the parser, which has read the names in the first line of a CSV file. Also returns
    /// the offset of the first line that can contain a key.
    fn check_keys(&self) -> Result<(LineParser, u64), KeysFileError> {
        let mut parser = LineParser::new(self.keys_file.format);
        let mut wrong = WrongLines::default();
        let mut header = None;
        let mut data_start = 0;
        let sha256 = for_each_line(&self.file, |line| {
            if let (None, Some(names)) = (&header, parser.header()) {
                header = Some(names.to_vec());
                data_start = line.offset;
                self.check_header(names)?;
            }
            match parser.key(line.text, self.schema) {
                Ok(_) => {}
                Err(why) => wrong.add(line.number, why),
            }
            Ok(())
        })?;
        wrong.into_result()?;
        if sha256 != self.keys_file.sha256 {
            return Err(KeysFileError::Changed);
        }
        Ok((parser, data_start))
    }

    /// Checks that the names in the first line of a CSV file are exactly the key attributes.
    fn check_header(&self, names: &[String]) -> Result<(), KeysFileError> {
        let expected: Vec<&str> = self.schema.names().collect();
        let is_key = names.len() == expected.len() && expected.iter().all(|name| names.iter().any(|n| n == name));
        if is_key {
            return Ok(());
        }
        // Do not show the line: without a header, it is a key.
        let expected: Vec<String> = expected.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
        Err(KeysFileError::Header(expected.join(" and ")))
    }

    /// Returns the offsets of the lines that repeat a key of an earlier line. Reads the file `parts` times, and once
    /// more if two keys have the same hash.
    fn repeated_lines(&self, parts: u64) -> Result<Vec<u64>, KeysFileError> {
        let mut suspects = HashSet::new();
        for part in 0..parts {
            let mut hashes = Vec::new();
            self.for_each_key(|_, _, hash| {
                if hash % parts == part {
                    hashes.push(hash);
                }
                Ok(())
            })?;
            hashes.sort_unstable();
            for pair in hashes.windows(2).filter(|pair| pair[0] == pair[1]) {
                suspects.insert(pair[0]);
                if suspects.len() > MAX_REPEATED {
                    return Err(KeysFileError::Repeated(MAX_REPEATED));
                }
            }
        }
        let mut repeated = Vec::new();
        if suspects.is_empty() {
            return Ok(repeated);
        }
        let mut seen: HashMap<u64, Vec<ItemKey>> = HashMap::new();
        self.for_each_key(|offset, key, hash| {
            if suspects.contains(&hash) {
                let same_hash = seen.entry(hash).or_default();
                if same_hash.contains(&key) {
                    repeated.push(offset);
                } else {
                    same_hash.push(key);
                }
            }
            if repeated.len() > MAX_REPEATED { Err(KeysFileError::Repeated(MAX_REPEATED)) } else { Ok(()) }
        })?;
        Ok(repeated)
    }

    /// Calls `each` with the offset, the key and the hash of every line with a key.
    fn for_each_key(
        &self,
        mut each: impl FnMut(u64, ItemKey, u64) -> Result<(), KeysFileError>,
    ) -> Result<(), KeysFileError> {
        use std::io::{Seek as _, SeekFrom};
        (&self.file).seek(SeekFrom::Start(0))?;
        let mut parser = LineParser::new(self.keys_file.format);
        for_each_line(&self.file, |line| {
            // `check_keys` has already reported lines that are not keys.
            let Ok(Some(key)) = parser.key(line.text, self.schema) else { return Ok(()) };
            let hash = hash_of(&key);
            each(line.offset, key, hash)
        })
        .map(drop)
    }
}

/// Returns a hash of a key. Equal keys have the same hash, even if their numbers are spelled differently.
fn hash_of(key: &ItemKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in key.attributes() {
        name.hash(&mut hasher);
        match value {
            Value::N(number) => number.hash(&mut hasher),
            Value::S(text) => text.hash(&mut hasher),
            Value::B(bytes) => bytes.hash(&mut hasher),
            // A key attribute never has one of the other types.
            Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {}
        }
    }
    hasher.finish()
}
