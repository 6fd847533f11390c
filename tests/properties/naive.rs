//! A second implementation of every change, as simple as possible: it takes an item and returns the item that `run`
//! should leave behind. It uses nothing of the tool's decisions, writes, expressions, conversions and paths.

use backfill::internals::change::{OnExisting, ProgramAnswer, input_digest};
use backfill::internals::item::{Item, Num, Value};

use super::facts::{ADDITIONS, CONDITIONS, CONVERSIONS, FORMULAS, REPLACEMENTS, decimal, number_of};
use super::spec::{ChangeSpec, Gap, Kind, LISTED, MARKER, Spec, constant};

/// What `run` should do with an item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    /// It writes this item. `None` means that it deletes the item.
    Applied(Option<Item>),
    AlreadyApplied,
    NothingToDo,
    Skipped,
    Diverged,
    Rejected,
    NotComputable,
}

impl Expected {
    /// Returns whether the run leaves the item as it is, although the plan wants another one.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self, Expected::Diverged | Expected::Rejected | Expected::NotComputable)
    }
}

/// Returns whether verification must report this item, which the run did not change.
pub(crate) fn is_mismatch(spec: &Spec, before: &Item) -> bool {
    let outcome = expected(spec, before);
    if outcome != Expected::NotComputable {
        return outcome.is_mismatch();
    }
    // With `skip`, verification accepts a preexisting value although nothing implies it. The run reports the item as a
    // failure, and the failure keeps the gate of the cutover closed.
    let is_accepted = |change: &ChangeSpec| match change.kind {
        Kind::Replace { to, .. } if spec.on_existing(change) == OnExisting::Skip => {
            let there = get(before, to).filter(|there| !(change.null_is_missing && **there == Value::Null));
            there.is_some() && applies(change, before) == Some(true)
        }
        _ => false,
    };
    let mut rest = spec.clone();
    rest.changes.retain(|change| !is_accepted(change));
    let others = expected(&rest, before);
    // The run makes all changes of an item or none, so the other changes are missing too.
    others.is_mismatch() || matches!(others, Expected::Applied(_))
}

/// A step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, index) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        steps.push(Step::Name(name));
        steps.extend(index.map(|index| Step::Index(index.trim_end_matches(']').parse().unwrap())));
    }
    steps
}

/// Returns the value at a path.
pub(crate) fn get<'i>(item: &'i Item, path: &str) -> Option<&'i Value> {
    let steps = steps(path);
    let (Step::Name(root), rest) = steps.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    rest.iter().try_fold(item.get(root)?, |value, step| match (step, value) {
        (Step::Name(name), Value::M(map)) => map.get(*name),
        (Step::Index(at), Value::L(list)) => list.get(*at),
        (Step::Name(_) | Step::Index(_), _) => None,
    })
}

/// Sets the value at a path of names. Creates the maps that are missing or NULL.
fn set(item: &mut Item, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(item.insert(path.to_owned(), value)),
        Some((name, rest)) => {
            let inner = item.entry(name.to_owned()).or_insert(Value::Null);
            if *inner == Value::Null {
                *inner = Value::M(Item::new());
            }
            let Value::M(map) = inner else { panic!("{path} is not inside a map") };
            set(map, rest, value);
        }
    }
}

fn remove(item: &mut Item, path: &str) {
    match path.split_once('.') {
        None => drop(item.remove(path)),
        Some((name, rest)) => {
            if let Some(Value::M(map)) = item.get_mut(name) {
                remove(map, rest);
            }
        }
    }
}

/// Returns whether a value can be put at this path of names.
fn has_place(item: &Item, path: &str, null_is_missing: bool) -> bool {
    let parents = path.match_indices('.').map(|(at, _)| &path[..at]);
    for parent in parents {
        match get(item, parent) {
            Some(Value::M(_)) => {}
            None => return true,
            Some(Value::Null) if null_is_missing => return true,
            Some(_) => return false,
        }
    }
    true
}

/// What happens to an item, collected over all changes.
struct Effect<'s> {
    spec: &'s Spec,
    before: &'s Item,
    after: Item,
    writes: bool,
    already: bool,
    skipped: bool,
    diverged: bool,
    rejected: bool,
    not_computable: bool,
    /// The program has no answer. It sees only items that are not refused for another reason.
    unanswered: bool,
}

/// Returns what `run` should do with an item.
pub(crate) fn expected(spec: &Spec, before: &Item) -> Expected {
    let unknown = if spec.skips_not_computable { Expected::Skipped } else { Expected::NotComputable };
    match spec.select.map(|select| (CONDITIONS[select].is_true)(before)) {
        Some(None) => return unknown,
        Some(Some(false)) => return Expected::NothingToDo,
        None | Some(Some(true)) => {}
    }
    if let [ChangeSpec { kind: Kind::Delete { gap, .. }, .. }] = spec.changes.as_slice() {
        let is_known = |name: &String| matches!(name.as_str(), "pk" | "sk") || LISTED.contains(&name.as_str());
        return match gap {
            Gap::Version if !matches!(before.get("v"), Some(Value::N(_))) => unknown,
            Gap::Attributes if !before.keys().all(is_known) => Expected::Rejected,
            Gap::Version | Gap::Attributes | Gap::Stopped => Expected::Applied(None),
        };
    }
    let mut effect = Effect {
        spec,
        before,
        after: before.clone(),
        writes: false,
        already: false,
        skipped: false,
        diverged: false,
        rejected: false,
        not_computable: false,
        unanswered: false,
    };
    spec.changes.iter().for_each(|change| effect.add(change));
    let is_wanted = effect.writes || effect.rejected || effect.diverged || effect.unanswered;
    if is_wanted && spec.changes.iter().any(|change| change.kind == Kind::Bump) {
        // The version must also fit into 38 digits if `contract` raises it, and the way back raises it twice.
        let times = if spec.needs_cutover() { 4 } else { 3 };
        let raised = |times: i32| match before.get("v") {
            Some(Value::N(version)) => number_of(&(decimal(version) + times)),
            _ => None,
        };
        match raised(1).filter(|_| (2..=times).all(|times| raised(times).is_some())) {
            Some(next) => drop(effect.after.insert("v".to_owned(), next)),
            None => effect.not_computable = true,
        }
    }
    let key = effect.after.get("ik").filter(|key| before.get("ik") != Some(key));
    let is_bad_key = key.is_some_and(|key| !matches!(key, Value::S(text) if !text.is_empty()));
    if effect.not_computable {
        unknown
    } else if effect.rejected {
        Expected::Rejected
    } else if effect.diverged {
        Expected::Diverged
    } else if effect.unanswered || (effect.writes && spec.has_index && is_bad_key) {
        Expected::Rejected
    } else if effect.writes {
        Expected::Applied(Some(effect.after))
    } else if effect.skipped {
        Expected::Skipped
    } else if effect.already {
        Expected::AlreadyApplied
    } else {
        Expected::NothingToDo
    }
}

/// Returns whether a change applies to the item. `None` means that its condition has no result.
fn applies(change: &ChangeSpec, item: &Item) -> Option<bool> {
    if let Kind::Prefix { to } = change.kind {
        return Some(matches!(get(item, to), Some(Value::S(text)) if !text.starts_with('+')));
    }
    change.condition.map_or(Some(true), |condition| (CONDITIONS[condition].is_true)(item))
}

impl Effect<'_> {
    fn add(&mut self, change: &ChangeSpec) {
        match applies(change, self.before) {
            Some(true) => {}
            Some(false) => return,
            None => return self.not_computable = true,
        }
        let spec = self.spec;
        let before = self.before;
        match &change.kind {
            Kind::Move { from, to } | Kind::Copy { from, to } => {
                let is_move = matches!(change.kind, Kind::Move { .. });
                let Some(value) = get(before, from) else {
                    return self.already |= is_move && !self.is_missing(change, to);
                };
                if self.put(change, to, value.clone()) && is_move && spec.in_place {
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
            Kind::Bump | Kind::Delete { .. } => {}
            Kind::Exec { inputs, outputs } => self.exec(change, inputs, outputs),
        }
    }

    /// Returns whether the target has no value, or a NULL that counts as missing.
    fn is_missing(&self, change: &ChangeSpec, to: &str) -> bool {
        get(self.before, to).is_none_or(|value| change.null_is_missing && *value == Value::Null)
    }

    /// With `skip`, any existing value counts as done, so it does not matter that there is no result.
    fn no_result(&mut self, change: &ChangeSpec, to: &str) {
        match self.spec.on_existing(change) == OnExisting::Skip && !self.is_missing(change, to) {
            true => self.skipped = true,
            false => self.not_computable = true,
        }
    }

    /// Puts the value that the plan implies at a target. Returns whether the target now has it.
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

    /// Removes a value in place. A value whose copy was skipped exists only here, so it stays.
    fn remove(&mut self, path: &str) {
        let Some(value) = get(self.before, path).filter(|_| self.spec.in_place) else { return };
        let is_skipped = |change: &ChangeSpec| {
            let Kind::Copy { from, to } = change.kind else { return false };
            let there = get(self.before, to).filter(|there| {
                // A NULL that counts as missing gives way, unless it is the value itself.
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

/// The program of every `exec`: it counts its inputs and names their types. For some inputs it has no answer.
pub(crate) fn program(inputs: &Item) -> ProgramAnswer {
    if inputs.values().any(|value| *value == Value::S("xyz".to_owned())) {
        return Err("gave no answer for this item".to_owned());
    }
    let types: Vec<&str> = inputs.values().map(Value::type_name).collect();
    Ok(Item::from([
        ("eo".to_owned(), Value::S(types.join(" "))),
        ("ep".to_owned(), Value::N(Num::parse(&inputs.len().to_string()).unwrap())),
    ]))
}

/// Returns the item that `contract` should leave behind. `item` is what `run` left behind, and every item matches.
pub(crate) fn contracted(spec: &Spec, item: &Item) -> Item {
    let mut after = item.clone();
    if spec.select.is_some_and(|select| (CONDITIONS[select].is_true)(item) != Some(true)) {
        return after;
    }
    for change in spec.changes.iter().filter(|change| applies(change, item) == Some(true)) {
        let (old, new, implied) = match &change.kind {
            Kind::Remove { path } => {
                let copies = spec.changes.iter().filter_map(|other| match other.kind {
                    Kind::Copy { from, to } if from == *path => Some(to),
                    _ => None,
                });
                let value = get(item, path);
                // The value of a copy that was skipped exists only here.
                if copies.into_iter().all(|to| value.is_none() || get(item, to) == value) {
                    remove(&mut after, path);
                }
                continue;
            }
            Kind::Move { from, to } => (*from, *to, get(item, from).cloned()),
            Kind::Replace { to, replacement } => {
                let replacement = &REPLACEMENTS[*replacement];
                (replacement.old, *to, (replacement.value)(item))
            }
            Kind::Copy { .. }
            | Kind::Set { .. }
            | Kind::Compute { .. }
            | Kind::Prefix { .. }
            | Kind::Convert { .. }
            | Kind::ConvertInto { .. }
            | Kind::Append { .. }
            | Kind::Bump
            | Kind::Delete { .. }
            | Kind::Exec { .. } => continue,
        };
        // With `skip`, a value that was there before stays, and so does its old value.
        if implied.is_some() && get(item, new) == implied.as_ref() {
            remove(&mut after, old);
        }
    }
    if after != *item
        && spec.changes.iter().any(|change| change.kind == Kind::Bump)
        && let Some(Value::N(version)) = item.get("v")
    {
        after.extend(number_of(&(decimal(version) + 1)).map(|next| ("v".to_owned(), next)));
    }
    after
}
