//! Handles Ctrl-C, SIGTERM and SIGHUP. During a pass, the first signal stops the pass: the process waits for requests
//! in flight and then exits. A second Ctrl-C or SIGTERM makes the process exit immediately. Before and after a pass,
//! the first signal makes the process exit immediately. SIGHUP arrives when the terminal closes. A process that was
//! started with `nohup` continues to ignore SIGHUP.

use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::engine::{StopReason, Stopper};
use backfill::internals::host::ignores_hangup;

/// Stops the command's current work. `None` until the command has begun work whose requests in flight must complete.
static STOPPER: Mutex<Option<Stopper>> = Mutex::new(None);

/// Sets the stopper for the work that begins now. The next signal then stops this work, and the process does not exit
/// immediately.
pub(crate) fn drain_with(stop: Stopper) {
    *STOPPER.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
}

/// Listens for signals until the process ends. So a command writes its JSON document even if it is interrupted before
/// its work begins.
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
                // When a terminal closes, the shell and the kernel may each send SIGHUP. So a second SIGHUP is not a
                // request to exit immediately.
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
                    // system releases the lock on the state file.
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
