//! Handles Ctrl-C, SIGTERM and SIGHUP. The first signal drains; a second Ctrl-C or SIGTERM exits immediately. SIGHUP
//! arrives when the terminal closes. If the process was started by `nohup`, which ignores SIGHUP, the process continues
//! to ignore this signal.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::shared::exit::Exit;
use backfill::internals::engine::{StopReason, Stopper};
use backfill::internals::host::ignores_hangup;

/// Listens for signals until the process ends.
pub(crate) fn listen(stop: Stopper) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        let mut is_stopping = false;
        loop {
            let is_second_signal = tokio::select! {
                _ = interrupt.recv() => is_stopping,
                _ = terminate.recv() => is_stopping,
                // When a terminal closes, the shell and the kernel may each send SIGHUP. So a second SIGHUP does not
                // mean that the process must exit immediately.
                () = wait_for(hangup.as_mut()) => {
                    if is_stopping {
                        continue;
                    }
                    false
                }
            };
            is_stopping = true;
            if is_second_signal {
                crate::commands::shared::output::report_interruption();
                // The process can exit without cleaning up, because every commit is atomic, and the operating system
                // releases the lock of the state file.
                std::process::exit(Exit::Interrupted as i32);
            }
            stop.stop(StopReason::Interrupted);
            crate::commands::shared::output::stderr(
                "stopping: waiting at most 10 s for requests in flight. Interrupt again to stop immediately",
            );
        }
    });
    Ok(())
}

/// Waits until the signal arrives. If this process does not listen for the signal, this function never returns.
async fn wait_for(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
