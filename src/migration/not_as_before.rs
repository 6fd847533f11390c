//! Items that a rollback does not restore exactly, for the question before a rollback and for its report.

use std::io::Write as _;

use super::target::Target;
use super::{MigrationError, Notice, Observer};
use crate::change::{BaselinePair, Leftover};
use crate::state::phase::{OLD_EQUAL_NEW, ROLLBACK};
use crate::state::{self, Listed, RunRecord, State};
use crate::telemetry::{NotAsBefore, PAIRS_UNRECORDED, number, write_listed};

/// The maximum number of items that a report names; it counts all of them.
const NAMED: u32 = 1_000;

/// The notice if the state file recorded the pairs of old and new values, but these records are damaged.
const UNREADABLE: &str = "not as before: unknown. The state file recorded which items had equal values or only the new \
                          attribute, but these records cannot be read";

/// Items that a run did not restore exactly. `None` if the run restored every item, or if the run belongs neither to a
/// rollback nor to a step back.
pub(super) async fn left_by(store: &State, run: &RunRecord) -> Result<Option<NotAsBefore>, MigrationError> {
    let reason = match run.phase.as_str() {
        ROLLBACK => Leftover::NewRemoved,
        OLD_EQUAL_NEW => Leftover::OldMade,
        _ => return Ok(None),
    };
    let items = store.leftovers(run.id, reason, NAMED).await?;
    // In a rollback, an item with an unreadable record fails, so such items are not listed here.
    let unreadable = match reason {
        Leftover::OldMade => store.leftovers(run.id, Leftover::Unknown, NAMED).await?,
        Leftover::NewRemoved | Leftover::Unknown => Listed::default(),
    };
    let left = NotAsBefore { reason, items, unreadable };
    Ok((!left.is_empty()).then_some(left))
}

/// Tells the observer what an operator should know before confirming a rollback.
pub(super) async fn tell(target: &Target, observer: &dyn Observer) {
    let mut text = Vec::new();
    // If the file cannot be opened, the later attempt to open it for writing explains why.
    let Ok(file) = state::read(&target.state) else { return };
    for kind in BaselinePair::ALL {
        let listed = match file.baseline_pairs(kind, NAMED).await {
            Ok(Some(listed)) => listed,
            Ok(None) => return observer.notice(&Notice::NotAsBefore(PAIRS_UNRECORDED)),
            Err(_) => {
                let _ = writeln!(text, "{UNREADABLE}");
                break;
            }
        };
        if listed.count == 0 {
            continue;
        }
        // Writing to memory does not fail.
        let _ = writeln!(text, "not as before: {} items {kind}.", number(listed.count))
            .and_then(|()| write_listed(&mut text, &listed));
    }
    if !text.is_empty() {
        observer.notice(&Notice::NotAsBefore(&String::from_utf8_lossy(&text)));
    }
}
