//! Paths inside items.

use backfill::internals::item::{Item, Value};

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
pub(crate) fn set(item: &mut Item, path: &str, value: Value) {
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

pub(crate) fn remove(item: &mut Item, path: &str) {
    match path.split_once('.') {
        None => drop(item.remove(path)),
        Some((name, rest)) => {
            if let Some(Value::M(map)) = item.get_mut(name) {
                remove(map, rest);
            }
        }
    }
}

/// Returns whether a value can be set at this path of names.
pub(crate) fn has_place(item: &Item, path: &str, null_is_missing: bool) -> bool {
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
