//! Decides which items a phase selects, which changes apply to a draft's item, and which values count as missing.

use super::decide::Changes;
use super::draft::Draft;
use super::ops::Ops;
use super::{Condition, OnExisting, Selected, Selection};
use crate::item::{Item, Path, Value};

impl<'a> Draft<'a> {
    /// Returns whether the plan selects the item. If it does, pins everything that the selection read, and requires
    /// that the index key attributes still exist.
    pub(super) fn select_item(&mut self) -> Selected {
        let rules = self.rules;
        if !rules.is_in_index(self.item) {
            return Selected::No;
        }
        let selected = rules.selection.as_ref().map_or(Selected::Yes, |selection| self.select(selection));
        if selected == Selected::Yes {
            let key = self.key;
            let attributes = rules.index.schema().into_iter().flat_map(|index| &index.key);
            // A check of existence is enough, because DynamoDB refuses a write that changes the type of an index key
            // attribute.
            for attribute in attributes.filter(|attribute| !key.names().any(|name| name == attribute.name)) {
                self.require(Condition::Exists(Path::attribute(attribute.name.as_str())));
            }
        }
        selected
    }

    /// Returns whether the item is selected. If it is, pins everything that the selection read.
    pub(super) fn select(&mut self, selection: &Selection) -> Selected {
        let selected = selection.includes(self.item, &self.rules.facts);
        if selected == Selected::Yes {
            self.require_inputs_unchanged(selection);
        }
        selected
    }

    /// Pins everything that this selection read. The key of an item never changes, so it needs no condition.
    pub(super) fn require_inputs_unchanged(&mut self, selection: &Selection) {
        for input in selection.condition.inputs() {
            if !self.key.names().any(|name| name == input.root()) {
                self.require_unchanged(input);
            }
        }
    }

    /// Returns whether the change with this target applies to the item. Pins everything that its `where` read, even if
    /// the `where` is false, because the decision depends on it.
    pub(super) fn applies(&mut self, target: &Path) -> bool {
        if self.ignores_selection {
            return true;
        }
        let Some(selection) = &self.rules.options.of(target).applies_to else { return true };
        self.require_inputs_unchanged(selection);
        match selection.includes(self.item, &self.rules.facts) {
            Selected::Yes => true,
            Selected::No => false,
            Selected::NotComputable(why) => {
                self.mark_not_computable(why);
                false
            }
        }
    }

    /// Marks the item as not computable if the `where` of a change with one of these targets has no result.
    pub(super) fn check_conditions(&mut self, targets: impl Fn(&&Path) -> bool) {
        let rules = self.rules;
        for (_, selection) in rules.options.conditional().filter(|(target, _)| targets(target)) {
            if let Selected::NotComputable(why) = selection.includes(self.item, &rules.facts) {
                self.mark_not_computable(why);
            }
        }
    }

    /// Returns the value at the target of a change, or `None` if the target counts as missing. `implied` is the value
    /// that the plan implies for the target.
    pub(super) fn target_value(&self, target: &Path, implied: Option<&Value>) -> Option<&'a Value> {
        self.rules.options.of(target).target_value(target, self.item, implied)
    }

    /// Returns what to do with an existing value that differs from the value to write. A NULL that counts as missing is
    /// always overwritten.
    pub(super) fn on_existing_value(&self, target: &Path, existing: &Value, on_existing: OnExisting) -> OnExisting {
        match self.is_null_missing(target) && *existing == Value::Null {
            true => OnExisting::Overwrite,
            false => on_existing,
        }
    }

    /// Returns whether a NULL at this target, or at a map that contains it, counts as missing.
    pub(super) fn is_null_missing(&self, target: &Path) -> bool {
        self.rules.options.of(target).null_is_missing
    }
}

impl Changes {
    /// Returns the paths that the selection's `where` and the changes' own `where` read.
    pub fn where_inputs(&self) -> impl Iterator<Item = &Path> {
        let selections = self.rules.selection.iter().chain(self.rules.options.selections());
        selections.flat_map(|selection| selection.condition.inputs())
    }

    /// Returns whether the plan's selection includes this item.
    pub fn selected(&self, item: &Item) -> Selected {
        self.rules.includes(item)
    }

    /// Returns whether this phase changes only selected items and the plan does not select this item.
    pub fn has_left_selection(&self, item: &Item) -> bool {
        match &self.ops {
            Ops::Expand(_) | Ops::Contract(_) | Ops::OldFromNew(_) => self.rules.includes(item) == Selected::No,
            Ops::Undo(_) | Ops::Decider(_) => false,
        }
    }

    /// Returns whether no operation of this phase applies to the item, because the `where` of every operation is false.
    pub fn applies_to_nothing(&self, item: &Item) -> bool {
        let paths = self.ops.own_paths();
        !paths.is_empty() && paths.len() == self.left_out(item).len()
    }

    /// Returns the targets of the changes that do not apply to the item, because their own `where` is false.
    pub fn left_out(&self, item: &Item) -> Vec<Path> {
        let paths = self.ops.own_paths().into_iter();
        paths.filter(|path| self.rules.applies(path, item) == Selected::No).cloned().collect()
    }

    /// Returns whether the plan selects through an index that does not contain this item. Returns false if the index's
    /// key is unknown.
    pub fn is_outside_index(&self, item: &Item) -> bool {
        self.rules.index.schema().is_some() && !self.rules.is_in_index(item)
    }

    /// Decides whether the plan's selection allows this phase to change the item.
    ///
    /// `run` writes only selected items. A plan has a `contract` or an old-from-new phase only if its selection cannot
    /// change. So these phases also change only selected items. Undo restores an item if a record shows that this
    /// migration wrote it. If the selection cannot change and includes the item, undo needs no such record.
    pub(super) fn select(&self, draft: &mut Draft<'_>) -> Selected {
        if !self.rules.selects_items() {
            return Selected::Yes;
        }
        match &self.ops {
            Ops::Expand(_) | Ops::Contract(_) | Ops::OldFromNew(_) => draft.select_item(),
            // Undo decides for each operation whether it needs a record.
            Ops::Undo(_) | Ops::Decider(_) => Selected::Yes,
        }
    }
}
