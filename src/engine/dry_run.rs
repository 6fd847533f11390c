//! A dry run: the whole pipeline but the writes. It counts what a run would do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::requests::Requests;
use super::stop::Stopped;
use super::worker::{Handler, Pages};
use super::writer::{Settled, Settling};
use crate::change::{Action, Changes, Decision, GuardedWrite, Outcome};
use crate::checkpoint::PreImageId;
use crate::item::{Item, MAX_ITEM_BYTES, Path, Units};

/// Distinct shapes that are kept; the rest are only counted.
const MAX_SHAPES: usize = 10;

/// Decides on every item and writes none.
pub struct DryRun {
    changes: Arc<Changes>,
    requests: Requests,
    seen: Mutex<Prediction>,
}

/// What a run would do, as counted by a dry run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Items read.
    pub scanned: u64,
    /// Items that would be written.
    pub would_change: u64,
    /// Items that are as the plan implies.
    pub already_applied: u64,
    /// Items that the plan asks nothing of.
    pub nothing_to_do: u64,
    /// Items with something else at a target; they would be left alone.
    pub diverged: u64,
    /// Items whose shape does not allow a change; they would be failures.
    pub rejected: u64,
    /// Items that would grow past 400 KB, by the tool's own estimate of their size; not among `would_change`.
    pub would_exceed: u64,
    /// Write capacity units that the writes would consume, by the table and its indexes: an estimate.
    pub write_units: Units,
    /// What of it each global index would consume, by name; those that would consume nothing are left out.
    pub index_write_units: BTreeMap<String, Units>,
    /// Read capacity units that the dry run consumed.
    pub read_units: Units,
    /// The most frequent kinds of change, without values; at most ten.
    pub shapes: Vec<Shape>,
}

/// One kind of change: which paths, and of which types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Touched paths and the types they have now (`-` where there is nothing).
    pub before: String,
    /// The same paths after the change.
    pub after: String,
    /// Items with this shape.
    pub items: u64,
}

impl DryRun {
    /// A dry run of these changes.
    pub fn new(changes: Arc<Changes>, requests: Requests) -> DryRun {
        DryRun { changes, requests, seen: Mutex::new(Prediction::default()) }
    }

    /// What was counted so far.
    pub fn prediction(&self) -> Prediction {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.shapes.sort_by(|a, b| b.items.cmp(&a.items).then_with(|| a.before.cmp(&b.before)));
        seen
    }
}

#[async_trait]
impl Handler for DryRun {
    async fn settle(&self, items: Vec<Item>, _: &Requests) -> Result<Settling, Stopped> {
        let mut settled = Settled::default();
        let mut page = Prediction::default();
        for item in items {
            settled.counts.count(page.add(&item, &self.changes));
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).merge(page);
        Ok(Settling { settled, rest: None })
    }

    async fn abandon(&self, _: Vec<PreImageId>) {}

    async fn commit(&self, pages: Pages) -> Result<(), Stopped> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).read_units += pages.settled.counts.read_units;
        self.requests.progress().committed(&pages.settled.counts, pages.pages, pages.next.is_none());
        Ok(())
    }
}

impl Prediction {
    /// Counts one item. The outcome is for the progress line, which has no word for "would".
    fn add(&mut self, item: &Item, changes: &Changes) -> Outcome {
        self.scanned += 1;
        match changes.decide(item) {
            Decision::NothingToDo => {
                self.nothing_to_do += 1;
                Outcome::NothingToDo
            }
            Decision::AlreadyApplied => {
                self.already_applied += 1;
                Outcome::AlreadyApplied
            }
            Decision::Diverged(_) => {
                self.diverged += 1;
                Outcome::Diverged
            }
            Decision::Rejected(_) => {
                self.rejected += 1;
                Outcome::Rejected
            }
            Decision::Write(write) if write.bytes_after > MAX_ITEM_BYTES => {
                self.would_exceed += 1;
                Outcome::Rejected
            }
            Decision::Write(write) => {
                self.would_change += 1;
                self.write_units += write.cost.total();
                for (place, units) in &write.cost.indexes {
                    self.add_to_index(&changes.indexes()[*place].name, *units);
                }
                self.keep_shape(shape(item, &write));
                Outcome::Applied
            }
        }
    }

    fn merge(&mut self, page: Prediction) {
        self.scanned += page.scanned;
        self.would_change += page.would_change;
        self.already_applied += page.already_applied;
        self.nothing_to_do += page.nothing_to_do;
        self.diverged += page.diverged;
        self.rejected += page.rejected;
        self.would_exceed += page.would_exceed;
        self.write_units += page.write_units;
        self.read_units += page.read_units;
        page.index_write_units.iter().for_each(|(name, units)| self.add_to_index(name, *units));
        page.shapes.into_iter().for_each(|shape| self.keep_shape(shape));
    }

    fn add_to_index(&mut self, name: &str, units: Units) {
        *self.index_write_units.entry(name.to_owned()).or_default() += units;
    }

    fn keep_shape(&mut self, shape: Shape) {
        let known = self.shapes.iter().position(|s| s.before == shape.before && s.after == shape.after);
        match known {
            Some(known) => self.shapes[known].items += shape.items,
            None if self.shapes.len() < MAX_SHAPES => self.shapes.push(shape),
            None => {}
        }
    }
}

/// The touched paths and their types before and after a write.
fn shape(item: &Item, write: &GuardedWrite) -> Shape {
    let mut before: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let mut after: BTreeMap<&Path, &'static str> = BTreeMap::new();
    let kind = |path: &Path| path.get(item).map_or("-", |v| v.type_name());
    for action in &write.actions {
        match action {
            Action::SetFrom { to, from } => {
                before.insert(from, kind(from));
                before.insert(to, kind(to));
                after.entry(from).or_insert_with(|| kind(from));
                after.insert(to, kind(from));
            }
            Action::SetValue { to, value } => {
                before.insert(to, kind(to));
                after.insert(to, value.type_name());
            }
            Action::Remove { path } => {
                before.insert(path, kind(path));
                after.insert(path, "-");
            }
        }
    }
    let text = |side: BTreeMap<&Path, &'static str>| {
        side.iter().map(|(path, kind)| format!("{path}: {kind}")).collect::<Vec<_>>().join(", ")
    };
    Shape { before: text(before), after: text(after), items: 1 }
}
