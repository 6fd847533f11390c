//! Checks a plan's file of keys and its index.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::changes::WrittenChange;
use super::diagnostic::{Diagnostic, PlanErrors, Problems, TextSpan};
use super::fields::join_with_or;
use super::index::WrittenIndex;
use super::keys::SelectedKeys;
use super::{LoadedPlan, Plan};
use crate::change::{Change, Exec};
use crate::item::{IndexSchema, ItemKey, KeySchema};
use crate::keys_file::{KeysFileError, PreparedKeys};

/// An index of the table, and whether it is complete.
#[derive(Debug, Clone, Copy)]
pub struct ReadableIndex<'a> {
    /// Name, key and projection.
    pub schema: &'a IndexSchema,
    /// Whether the index is complete. If not, DynamoDB is still creating, filling or deleting it.
    pub is_ready: bool,
}

impl LoadedPlan {
    /// Reads the plan's file of keys, if the plan has one. Computes the file's SHA-256, and checks the format of every
    /// line. A relative path is relative to `folder`, the plan's folder.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or if some of its lines are not keys.
    pub fn open_keys(mut self, folder: &Path) -> Result<LoadedPlan, PlanErrors> {
        let Some(keys) = &mut self.plan.keys else { return Ok(self) };
        match keys.open(folder) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.keys_error(&error)),
        }
    }

    /// Returns the same plan, but with the keys from this copy of its file of keys. Returns `None` if the plan has no
    /// file of keys, or if the copy cannot be used.
    #[must_use]
    pub fn with_keys_copy(mut self, copy: &Path) -> Option<LoadedPlan> {
        self.plan.keys.as_mut()?.open_copy(copy).ok()?;
        Some(self)
    }

    /// Compares the keys in the plan's file with the table's key schema, and opens the file for reading. Returns `None`
    /// if the plan has no file of keys.
    ///
    /// # Errors
    ///
    /// Fails if some lines of the file are not keys of the table, or if the file has changed since the plan was read.
    pub fn prepare_keys(&self, schema: &KeySchema) -> Result<Option<PreparedKeys>, PlanErrors> {
        let Some(file) = self.plan.keys.as_ref().and_then(SelectedKeys::file) else { return Ok(None) };
        file.prepare(schema).map(Some).map_err(|error| self.keys_error(&error))
    }

    /// Returns whether the plan's file of keys contains this key. Returns true if the plan has no file of keys. Reads
    /// the file from its start.
    ///
    /// # Errors
    ///
    /// Fails if the file has changed since the plan was read.
    pub fn lists_key(&self, key: &ItemKey, schema: &KeySchema) -> Result<bool, PlanErrors> {
        match self.plan.keys.as_ref().and_then(SelectedKeys::file) {
            Some(file) => file.contains(key, schema).map_err(|error| self.keys_error(&error)),
            None => Ok(true),
        }
    }

    fn keys_error(&self, error: &KeysFileError) -> PlanErrors {
        let (written, at) = match (&self.plan.keys, self.file.keys_span()) {
            (Some(keys), Some(at)) => (keys.written().display().to_string(), at),
            (Some(_) | None, _) => (String::new(), 0..0),
        };
        let mut problems = Problems::new(self.file.text().clone());
        problems.add(diagnostic(&written.escape_debug().to_string(), at, error));
        problems.into_errors(self.file.label())
    }
}

fn diagnostic(path: &str, at: TextSpan, error: &KeysFileError) -> Diagnostic {
    let title = format!("the file of keys `{path}` cannot be used");
    match error {
        KeysFileError::Io(_) | KeysFileError::NotAFile => Diagnostic::new(title, at, error.to_string())
            .help("a relative path is relative to the plan's folder")
            .help("keep the file next to the plan; every command that moves the migration forward needs it"),
        KeysFileError::Empty => {
            Diagnostic::new(title, at, error.to_string()).help("write at least one key into the file, or remove `keys`")
        }
        KeysFileError::Lines(wrong) => {
            let more = match wrong.total {
                1 => "1 line is not a key".to_owned(),
                lines => format!("{lines} lines are not keys"),
            };
            let listed = wrong.first.iter().map(|(line, why)| format!("line {line}: {why}"));
            let diagnostic = listed.fold(Diagnostic::new(title, at, more), Diagnostic::help);
            diagnostic.help("correct these lines; each line with a key must contain only the key attributes")
        }
        KeysFileError::Header(_) => Diagnostic::new(title, at, error.to_string())
            .help("the first line of a CSV file contains the names of the table's key attributes, in any order"),
        KeysFileError::Repeated(_) => {
            Diagnostic::new(title, at, error.to_string()).help("remove the repeated keys, for example with `sort -u`")
        }
        KeysFileError::Changed => Diagnostic::new(title, at, error.to_string())
            .help("nothing was done; restore the file, or wait until it is complete, and run the same command again"),
    }
}

impl Plan {
    /// Returns the SHA-256 digest of the files of each `exec` program that was found. The keys of the map are the paths
    /// of the changes.
    pub fn program_digests(&self) -> BTreeMap<String, String> {
        let digest = |change: &Change| {
            let Change::Exec { exec, .. } = change else { return None };
            Some((change.own_path()?.to_string(), exec.program.as_ref()?.digest.clone()))
        };
        self.changes.iter().filter_map(digest).collect()
    }

    /// Returns the same plan with these digests for the files of its programs ([`Plan::program_digests`]). Use the
    /// result only for passes that do not start programs.
    #[must_use]
    pub fn with_program_digests(mut self, digests: &BTreeMap<String, String>) -> Plan {
        for change in &mut self.changes {
            let digest = change.own_path().and_then(|path| digests.get(&path.to_string()));
            if let (Some(digest), Change::Exec { exec, .. }) = (digest.cloned(), change)
                && let Exec { program: Some(program), .. } = Arc::make_mut(exec)
            {
                program.digest = digest;
            }
        }
        self
    }
}

impl LoadedPlan {
    /// Checks the index through which the plan selects items. Compares it with the table's indexes.
    ///
    /// # Errors
    ///
    /// Fails if the table has no such index, if the index is not complete, or if a change writes to the index key.
    pub fn check_selected_index(&self, indexes: &[ReadableIndex<'_>]) -> Result<(), PlanErrors> {
        let Some(WrittenIndex { name, at }) = self.file.selected_index() else { return Ok(()) };
        let mut problems = Problems::new(self.file.text().clone());
        match indexes.iter().find(|index| index.schema.name == *name) {
            None => {
                let label = "the table has no index with this name";
                let diagnostic = Diagnostic::new(format!("there is no index `{name}`"), at.clone(), label);
                let names: Vec<String> = indexes.iter().map(|index| format!("\"{}\"", index.schema.name)).collect();
                problems.add(match names.is_empty() {
                    true => {
                        diagnostic.help("the table has no index, so remove `index`, and select with `where` or `keys`")
                    }
                    false => diagnostic
                        .help(format!("write the name of an index of the table: {}", join_with_or(names.into_iter()))),
                });
            }
            Some(index) => {
                if !index.is_ready {
                    problems.add(
                        Diagnostic::new(
                            format!("index `{name}` is not complete"),
                            at.clone(),
                            "not ACTIVE, or being filled",
                        )
                        .help("wait until DynamoDB has filled the index, or select with `where` or `keys`"),
                    );
                }
                for attribute in &index.schema.key {
                    let writes = |written: &&WrittenChange| {
                        let paths = written.change.paths();
                        paths.writes.into_iter().chain(paths.removes).any(|path| path.root() == attribute.name)
                    };
                    let Some(written) = self.file.changes().iter().find(writes) else { continue };
                    problems.add(
                        Diagnostic::new(
                            format!("the plan changes `{}`, a key attribute of the index", attribute.name),
                            written.first.clone(),
                            "moves the item within the index",
                        )
                        .also(at.clone(), "the index that is read")
                        .help("the scan of the index could then miss items or read them twice")
                        .help("select with `where` or `keys` instead, or through another index"),
                    );
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into_errors(self.file.label())) }
    }
}
