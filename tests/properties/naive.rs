//! A second implementation of every change, as simple as possible: it takes an item and returns the item that `run`
//! should leave behind. It uses nothing of the tool's decisions, writes, expressions, conversions and paths.

mod effect;
mod paths;

use backfill::internals::change::{OnExisting, ProgramAnswer};
use backfill::internals::item::{Item, Num, Value};

use super::derived;
use super::facts::{CONDITIONS, REPLACEMENTS, decimal, number_of};
use super::spec::{ChangeSpec, Gap, Kind, LISTED, Spec};
use effect::Effect;
pub(crate) use paths::get;
use paths::remove;

/// What `run` should do with an item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    /// It writes this item. `None` means that it deletes the item.
    Applied(Option<Item>),
    /// It puts this derived item.
    Puts(Item),
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
    if let Some(at) = spec.put() {
        return derived::expected(spec, at, before, unknown);
    }
    let mut effect = Effect::new(spec, before, None);
    spec.changes.iter().for_each(|change| effect.add(change));
    let is_wanted = effect.writes || effect.rejected || effect.diverged || effect.unanswered;
    if is_wanted && spec.changes.iter().any(|change| change.kind == Kind::Bump) {
        // The version must also fit into 38 digits if `contract` raises it, and the way back raises it twice. `contract`
        // raises it only if it removes something: after a `copy`, it writes nothing.
        let removes =
            |change: &ChangeSpec| matches!(change.kind, Kind::Move { .. } | Kind::Remove { .. } | Kind::Replace { .. });
        let times = if !spec.in_place && spec.changes.iter().any(removes) { 4 } else { 3 };
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

/// The function of every `custom`. It counts its inputs and names their types. For some inputs it has no result, one
/// output too few, or nothing to do.
pub(crate) fn function(outputs: usize, inputs: &Item) -> Result<Option<Item>, &'static str> {
    let is = |text: &str| inputs.values().any(|value| *value == Value::S(text.to_owned()));
    if is("xyz") {
        return Err("the function does not know this text");
    }
    if is("user") {
        return Ok(None);
    }
    let types: Vec<&str> = inputs.values().map(Value::type_name).collect();
    let mut answer = Item::from([("co".to_owned(), Value::S(types.join(" ")))]);
    if outputs == 2 && !is("order") {
        answer.insert("cp".to_owned(), Value::N(Num::parse(&inputs.len().to_string()).unwrap()));
    }
    Ok(Some(answer))
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
            | Kind::Exec { .. }
            | Kind::Custom { .. }
            | Kind::Each { .. }
            | Kind::ElementCompute { .. }
            | Kind::Put { .. } => continue,
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
