//! Ctrl-C, SIGTERM and SIGHUP: the first drains, a second Ctrl-C or SIGTERM stops at once. A terminal that goes away is a
//! SIGHUP; where somebody has the process ignore that (`nohup`), it goes on ignoring it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::shared::exit::Exit;
use backfill::internals::engine::{StopReason, Stopper};
use backfill::internals::host::ignores_hangup;

/// Listens for signals as long as the process lives.
pub(crate) fn listen(stop: Stopper) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        let mut is_stopping = false;
        loop {
            let insists = tokio::select! {
                _ = interrupt.recv() => is_stopping,
                _ = terminate.recv() => is_stopping,
                // Of a terminal that closes, the shell and the kernel may each send one: nobody insists.
                () = received(hangup.as_mut()) => {
                    if is_stopping {
                        continue;
                    }
                    false
                }
            };
            is_stopping = true;
            if insists {
                crate::commands::shared::output::stderr(
                    "stopped at once. Nothing is lost: what is not committed is done again on resume",
                );
                // Nothing to tidy: every commit is atomic, and the state file's lock ends with the process.
                std::process::exit(Exit::Interrupted as i32);
            }
            stop.stop(StopReason::Interrupted);
            crate::commands::shared::output::stderr(
                "stopping: waiting for requests in flight, at most 10 s. Interrupt again to stop at once",
            );
        }
    });
    Ok(())
}

/// Returns when the signal comes; never, if nobody listens for it.
async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
