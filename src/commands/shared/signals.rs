//! Handles Ctrl-C, SIGTERM and SIGHUP. While a pass works, the first signal drains, and a second Ctrl-C or SIGTERM
//! exits immediately. Before and after that, the first signal exits. SIGHUP arrives when the terminal closes. If the
//! process was started by `nohup`, which ignores SIGHUP, the process continues to ignore this signal.

use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::engine::{StopReason, Stopper};
use backfill::internals::host::ignores_hangup;

/// Stops the work that the command does now. `None` until the command has begun work that must drain.
static STOPPER: Mutex<Option<Stopper>> = Mutex::new(None);

/// Sets the stopper of the work that begins now. The next signal stops it instead of exiting.
pub(crate) fn drain_with(stop: Stopper) {
    *STOPPER.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
}

/// Listens for signals until the process ends, so that even a command that has not begun work ends with a document.
pub(crate) fn listen() -> std::io::Result<()> {
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
            let stopper = STOPPER.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match stopper {
                Some(stop) if !is_second_signal => {
                    stop.stop(StopReason::Interrupted);
                    output::stderr(
                        "stopping: waiting at most 10 s for requests in flight. Interrupt again to stop immediately",
                    );
                }
                Some(_) | None => {
                    output::report_interruption();
                    // The process can exit without cleaning up, because every commit is atomic, and the operating
                    // system releases the lock of the state file.
                    std::process::exit(Exit::Interrupted as i32);
                }
            }
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
