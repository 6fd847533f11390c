//! A second implementation of every change, as simple as possible. It computes the expected result of `run` for an
//! item, without the tool's code for decisions, writes, expressions, conversions and paths.

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

/// The expected outcome of a run for an item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    /// The run writes this item, or deletes the item if this is `None`.
    Applied(Option<Item>),
    /// The run puts this derived item.
    Puts(Item),
    AlreadyApplied,
    NothingToDo,
    Skipped,
    Diverged,
    Rejected,
    NotComputable,
}

impl Expected {
    /// Returns whether the item differs from the plan's result and the run does not change the item.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self, Expected::Diverged | Expected::Rejected | Expected::NotComputable)
    }
}

/// Returns whether verification must report this item. The run has not changed the item.
pub(crate) fn is_mismatch(spec: &Spec, before: &Item) -> bool {
    let outcome = expected(spec, before);
    if outcome != Expected::NotComputable {
        return outcome.is_mismatch();
    }
    // With `skip`, verification accepts a preexisting value even if the formula has no result. The run reports the item
    // as a failure, and the failure keeps the cutover gate closed.
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
    // The run makes either all changes of an item or none. So the accepted change also prevents the item's other
    // changes, and verification reports these.
    others.is_mismatch() || matches!(others, Expected::Applied(_))
}

/// Returns the expected outcome of a run for an item.
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
        // The version must still fit into 38 digits after later raises: two during a rollback, and one by `contract` if
        // it removes an attribute. After a `copy`, `contract` writes nothing.
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

/// Returns whether a change applies to the item, or `None` if its condition has no result.
fn applies(change: &ChangeSpec, item: &Item) -> Option<bool> {
    if let Kind::Prefix { to } = change.kind {
        return Some(matches!(get(item, to), Some(Value::S(text)) if !text.starts_with('+')));
    }
    change.condition.map_or(Some(true), |condition| (CONDITIONS[condition].is_true)(item))
}

/// The program of every `exec`. Its outputs are the number of its inputs and the names of their types. For some inputs,
/// it gives no answer.
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

/// The function of every `custom`. Its outputs are the number of its inputs and the names of their types. For some
/// inputs, it has no result, returns one output too few, or has nothing to do.
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

/// Returns the expected item after `contract`. `item` is the item after `run`. The table has no mismatch.
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
                // If the copy was skipped, only this attribute contains the value.
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
        // With `skip`, a preexisting new value stays, and so does the old value.
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
