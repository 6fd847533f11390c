//! Ends the process at once when any thread panics, as a kill would.
//!
//! After a panic, values in memory may contradict each other. The state file stays consistent, because each commit to
//! it is a transaction. So the process does not drain, and the next process continues from the last checkpoint.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use anyhow::anyhow;

use crate::cli::{Color, Output};
use crate::commands::shared::output::report_error;

/// Makes a panic of any thread end the process. It reports the panic like any other unexpected error: on stderr, and with
/// `--output json` as the document of the command. The exit code is 1.
pub(crate) fn end_process_on_panic(output: Output, color: Color) {
    std::panic::set_hook(Box::new(move |info| {
        let exit = report_error(output, color, &anyhow!(describe(info)));
        std::process::exit(exit as i32);
    }));
}

/// Returns the error of a panic, with the backtrace if `RUST_BACKTRACE` enables it.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let why = info.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let frames = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    format!(
        "a bug in backfill ended this process: {why} (at {place})\nThe process stopped at once, as if it was killed. \
         Everything that the state file records is done. Requests that were in flight may have been applied, too. If you \
         run the same command again, it continues from the last checkpoint. Please report the bug with this message.{frames}"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The environment variable that the test sets for the process that panics.
    const PANICS: &str = "BACKFILL_TEST_PANICS";

    /// The process that [`a_panic_of_any_task_ends_the_process`] starts. Does nothing in an ordinary run of the tests.
    #[test]
    fn a_process_that_panics() {
        if std::env::var_os(PANICS).is_none() {
            return;
        }
        end_process_on_panic(Output::Json, Color::Never);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let task = tokio::spawn(async { panic!("planted \u{1b}[31m bug") });
            // Without the hook, the task would end with an error, and the process would go on.
            let _ = task.await;
            std::process::exit(0);
        });
    }

    #[test]
    fn a_panic_of_any_task_ends_the_process() {
        let this = std::env::current_exe().unwrap();
        let filter = "commands::shared::panics::tests::a_process_that_panics";
        let ended = Command::new(this)
            .args([filter, "--exact", "--nocapture"])
            .env(PANICS, "1")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(1), "{stdout}{stderr}");
        assert!(stderr.contains("a bug in backfill ended this process: planted"), "{stderr}");
        assert!(stderr.contains("panics.rs:"), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "{stderr}");
        assert!(stderr.contains("continues from the last checkpoint"), "{stderr}");
        let document = &stdout[stdout.find('{').unwrap()..=stdout.rfind('}').unwrap()];
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["type"], "error");
        assert_eq!(document["exit_code"], 1);
        assert_eq!(document["error"]["kind"], "unexpected");
    }
}
