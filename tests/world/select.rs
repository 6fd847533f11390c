//! Generates selections: by a `where` that writers can make true or false, by a `where` over stable attributes, by a
//! file of keys, and through an index. The checks evaluate the selection without the tool.

use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::plan::Plan;
use fastrand::Rng;

use super::kinds::Kind;

/// The global index through which plans select items. It contains the items with the attribute `group`.
pub(crate) const GROUPS: &str = "by-group";

/// The name of the file of keys.
pub(crate) const KEYS_FILE: &str = "keys.ndjson";

const BY_KEY: &str = "item.sk < \"030\"";
const BY_KIND: &str = "has(item.kind) && item.kind == \"order\"";
const UNLABELLED: &str = "!has(item.label)";
const BY_GROUP: &str = "has(item.group) && item.group == \"g1\"";

/// The possible selections of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selections {
    /// Only selections that no writer can change.
    Fixed,
    /// Every selection.
    Any,
    /// Every selection with a `where` that does not read `label`.
    WithWhere,
    /// Selections of the sources of derived items.
    OfSources,
}

/// Generates the section `[select]` of a plan, or an empty text.
pub(crate) fn section(may: Selections, wish: Option<Kind>, rng: &mut Rng) -> String {
    let wheres: &[&str] = match (wish, may) {
        (_, Selections::OfSources) => &[BY_KIND, BY_KEY],
        (Some(Kind::Where), _) => &[BY_KIND],
        (Some(Kind::StableWhere), _) => &[BY_GROUP],
        (Some(_), Selections::Fixed | Selections::Any) => &[""],
        (Some(_), Selections::WithWhere) => &[BY_KIND, BY_KEY],
        (None, Selections::Fixed) => &["", "", BY_KEY, BY_GROUP],
        (None, Selections::Any) => &["", BY_KEY, BY_KIND, UNLABELLED, BY_GROUP],
        (None, Selections::WithWhere) => &[BY_KEY, BY_KIND, BY_GROUP],
    };
    let condition = wheres[rng.usize(..wheres.len())];
    let source = match (wish, rng.u8(..6)) {
        (_, 0 | 1) if may == Selections::OfSources => format!("keys = \"{KEYS_FILE}\"\n"),
        _ if may == Selections::OfSources => String::new(),
        (Some(Kind::Keys), _) | (None, 0) => format!("keys = \"{KEYS_FILE}\"\n"),
        (Some(Kind::Index), _) => format!("index = \"{GROUPS}\"\n"),
        // Items enter and leave an index, so the index key is not stable.
        (None, 1) if may != Selections::Fixed && condition != BY_GROUP => format!("index = \"{GROUPS}\"\n"),
        (Some(_) | None, _) => String::new(),
    };
    let stable = if condition == BY_GROUP { "stable = [\"group\"]\n" } else { "" };
    match (condition, source.as_str()) {
        ("", "") => String::new(),
        ("", source) => format!("[select]\n{source}"),
        (condition, source) => format!("[select]\nwhere = '{condition}'\n{stable}{source}"),
    }
}

/// Returns whether writers can change the attribute `group`.
pub(crate) fn changes_group(plan: &Plan) -> bool {
    plan.select.as_ref().is_none_or(|selection| selection.condition.source() != BY_GROUP)
}

/// Sets the group of a new item, which depends only on the item's key.
pub(crate) fn set_group(item: &mut Item) {
    match number(item) % 4 {
        0 => drop(item.remove("group")),
        3 => drop(item.insert("group".to_owned(), Value::S("g2".to_owned()))),
        _ => drop(item.insert("group".to_owned(), Value::S("g1".to_owned()))),
    }
}

/// Moves an item to another group, or out of the index.
pub(crate) fn change_group(item: &mut Item, rng: &mut Rng) {
    match rng.u8(..3) {
        0 => drop(item.remove("group")),
        n => drop(item.insert("group".to_owned(), Value::S(format!("g{n}")))),
    }
}

/// Returns the content of the file of keys: two thirds of the items, and a key without an item.
pub(crate) fn keys_file(keys: &[ItemKey]) -> String {
    let text = |key: &ItemKey, name: &str| match key.attributes().get(name) {
        Some(Value::S(text)) => text.clone(),
        other => panic!("{other:?} is not a key"),
    };
    let listed = keys.iter().filter(|key| is_listed(key.attributes()));
    let lines = listed.map(|key| format!("{{\"pk\": \"{}\", \"sk\": \"{}\"}}\n", text(key, "pk"), text(key, "sk")));
    lines.collect::<String>() + "{\"pk\": \"nobody\", \"sk\": \"998\"}\n"
}

/// Returns whether the file of keys contains the item's key.
fn is_listed(item: &Item) -> bool {
    !number(item).is_multiple_of(3)
}

/// Returns whether the passes of this plan read the item.
pub(crate) fn is_read(plan: &Plan, item: &Item) -> bool {
    plan.keys.is_none() || is_listed(item)
}

fn number(item: &Item) -> u32 {
    match item.get("sk") {
        Some(Value::S(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Returns whether the plan's selection is safe from changes by writers.
pub(crate) fn is_fixed(plan: &Plan) -> bool {
    let is_fixed = |source: &str| source == BY_KEY || source == BY_GROUP;
    plan.index.is_none() && plan.select.as_ref().is_none_or(|selection| is_fixed(selection.condition.source()))
}

/// Returns whether the plan selects the item, or `None` if the condition has no result.
pub(crate) fn is_selected(plan: &Plan, item: &Item) -> Option<bool> {
    if !is_read(plan, item) || (plan.index.is_some() && !item.contains_key("group")) {
        return Some(false);
    }
    let Some(selection) = &plan.select else { return Some(true) };
    match selection.condition.source() {
        BY_KEY => Some(matches!(item.get("sk"), Some(Value::S(sk)) if sk.as_str() < "030")),
        BY_KIND => match item.get("kind") {
            None => Some(false),
            Some(Value::S(kind)) => Some(kind == "order"),
            Some(_) => None,
        },
        UNLABELLED => Some(!item.contains_key("label")),
        BY_GROUP => Some(item.get("group") == Some(&Value::S("g1".to_owned()))),
        other => panic!("an unknown selection: {other}"),
    }
}
