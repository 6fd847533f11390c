//! The effect of a plan's changes on one item.

use backfill::internals::change::{OnExisting, input_digest};
use backfill::internals::item::{Item, Num, Value};

use super::applies;
use super::paths::{get, has_place, remove, set};
use super::{function, program};
use crate::elements::{ELEMENT_FORMULAS, elements};
use crate::facts::{ADDITIONS, CONVERSIONS, FORMULAS, REPLACEMENTS};
use crate::spec::{ChangeSpec, Kind, MARKER, Spec, constant};

/// The combined effect of all changes on an item or an element.
pub(super) struct Effect<'s> {
    spec: &'s Spec,
    /// The item that contains the element, or `None` if this is the effect on an item.
    outer: Option<&'s Item>,
    before: &'s Item,
    pub(super) after: Item,
    pub(super) writes: bool,
    pub(super) already: bool,
    pub(super) skipped: bool,
    pub(super) diverged: bool,
    pub(super) rejected: bool,
    pub(super) not_computable: bool,
    /// Whether the program gives no answer. The tool does not send an item to the program if the item fails for a
    /// different reason.
    pub(super) unanswered: bool,
}

impl<'s> Effect<'s> {
    pub(super) fn new(spec: &'s Spec, before: &'s Item, outer: Option<&'s Item>) -> Effect<'s> {
        Effect {
            spec,
            outer,
            before,
            after: before.clone(),
            writes: false,
            already: false,
            skipped: false,
            diverged: false,
            rejected: false,
            not_computable: false,
            unanswered: false,
        }
    }

    /// Returns whether the run removes old values immediately. In elements, it always does.
    fn in_place(&self) -> bool {
        self.spec.in_place || self.outer.is_some()
    }

    pub(super) fn add(&mut self, change: &ChangeSpec) {
        match applies(change, self.before) {
            Some(true) => {}
            Some(false) => return,
            None => return self.not_computable = true,
        }
        let before = self.before;
        match &change.kind {
            Kind::Move { from, to } | Kind::Copy { from, to } => {
                let is_move = matches!(change.kind, Kind::Move { .. });
                let Some(value) = get(before, from) else {
                    return self.already |= is_move && !self.is_missing(change, to);
                };
                if self.put(change, to, value.clone()) && is_move && self.in_place() {
                    remove(&mut self.after, from);
                    self.writes = true;
                }
            }
            Kind::Set { to, constant: at } => drop(self.put(change, to, constant(*at))),
            Kind::Remove { path } => self.remove(path),
            Kind::Compute { to, formula } => match (FORMULAS[*formula].value)(before) {
                Some(value) => drop(self.put(change, to, value)),
                None => self.no_result(change, to),
            },
            Kind::Prefix { to } => {
                if let Some(Value::S(text)) = get(before, to) {
                    set(&mut self.after, to, Value::S(format!("+{text}")));
                    self.writes = true;
                }
            }
            Kind::Replace { to, replacement } => {
                let replacement = &REPLACEMENTS[*replacement];
                match (get(before, replacement.old), (replacement.value)(before)) {
                    (None, _) => self.already |= !self.is_missing(change, to),
                    (Some(_), Some(value)) => drop(self.put(change, to, value)),
                    (Some(_), None) => self.not_computable = true,
                }
            }
            Kind::Convert { path, conversion } => match get(before, path) {
                None => {}
                Some(value) if (CONVERSIONS[*conversion].is_done)(value) => self.already = true,
                Some(value) => match (CONVERSIONS[*conversion].value)(value) {
                    Some(converted) => {
                        set(&mut self.after, path, converted);
                        self.writes = true;
                    }
                    None => self.not_computable = true,
                },
            },
            Kind::ConvertInto { path, to, conversion } => match get(before, path) {
                None => {}
                Some(value) if (CONVERSIONS[*conversion].is_done)(value) => drop(self.put(change, to, value.clone())),
                Some(value) => match (CONVERSIONS[*conversion].value)(value) {
                    Some(converted) => drop(self.put(change, to, converted)),
                    None => self.no_result(change, to),
                },
            },
            Kind::Append { to, addition } => self.append(change, to, &(ADDITIONS[*addition].1)(), *addition),
            // The version is raised after all other changes. A plan with a delete or a put has no other change.
            Kind::Bump | Kind::Delete { .. } | Kind::Put { .. } => {}
            Kind::Custom { inputs, outputs } => self.custom(change, inputs, outputs),
            Kind::Each { container, edits } => self.each(container, edits),
            Kind::ElementCompute { to, formula } => {
                let element = Value::M(before.clone());
                match (ELEMENT_FORMULAS[*formula].value)(self.outer.unwrap_or(before), &element) {
                    Some(value) => drop(self.put(change, to, value)),
                    None => self.no_result(change, to),
                }
            }
            Kind::Exec { inputs, outputs } => self.exec(change, inputs, outputs),
        }
    }

    /// Returns whether the target has no value, or a NULL that counts as missing.
    fn is_missing(&self, change: &ChangeSpec, to: &str) -> bool {
        get(self.before, to).is_none_or(|value| change.null_is_missing && *value == Value::Null)
    }

    /// Records that a formula has no result. With `skip`, an existing value counts as done even if the formula has no
    /// result.
    fn no_result(&mut self, change: &ChangeSpec, to: &str) {
        match self.spec.on_existing(change) == OnExisting::Skip && !self.is_missing(change, to) {
            true => self.skipped = true,
            false => self.not_computable = true,
        }
    }

    /// Puts the implied value at a target. Returns whether the target now has this value.
    fn put(&mut self, change: &ChangeSpec, to: &str, value: Value) -> bool {
        match get(self.before, to) {
            Some(there) if *there == value => {
                self.already = true;
                return true;
            }
            Some(_) if !self.is_missing(change, to) => match self.spec.on_existing(change) {
                OnExisting::Keep => {
                    self.diverged = true;
                    return false;
                }
                OnExisting::Skip => {
                    self.skipped = true;
                    return false;
                }
                OnExisting::Overwrite => {}
            },
            Some(_) | None => {}
        }
        self.write(change, to, value)
    }

    fn write(&mut self, change: &ChangeSpec, to: &str, value: Value) -> bool {
        if !has_place(self.before, to, change.null_is_missing) {
            self.rejected = true;
            return false;
        }
        set(&mut self.after, to, value);
        self.writes = true;
        true
    }

    /// Removes a value in place. If the copy of the value was skipped, the value exists only here, so it stays.
    fn remove(&mut self, path: &str) {
        let Some(value) = get(self.before, path).filter(|_| self.in_place()) else { return };
        let is_skipped = |change: &ChangeSpec| {
            let Kind::Copy { from, to } = change.kind else { return false };
            let there = get(self.before, to).filter(|there| {
                // A copy overwrites a NULL that counts as missing, unless the NULL equals the value.
                *there == value || !(change.null_is_missing && **there == Value::Null)
            });
            from == path
                && self.spec.on_existing(change) == OnExisting::Skip
                && there.is_some_and(|there| there != value)
        };
        if !self.spec.changes.iter().any(is_skipped) {
            remove(&mut self.after, path);
            self.writes = true;
        }
    }

    fn append(&mut self, change: &ChangeSpec, to: &str, addition: &Value, at: usize) {
        let is_element = ADDITIONS[at].0.starts_with("value =");
        let there = get(self.before, to).filter(|_| !self.is_missing(change, to));
        let whole = match (there, addition) {
            (None, _) if is_element => Value::L(vec![addition.clone()]),
            (None, _) => addition.clone(),
            (Some(Value::L(list)), _) if is_element => {
                if list.contains(addition) {
                    return self.already = true;
                }
                Value::L(list.iter().cloned().chain([addition.clone()]).collect())
            }
            (Some(Value::Ss(set)), Value::Ss(more)) if !is_element => {
                let new: Vec<String> = more.iter().filter(|member| !set.contains(member)).cloned().collect();
                if new.is_empty() {
                    return self.already = true;
                }
                Value::Ss([set.clone(), new].concat())
            }
            (Some(Value::Ns(set)), Value::Ns(more)) if !is_element => {
                let new: Vec<Num> = more.iter().filter(|member| !set.contains(member)).cloned().collect();
                if new.is_empty() {
                    return self.already = true;
                }
                Value::Ns([set.clone(), new].concat())
            }
            (Some(_), _) => return self.not_computable = true,
        };
        self.write(change, to, whole);
    }

    /// Makes the changes in each element of a list or map.
    fn each(&mut self, container: &str, edits: &[ChangeSpec]) {
        let computes = |edit: &ChangeSpec| {
            matches!(edit.kind, Kind::ElementCompute { .. } | Kind::Convert { .. } | Kind::ConvertInto { .. })
        };
        let mut value = match get(self.before, container) {
            None | Some(Value::Null) => return,
            Some(value @ (Value::L(_) | Value::M(_))) => value.clone(),
            Some(_) => return self.not_computable |= edits.iter().any(computes),
        };
        let mut writes = false;
        for element in elements(&mut value) {
            let Value::M(map) = element else {
                // The element stays unchanged, but each expression must have a result for the element.
                let has_result = |edit: &ChangeSpec| match edit.kind {
                    Kind::ElementCompute { formula, .. } => {
                        (ELEMENT_FORMULAS[formula].value)(self.before, element).is_some()
                    }
                    _ => true,
                };
                self.not_computable |= !edits.iter().all(has_result);
                continue;
            };
            let before = map.clone();
            let mut effect = Effect::new(self.spec, &before, Some(self.before));
            edits.iter().for_each(|edit| effect.add(edit));
            self.already |= effect.already;
            self.skipped |= effect.skipped;
            self.diverged |= effect.diverged;
            self.rejected |= effect.rejected;
            self.not_computable |= effect.not_computable;
            writes |= effect.writes;
            *map = effect.after;
        }
        if writes {
            set(&mut self.after, container, value);
            self.writes = true;
        }
    }

    fn custom(&mut self, change: &ChangeSpec, inputs: &[&str], outputs: &[&str]) {
        let given: Item =
            inputs.iter().filter_map(|name| Some(((*name).to_owned(), self.before.get(*name)?.clone()))).collect();
        if given.is_empty() {
            return;
        }
        match function(outputs.len(), &given) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                for name in outputs {
                    match answer.get(*name) {
                        Some(value) => drop(self.put(change, name, value.clone())),
                        None => self.no_result(change, name),
                    }
                }
            }
            Err(_) => outputs.iter().for_each(|name| self.no_result(change, name)),
        }
    }

    fn exec(&mut self, change: &ChangeSpec, inputs: &[&str], outputs: &[&str]) {
        let given: Item =
            inputs.iter().filter_map(|name| Some(((*name).to_owned(), self.before.get(*name)?.clone()))).collect();
        if given.is_empty() {
            return;
        }
        let marker = Value::S(input_digest(&given));
        let has = |name: &&str| self.before.contains_key(*name);
        if self.before.get(MARKER) == Some(&marker) && outputs.iter().all(has) {
            return self.already = true;
        }
        if outputs.iter().any(has) || self.before.contains_key(MARKER) {
            match self.spec.on_existing(change) {
                OnExisting::Keep => return self.diverged = true,
                OnExisting::Skip => return self.skipped = true,
                OnExisting::Overwrite => {}
            }
        }
        let Ok(answer) = program(&given) else { return self.unanswered = true };
        for name in outputs {
            self.after.insert((*name).to_owned(), answer[*name].clone());
        }
        self.after.insert(MARKER.to_owned(), marker);
        self.writes = true;
    }
}
