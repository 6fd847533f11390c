//! Items that a rollback leaves otherwise than they were: in its confirmation and in its report.

use std::io::{Result, Write as _};

use serde_json::{Value as Json, json};

use super::conduct::Conducted;
use super::exit::Exit;
use super::output;
use super::target::Target;
use crate::change::{Leftover, MetPair};
use crate::checkpoint::phase::{OLD_EQUAL_NEW, ROLLBACK};
use crate::checkpoint::store::{Listed, RunRecord, StateFile};
use crate::engine::Ended;
use crate::item::item_to_json;
use crate::telemetry::{PAIRS_UNRECORDED, RunReport, Subject, number};

/// Items that a report names (all are counted), and of them those that are shown to people.
const NAMED: u32 = 1_000;
const SHOWN: usize = 5;

/// A session, the values that its run has in the journal, and what it left otherwise than it was.
pub(super) type Worked<'a> = (&'a Ended, u64, Option<(Leftover, Listed)>);

/// What a run has left otherwise than it was; none if that is nothing, or the run is not of the way back.
pub(super) async fn left_by(conducted: &Conducted, run: &RunRecord) -> anyhow::Result<Option<(Leftover, Listed)>> {
    let leftover = match run.phase.as_str() {
        ROLLBACK => Leftover::NewRemoved,
        OLD_EQUAL_NEW => Leftover::OldMade,
        _ => return Ok(None),
    };
    let listed = conducted.conductor.store.leftovers(run.id, NAMED).await?;
    Ok((listed.count > 0 || listed.unrecorded).then_some((leftover, listed)))
}

/// For people.
pub(super) fn write(out: &mut Vec<u8>, (leftover, listed): &(Leftover, Listed)) -> Result<()> {
    if listed.unrecorded {
        writeln!(out, "{PAIRS_UNRECORDED}.")?;
    }
    if listed.count > 0 {
        writeln!(out, "{} items are not as they were before the migration: {leftover}.", number(listed.count))?;
    }
    write_keys(out, listed)
}

fn write_keys(out: &mut Vec<u8>, listed: &Listed) -> Result<()> {
    listed.first.iter().take(SHOWN).try_for_each(|(key, path)| writeln!(out, "  such as {key}: {path}"))
}

fn to_json(left: Option<&(Leftover, Listed)>) -> Json {
    let Some((leftover, listed)) = left else { return Json::Null };
    let items = listed.first.iter();
    let items = items.map(|(key, path)| json!({ "key": item_to_json(key.attributes()), "path": path.to_string() }));
    let (items, unknown) = (items.collect::<Vec<_>>(), listed.unrecorded);
    json!({ "reason": leftover.id(), "count": listed.count, "items": items, "unknown": unknown })
}

/// What is to be known before a rollback is confirmed.
pub(super) fn tell(target: &Target) {
    let mut text = Vec::new();
    let file = StateFile::open(&target.state).ok();
    for kind in MetPair::ALL {
        let listed = match file.as_ref().map(|file| file.met_pairs(kind, NAMED)) {
            Some(Ok(Some(listed))) => listed,
            Some(Ok(None)) => return output::stderr(PAIRS_UNRECORDED),
            // A file that cannot be read is explained where it is opened.
            Some(Err(_)) | None => return,
        };
        if listed.count == 0 {
            continue;
        }
        // Writing to memory does not fail.
        let _ = writeln!(text, "not as before: {} items {kind}.", number(listed.count))
            .and_then(|()| write_keys(&mut text, &listed));
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
        map.insert("not_as_before".into(), to_json(left.as_ref()));
    }
    json
}

/// A session of a run.
pub(super) fn run_report<'a>(subject: Subject<'a>, ended: &'a Ended) -> RunReport<'a> {
    let Ended { run, totals, spend, throttles, unusable_replies, open, stopped } = ended;
    RunReport { subject, run, totals, spend, throttles, unusable_replies, open: *open, stopped: stopped.as_ref() }
}
