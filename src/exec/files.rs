//! Finds the programs of `exec` changes on this machine, and computes the SHA-256 of their files.
//!
//! Three kinds of files belong to a program. First, the program itself, if the plan names it by a path. Second, each
//! argument that is the path of an existing file. Third, the files that the plan lists in `files`. Paths are relative
//! to the plan's folder. A program that is found through `PATH`, such as an interpreter, is not included, because it
//! differs between machines.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::change::{Change, Exec, ProgramFiles};

/// Looks up the program of each `exec` change. `folder` is the folder of the plan. The result is stored in the changes.
pub fn find_programs(changes: &mut [Change], folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    for change in changes {
        if let Change::Exec { exec, .. } = change {
            let found = find(exec, &folder);
            Arc::make_mut(exec).program = Some(found);
        }
    }
}

/// Finds a program and its files on this machine, and hashes the files.
pub(super) fn find(exec: &Exec, folder: &Path) -> ProgramFiles {
    let mut hash = Sha256::new();
    let mut problem = None;
    let name = exec.argv.first().map_or("", String::as_str);
    let from_path = !name.contains('/');
    let mut executable = match from_path {
        true => find_in_path(name, &std::env::var_os("PATH").unwrap_or_default()),
        false => find_file(&folder.join(name)),
    };
    let arguments = exec.argv.iter().enumerate().skip(usize::from(from_path));
    for (position, argument) in arguments {
        let path = folder.join(argument);
        if path.is_file() {
            add(&mut hash, &format!("argument {position}"), &path, &mut problem);
        }
    }
    let script = exec.argv.iter().skip(1).find(|argument| !argument.starts_with('-')).filter(|_| from_path);
    if let Some(script) = script.filter(|script| is_script(script) && !folder.join(script).exists()) {
        problem.get_or_insert(format!("its script {} does not exist", folder.join(script).display()));
    }
    for name in &exec.files {
        add(&mut hash, &format!("file {name}"), &folder.join(name), &mut problem);
    }
    if let (Ok(_), Some(problem)) = (&executable, problem) {
        executable = Err(problem);
    }
    ProgramFiles { folder: folder.to_owned(), executable, from_path, digest: hex(&hash.finalize()) }
}

/// Returns whether an interpreter's first argument clearly names a file, because it has the extension of a script or of
/// a compiled program.
fn is_script(argument: &str) -> bool {
    const ENDINGS: [&str; 16] =
        ["awk", "cjs", "jar", "jq", "js", "lua", "mjs", "php", "pl", "ps1", "py", "r", "rb", "sh", "ts", "wasm"];
    let ending = Path::new(argument).extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && !argument.contains(char::is_whitespace)
}

/// Adds a file to the hash: the length of the name, the name, and the SHA-256 of the content.
fn add(hash: &mut Sha256, name: &str, path: &Path, problem: &mut Option<String>) {
    match content_hash(path) {
        Ok(content) => {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update(content);
        }
        Err(error) => {
            problem.get_or_insert(format!("its file {} cannot be read ({error})", path.display()));
        }
    }
}

fn content_hash(path: &Path) -> std::io::Result<[u8; 32]> {
    // A device has no end, and opening a named pipe waits for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&part[..length]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Like a shell, searches the folders of `PATH` for an executable file with this name. A relative folder starts in the
/// working directory of this process. The result is absolute, because the program starts in the plan's folder.
pub(super) fn find_in_path(name: &str, path: &OsStr) -> Result<PathBuf, String> {
    let mut places = std::env::split_paths(path).filter_map(|folder| std::path::absolute(folder.join(name)).ok());
    places.find_map(|place| find_file(&place).ok()).ok_or_else(|| "no folder in PATH contains it".to_owned())
}

fn find_file(path: &Path) -> Result<PathBuf, String> {
    let file = std::fs::metadata(path).map_err(|_| "it does not exist".to_owned())?;
    match (file.is_file(), is_executable(&file)) {
        (false, _) => Err("it is not a file".to_owned()),
        (true, false) => Err("it is not executable".to_owned()),
        (true, true) => Ok(path.to_owned()),
    }
}

#[cfg(unix)]
fn is_executable(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    file.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_file: &std::fs::Metadata) -> bool {
    true
}
