//! From an item's image to a decision: what the plan wants of this item, and under which condition.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::cost::Pricing;
use super::draft::{Draft, bytes_at};
use super::{Change, GuardedWrite, Indexes, OnExisting, OnRecord, Rule, Strategy, rule};
use crate::item::{IndexSchema, Item, KeySchema, MAX_ITEM_BYTES, Path, Value, client_encryption};

/// The changes that one phase makes, ready to be held against items.
#[derive(Debug, Clone)]
pub struct Changes {
    pub(super) steps: Vec<Wanted>,
    key: KeySchema,
    indexes: Indexes,
    pub(super) pricing: Pricing,
    /// Decides in the place of the steps.
    by: Option<Arc<dyn Decides>>,
    /// Items that are signed or encrypted on the client are not written.
    spares_encrypted: bool,
}

/// Decides on items by another rule than a plan's steps.
pub trait Decides: Debug + Send + Sync {
    /// See [`Changes::decide`].
    fn decide(&self, item: &Item) -> Decision;
}

/// What one item needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The plan asks nothing of it.
    NothingToDo,
    /// It is as the plan implies.
    AlreadyApplied,
    /// These targets already have another value, which stays and counts as done; nothing else is left to do.
    Skipped(Vec<Path>),
    /// These targets hold something else than the plan implies, and are kept; nothing of the item is written.
    Diverged(Vec<Path>),
    /// The item's shape does not allow a change, for this reason (without attribute values).
    Rejected(String),
    /// This write would make it as the plan implies, but DynamoDB rejects it by this rule. It is not sent.
    Refused(Box<GuardedWrite>, Rule),
    /// This write makes it as the plan implies.
    Write(GuardedWrite),
}

/// One change as this phase makes it.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// `run`: the source's value at the target.
    Copy { from: Path, to: Path, is_move: bool, removes_source: bool, on_existing: OnExisting },
    /// `run`: a constant.
    Set { to: Path, value: Value, on_existing: OnExisting },
    /// `run` in place: the path goes, unless one of these copies of it was skipped.
    Remove { path: Path, skipping: Vec<Path> },
    /// `contract`: the source of a move goes; not if the move was skipped.
    DropMoved { from: Path, to: Path, skips: bool },
    /// `contract`: the path goes, if these copies of it are there, and those that skip were not skipped.
    DropRemoved { path: Path, copies: Vec<Target> },
    /// `rollback`: the source gets the value that its targets have.
    Refresh { from: Path, targets: Vec<Target> },
    /// `rollback`: the target of a copy, or of a move whose source has stayed, is as it was before.
    Uncopy { from: Path, to: Path, skips: bool },
    /// `rollback`: the value of a move in place is at its source again.
    Unmove { from: Path, to: Path },
    /// `rollback`: the constant goes, for what was there before.
    Unset { to: Path, value: Value },
    /// `rollback`: what was removed in place is back.
    Unremove { path: Path },
}

/// The target of a copy.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) to: Path,
    /// A value that was there before the migration stays, and counts as done.
    pub(super) skips: bool,
}

impl Changes {
    /// The changes that `run` makes: all of them in place; otherwise only what adds, and the rest waits for `contract`.
    pub fn for_run(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let in_place = strategy == Strategy::InPlace;
        let wanted = |change: &Change| match change.clone() {
            Change::Move { from, to, on_existing } => {
                Some(Wanted::Copy { from, to, is_move: true, removes_source: in_place, on_existing })
            }
            Change::Copy { from, to, on_existing } => {
                Some(Wanted::Copy { from, to, is_move: false, removes_source: false, on_existing })
            }
            Change::Set { to, value, on_existing } => Some(Wanted::Set { to, value, on_existing }),
            Change::Remove { path } => {
                let skipping = copies_of(changes, &path).into_iter().filter(|copy| copy.skips);
                in_place.then(|| Wanted::Remove { skipping: skipping.map(|copy| copy.to).collect(), path })
            }
        };
        Changes::new(changes.iter().filter_map(wanted).collect(), key, indexes)
    }

    /// The changes that `contract` makes, after cutover: the sources of moves go, and what the plan removes. Nothing is
    /// left to it where `run` works in place.
    pub fn for_contract(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let wanted = |change: &Change| match change.clone() {
            Change::Move { from, to, on_existing } => {
                Some(Wanted::DropMoved { from, to, skips: on_existing == OnExisting::Skip })
            }
            Change::Remove { path } => Some(Wanted::DropRemoved { copies: copies_of(changes, &path), path }),
            Change::Copy { .. } | Change::Set { .. } => None,
        };
        let steps = match strategy {
            Strategy::ExpandContract => changes.iter().filter_map(wanted).collect(),
            Strategy::InPlace => Vec::new(),
        };
        Changes::new(steps, key, indexes)
    }

    /// The first phase of a rollback behind writes of the new attribute alone: old values become equal to new ones. Where
    /// there is no new one, the old one stays. No such writes are behind a plan that works in place.
    pub fn for_old_equal_new(
        changes: &[Change],
        strategy: Strategy,
        key: KeySchema,
        indexes: Vec<IndexSchema>,
    ) -> Changes {
        let mut targets: BTreeMap<&Path, Vec<Target>> = BTreeMap::new();
        for change in changes.iter().filter(|_| strategy == Strategy::ExpandContract) {
            if let Change::Move { from, to, .. } | Change::Copy { from, to, .. } = change {
                targets.entry(from).or_default().push(Target { to: to.clone(), skips: change.skips() });
            }
        }
        let steps = targets.into_iter().map(|(from, targets)| Wanted::Refresh { from: from.clone(), targets });
        Changes::new(steps.collect(), key, indexes)
    }

    /// The last phase of a rollback: what `run` made goes, and what it overwrote, moved or removed comes back.
    pub fn for_rollback(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let in_place = strategy == Strategy::InPlace;
        let wanted = |change: &Change| match change.clone() {
            Change::Move { from, to, .. } if in_place => Some(Wanted::Unmove { from, to }),
            Change::Move { from, to, on_existing } | Change::Copy { from, to, on_existing } => {
                Some(Wanted::Uncopy { from, to, skips: on_existing == OnExisting::Skip })
            }
            Change::Set { to, value, .. } => Some(Wanted::Unset { to, value }),
            Change::Remove { path } => in_place.then_some(Wanted::Unremove { path }),
        };
        Changes::new(changes.iter().filter_map(wanted).collect(), key, indexes)
    }

    fn new(steps: Vec<Wanted>, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let indexes = Indexes::from(indexes);
        let pricing = Pricing::new(steps.iter().flat_map(Wanted::changes), &key, &indexes);
        Changes { steps, key, indexes, pricing, by: None, spares_encrypted: false }
    }

    /// Whatever `by` decides, for a table with this key and these indexes.
    pub fn decided_by(by: Arc<dyn Decides>, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes { by: Some(by), ..Changes::for_run(&[], Strategy::InPlace, key, indexes) }
    }

    /// The same, but items that are signed or encrypted on the client are not written ([`Rule::ClientEncryption`]).
    pub fn sparing_encrypted(self, spares: bool) -> Changes {
        Changes { spares_encrypted: spares, ..self }
    }

    /// Whether items that are signed or encrypted on the client are not written.
    pub fn spares_encrypted(&self) -> bool {
        self.spares_encrypted
    }

    /// Whether this phase changes nothing: every change waits for a later one.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.by.is_none()
    }

    /// The indexes that writes are priced for: what [`WriteCost::indexes`] counts. They follow the table.
    ///
    /// [`WriteCost::indexes`]: super::WriteCost::indexes
    pub fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// The key schema that the changes were prepared for.
    pub fn key(&self) -> &KeySchema {
        &self.key
    }

    /// Whether this phase rests on what it finds nothing to do for: what it passes over stays as it is, or goes for good. An
    /// eventually consistent read may show an item as it was some seconds ago, which is not enough for that.
    pub fn needs_consistent_reads(&self) -> bool {
        self.steps.iter().any(|wanted| !wanted.is_forward())
    }

    /// What this item needs, where nothing is on record of it or the phase does not ask. All of it goes into one write, or
    /// none of it.
    pub fn decide(&self, item: &Item) -> Decision {
        self.decide_with(item, &OnRecord::NOTHING)
    }

    /// What this item needs, by what is on record of it. All of it goes into one write, or none of it.
    pub fn decide_with(&self, item: &Item, record: &OnRecord) -> Decision {
        let decided = match &self.by {
            Some(by) => by.decide(item),
            None => self.decide_by_steps(item, record),
        };
        let Decision::Write(write) = decided else { return decided };
        if let Some(mark) = client_encryption(item).filter(|_| self.spares_encrypted) {
            return Decision::Refused(Box::new(write), Rule::ClientEncryption { mark });
        }
        match rule::broken_by(&write, item, &self.indexes.schemas()) {
            Some(Rule::ItemSize { .. }) => {
                let fits_in_place = write.bytes_after.saturating_sub(self.kept_bytes(item)) <= MAX_ITEM_BYTES;
                Decision::Refused(Box::new(write), Rule::ItemSize { fits_in_place })
            }
            Some(rule) => Decision::Refused(Box::new(write), rule),
            None => Decision::Write(write),
        }
    }

    /// Bytes of the sources that stay until contract, and would go if the plan worked in place.
    fn kept_bytes(&self, item: &Item) -> usize {
        let kept = self.steps.iter().filter_map(|wanted| match wanted {
            Wanted::Copy { from, is_move: true, removes_source: false, .. } => Some(bytes_at(from, from.get(item)?)),
            _ => None,
        });
        kept.sum()
    }

    fn decide_by_steps(&self, item: &Item, record: &OnRecord) -> Decision {
        let Some(key) = self.key.key_of(item) else {
            return Decision::Rejected("the item came without its key attributes".into());
        };
        if let Some(why) = record.why_unreadable().filter(|_| self.recalls()) {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; it was not written"
            ));
        }
        let mut draft = Draft::new(item, record, &self.steps);
        for wanted in &self.steps {
            match wanted {
                Wanted::Copy { .. } | Wanted::Set { .. } | Wanted::Remove { .. } => draft.forward(wanted),
                Wanted::DropMoved { .. } | Wanted::DropRemoved { .. } => draft.contract(wanted),
                _ => draft.roll_back(wanted),
            }
        }
        draft.finish(key, &self.key.partition.name, &self.pricing)
    }
}

impl Wanted {
    /// The top-level attributes that it may change.
    fn changes(&self) -> impl Iterator<Item = &str> + Clone {
        let (one, another) = match self {
            Wanted::Copy { from, to, removes_source, .. } => (to, removes_source.then_some(from)),
            Wanted::Unmove { from, to } => (to, Some(from)),
            Wanted::Uncopy { to: path, .. }
            | Wanted::Set { to: path, .. }
            | Wanted::Unset { to: path, .. }
            | Wanted::DropMoved { from: path, .. }
            | Wanted::Refresh { from: path, .. }
            | Wanted::DropRemoved { path, .. }
            | Wanted::Unremove { path }
            | Wanted::Remove { path, .. } => (path, None),
        };
        std::iter::once(one).chain(another).map(Path::root)
    }

    /// Whether it is one of `run`.
    fn is_forward(&self) -> bool {
        match self {
            Wanted::Copy { .. } | Wanted::Set { .. } | Wanted::Remove { .. } => true,
            Wanted::DropMoved { .. }
            | Wanted::DropRemoved { .. }
            | Wanted::Refresh { .. }
            | Wanted::Uncopy { .. }
            | Wanted::Unmove { .. }
            | Wanted::Unset { .. }
            | Wanted::Unremove { .. } => false,
        }
    }

    pub(super) fn recalls(&self) -> bool {
        match self {
            Wanted::Uncopy { .. } | Wanted::Unmove { .. } | Wanted::Unset { .. } | Wanted::Unremove { .. } => true,
            // What was skipped is the recorded value.
            Wanted::DropMoved { skips, .. } => *skips,
            Wanted::DropRemoved { copies: targets, .. } | Wanted::Refresh { targets, .. } => {
                targets.iter().any(|target| target.skips)
            }
            Wanted::Copy { .. } | Wanted::Set { .. } | Wanted::Remove { .. } => false,
        }
    }
}

/// The copies that a plan makes of a path.
fn copies_of(changes: &[Change], path: &Path) -> Vec<Target> {
    let copy = |change: &Change| match change {
        Change::Copy { from, to, .. } if from == path => Some(Target { to: to.clone(), skips: change.skips() }),
        _ => None,
    };
    changes.iter().filter_map(copy).collect()
}
