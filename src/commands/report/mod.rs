//! `report`: writes one document about a migration, from the state file and the plan file, or serves it.

mod serve;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::{Global, Output, ReportArgs, ReportFormat};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::Exit;
use crate::commands::shared::{output, terminal};
use backfill::internals::clock::wall_clock;
use backfill::internals::migration::MigrationError;
use backfill::internals::report::{MigrationReport, ReportSource};
use backfill::internals::state;

/// Writes the report.
pub(crate) async fn report(global: &Global, args: ReportArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let commands = terminal::commands(global, &args.plan);
    let path = migration.state_path();
    if state::is_absent(path).await {
        let why = format!(
            "the migration has no state file at {}, so there is nothing to report. Nothing was written",
            path.display()
        );
        return Err(MigrationError::Refused { why, next: commands.render("check"), not_before: None }.into());
    }
    if let Some(address) = args.serve {
        return Box::pin(serve::serve(global, &args, address, &migration, commands)).await;
    }
    let file = state::read(path)?;
    let source =
        ReportSource { plan: migration.plan(), commands: &commands, now: wall_clock()(), show_keys: args.show_keys };
    let facts = MigrationReport::gather(file.as_ref(), source).await?;
    let document = match args.format {
        ReportFormat::Html => facts.html()?,
        ReportFormat::Md => facts.markdown(),
    };
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if to_stdout && global.output == Output::Human {
        output::write_stdout(&document)
            .map_err(|error| anyhow::anyhow!("the report could not be written to stdout: {error}"))?;
        return Ok(Exit::Done);
    }
    let out = (!to_stdout).then(|| args.out.unwrap_or_else(|| default_path(path, args.format)));
    if let Some(out) = &out {
        write_file(out, document.as_bytes()).map_err(|error| {
            anyhow::anyhow!(
                "the report could not be written to {}: {error}. The old file, if any, is unchanged. Choose another \
                 file with --out",
                out.display()
            )
        })?;
    }
    let command_result = match &facts.next {
        Some(next) => CommandResult::done().next(next.clone()),
        None => CommandResult::done(),
    };
    let file = out.as_ref().map(|out| out.display().to_string());
    output::write_result(
        global,
        &command_result,
        || {
            json!({ "type": "report", "file": file, "text": file.is_none().then_some(&document), "url": null,
                    "format": args.format.name(), "bytes": document.len(), "keys_shown": args.show_keys,
                    "phase": facts.stage.name() })
        },
        |text| writeln!(text, "report written to {}", file.as_deref().unwrap_or("stdout")),
    )
}

/// Returns the path beside the state file.
fn default_path(state: &Path, format: ReportFormat) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(format!(".report.{}", format.name()));
    PathBuf::from(name)
}

/// Writes a file of mode 0600 atomically: a reader sees either the old file or the complete new file, even after a
/// crash.
fn write_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        return Err(std::io::Error::other("this path has no file name"));
    };
    check_replaceable(path)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(temporary);
    let written = write_and_sync(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The rename failed or the disk is full. Report that error, not an error from removing the temporary file.
        let _ = std::fs::remove_file(&temporary);
        return written;
    }
    // Make the rename durable. Not every file system can sync a directory.
    let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The first bytes of the reports that this command writes, one entry for each format.
const REPORT_MARKS: [&[u8]; 2] = [b"<!doctype html>", b"# Migration report"];

/// Refuses to replace a file other than an earlier report, because a mistyped path must not destroy a state file or a
/// plan.
fn check_replaceable(path: &Path) -> std::io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.is_file() {
        return Err(std::io::Error::other("this is not an ordinary file"));
    }
    let mut beginning = Vec::new();
    std::fs::File::open(path)?.take(64).read_to_end(&mut beginning)?;
    let is_report = REPORT_MARKS.iter().any(|mark| beginning.starts_with(mark));
    if is_report { Ok(()) } else { Err(std::io::Error::other("this file exists and is not a report")) }
}

fn write_and_sync(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
