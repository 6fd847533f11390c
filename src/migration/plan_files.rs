//! Keeps the files that are part of a plan's fingerprint. They are the file of keys, and the files of programs.
//!
//! Steps forward require the same files. A rollback and a step back must not need these files. They do not start
//! programs, and they read the keys from a copy that the tool keeps next to the state file.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::{MigrationError, Notice};
use crate::keys_file::KeysFile;
use crate::plan::{LoadedPlan, Plan, SelectedKeys};
use crate::state::{self, State, StoredFact};

/// Returns the path of the copy of the plan's file of keys.
pub(super) fn keys_copy(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".keys");
    name.into()
}

/// Stores the parts of the plan's files that a rollback or a step back needs. Call this function when the state file is
/// locked and belongs to this plan. When it returns, the copy of the file of keys and the digests of the programs are
/// durable. Changes nothing if they are already stored.
///
/// # Errors
///
/// Fails if the copy cannot be written and the migration has not begun. After the migration has begun, only logs a
/// warning, because a rollback or a step back can still read the original file.
pub(super) async fn keep(store: &State, plan: &Plan, state: &Path) -> Result<(), MigrationError> {
    let digests = plan.program_digests();
    if !digests.is_empty() {
        let text = serde_json::json!(digests).to_string();
        if store.fact(StoredFact::Programs).await?.as_ref() != Some(&text) {
            store.set_fact(StoredFact::Programs, text).await?;
        }
    }
    let Some(file) = plan.keys.as_ref().and_then(SelectedKeys::file) else { return Ok(()) };
    let file = file.clone();
    let copy = keys_copy(state);
    let shown = copy.display().to_string();
    let copied = tokio::task::spawn_blocking(move || copy_keys(&file, &copy)).await.map_err(io::Error::other)?;
    let Err(error) = copied else { return Ok(()) };
    if !store.events().await?.is_empty() {
        tracing::warn!("the file of keys could not be copied to {shown}: {error}. `rollback` needs the original file");
        return Ok(());
    }
    let why = format!(
        "the file of keys cannot be copied to {shown}, and a rollback needs this copy: {error}. Nothing was written to \
         the table. Fix the cause, or choose another place with --state"
    );
    Err(MigrationError::Io(io::Error::new(error.kind(), why)))
}

/// Copies the file, unless the copy already has the same content. An incomplete copy never appears at the path `copy`.
fn copy_keys(file: &KeysFile, copy: &Path) -> io::Result<()> {
    if file.path() == copy || KeysFile::open(copy, file.format()).is_ok_and(|kept| kept.sha256() == file.sha256()) {
        return Ok(());
    }
    let mut new = copy.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let copied = write_copy(file, &new, copy);
    if copied.is_err() {
        // Report the first error.
        let _ = std::fs::remove_file(&new);
    }
    copied
}

/// Writes the file's content to `new`. When `new` is durable, renames it to `copy`.
fn write_copy(file: &KeysFile, new: &Path, copy: &Path) -> io::Result<()> {
    // A killed process may have left a file at this path. Remove it, because the new file must not be behind a link,
    // and must not be readable by others.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut to = options.open(new)?;
    io::copy(&mut std::fs::File::open(file.path())?, &mut to)?;
    to.sync_all()?;
    let written = KeysFile::open(new, file.format()).map_err(io::Error::other)?;
    if written.sha256() != file.sha256() {
        return Err(io::Error::other("the file changed while it was copied"));
    }
    std::fs::rename(new, copy)?;
    #[cfg(unix)]
    if let Some(folder) = copy.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Returns the plan with the files with which the migration began. Returns `None` if these files have not changed, or
/// if anything else in the plan has changed.
async fn with_kept_files(loaded: &LoadedPlan, state: &Path) -> Option<LoadedPlan> {
    if loaded.plan.keys.is_none() && loaded.plan.program_digests().is_empty() {
        return None;
    }
    let file = state::read(state).ok()?;
    let recorded = file.identity().await.ok()?.fingerprint;
    if recorded == loaded.plan.fingerprint().as_str() {
        return None;
    }
    let digests = file.fact(StoredFact::Programs).await.ok()?;
    let digests: BTreeMap<String, String> =
        digests.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut kept = loaded.clone();
    kept.plan = kept.plan.with_program_digests(&digests);
    if recorded != kept.plan.fingerprint().as_str() {
        kept = kept.with_keys_copy(&keys_copy(state))?;
    }
    (recorded == kept.plan.fingerprint().as_str()).then_some(kept)
}

/// Returns the plan for `rollback` or `cutover --back`. Also returns a notice for the operator if the plan's files have
/// changed since the migration began. `uses_copy` is true if `loaded` already uses the copy of the keys.
pub(super) async fn for_way_back(
    loaded: &LoadedPlan,
    state: &Path,
    uses_copy: bool,
) -> (LoadedPlan, Option<Notice<'static>>) {
    let kept = with_kept_files(loaded, state).await;
    let notice = (uses_copy || kept.is_some()).then(|| {
        let file = kept.as_ref().unwrap_or(loaded).plan.keys.as_ref().and_then(SelectedKeys::file);
        Notice::KeptFiles { reads_copy: file.is_some_and(|file| file.path() == keys_copy(state)) }
    });
    (kept.unwrap_or_else(|| loaded.clone()), notice)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::keys_file::KeysFormat;

    /// Before the copy is written, a leftover file that everyone can read, or a link, exists at its temporary path.
    #[test]
    fn the_copy_is_a_new_file_that_only_its_owner_can_read() {
        for leftover in ["file", "link"] {
            let dir = tempfile::tempdir().unwrap();
            let [keys, copy, new, other] =
                ["keys.csv", "s.db.keys", "s.db.keys.new", "other"].map(|name| dir.path().join(name));
            std::fs::write(&keys, "pk\na\n").unwrap();
            std::fs::write(&other, "mine").unwrap();
            match leftover {
                "file" => std::fs::write(&new, "old").unwrap(),
                _ => symlink(&other, &new).unwrap(),
            }
            let file = KeysFile::open(&keys, KeysFormat::Csv).unwrap();
            copy_keys(&file, &copy).unwrap();
            assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine", "{leftover}");
            let meta = std::fs::symlink_metadata(&copy).unwrap();
            assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600, "{leftover}: {meta:?}");
            assert!(!new.exists());
        }
    }
}
