//! `shim`: code for the application's side of a plan.

use std::fs::{OpenOptions, Permissions};
use std::io::{Error as IoError, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cli::{Global, LanguageArg, Output, ShimArgs};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::{output, terminal};
use backfill::internals::shim::{Language, shim};

/// Prints or writes the code. The command reads only the plan, and does not contact AWS.
pub(crate) fn write_shim(global: &Global, args: &ShimArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let language = match args.lang {
        LanguageArg::Python => Language::Python,
        LanguageArg::TypeScript => Language::TypeScript,
        LanguageArg::Java => Language::Java,
        LanguageArg::Go => Language::Go,
        LanguageArg::Rust => Language::Rust,
    };
    let generated = shim(migration.plan(), language).map_err(|refusals| {
        let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Refusal::error(Exit::Refused, format!("no code was generated: {}", reasons.join(".\nAlso: ")))
    })?;
    let (lang, name) = (language.name(), &generated.file_name);
    let Some(path) = &args.out else {
        if global.output == Output::Human {
            // Not escaped, because tabs are part of the code. Names from the plan are escaped in the code itself.
            output::write_stdout(&generated.code)?;
            return Ok(Exit::Done);
        }
        return output::write_result(
            global,
            &CommandResult::done(),
            || json!({ "type": "shim", "lang": lang, "file": null, "file_name": name, "code": generated.code }),
            |_| Ok(()),
        );
    };
    if language == Language::Java && path.file_name().is_none_or(|given| given != name.as_str()) {
        let text = format!(
            "Java needs the file name {name}, because it is the name of the class. Nothing was written. Use {name} as \
             the file name in --out"
        );
        return Err(Refusal::error(Exit::Usage, text));
    }
    write_file(path, generated.code.as_bytes(), args.force)?;
    output::stderr(&format!("wrote {}", path.display()));
    output::write_result(
        global,
        &CommandResult::done(),
        || json!({ "type": "shim", "lang": lang, "file": path, "file_name": name }),
        |_| Ok(()),
    )
}

/// Writes the file with mode 0644. Replaces an existing file only if `force` is set. The replacement is atomic: a
/// concurrent build reads either the old code or the new code.
fn write_file(path: &Path, code: &[u8], force: bool) -> anyhow::Result<()> {
    if !force && std::fs::symlink_metadata(path).is_ok() {
        return Err(exists_already(path));
    }
    if force && std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(not_written(path, &IoError::other("this is not an ordinary file")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".backfill-shim.{}.tmp", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(code)?;
        #[cfg(unix)]
        file.set_permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644))?;
        file.sync_all()
    });
    // A hard link fails if the file exists. A rename would replace a file that another process created after the check.
    let placed = written.and_then(|()| match force {
        true => std::fs::rename(&temporary, path),
        false => std::fs::hard_link(&temporary, path),
    });
    // After a rename, this file no longer exists.
    let _ = std::fs::remove_file(&temporary);
    match placed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists_already(path)),
        Err(error) => Err(not_written(path, &error)),
    }
}

fn exists_already(path: &Path) -> anyhow::Error {
    let text = format!(
        "{} exists already. Nothing was written. Name another file, or replace this one with --force",
        path.display()
    );
    Refusal::error(Exit::Usage, text)
}

fn not_written(path: &Path, error: &IoError) -> anyhow::Error {
    let text = format!("cannot write {}: {error}. Nothing was changed. Name another file", path.display());
    Refusal::error(Exit::Usage, text)
}
