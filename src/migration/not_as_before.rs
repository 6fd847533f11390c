//! Finds the items that a rollback does not restore exactly. The question before a rollback and the report after a
//! rollback list these items.

use std::io::Write as _;

use super::target::MigrationTarget;
use super::{MigrationError, Notice, Observer};
use crate::change::{BaselinePair, Leftover};
use crate::figure::count;
use crate::state::phase::{OLD_EQUAL_NEW, ROLLBACK};
use crate::state::{self, AffectedItems, RunRecord, State};
use crate::telemetry::{PAIRS_UNRECORDED, UnrestoredItems, write_listed};

/// The maximum number of items that a report lists. The report also contains the total number of items.
const MAX_LISTED: u32 = 1_000;

/// The notice about damaged records of old and new values in the state file.
const UNREADABLE: &str = "not as before: unknown. The state file recorded which items had equal values or only the new \
                          attribute, but these records cannot be read";

/// Returns the items that a run did not restore exactly. Returns `None` if the run restored every item, or if it does
/// not belong to a rollback or a step back.
pub(super) async fn leftovers_of_run(
    store: &State,
    run: &RunRecord,
) -> Result<Option<UnrestoredItems>, MigrationError> {
    let reason = match run.phase.as_str() {
        ROLLBACK => Leftover::NewRemoved,
        OLD_EQUAL_NEW => Leftover::OldCreated,
        _ => return Ok(None),
    };
    let items = store.leftovers(run.id, reason, MAX_LISTED).await?;
    // In a rollback, items with unreadable records are failures, so do not list them here.
    let unreadable = match reason {
        Leftover::OldCreated => store.leftovers(run.id, Leftover::Unknown, MAX_LISTED).await?,
        Leftover::NewRemoved | Leftover::Unknown | Leftover::RepairedOver | Leftover::DeleteReplyLost => {
            AffectedItems::default()
        }
    };
    let left = UnrestoredItems { reason, items, unreadable };
    Ok((!left.is_empty()).then_some(left))
}

/// Returns the items that a rollback's report lists for this reason. For any other run, returns no items.
pub(super) async fn noted_by_run(
    store: &State,
    run: &RunRecord,
    reason: Leftover,
) -> Result<AffectedItems, MigrationError> {
    match run.phase.as_str() {
        ROLLBACK => Ok(store.leftovers(run.id, reason, MAX_LISTED).await?),
        _ => Ok(AffectedItems::default()),
    }
}

/// Before the operator confirms a rollback, tells the observer which items the rollback will not restore exactly.
pub(super) async fn notify(target: &MigrationTarget, observer: &dyn Observer) {
    let mut text = Vec::new();
    // If the file cannot be opened, the command reports the error later, when it opens the file for writing.
    let Ok(file) = state::read(&target.state) else { return };
    for kind in BaselinePair::ALL {
        let listed = match file.baseline_pairs(kind, MAX_LISTED).await {
            Ok(Some(listed)) => listed,
            Ok(None) => return observer.notice(&Notice::UnrestoredItems(PAIRS_UNRECORDED)),
            Err(_) => {
                let _ = writeln!(text, "{UNREADABLE}");
                break;
            }
        };
        if listed.count == 0 {
            continue;
        }
        // A write to memory cannot fail.
        let _ = writeln!(text, "not as before: {} {kind}.", count(listed.count, "item", "items"))
            .and_then(|()| write_listed(&mut text, &listed));
    }
    if !text.is_empty() {
        observer.notice(&Notice::UnrestoredItems(&String::from_utf8_lossy(&text)));
    }
}
