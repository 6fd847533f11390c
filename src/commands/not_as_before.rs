//! Items that a rollback leaves otherwise than they were: in its confirmation and in its report.

use std::io::Write as _;

use serde_json::Value as Json;

use super::conduct::Conducted;
use super::exit::Exit;
use super::output;
use super::target::Target;
use backfill::internals::change::{Leftover, MetPair};
use backfill::internals::engine::Ended;
use backfill::internals::state::phase::{OLD_EQUAL_NEW, ROLLBACK};
use backfill::internals::state::{self, Listed, RunRecord};
use backfill::internals::telemetry::{NotAsBefore, PAIRS_UNRECORDED, RunReport, Subject, number, write_listed};

/// Items that a report names; all are counted.
const NAMED: u32 = 1_000;

/// What is said of a file that recorded its pairs, but is damaged there.
const UNREADABLE: &str = "not as before: unknown. The state file recorded which items had equal values or only the new \
                          attribute, but these records cannot be read";

/// A session, the values that its run has in the journal, and what it left otherwise than it was.
pub(super) type Worked<'a> = (&'a Ended, u64, Option<NotAsBefore>);

/// What a run has left otherwise than it was; none if that is nothing, or the run is not of the way back.
pub(super) async fn left_by(conducted: &Conducted, run: &RunRecord) -> anyhow::Result<Option<NotAsBefore>> {
    let reason = match run.phase.as_str() {
        ROLLBACK => Leftover::NewRemoved,
        OLD_EQUAL_NEW => Leftover::OldMade,
        _ => return Ok(None),
    };
    let store = &conducted.conductor.store;
    let items = store.leftovers(run.id, reason, NAMED).await?;
    // A rollback decides by its records: an item without a readable one fails.
    let unreadable = match reason {
        Leftover::OldMade => store.leftovers(run.id, Leftover::Unknown, NAMED).await?,
        Leftover::NewRemoved | Leftover::Unknown => Listed::default(),
    };
    let left = NotAsBefore { reason, items, unreadable };
    Ok((!left.is_empty()).then_some(left))
}

/// What is to be known before a rollback is confirmed.
pub(super) async fn tell(target: &Target) {
    let mut text = Vec::new();
    // A file that cannot be opened is explained where it is opened for writing.
    let Ok(file) = state::read(&target.state) else { return };
    for kind in MetPair::ALL {
        let listed = match file.met_pairs(kind, NAMED).await {
            Ok(Some(listed)) => listed,
            Ok(None) => return output::stderr(PAIRS_UNRECORDED),
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
        output::stderr(&String::from_utf8_lossy(&text));
    }
}

/// A session of a run, for programs.
pub(super) fn run_json(subject: Subject<'_>, (ended, journaled, left): &Worked<'_>, exit: Exit) -> Json {
    let mut json = run_report(subject, ended).to_json(exit as u8);
    if let Some(map) = json.as_object_mut() {
        map.insert("journaled".into(), (*journaled).into());
        map.insert("not_as_before".into(), left.as_ref().map_or(Json::Null, NotAsBefore::to_json));
    }
    json
}

/// A session of a run.
pub(super) fn run_report<'a>(subject: Subject<'a>, ended: &'a Ended) -> RunReport<'a> {
    let Ended { run, totals, spend, throttles, unusable_replies, open, stopped } = ended;
    RunReport { subject, run, totals, spend, throttles, unusable_replies, open: *open, stopped: stopped.as_ref() }
}
