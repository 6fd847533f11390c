//! Turns the arguments that select metrics destinations into these destinations.

use std::fs::{File, OpenOptions};
use std::io::{Error as IoError, ErrorKind as IoErrorKind, IsTerminal as _, Read as _, Result as IoResult, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{ExportArgs, Global, Output};
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::output;
use backfill::internals::telemetry::display::suspend;
use backfill::internals::telemetry::metrics::{EmfOptions, Exports, LineWriter};

/// Returns the destinations to which a command sends its metrics.
///
/// # Errors
///
/// Fails if a destination cannot be used. A step back or a rollback must not fail because of metrics. If the command is
/// one of these, the function only prints a warning, and the command continues without that destination.
pub(crate) fn exports(global: &Global, args: ExportArgs, is_way_back: bool) -> anyhow::Result<Exports> {
    let or_warn = |result: Result<(), Refusal>| match result {
        Ok(()) => Ok(true),
        Err(refusal) if is_way_back => {
            output::warn(&format!("{refusal}. The command continues without it"));
            Ok(false)
        }
        Err(Refusal { exit, message }) => Err(Refusal { exit, message: format!("{message}. Nothing was done") }),
    };
    let mut emf = None;
    if let Some(path) = args.emf
        && or_warn(check_emf(global, &path))?
    {
        emf = Some(EmfOptions { write: line_writer(path), every: Duration::from_secs(args.emf_interval) });
    }
    #[cfg(feature = "otlp")]
    let mut otlp = None;
    #[cfg(feature = "otlp")]
    match backfill::internals::telemetry::metrics::OtlpSettings::read(args.otlp.as_deref(), &|name| {
        std::env::var(name).ok()
    }) {
        Ok(settings) => otlp = settings,
        Err(error) => {
            or_warn(Err(Refusal { exit: Exit::Usage, message: error.to_string() }))?;
        }
    }
    Ok(Exports {
        metrics: args.metrics,
        emf,
        #[cfg(feature = "otlp")]
        otlp,
    })
}

/// Checks that lines can be appended to a file. Does not create the file, because a refused command must create
/// nothing.
fn check_emf(global: &Global, path: &Path) -> Result<(), Refusal> {
    let shown = path.display();
    let unusable = |why: &dyn std::fmt::Display| Refusal {
        exit: Exit::Refused,
        message: format!("EMF metrics cannot be appended to {shown} ({why}). Name another file with --emf"),
    };
    match Destination::of(path) {
        Destination::Stdout if global.output == Output::Json => Err(Refusal {
            exit: Exit::Usage,
            message:
                "--emf cannot write to stdout, because with --output json stdout contains exactly one document. Use \
                      --emf /dev/stderr, or name a file"
                    .to_owned(),
        }),
        Destination::Stdout | Destination::Stderr => Ok(()),
        Destination::File => match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(unusable(&"it is a folder")),
            // Do not open a pipe: the call would block until a reader opens it.
            Ok(found) if !found.is_file() => Ok(()),
            Ok(_) => {
                if !is_emf(path).map_err(|error| unusable(&error))? {
                    return Err(unusable(&"it exists, and contains something other than EMF lines"));
                }
                OpenOptions::new().append(true).open(path).map(drop).map_err(|error| unusable(&error))
            }
            Err(error) if error.kind() == IoErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                if folder.is_dir() { Ok(()) } else { Err(unusable(&"its folder does not exist")) }
            }
            Err(error) => Err(unusable(&error)),
        },
    }
}

/// Returns whether a file is empty or begins like an EMF line. A wrong path must not damage a plan, a state file or its
/// lock file.
fn is_emf(path: &Path) -> IoResult<bool> {
    let mut first = [0];
    let read = File::open(path)?.read(&mut first)?;
    Ok(read == 0 || first == *b"{")
}

/// Where EMF lines go.
enum Destination {
    Stdout,
    Stderr,
    File,
}

impl Destination {
    fn of(path: &Path) -> Destination {
        match path.to_str() {
            Some("-" | "/dev/stdout") => Destination::Stdout,
            // Do not open `/dev/stderr`: the call fails if stderr is a socket, and a line that bypasses this process
            // could break the progress bar.
            Some("/dev/stderr") => Destination::Stderr,
            Some(_) | None => Destination::File,
        }
    }
}

/// Returns the function that writes lines to a destination.
fn line_writer(path: PathBuf) -> LineWriter {
    match Destination::of(&path) {
        Destination::Stdout => stream_writer(std::io::stdout().as_fd(), std::io::stdout().is_terminal()),
        Destination::Stderr => stream_writer(std::io::stderr().as_fd(), std::io::stderr().is_terminal()),
        Destination::File => Arc::new(move |line| append(&path, line)),
    }
}

/// Returns the function that writes lines to stdout or stderr. The function has its own file descriptor and does not
/// lock the stream. So if nobody reads the stream, only this function blocks, not the rest of the program.
fn stream_writer(stream: BorrowedFd<'_>, is_terminal: bool) -> LineWriter {
    let own = stream.try_clone_to_owned().map(File::from);
    Arc::new(move |line| {
        let mut own = own.as_ref().map_err(|error| IoError::new(error.kind(), error.to_string()))?;
        // A line between two parts of the progress bar would break it.
        if is_terminal { suspend(|| own.write_all(line.as_bytes())) } else { own.write_all(line.as_bytes()) }
    })
}

/// Appends a line with one write, so that lines of several processes do not mix. Opens the file for each line, so that
/// another program can rename the file to rotate it. Creates the file readable only by this user.
fn append(path: &Path, line: &str) -> IoResult<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(IoError::new(IoErrorKind::StorageFull, "only part of a line was written")),
    }
}
