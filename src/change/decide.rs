//! From an item's image to a decision: what the plan wants of this item, and under which condition.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::cost::Pricing;
use super::{Action, Change, Condition, GuardedWrite, OnExisting, PreImage, Strategy};
use crate::item::{IndexSchema, Item, KeySchema, Path, Step, Value, attribute_bytes, item_bytes};

/// The changes that one phase makes, ready to be held against items.
#[derive(Debug, Clone)]
pub struct Changes {
    steps: Vec<Wanted>,
    on_existing: OnExisting,
    key: KeySchema,
    indexes: Vec<IndexSchema>,
    pub(super) pricing: Pricing,
    /// Decides in the place of the steps.
    by: Option<Arc<dyn Decides>>,
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
    /// These targets hold something else than the plan implies, and are kept; nothing of the item is written.
    Diverged(Vec<Path>),
    /// The item's shape does not allow a change, for this reason (without attribute values).
    Rejected(String),
    /// This write makes it as the plan implies.
    Write(GuardedWrite),
}

/// One change as this phase makes it.
#[derive(Debug, Clone)]
enum Wanted {
    Copy { from: Path, to: Path, is_move: bool, removes_source: bool },
    Set { to: Path, value: Value },
    Remove { path: Path },
}

impl Changes {
    /// The changes that `run` makes: all of them in place; otherwise only what adds, and the rest waits for `contract`.
    pub fn for_run(
        changes: &[Change],
        strategy: Strategy,
        on_existing: OnExisting,
        key: KeySchema,
        indexes: Vec<IndexSchema>,
    ) -> Changes {
        let in_place = strategy == Strategy::InPlace;
        let steps: Vec<Wanted> = changes
            .iter()
            .filter_map(|change| match change.clone() {
                Change::Move { from, to } => Some(Wanted::Copy { from, to, is_move: true, removes_source: in_place }),
                Change::Copy { from, to } => Some(Wanted::Copy { from, to, is_move: false, removes_source: false }),
                Change::Set { to, value } => Some(Wanted::Set { to, value }),
                Change::Remove { path } => in_place.then_some(Wanted::Remove { path }),
            })
            .collect();
        let pricing = Pricing::new(steps.iter().flat_map(Wanted::changes), &key, &indexes);
        Changes { steps, on_existing, key, indexes, pricing, by: None }
    }

    /// Whatever `by` decides, for a table with this key and these indexes.
    pub fn decided_by(by: Arc<dyn Decides>, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes { by: Some(by), ..Changes::for_run(&[], Strategy::InPlace, OnExisting::Keep, key, indexes) }
    }

    /// Whether this phase changes nothing: every change waits for a later one.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.by.is_none()
    }

    /// The indexes that the changes were prepared with: what [`WriteCost::indexes`] counts.
    pub fn indexes(&self) -> &[IndexSchema] {
        &self.indexes
    }

    /// The key schema that the changes were prepared for.
    pub fn key(&self) -> &KeySchema {
        &self.key
    }

    /// What this item needs. All of it goes into one write, or none of it.
    pub fn decide(&self, item: &Item) -> Decision {
        if let Some(by) = &self.by {
            return by.decide(item);
        }
        let Some(key) = self.key.key_of(item) else {
            return Decision::Rejected("the item came without its key attributes".into());
        };
        let mut draft = Draft::new(item, self.on_existing);
        for wanted in &self.steps {
            draft.add(wanted);
        }
        draft.finish(key, &self.key.partition.name, &self.pricing)
    }
}

impl Wanted {
    /// The top-level attributes that it may change.
    fn changes(&self) -> impl Iterator<Item = &str> + Clone {
        let (set, removed) = match self {
            Wanted::Copy { from, to, removes_source, .. } => (Some(to), removes_source.then_some(from)),
            Wanted::Set { to, .. } => (Some(to), None),
            Wanted::Remove { path } => (None, Some(path)),
        };
        set.into_iter().chain(removed).map(Path::root)
    }
}

/// What has been found about one item so far.
struct Draft<'a> {
    item: &'a Item,
    on_existing: OnExisting,
    actions: Vec<Action>,
    conditions: Vec<Condition>,
    pre_images: Vec<PreImage>,
    /// Maps that have to be made, by their path, because a target's parent is missing.
    made: BTreeMap<Path, Item>,
    diverged: Vec<Path>,
    rejected: Option<String>,
    already: bool,
    grows: usize,
    shrinks: usize,
}

impl<'a> Draft<'a> {
    fn new(item: &'a Item, on_existing: OnExisting) -> Draft<'a> {
        Draft {
            item,
            on_existing,
            actions: Vec::new(),
            conditions: Vec::new(),
            pre_images: Vec::new(),
            made: BTreeMap::new(),
            diverged: Vec::new(),
            rejected: None,
            already: false,
            grows: 0,
            shrinks: 0,
        }
    }

    /// A change that needs no action here has a condition all the same: if a live writer makes it need one before another
    /// change of this item is written, the item must not end half changed, or be written although it is diverged by then.
    fn add(&mut self, wanted: &Wanted) {
        match wanted {
            Wanted::Copy { from, to, is_move, removes_source } => {
                let Some(value) = from.get(self.item) else {
                    self.already |= *is_move && to.get(self.item).is_some();
                    self.require(Condition::Missing(from.clone()));
                    return;
                };
                match to.get(self.item) {
                    Some(there) if there == value => {
                        self.already = true;
                        self.require(Condition::Same(from.clone(), to.clone()));
                        if *removes_source {
                            self.remove(from, value);
                        }
                    }
                    Some(there) => {
                        if self.replaces(to, there) {
                            self.copy(from, to, value, *removes_source);
                        }
                    }
                    None => match self.place(to) {
                        Place::Ready => {
                            self.require(Condition::Missing(to.clone()));
                            self.require_parent(to);
                            self.copy(from, to, value, *removes_source);
                        }
                        Place::ParentMissing(root) => {
                            // SET cannot copy into a map that is not there: the value travels, so the condition holds
                            // the source to it.
                            self.require(Condition::Equals(from.clone(), value.clone()));
                            self.make(root, to, value.clone());
                            if *removes_source {
                                self.remove(from, value);
                            }
                        }
                        Place::Impossible(why) => self.reject(why),
                    },
                }
            }
            Wanted::Set { to, value } => match to.get(self.item) {
                Some(there) if there == value => {
                    self.already = true;
                    self.require(Condition::Equals(to.clone(), value.clone()));
                }
                Some(there) => {
                    if self.replaces(to, there) {
                        self.set(to, value);
                    }
                }
                None => match self.place(to) {
                    Place::Ready => {
                        self.require(Condition::Missing(to.clone()));
                        self.require_parent(to);
                        self.set(to, value);
                    }
                    Place::ParentMissing(root) => self.make(root, to, value.clone()),
                    Place::Impossible(why) => self.reject(why),
                },
            },
            Wanted::Remove { path } => match path.get(self.item) {
                Some(value) => {
                    self.keep_pre_image(path, value);
                    self.remove(path, value);
                }
                None => self.require(Condition::Missing(path.clone())),
            },
        }
    }

    fn finish(mut self, key: crate::item::ItemKey, partition_key: &str, pricing: &Pricing) -> Decision {
        if let Some(why) = self.rejected {
            return Decision::Rejected(why);
        }
        if !self.diverged.is_empty() {
            return Decision::Diverged(self.diverged);
        }
        for (root, map) in std::mem::take(&mut self.made) {
            self.require(Condition::Missing(root.clone()));
            self.require_parent(&root);
            self.set(&root, &Value::M(map));
        }
        if self.actions.is_empty() {
            return if self.already { Decision::AlreadyApplied } else { Decision::NothingToDo };
        }
        // A condition on the item's existence comes first: UpdateItem would otherwise bring a deleted item back.
        let mut conditions = vec![Condition::ItemExists(partition_key.to_owned())];
        conditions.append(&mut self.conditions);
        let bytes_before = item_bytes(self.item);
        let bytes_after = (bytes_before + self.grows).saturating_sub(self.shrinks);
        let cost = pricing.cost(self.item, &self.actions, bytes_before, bytes_after);
        Decision::Write(GuardedWrite {
            key,
            actions: self.actions,
            conditions,
            pre_images: self.pre_images,
            bytes_before,
            bytes_after,
            cost,
        })
    }

    /// Whether an unequal value at a target may be overwritten; if so, its pre-image is kept and held to by condition.
    fn replaces(&mut self, to: &Path, there: &Value) -> bool {
        match self.on_existing {
            OnExisting::Keep => {
                self.diverged.push(to.clone());
                false
            }
            OnExisting::Overwrite => {
                self.keep_pre_image(to, there);
                self.shrinks += bytes_at(to, there);
                true
            }
        }
    }

    fn keep_pre_image(&mut self, path: &Path, value: &Value) {
        self.require(Condition::Equals(path.clone(), value.clone()));
        self.pre_images.push(PreImage { path: path.clone(), value: value.clone() });
    }

    fn copy(&mut self, from: &Path, to: &Path, value: &Value, removes_source: bool) {
        self.require(Condition::Exists(from.clone()));
        self.grows += bytes_at(to, value);
        self.actions.push(Action::SetFrom { to: to.clone(), from: from.clone() });
        if removes_source {
            self.remove(from, value);
        }
    }

    fn set(&mut self, to: &Path, value: &Value) {
        self.grows += bytes_at(to, value);
        self.actions.push(Action::SetValue { to: to.clone(), value: value.clone() });
    }

    fn remove(&mut self, path: &Path, value: &Value) {
        self.shrinks += bytes_at(path, value);
        self.actions.push(Action::Remove { path: path.clone() });
    }

    /// Puts a value into a map that this write makes at `root`, on the way to `to`.
    fn make(&mut self, root: Path, to: &Path, value: Value) {
        let mut names: Vec<String> = to.steps()[root.steps().len()..]
            .iter()
            .filter_map(|step| match step {
                Step::Name(name) => Some(name.clone()),
                Step::Index(_) => None,
            })
            .collect();
        let Some(last) = names.pop() else { return };
        let mut map = self.made.entry(root).or_default();
        for name in names {
            let Value::M(inner) = map.entry(name).or_insert_with(|| Value::M(Item::new())) else { return };
            map = inner;
        }
        map.insert(last, value);
    }

    fn require(&mut self, condition: Condition) {
        if !self.conditions.contains(&condition) {
            self.conditions.push(condition);
        }
    }

    fn require_parent(&mut self, to: &Path) {
        if let Some(parent) = to.parent() {
            self.require(Condition::IsMap(parent));
        }
    }

    fn reject(&mut self, why: String) {
        self.rejected.get_or_insert(why);
    }

    /// Whether a target that has no value can be given one.
    fn place(&self, to: &Path) -> Place {
        for ancestor in to.ancestors() {
            let next_is_name = matches!(to.steps()[ancestor.steps().len()], Step::Name(_));
            match (ancestor.get(self.item), next_is_name) {
                (Some(Value::M(_)), true) | (Some(Value::L(_)), false) => {}
                (Some(other), _) => {
                    return Place::Impossible(format!(
                        "`{to}` cannot be set: `{ancestor}` is of type {}, not {}",
                        other.type_name(),
                        if next_is_name { "M" } else { "L" }
                    ));
                }
                (None, _) if to.steps()[ancestor.steps().len() - 1..].iter().any(|s| matches!(s, Step::Index(_))) => {
                    return Place::Impossible(format!("`{to}` cannot be set: the item has no `{ancestor}`"));
                }
                (None, _) => return Place::ParentMissing(ancestor),
            }
        }
        Place::Ready
    }
}

enum Place {
    /// The parent is there.
    Ready,
    /// This is the outermost map that is missing; it can be made.
    ParentMissing(Path),
    /// There is no way to set it.
    Impossible(String),
}

/// Bytes that a value takes at a path, its name included.
fn bytes_at(path: &Path, value: &Value) -> usize {
    match path.steps().last() {
        // Members of a map cost one byte more than attributes of the item.
        Some(Step::Name(name)) => attribute_bytes(name, value) + usize::from(!path.is_top_level()),
        _ => attribute_bytes("", value) + 1,
    }
}
