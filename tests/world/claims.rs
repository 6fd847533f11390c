//! The tool's promises about every write. The tests check each claim separately, so that a failing seed names the
//! broken promise.

use std::fmt;

use backfill::internals::change::Change;
use backfill::internals::dynamodb::memory::Author;
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::plan::Plan;

use super::checks::NewVersion;
use super::scene::World;
use super::select;

/// A promise that a write can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A write destroyed the last copy of a value.
    LostUpdate,
    /// A write recreated a deleted item.
    Resurrection,
    /// A value was computed from inputs that had changed when the write took effect.
    StaleComputation,
    /// A pass wrote an item that was not selected and that the tool had not written before.
    UnselectedTouched,
    /// A write changed an attribute that is not a target of the plan.
    UntouchedChanged,
    /// A write did not raise the version by one, although the plan has `bump`.
    VersionNotRaised,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Claim::LostUpdate => "lost update",
            Claim::Resurrection => "resurrection",
            Claim::StaleComputation => "stale computation",
            Claim::UnselectedTouched => "unselected item touched",
            Claim::UntouchedChanged => "untouched attribute changed",
            Claim::VersionNotRaised => "version not raised",
        })
    }
}

/// Returns whether every write raises the version.
pub(crate) fn bumps(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| matches!(change, Change::Bump { .. }))
}

/// Returns the item's version after the next write, or `None` if the version cannot be raised.
pub(crate) fn next_version(item: &Item) -> Option<Value> {
    match item.get("version") {
        Some(Value::N(number)) => {
            let next: u64 = number.as_str().parse::<u64>().ok()? + 1;
            Some(Value::N(Num::parse(&next.to_string()).unwrap()))
        }
        _ => None,
    }
}

impl World {
    /// Records that a write broke a claim.
    pub(crate) fn broken(&self, claim: Claim, what: &str) {
        self.violation(format!("{claim}: {what}"));
    }

    /// Checks the claims that apply to every kind of change. `is_way_back` is true if the pass undoes values.
    pub(crate) fn check_claims(&self, version: &NewVersion, is_way_back: bool, at: &str) {
        let plan = &self.plan;
        let (before, after) = match (&version.before, &version.after) {
            (Some(before), Some(after)) => (before, after),
            (None, Some(after)) if !(plan.deletes_items() && is_way_back) => {
                return self.broken(Claim::Resurrection, &format!("{at}: a deleted item is recreated: {after:?}"));
            }
            (Some(before), None) if !plan.deletes_items() => {
                return self.broken(Claim::LostUpdate, &format!("{at}: the tool deleted an item: {before:?}"));
            }
            (None, Some(_) | None) | (Some(_), None) => return,
        };
        if before == after {
            self.violation(format!("{at}: the write has no effect"));
        }
        let is_selected = select::is_selected(plan, before) == Some(true);
        let is_justified = match is_way_back {
            true => self.was_touched_before(version) || (select::is_fixed(plan) && is_selected),
            false => is_selected,
        };
        if !is_justified {
            self.broken(Claim::UnselectedTouched, &format!("{at}: {before:?}"));
        }
        let targets = targets(plan);
        for name in before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)) {
            if !targets.contains(name) {
                self.broken(Claim::UntouchedChanged, &format!("{at}: {name} belongs to the application"));
            }
        }
        if bumps(plan) && after.get("version") != next_version(before).as_ref() {
            self.broken(Claim::VersionNotRaised, &format!("{at}: {:?}", before.get("version")));
        }
    }

    /// Returns whether the tool wrote an earlier version of the item.
    fn was_touched_before(&self, version: &NewVersion) -> bool {
        self.table.history(|history| {
            let item = history.all().find(|(key, _)| **key == version.key);
            let is_earlier = |number: u64, author: Author| number < version.number && matches!(author, Author::Tool(_));
            item.is_some_and(|(_, versions)| versions.iter().any(|other| is_earlier(other.number, other.author)))
        })
    }
}

/// Returns the attributes that the plan writes or removes.
fn targets(plan: &Plan) -> Vec<String> {
    let of_change = |change: &Change| {
        let paths = change.paths();
        paths.writes.into_iter().chain(paths.removes).map(|path| path.root().to_owned()).collect::<Vec<_>>()
    };
    plan.changes.iter().flat_map(of_change).collect()
}
