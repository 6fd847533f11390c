//! A draft of a decision. It collects the actions and conditions for one item, and turns them into a guarded write.

use std::collections::BTreeMap;

use super::cost::{Pricing, check_units};
use super::decision::Decision;
use super::expression_size::ExpressionSize;
use super::{
    Action, Condition, GuardedWrite, ItemHistory, ItemRules, OtherTable, PreImage, PriorValue, ProgramQuestion,
    WriteCost,
};
use crate::item::{Item, ItemKey, KeySchema, NotComputable, Path, PathStep, Value, attribute_bytes, item_bytes};

/// The actions and conditions collected so far for one item.
pub(super) struct Draft<'a> {
    pub(super) item: &'a Item,
    /// Whether the item is missing from the table. If so, `item` has only the key.
    pub(super) is_missing: bool,
    pub(super) history: &'a ItemHistory,
    /// The plan's rules about items.
    pub(super) rules: &'a ItemRules,
    /// The table's key.
    pub(super) key: &'a KeySchema,
    /// The table that gets the derived item. `None` for the item's own table.
    pub(super) other_table: Option<&'a OtherTable>,
    /// Whether the `where` of a change does not count, because a stable attribute that it reads has changed.
    pub(super) ignores_selection: bool,
    /// Values that this write restores, by path. These paths currently have no value.
    pub(super) restored: BTreeMap<&'a Path, &'a Value>,
    pub(super) actions: Vec<Action>,
    conditions: Vec<Condition>,
    pub(super) pre_images: Vec<PreImage>,
    /// The maps that the write creates because a target's parent is missing, keyed by the map's path.
    new_maps: BTreeMap<Path, Item>,
    pub(super) diverged: Vec<Path>,
    /// Targets whose existing value counts as done even though it differs from what the plan implies.
    pub(super) skipped: Vec<Path>,
    /// Paths whose values stay. If the item needs no other change, it is reported as diverged at these paths.
    pub(super) unchanged: Vec<Path>,
    rejected: Option<String>,
    not_computable: Option<NotComputable>,
    /// The questions that programs must answer before the write can be planned.
    pub(super) questions: Vec<ProgramQuestion>,
    /// For a run, whether undo needs a record of each write of the change. For undo, whether only such a record allows a
    /// change: the plan is in place, or the selection may not include the item.
    pub(super) needs_record: bool,
    /// Whether the journal must record each write of all changes, because an item may need several writes.
    pub(super) records_all: bool,
    pub(super) already_applied: bool,
    added_bytes: usize,
    removed_bytes: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(item: &'a Item, history: &'a ItemHistory, rules: &'a ItemRules, key: &'a KeySchema) -> Draft<'a> {
        Draft {
            item,
            is_missing: false,
            history,
            rules,
            key,
            other_table: None,
            ignores_selection: false,
            restored: BTreeMap::new(),
            actions: Vec::new(),
            conditions: Vec::new(),
            pre_images: Vec::new(),
            new_maps: BTreeMap::new(),
            diverged: Vec::new(),
            skipped: Vec::new(),
            unchanged: Vec::new(),
            rejected: None,
            not_computable: None,
            questions: Vec::new(),
            needs_record: false,
            records_all: false,
            already_applied: false,
            added_bytes: 0,
            removed_bytes: 0,
        }
    }

    /// If an item is refused for another reason and its version cannot be raised, marks it as not computable. A run and
    /// verification then agree: an item without a result counts as not computable, even if something else is wrong with
    /// it.
    pub(super) fn check_version_of_refused(&mut self, version: &Path, later: usize) {
        let is_refused = self.rejected.is_some() || !self.diverged.is_empty();
        if is_refused && let Err(why) = self.next_version(version, later) {
            self.mark_not_computable(why);
        }
    }

    /// Returns the decision. `bump` is the version that every write raises, and the number of times that later writes
    /// raise it.
    pub(super) fn finish(mut self, key: ItemKey, bump: Option<(&Path, usize)>, pricing: &Pricing) -> Decision {
        if let Some(why) = self.not_computable {
            return Decision::NotComputable(why);
        }
        if let Some(why) = self.rejected {
            return Decision::Rejected(why);
        }
        if !self.diverged.is_empty() {
            return Decision::Diverged(self.diverged);
        }
        self.settle_maps();
        // An item without actions may still need a write, depending on the answers of programs.
        let needs_nothing = self.actions.is_empty() && self.questions.is_empty();
        if needs_nothing && !self.unchanged.is_empty() {
            return Decision::Diverged(self.unchanged);
        }
        if needs_nothing && !self.skipped.is_empty() {
            return Decision::Skipped(self.skipped);
        }
        if needs_nothing {
            return if self.already_applied { Decision::AlreadyApplied } else { Decision::NothingToDo };
        }
        if let Some((version, later)) = bump.filter(|_| !self.actions.is_empty()) {
            self.bump(version, later);
            if let Some(why) = self.not_computable {
                return Decision::NotComputable(why);
            }
        }
        // The first condition determines whether the item must exist. Without this condition, UpdateItem would recreate
        // a deleted item.
        let partition_key = self.key.partition.name.clone();
        let created = self.actions.iter().find_map(Action::created_item);
        let derived = self.actions.iter().find_map(Action::derived_item);
        let deletes = self.actions.iter().any(|action| matches!(action, Action::DeleteItem { .. }));
        let mut conditions = vec![match created {
            Some(_) => Condition::ItemMissing(partition_key),
            None => Condition::ItemExists(partition_key),
        }];
        conditions.append(&mut self.conditions);
        let bytes_before = if created.or(derived).is_some() { 0 } else { item_bytes(self.item) };
        let bytes_after = match created.or(derived) {
            Some(item) => item_bytes(item),
            None if deletes => 0,
            None => (bytes_before + self.added_bytes).saturating_sub(self.removed_bytes),
        };
        let (cost, cost_elsewhere) = match (self.other_table, derived) {
            (Some(table), Some(derived)) => {
                let check = WriteCost { table: check_units(self.item), indexes: Vec::new() };
                (check, Some(table.put_cost(derived)))
            }
            (Some(_) | None, _) => (pricing.cost(self.item, &self.actions, bytes_before, bytes_after), None),
        };
        let equal_values = conditions.iter().filter_map(|condition| equal_value(condition, self.item)).collect();
        let write = GuardedWrite {
            key,
            actions: self.actions,
            conditions,
            equal_values,
            pre_images: self.pre_images,
            bytes_before,
            bytes_after,
            cost,
            cost_elsewhere,
            next: None,
        };
        if self.questions.is_empty() {
            Decision::Write(write)
        } else {
            Decision::NeedsAnswers(self.questions, Box::new(write))
        }
    }

    /// Adds the actions and conditions for the maps that the write creates, and for the empty maps that it removes.
    fn settle_maps(&mut self) {
        for (root, map) in std::mem::take(&mut self.new_maps) {
            match root.get(self.item) {
                // The map replaces a NULL that counts as missing.
                Some(null) => {
                    self.subtract_bytes(&root, null);
                    self.record_pre_image(PreImage::with_value(&root, null));
                }
                None => {
                    self.require(Condition::Missing(root.clone()));
                    self.pre_images.push(PreImage::without_value(&root));
                }
            }
            self.require_parent(&root);
            self.set(&root, &Value::M(map));
        }
        self.remove_created_maps();
    }

    /// Returns the number of bytes by which the operations planned so far enlarge the item.
    pub(super) fn growth(&self) -> i64 {
        self.added_bytes as i64 - self.removed_bytes as i64
    }

    /// Returns the size of the expressions for the operations planned so far. Returns `None` if they need no write.
    pub(super) fn into_size(mut self) -> Option<ExpressionSize> {
        self.settle_maps();
        (!self.actions.is_empty()).then(|| ExpressionSize::of(&self.actions, &self.conditions))
    }

    /// Returns the size of the expressions for the conditions and actions planned so far, including the condition that
    /// the item exists.
    pub(super) fn size(&self) -> ExpressionSize {
        let exists = Condition::ItemExists(self.key.partition.name.clone());
        let conditions: Vec<Condition> = self.conditions.iter().cloned().chain([exists]).collect();
        ExpressionSize::of(&self.actions, &conditions)
    }

    /// Records a value that is about to be destroyed, and makes the write conditional on it.
    pub(super) fn record_pre_image(&mut self, pre: PreImage) {
        if let PriorValue::Value(value) = &pre.prior {
            self.require(Condition::Equals(pre.path.clone(), value.clone()));
        }
        self.pre_images.push(pre);
    }

    /// Copies the value at `from` to `to`. `value` is the image's value at `from`.
    pub(super) fn copy(&mut self, from: &Path, to: &Path, value: &Value) {
        self.added_bytes += bytes_at(to, value);
        self.actions.push(Action::SetFrom { to: to.clone(), from: from.clone(), value: value.clone() });
    }

    pub(super) fn set(&mut self, to: &Path, value: &Value) {
        self.added_bytes += bytes_at(to, value);
        self.actions.push(Action::SetValue { to: to.clone(), value: value.clone() });
    }

    pub(super) fn remove(&mut self, path: &Path, value: &Value) {
        self.subtract_bytes(path, value);
        self.actions.push(Action::Remove { path: path.clone() });
    }

    /// Subtracts the size of a removed or overwritten value from the size of the item.
    pub(super) fn subtract_bytes(&mut self, path: &Path, value: &Value) {
        self.removed_bytes += bytes_at(path, value);
    }

    /// Plans a write that the size rule refuses. The new value has at least `bytes` bytes, which is more than an item
    /// may have. The action therefore writes the existing value.
    pub(super) fn overwrite_with_too_many_bytes(&mut self, path: &Path, now: &Value, bytes: usize) {
        self.overwrite(path, now, now);
        self.added_bytes += bytes;
    }

    pub(super) fn add_back_bytes(&mut self, path: &Path, value: &Value) {
        self.removed_bytes -= bytes_at(path, value);
    }

    /// Copies the value at `to` back to `from`. The caller must add conditions that pin both paths. Returns the reason
    /// if the value cannot be written to `from`.
    pub(super) fn copy_back(&mut self, from: &Path, to: &Path, new: &Value) -> Result<(), String> {
        if let Some(old) = from.get(self.item) {
            self.subtract_bytes(from, old);
            self.copy(to, from, new);
            return Ok(());
        }
        match self.placement(from) {
            Placement::Ready => {
                self.require_parent(from);
                self.copy(to, from, new);
            }
            Placement::ParentMissing(root) => {
                self.require(Condition::Equals(to.clone(), new.clone()));
                self.put_in_new_map(root, from, new.clone());
            }
            Placement::Impossible(why) => return Err(why),
        }
        Ok(())
    }

    /// Returns the item as it will be after the actions collected so far.
    pub(super) fn image_after(&self) -> Item {
        image_after(self.item, &self.actions)
    }

    /// Puts the value for `to` into a new map, which this write creates at `root`. `root` is the outermost missing
    /// ancestor of `to`.
    pub(super) fn put_in_new_map(&mut self, root: Path, to: &Path, value: Value) {
        let mut names: Vec<String> = to.steps()[root.steps().len()..]
            .iter()
            .filter_map(|step| match step {
                PathStep::Name(name) => Some(name.clone()),
                PathStep::Index(_) => None,
            })
            .collect();
        let Some(last) = names.pop() else { return };
        let mut map = self.new_maps.entry(root).or_default();
        for name in names {
            let Value::M(inner) = map.entry(name).or_insert_with(|| Value::M(Item::new())) else { return };
            map = inner;
        }
        map.insert(last, value);
    }

    pub(super) fn require(&mut self, condition: Condition) {
        // An equality condition already proves that the value exists.
        if matches!(&condition, Condition::Exists(path) if self.requires_equality(path)) {
            return;
        }
        if let Condition::Equals(path, _) = &condition {
            self.conditions.retain(|other| *other != Condition::Exists(path.clone()));
        }
        if !self.conditions.contains(&condition) {
            self.conditions.push(condition);
        }
    }

    fn requires_equality(&self, path: &Path) -> bool {
        self.conditions.iter().any(|condition| matches!(condition, Condition::Equals(held, _) if held == path))
    }

    /// Requires that a path is unchanged: it still has its value from the image, or still has no value.
    pub(super) fn require_unchanged(&mut self, path: &Path) {
        self.require(match path.get(self.item) {
            Some(value) => Condition::Equals(path.clone(), value.clone()),
            None => Condition::Missing(path.clone()),
        });
    }

    pub(super) fn require_parent(&mut self, to: &Path) {
        if let Some(parent) = to.parent() {
            self.require(Condition::IsMap(parent));
        }
    }

    pub(super) fn reject(&mut self, why: String) {
        self.rejected.get_or_insert(why);
    }

    pub(super) fn mark_not_computable(&mut self, why: NotComputable) {
        self.not_computable.get_or_insert(why);
    }

    /// Determines whether a missing target can be created.
    pub(super) fn placement(&self, to: &Path) -> Placement {
        for ancestor in to.ancestors() {
            let next_is_name = matches!(to.steps()[ancestor.steps().len()], PathStep::Name(_));
            match (ancestor.get(self.item), next_is_name) {
                (Some(Value::M(_)), true) | (Some(Value::L(_)), false) => {}
                (Some(Value::Null), true) if self.is_null_missing(to) => return Placement::ParentMissing(ancestor),
                (Some(other), _) => {
                    return Placement::Impossible(format!(
                        "`{to}` cannot be set: `{ancestor}` is of type {}, not {}",
                        other.type_name(),
                        if next_is_name { "M" } else { "L" }
                    ));
                }
                (None, _)
                    if to.steps()[ancestor.steps().len() - 1..].iter().any(|s| matches!(s, PathStep::Index(_))) =>
                {
                    return Placement::Impossible(format!("`{to}` cannot be set: the item has no `{ancestor}`"));
                }
                (None, _) => return Placement::ParentMissing(ancestor),
            }
        }
        Placement::Ready
    }
}

/// Returns the first path of a compared pair, with its value in the image.
fn equal_value(condition: &Condition, item: &Item) -> Option<(Path, Value)> {
    match condition {
        Condition::PathsEqual(path, _) => Some((path.clone(), path.get(item)?.clone())),
        Condition::ItemExists(_)
        | Condition::ItemMissing(_)
        | Condition::Exists(_)
        | Condition::Missing(_)
        | Condition::IsMap(_)
        | Condition::Equals(..) => None,
    }
}

/// Returns the item as it will be after these actions.
pub(super) fn image_after(item: &Item, actions: &[Action]) -> Item {
    let mut after = item.clone();
    for action in actions {
        match action {
            Action::SetFrom { to, value, .. } | Action::SetValue { to, value } => {
                to.set(&mut after, value.clone());
            }
            Action::Remove { path } => drop(path.remove(&mut after)),
            Action::DeleteItem { .. } => after.clear(),
            Action::PutItem { item } => after.clone_from(item),
            // The item itself stays as it is.
            Action::PutDerived { .. } => {}
        }
    }
    after
}

pub(super) enum Placement {
    /// The target can be set, because its parent exists.
    Ready,
    /// The target's parent is missing, or is a NULL that counts as missing. The write can create the parent. The path
    /// is the path of the outermost missing map.
    ParentMissing(Path),
    /// The target cannot be set. The text explains why.
    Impossible(String),
}

/// Returns the size in bytes of a value at a path, including the attribute name.
pub(super) fn bytes_at(path: &Path, value: &Value) -> usize {
    match path.steps().last() {
        // A member of a map needs one byte more than an attribute of the item.
        Some(PathStep::Name(name)) => attribute_bytes(name, value) + usize::from(!path.is_top_level()),
        Some(PathStep::Index(_)) | None => attribute_bytes("", value) + 1,
    }
}
