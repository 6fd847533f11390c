//! Asks a run to stop, and records why it stopped.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cost::PriceBasis;
use crate::cutover::LeaseLost;
use crate::dynamodb::FatalKind;
use crate::exec::ExecError;
use crate::figure::count;
use crate::item::Units;

/// The reason why a run stopped before its end. After any of these reasons, the run can be resumed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum StopReason {
    /// The operator pressed Ctrl-C, or the process received SIGTERM.
    #[error("it was interrupted")]
    Interrupted,
    /// An operator stopped the run with `backfill ctl drain`.
    #[error("{by} stopped it with `backfill ctl drain`")]
    Drained {
        /// The operator: `user@host`.
        by: String,
    },
    /// No request can succeed until somebody fixes the cause.
    #[error("{message}. {}", .kind.remedy())]
    Fatal {
        /// The kind of problem that the operator has to fix.
        kind: FatalKind,
        /// DynamoDB's message.
        message: String,
    },
    /// More items failed than `[limits] max_failures` allows.
    #[error(
        "{}, and [limits] max_failures is {limit}. List them with `backfill failures list`, then \
         fix the cause and run `backfill failures retry`, or raise the limit",
        count(*failures, "item has failed", "items have failed")
    )]
    MaxFailures {
        /// Number of items that have failed.
        failures: u64,
        /// The value of the limit in the plan.
        limit: u64,
    },
    /// `[limits] max_wcu` leaves too little for the next write.
    #[error(
        "it has spent {spent} write units{}, and the next write would take it past [limits] max_wcu = {limit}. This run \
         writes nothing more until the limit is raised, because earlier spend counts towards it",
        lost_clause(*lost, &lost.to_string())
    )]
    MaxWcu {
        /// Write capacity units that the run has spent in all its sessions.
        spent: Units,
        /// The part of `spent` that killed processes reserved, but possibly did not use.
        lost: Units,
        /// The value of the limit in the plan.
        limit: Units,
    },
    /// `[limits] max_cost_usd` leaves too little for the next request.
    #[error(
        "it has cost about ${spent:.6}{}, and the next request would take it past [limits] max_cost_usd = {limit} (an \
         estimate, {}). This run reads and writes nothing more until the limit is raised, because earlier \
         spend counts towards it",
        lost_clause(*lost, &format!("${lost:.6}")),
        .basis.text()
    )]
    MaxCost {
        /// Estimated US dollars that the run has spent in all its sessions.
        spent: f64,
        /// The part of `spent` that killed processes reserved, but possibly did not use.
        lost: f64,
        /// The value of the limit in the plan.
        limit: f64,
        /// Where the prices come from.
        basis: PriceBasis,
    },
    /// `[limits] max_items` is reached.
    #[error(
        "{}, and [limits] max_items is {limit}. This run scans no more until the limit is raised",
        count(*scanned, "item has been scanned", "items have been scanned")
    )]
    MaxItems {
        /// Number of items that the run has scanned in all its sessions.
        scanned: u64,
        /// The value of the limit in the plan.
        limit: u64,
    },
    /// `[limits] deadline` has passed.
    #[error("[limits] deadline = {0} has passed. The run does nothing more until the deadline is postponed or removed")]
    Deadline(String),
    /// DynamoDB rejected many writes and has not accepted any.
    #[error(
        "all of the first {refused} writes were rejected, either by DynamoDB or, before sending, by a check of \
         DynamoDB's rules. The plan is probably wrong: correct it, and give it another [migration] name. The first \
         write was rejected because: {reason}"
    )]
    AllFailing {
        /// Number of rejected writes.
        refused: u64,
        /// Why the first of these writes was rejected.
        reason: String,
    },
    /// An item is signed or encrypted on the client, and the operator has not allowed changes of such items.
    #[error(
        "it found items that are signed or encrypted on the client. A change would break their signature, so they were \
         not changed and are listed as failures. Let an application that has the keys make this change, or exclude those \
         items. If the signature covers nothing that the plan changes, run the same command again with --accept \
         client-encryption; to change items that `run` listed as failures, use `backfill failures retry PLAN --accept \
         client-encryption`"
    )]
    ClientEncryption,
    /// One request kept failing for longer than `[retry] give_up_after`.
    #[error("one request kept failing for {after} and was abandoned ([retry] give_up_after): {message}")]
    GaveUp {
        /// How long the request kept failing, in words.
        after: String,
        /// The last error.
        message: String,
    },
    /// The table was replaced during the run, or its current status does not allow reads and writes.
    #[error(
        "{0}. Requests in flight were finished; nothing more is read or written. Run it again when the table is \
         ACTIVE. A replaced table needs a new migration under another [migration] name"
    )]
    TableChanged(String),
    /// Somebody moved the flag to a state in which this phase must not continue.
    #[error(
        "the flag was moved during the run: {0}. Requests in flight were finished; nothing more is read or written"
    )]
    FlagMoved(String),
    /// For too long, every attempt to read the flag failed. An attempt also counts as failed if its reply arrives after
    /// the confirmation of the flag has expired.
    #[error(
        "the flag could not be read in time for {} s: {why}. It is unknown which value applications obey, so nothing more \
         is read or written. Everything done so far is committed. Run the same command again when the flag can be read in time",
        .unread.as_secs()
    )]
    FlagUnread {
        /// For how long the flag could not be read in time. Time during which the machine slept is excluded.
        unread: Duration,
        /// The last error.
        why: String,
    },
    /// A program of an `exec` change cannot be started or returns no valid answer.
    #[error(
        "{0}. Items that were waiting for an answer were not written; everything done before is committed. Correct the \
         cause and run the same command again. If you change the program's own files, the meaning of the plan changes, \
         so it needs another [migration] name; items that already have the marker then stay as they are"
    )]
    Exec(ExecError),
    /// A function of a custom change returned two different results for the same inputs.
    #[error(
        "the custom change `{name}` computed two different results for the same inputs. The page in which this was \
         found was not written; everything done before is committed. First roll back with this version of the \
         function: a new migration would treat the values that are already written as values of other writers. Then \
         correct the function (its result must depend on its inputs only), return another version, and give the plan \
         another [migration] name"
    )]
    Unrepeatable {
        /// The name of the custom change.
        name: String,
    },
    /// Another process may be working on this migration now.
    #[error("{0}. Nothing more is read or written by this process")]
    LeaseLost(LeaseLost),
    /// The scheduler could not hand out work.
    #[error("the next segment could not be assigned: {0}. Run the same command again")]
    Scheduler(String),
    /// Progress could not be stored durably.
    #[error("progress could not be stored: {0}")]
    Store(String),
    /// A fault in backfill itself.
    #[error("a worker ended unexpectedly ({0}); this is a fault of backfill")]
    Internal(String),
}

/// Returns a note about the part of a total that killed processes had only reserved. If this part is zero, the note is
/// empty.
fn lost_clause(lost: f64, text: &str) -> String {
    if lost > 0.0 {
        format!(" (including up to {text} only reserved when a process was killed)")
    } else {
        String::new()
    }
}

/// The error of functions that ended early because the run is stopping. The [`Stopper`] stores the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Asks every part of a run to stop, and stores the reason. Ignores later reasons.
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
    /// Cancelled when an operator asks the run to stop, even if the run was already stopping.
    by_operator: CancellationToken,
}

impl Stopper {
    /// Asks the run to stop. If the run is already stopping, keeps the first reason.
    pub fn stop(&self, reason: StopReason) {
        // Ignore a later reason. It is a consequence of the first one, or has the same cause.
        let is_operator = matches!(reason, StopReason::Interrupted | StopReason::Drained { .. });
        let _ = self.0.reason.set(reason);
        self.0.token.cancel();
        if is_operator {
            self.0.by_operator.cancel();
        }
    }

    /// Returns the reason why the run is stopping, or `None` if it is not stopping.
    pub fn reason(&self) -> Option<&StopReason> {
        self.0.reason.get()
    }

    /// Returns whether the run is stopping.
    pub fn is_stopping(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Waits until the run is asked to stop.
    pub async fn stopping(&self) {
        self.0.token.cancelled().await;
    }

    /// Waits until an operator asks the run to stop, with a signal or with `ctl drain`. The run may already be stopping
    /// for another reason.
    pub async fn stopped_by_operator(&self) {
        self.0.by_operator.cancelled().await;
    }

    /// Waits for this future, unless the run stops first. Use this method only for futures that can be dropped at any
    /// point, such as a wait for permits, a pause or a prefetched page. Never use it for a request in flight.
    pub(crate) async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stopping() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}
