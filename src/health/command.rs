//! Runs a program of the operator.

use std::time::Duration;

use super::Answer;
use crate::program::{Program, ProgramError};

/// Runs the program once. The exit status determines the answer. The output is discarded, because it can contain
/// secrets.
pub(super) async fn ask(argv: &[String], limit: Duration) -> Answer {
    let program = Program { argv, input: None, environment: Vec::new(), limit };
    match program.run_ignoring_output().await {
        Ok(()) => Answer::Healthy,
        Err(ProgramError::Failed(status, _)) => {
            let status = status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"));
            Answer::Unhealthy(format!("failed: {status}"))
        }
        Err(
            error @ (ProgramError::NotStarted(_)
            | ProgramError::TimedOut(_)
            | ProgramError::NotWaitedFor(_)
            | ProgramError::TooMuchOutput
            | ProgramError::NotText),
        ) => Answer::Unknown(error.to_string()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Duration) -> Answer {
        ask(&["/bin/sh", "-c", script].map(str::to_owned), limit).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_exit_status_decides_and_the_output_is_never_shown() {
        let unhealthy = |text: &str| Answer::Unhealthy(text.to_owned());
        for (script, answer) in [
            ("echo S3CRET", Answer::Healthy),
            ("printf '\\377'", Answer::Healthy),
            ("echo S3CRET; echo S3CRET >&2; exit 3", unhealthy("failed: exit status 3")),
            ("kill -9 $$", unhealthy("failed: signal: 9 (SIGKILL)")),
            ("head -c 1000000 /dev/zero && head -c 1000000 /dev/zero >&2", Answer::Healthy),
            ("head -c 1000000 /dev/zero && exit 4", unhealthy("failed: exit status 4")),
        ] {
            assert_eq!(sh(script, LONG).await, answer, "{script}");
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_or_does_not_exist_tells_nothing() {
        let hangs = sh("echo S3CRET; sleep 1000", Duration::from_millis(300)).await;
        assert_eq!(hangs, Answer::Unknown("did not end within its `timeout` (0.3 s)".to_owned()));
        let missing = ask(&["/nowhere/at/all".to_owned(), "S3CRET".to_owned()], LONG).await;
        let Answer::Unknown(text) = missing else { panic!("{missing:?}") };
        assert!(text.starts_with("could not be started (") && !text.contains("S3CRET"), "{text}");
    }
}
