//! Computes the new value of a container from the changes in its elements. The functions of this module are pure.

use std::borrow::Cow;

use super::{Each, ElementEdit, ExistingRule};
use crate::change::OnExisting;
use crate::change::formula::at_path;
use crate::expr::{Facts, StepBudget};
use crate::item::{Item, MAX_ITEM_BYTES, NotComputable, Path, PathStep, Value, item_bytes, value_bytes};

/// The result of the changes in the elements of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edited {
    /// The new container, or `None` if it stays unchanged.
    pub after: Option<Value>,
    /// Whether a target has a value that differs from the plan and that the tool must not overwrite. If so, the item
    /// must not be written.
    pub has_diverged: bool,
    /// The first such target in a list. `None` in a map, because the names in a map are often data.
    pub diverged_at: Option<Path>,
    /// The size of the new values in bytes, if they alone exceed the maximum size of an item. In this case, the
    /// container is not built.
    pub too_many_bytes: Option<usize>,
    /// Whether a target has a value that differs from the plan but counts as done.
    pub has_skipped: bool,
    /// Whether an element already matches the plan.
    pub is_applied: bool,
    /// Whether an element still has a value that the plan removes without moving it.
    pub has_unexpected: bool,
    /// The worst difference between an element and the plan.
    pub fault: Option<ElementFault>,
    /// The first path in a list with this difference. `None` in a map.
    pub fault_at: Option<Path>,
}

/// How an element differs from what the plan implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementFault {
    /// A value is missing.
    Missing,
    /// A value that the plan removes is still there.
    Unexpected,
    /// A value differs from what the plan implies.
    Stale,
}

/// Why a container cannot be changed.
#[derive(Debug, Clone, PartialEq)]
pub enum EditFailure {
    /// An expression or a conversion has no result for an element.
    NotComputable(NotComputable),
    /// The shape of an element does not allow a change. The text contains no attribute values.
    Rejected(String),
}

/// What is needed to change one element.
struct ElementEditor<'a> {
    item: &'a Item,
    facts: &'a Facts,
    /// The remaining step budget for the expressions of all elements of this item.
    steps: StepBudget,
    edited: Edited,
    /// Why the shape of an element does not allow a change. If another element has no result, that failure is reported
    /// instead, so that the order of the changes does not matter.
    rejected: Option<String>,
    /// The container, if it is a list, and the position of the element in it.
    place: Option<(&'a Path, usize)>,
    /// The size in bytes of all new values so far.
    bytes: usize,
    /// The maximum size of the new item in bytes. A larger item is never written.
    max_bytes: usize,
}

/// The value of a path in the new element. `None` removes the path.
type Replacement<'a> = (&'a Path, Option<Cow<'a, Value>>);

impl Each {
    /// Returns the container of this item after the changes. If the container is missing or NULL, there is nothing to
    /// change. The same is true if the value is neither a list nor a map, unless a change computes or converts values.
    ///
    /// # Errors
    ///
    /// Fails if an expression or a conversion has no result for an element, or if the shape of an element does not
    /// allow a change.
    pub fn edit(&self, item: &Item, facts: &Facts) -> Result<Edited, EditFailure> {
        let mut editor = ElementEditor {
            item,
            facts,
            steps: StepBudget::default(),
            edited: Edited::default(),
            rejected: None,
            place: None,
            bytes: 0,
            max_bytes: MAX_ITEM_BYTES.max(item_bytes(item)),
        };
        let after = match self.container().get(item) {
            Some(Value::L(list)) => {
                let mut after = Vec::with_capacity(list.len());
                for (at, element) in list.iter().enumerate() {
                    editor.place = Some((self.container(), at));
                    after.push(editor.element(self.edits(), element, || format!("`{}[{at}]`", self.container()))?);
                }
                Value::L(after)
            }
            Some(Value::M(map)) => {
                let mut after = Item::new();
                for (name, element) in map {
                    // The names in such a map are often data, so an error does not contain them.
                    let edited =
                        editor.element(self.edits(), element, || format!("a value of `{}`", self.container()))?;
                    after.insert(name.clone(), edited);
                }
                Value::M(after)
            }
            None | Some(Value::Null) => return Ok(editor.edited),
            Some(
                other @ (Value::S(_)
                | Value::N(_)
                | Value::B(_)
                | Value::Bool(_)
                | Value::Ss(_)
                | Value::Ns(_)
                | Value::Bs(_)),
            ) => {
                return match self.computes() {
                    false => Ok(editor.edited),
                    true => Err(EditFailure::NotComputable(NotComputable::new(format!(
                        "`{}` is of type {}, and `each` needs type L or M",
                        self.container(),
                        other.type_name()
                    )))),
                };
            }
        };
        if let Some(why) = editor.rejected {
            return Err(EditFailure::Rejected(why));
        }
        // `element` sets `after` as soon as one element changes.
        let is_changed = editor.edited.after.take().is_some();
        let too_many_bytes = Some(editor.bytes).filter(|bytes| *bytes > editor.max_bytes);
        let after = Some(after).filter(|_| is_changed && too_many_bytes.is_none());
        Ok(Edited { after, too_many_bytes, ..editor.edited })
    }
}

impl ElementEditor<'_> {
    /// Returns one element after all edits. Each edit reads the original element. `name` names the element in errors.
    fn element(
        &mut self,
        edits: &[ElementEdit],
        element: &Value,
        name: impl Fn() -> String,
    ) -> Result<Value, EditFailure> {
        let Value::M(before) = element else {
            // An element that is not a map has no members to move, set, remove or convert. An expression that needs
            // members has no result.
            for edit in edits {
                if let ElementEdit::Compute { expression, .. } = edit {
                    let value = expression.evaluate_element(self.item, element, self.facts, &mut self.steps);
                    value.map_err(|why| EditFailure::NotComputable(why).at(&name()))?;
                }
            }
            return Ok(element.clone());
        };
        let mut replacements: Vec<Replacement<'_>> = Vec::new();
        for edit in edits {
            match self.plan(edit, element, before, &mut replacements).map_err(|failure| failure.at(&name())) {
                Ok(()) => {}
                Err(EditFailure::Rejected(why)) => {
                    self.rejected.get_or_insert(why);
                }
                Err(failure @ EditFailure::NotComputable(_)) => return Err(failure),
            }
        }
        if replacements.is_empty() {
            return Ok(element.clone());
        }
        self.edited.after = Some(Value::Null);
        self.bytes += replacements.iter().filter_map(|(_, value)| value.as_deref()).map(value_bytes).sum::<usize>();
        if self.bytes > self.max_bytes {
            // A large value in many elements would need much memory. The write is refused anyway, so do not build the
            // element.
            return Ok(Value::Null);
        }
        let mut after = before.clone();
        for (path, value) in replacements {
            match value {
                Some(value) => put(&mut after, path, value.into_owned()),
                None => drop(path.remove(&mut after)),
            }
        }
        Ok(Value::M(after))
    }

    /// Plans one edit of an element.
    fn plan<'e>(
        &mut self,
        edit: &'e ElementEdit,
        element: &Value,
        before: &'e Item,
        replacements: &mut Vec<Replacement<'e>>,
    ) -> Result<(), EditFailure> {
        match edit {
            ElementEdit::Move { from, to, existing } => match from.get(before) {
                Some(value) => {
                    let is_same = to.get(before) == Some(value);
                    let written = self.write(before, to, Cow::Borrowed(value), *existing, replacements)?;
                    if is_same {
                        self.report(ElementFault::Unexpected, from);
                    }
                    if written {
                        replacements.push((from, None));
                    }
                }
                None => self.edited.is_applied |= existing.target_value(to, before, None).is_some(),
            },
            ElementEdit::Set { to, value, existing } => {
                self.write(before, to, Cow::Borrowed(value), *existing, replacements)?;
            }
            ElementEdit::Remove { path } => {
                if path.get(before).is_some() {
                    self.report(ElementFault::Unexpected, path);
                    replacements.push((path, None));
                }
            }
            ElementEdit::Compute { to, expression, existing } => {
                match expression.evaluate_element(self.item, element, self.facts, &mut self.steps) {
                    Ok(value) => drop(self.write(before, to, Cow::Owned(value), *existing, replacements)?),
                    Err(why) => self.no_result(before, to, *existing, why)?,
                }
            }
            ElementEdit::Convert { path, conversion } => match path.get(before) {
                None => {}
                Some(value) if conversion.is_converted(value) => self.edited.is_applied = true,
                Some(value) => {
                    let converted = conversion.apply(value);
                    let converted = converted.map_err(|why| EditFailure::NotComputable(at_path(path, &why)))?;
                    self.report(ElementFault::Stale, path);
                    replacements.push((path, Some(Cow::Owned(converted))));
                }
            },
            ElementEdit::ConvertInto { from, to, conversion, existing } => {
                match from.get(before).map(|value| conversion.apply(value)) {
                    None => {}
                    Some(Ok(value)) => drop(self.write(before, to, Cow::Owned(value), *existing, replacements)?),
                    Some(Err(why)) => self.no_result(before, to, *existing, at_path(from, &why))?,
                }
            }
        }
        Ok(())
    }

    /// Handles a target whose value cannot be computed. With `skip`, any existing value counts as done, as it does for
    /// a target outside a container.
    fn no_result(
        &mut self,
        before: &Item,
        to: &Path,
        existing: ExistingRule,
        why: NotComputable,
    ) -> Result<(), EditFailure> {
        if existing.on_existing == OnExisting::Skip && existing.target_value(to, before, None).is_some() {
            self.edited.has_skipped = true;
            return Ok(());
        }
        Err(EditFailure::NotComputable(why))
    }

    /// Plans the write of a value to a target. Returns whether the target has this value afterwards.
    fn write<'e>(
        &mut self,
        before: &Item,
        to: &'e Path,
        value: Cow<'e, Value>,
        existing: ExistingRule,
        replacements: &mut Vec<Replacement<'e>>,
    ) -> Result<bool, EditFailure> {
        match (to.get(before), existing.target_value(to, before, Some(&value)), existing.on_existing) {
            (Some(there), _, _) if *there == *value => {
                self.edited.is_applied = true;
                return Ok(true);
            }
            (Some(_), Some(_), OnExisting::Keep) => {
                self.diverge(to);
                self.report(ElementFault::Stale, to);
                return Ok(false);
            }
            (Some(_), Some(_), OnExisting::Skip) => {
                self.edited.has_skipped = true;
                return Ok(false);
            }
            (Some(_), Some(_), OnExisting::Overwrite) => self.report(ElementFault::Stale, to),
            // A NULL that counts as missing is overwritten.
            (Some(_), None, _) => self.report(ElementFault::Missing, to),
            (None, _, _) => {
                existing.check_placement(to, before)?;
                self.report(ElementFault::Missing, to);
            }
        }
        replacements.push((to, Some(value)));
        Ok(true)
    }

    /// Records that this target prevents the write. Of several such targets, the first one in the list is reported, so
    /// the order of the edits does not matter.
    fn diverge(&mut self, to: &Path) {
        self.edited.has_diverged = true;
        self.edited.diverged_at = self.edited.diverged_at.take().into_iter().chain(self.place_of(to)).min();
    }

    /// Records a difference at this path. Of several equally severe differences, the first one in the list is reported.
    fn report(&mut self, fault: ElementFault, at: &Path) {
        self.edited.has_unexpected |= fault == ElementFault::Unexpected;
        match self.edited.fault {
            Some(worst) if worst > fault => return,
            Some(worst) if worst == fault => {}
            Some(_) | None => self.edited.fault_at = None,
        }
        self.edited.fault = Some(fault);
        self.edited.fault_at = self.edited.fault_at.take().into_iter().chain(self.place_of(at)).min();
    }

    /// Converts a path within the element to a path within the item. Returns `None` if the container is a map.
    fn place_of(&self, path: &Path) -> Option<Path> {
        let (container, at) = self.place?;
        let element = container.steps().iter().cloned().chain([PathStep::Index(at)]);
        Path::from_steps(element.chain(path.steps().iter().cloned()).collect())
    }
}

impl ExistingRule {
    /// Returns the value at the target, or `None` if the target counts as missing. `implied` is the value that the plan
    /// implies for the target. If this value is NULL, a NULL at the target does not count as missing.
    fn target_value<'v>(self, to: &Path, element: &'v Item, implied: Option<&Value>) -> Option<&'v Value> {
        let value = to.get(element)?;
        let counts_as_missing = self.null_is_missing && *value == Value::Null && implied != Some(value);
        (!counts_as_missing).then_some(value)
    }

    /// Checks that a missing target can be created. Missing parent maps are created with it.
    fn check_placement(self, to: &Path, element: &Item) -> Result<(), EditFailure> {
        for ancestor in to.ancestors() {
            let depth = ancestor.steps().len();
            let next_is_name = matches!(to.steps()[depth], PathStep::Name(_));
            match (ancestor.get(element), next_is_name) {
                (Some(Value::M(_)), true) | (Some(Value::L(_)), false) => {}
                (Some(Value::Null), true) if self.null_is_missing => return Ok(()),
                (Some(other), _) => {
                    let needed = if next_is_name { "M" } else { "L" };
                    let found = other.type_name();
                    return Err(EditFailure::Rejected(format!(
                        "`{to}` cannot be set: `{ancestor}` is of type {found}, not {needed}"
                    )));
                }
                (None, _) if to.steps()[depth - 1..].iter().any(|step| matches!(step, PathStep::Index(_))) => {
                    return Err(EditFailure::Rejected(format!(
                        "`{to}` cannot be set: the element has no `{ancestor}`"
                    )));
                }
                (None, _) => return Ok(()),
            }
        }
        Ok(())
    }
}

impl EditFailure {
    /// Adds the name of the element to the reason for the failure.
    fn at(self, element: &str) -> EditFailure {
        match self {
            EditFailure::NotComputable(why) => {
                EditFailure::NotComputable(NotComputable::new(format!("in {element}: {}", why.reason())))
            }
            EditFailure::Rejected(why) => EditFailure::Rejected(format!("in {element}: {why}")),
        }
    }
}

/// Puts a value into a new element. Creates missing parent maps, and replaces a NULL parent with a map.
/// [`ExistingRule::check_placement`] has checked that both are allowed.
fn put(element: &mut Item, path: &Path, value: Value) {
    for ancestor in path.ancestors() {
        if matches!(ancestor.get(element), None | Some(Value::Null)) {
            ancestor.set(element, Value::M(Item::new()));
        }
    }
    path.set(element, value);
}
