//! Ctrl-C and SIGTERM: the first drains, the second stops at once.

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use crate::engine::{StopReason, Stopper};

/// Listens for signals as long as the process lives.
pub(super) fn listen(stop: Stopper) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for times in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if times > 0 {
                super::output::stderr(
                    "stopped at once. Nothing is lost: what is not committed is done again on resume",
                );
                // Nothing to tidy: every commit is atomic, and the state file's lock ends with the process.
                std::process::exit(Exit::Interrupted as i32);
            }
            stop.stop(StopReason::Interrupted);
            super::output::stderr(
                "stopping: waiting for requests in flight, at most 10 s. Interrupt again to stop at once",
            );
        }
    });
    Ok(())
}
