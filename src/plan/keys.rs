//! Defines the file of keys, which `keys` in a plan refers to.

use std::path::{Path, PathBuf};

use crate::keys_file::{KeysFile, KeysFileError, KeysFormat};

/// `keys` in `[select]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedKeys {
    /// The path as it is written in the plan.
    written: PathBuf,
    format: KeysFormat,
    /// The file. `None` until [`super::LoadedPlan::open_keys`] has read it.
    file: Option<KeysFile>,
}

impl SelectedKeys {
    pub(super) fn new(written: PathBuf, format: KeysFormat) -> SelectedKeys {
        SelectedKeys { written, format, file: None }
    }

    /// Returns the path as it is written in the plan.
    pub fn written(&self) -> &Path {
        &self.written
    }

    /// Returns the format of the file.
    pub fn format(&self) -> KeysFormat {
        self.format
    }

    /// Reads the file. A relative path is relative to this folder.
    pub(super) fn open(&mut self, folder: &Path) -> Result<(), KeysFileError> {
        self.file = Some(KeysFile::open(&folder.join(&self.written), self.format)?);
        Ok(())
    }

    /// Reads this copy of the file. The copy has the same format as the file.
    pub(super) fn open_copy(&mut self, copy: &Path) -> Result<(), KeysFileError> {
        self.file = Some(KeysFile::open(copy, self.format)?);
        Ok(())
    }

    /// Returns the file, or `None` if [`super::LoadedPlan::open_keys`] has not read it.
    pub fn file(&self) -> Option<&KeysFile> {
        self.file.as_ref()
    }
}
