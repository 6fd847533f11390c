//! The file of keys that a plan selects with `keys`.

use std::path::{Path, PathBuf};

use crate::keys_file::{KeysFile, KeysFileError, KeysFormat};

/// `keys` in `[select]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedKeys {
    /// The path as the plan has it.
    written: PathBuf,
    format: KeysFormat,
    /// The file. `None` until [`super::LoadedPlan::open_keys`] has read it.
    file: Option<KeysFile>,
}

impl SelectedKeys {
    pub(super) fn new(written: PathBuf, format: KeysFormat) -> SelectedKeys {
        SelectedKeys { written, format, file: None }
    }

    /// Returns the path as the plan has it.
    pub fn written(&self) -> &Path {
        &self.written
    }

    /// Returns the form of the file's lines.
    pub fn format(&self) -> KeysFormat {
        self.format
    }

    /// Reads the file. A relative path starts in this folder.
    pub(super) fn open(&mut self, folder: &Path) -> Result<(), KeysFileError> {
        self.file = Some(KeysFile::open(&folder.join(&self.written), self.format)?);
        Ok(())
    }

    /// Reads this copy of the file, which has the same form of lines.
    pub(super) fn open_copy(&mut self, copy: &Path) -> Result<(), KeysFileError> {
        self.file = Some(KeysFile::open(copy, self.format)?);
        Ok(())
    }

    /// Returns the file, or `None` if [`super::LoadedPlan::open_keys`] has not read it.
    pub fn file(&self) -> Option<&KeysFile> {
        self.file.as_ref()
    }
}
