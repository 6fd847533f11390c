//! Handles Ctrl-C, SIGTERM and SIGHUP. The first signal during a pass stops the pass: the process waits for requests in
//! flight and then exits. A second Ctrl-C or SIGTERM makes the process exit immediately. Before the first pass, and
//! while a question waits for its answer, the first signal makes the process exit immediately. SIGHUP arrives when the
//! terminal closes. A process that was started with `nohup` continues to ignore SIGHUP.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::shared::exit::Exit;
use crate::commands::shared::output;
use backfill::internals::engine::{StopReason, Stopper};
use backfill::internals::host::ignores_hangup;
use backfill::internals::program::kill_all_before_exit;

/// The work that a signal stops.
static WORK: Mutex<Work> = Mutex::new(Work { stopper: None, is_stopping: false });

/// Whether the process waits for the answer to a question. During this wait, no request is in flight.
static IS_ASKING: AtomicBool = AtomicBool::new(false);

/// The work that a signal stops.
#[derive(Debug)]
struct Work {
    /// Stops the command's current work. `None` until the command begins work that must wait for its requests in
    /// flight.
    stopper: Option<Stopper>,
    /// Whether this process has received a signal.
    is_stopping: bool,
}

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Ignore,
    /// Stops the work after the requests in flight have completed.
    Drain,
    /// Ends the process.
    Exit,
}

impl Work {
    /// Records a signal and decides its effect. `is_asking` is true while a question waits for its answer.
    fn receive(&mut self, is_hangup: bool, is_asking: bool) -> Effect {
        let is_second_signal = std::mem::replace(&mut self.is_stopping, true);
        match self.stopper {
            // When a terminal closes, the shell and the kernel can each send SIGHUP. So a second SIGHUP does not mean
            // that the process must exit immediately.
            _ if is_hangup && is_second_signal => Effect::Ignore,
            Some(_) if !is_second_signal && !is_asking => Effect::Drain,
            Some(_) | None => Effect::Exit,
        }
    }

    /// Sets the stopper of the work that begins now. If a signal has already arrived, stops this work at once.
    fn begin(&mut self, stop: Stopper) {
        if self.is_stopping {
            stop.stop(StopReason::Interrupted);
        }
        self.stopper = Some(stop);
    }
}

/// Sets the stopper for the work that begins now. The next signal then stops this work, and the process does not exit
/// immediately. If a signal has already arrived, the new work stops at once.
pub(crate) fn drain_with(stop: Stopper) {
    work().begin(stop);
}

/// Runs a function that waits for the answer to a question.
pub(crate) fn while_asking<T>(ask: impl FnOnce() -> T) -> T {
    IS_ASKING.store(true, Ordering::Relaxed);
    let answer = ask();
    IS_ASKING.store(false, Ordering::Relaxed);
    answer
}

/// Listens for signals until the process ends. So a command writes its JSON document even if it is interrupted before
/// its work begins.
pub(crate) fn listen() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        loop {
            let is_hangup = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                () = wait_for(hangup.as_mut()) => true,
            };
            handle(is_hangup);
        }
    });
    Ok(())
}

/// Listens for Ctrl-C and SIGTERM. Returns a future that ends when the first of them arrives. Use this function in a
/// command that serves until it is interrupted, and then ends with exit code 0.
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Stops the work, exits, or ignores the signal, as `Work::receive` decides.
fn handle(is_hangup: bool) {
    let mut work = work();
    match (work.receive(is_hangup, IS_ASKING.load(Ordering::Relaxed)), &work.stopper) {
        (Effect::Ignore, _) => {}
        (Effect::Drain, Some(stopper)) => {
            stopper.stop(StopReason::Interrupted);
            output::stderr(
                "stopping: waiting at most 10 s for requests in flight. Interrupt again to stop immediately",
            );
        }
        (Effect::Drain, None) | (Effect::Exit, _) => {
            output::report_interruption();
            // A hook or a check has its own process group, so Ctrl-C has not reached it.
            kill_all_before_exit();
            // The process can exit without cleaning up, because every commit is atomic, and the operating system
            // releases the lock of the state file.
            std::process::exit(Exit::Interrupted as i32);
        }
    }
}

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_drains_work_and_ends_everything_else() {
        for (has_begun, is_stopping, is_hangup, is_asking, effect) in [
            (false, false, false, false, Effect::Exit),
            (false, false, true, false, Effect::Exit),
            (true, false, false, false, Effect::Drain),
            (true, false, true, false, Effect::Drain),
            (true, false, false, true, Effect::Exit),
            (true, true, false, false, Effect::Exit),
            (true, true, true, false, Effect::Ignore),
        ] {
            let mut work = Work { stopper: has_begun.then(Stopper::default), is_stopping };
            assert_eq!(work.receive(is_hangup, is_asking), effect, "{has_begun} {is_stopping} {is_hangup} {is_asking}");
            assert!(work.is_stopping);
        }
    }

    #[test]
    fn work_that_begins_after_a_signal_stops_at_once() {
        let mut work = Work { stopper: Some(Stopper::default()), is_stopping: false };
        assert_eq!(work.receive(false, false), Effect::Drain);
        let stop = Stopper::default();
        work.begin(stop.clone());
        assert_eq!(stop.reason(), Some(&StopReason::Interrupted));
    }
}
