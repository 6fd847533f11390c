//! Lists and maps whose elements the plans of `values.rs` change. Writers change, add, append and remove elements, and
//! remove or replace the whole container. The checks compute the correct containers without the tool.

use backfill::internals::change::{Each, ElementEdit, OnExisting};
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::plan::Plan;
use backfill::internals::state::{ListQuery, Runs, Verdict, phase};
use fastrand::Rng;

use super::checks::ALL;
use super::scene::World;

/// Generates changes in every element of `lines`. `options` limits them.
pub(crate) fn changes(options: &str, rng: &mut Rng) -> String {
    let null = if rng.bool() { "null_is_missing = true\n" } else { "" };
    let set = format!("set = \"cur\"\nvalue = \"EUR\"\non_existing = \"skip\"\n{null}");
    let compute =
        "compute = \"kind\"\nas = 'has(item.kind) ? string(item.kind) : \"none\"'\non_existing = \"overwrite\"\n";
    let more = ["remove = \"tmp\"\n", "convert = \"qty\"\nto = \"N\"\n", compute];
    let more = more.into_iter().filter(|_| rng.bool());
    let all = ["move = \"sku\"\nto = \"product\"\n", set.as_str()].into_iter().chain(more);
    all.map(|change| format!("[[change]]\neach = \"lines[*]\"\n{change}{options}")).collect()
}

/// Changes `lines` as a live writer does.
pub(crate) fn change(item: &mut Item, rng: &mut Rng) {
    let what = rng.u8(..8);
    match (item.get_mut("lines"), what) {
        (Some(Value::L(list)), 0 | 1) => list.push(element(rng)),
        (Some(Value::L(list)), 2) if !list.is_empty() => drop(list.remove(0)),
        (Some(Value::L(list)), 3) if !list.is_empty() => list[0] = element(rng),
        (Some(Value::L(list)), 4) => list.insert(0, element(rng)),
        (Some(Value::M(map)), 0..=4) => drop(map.insert(format!("m{what}"), element(rng))),
        (Some(_), 5) => drop(item.remove("lines")),
        _ => match container(rng) {
            Some(container) => drop(item.insert("lines".to_owned(), container)),
            None => drop(item.remove("lines")),
        },
    }
}

fn container(rng: &mut Rng) -> Option<Value> {
    let elements: Vec<Value> = (0..rng.u8(..4)).map(|_| element(rng)).collect();
    match rng.u8(..10) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(Value::S("no lines".to_owned())),
        3..=4 => {
            let named = elements.into_iter().enumerate().map(|(at, element)| (format!("m{at}"), element));
            Some(Value::M(named.collect()))
        }
        _ => Some(Value::L(elements)),
    }
}

fn element(rng: &mut Rng) -> Value {
    let text = |text: String| Value::S(text);
    let mut members = Item::new();
    let quantity = rng.u8(..).to_string();
    let quantity = if rng.bool() { Value::S(quantity) } else { Value::N(Num::parse(&quantity).unwrap()) };
    members.insert("qty".to_owned(), quantity);
    let sku = format!("sku{}", rng.u8(..3));
    match rng.u8(..10) {
        0 => return text("a note".to_owned()),
        1 => drop(members.insert("product".to_owned(), text(sku))),
        2 => {
            members.insert("product".to_owned(), text("sku0".to_owned()));
            members.insert("sku".to_owned(), text(sku));
        }
        3 => {}
        _ => drop(members.insert("sku".to_owned(), text(sku))),
    }
    match rng.u8(..8) {
        0 | 1 => drop(members.insert("cur".to_owned(), text("USD".to_owned()))),
        2 => drop(members.insert("cur".to_owned(), Value::Null)),
        3 => drop(members.insert("tmp".to_owned(), text("draft".to_owned()))),
        _ => {}
    }
    Value::M(members)
}

/// The checks' own implementation of the changes in elements.
struct Changes<'a> {
    on_existing: OnExisting,
    null_is_missing: bool,
    removes: bool,
    converts: bool,
    /// The member that the plan computes for each element, if any.
    kind: Option<Value>,
    item: &'a Item,
}

impl<'a> Changes<'a> {
    fn new(plan: &Plan, each: &Each, item: &'a Item) -> Changes<'a> {
        let has = |is_it: fn(&ElementEdit) -> bool| each.edits().iter().any(is_it);
        let kind = match item.get("kind") {
            Some(Value::S(kind)) => kind.clone(),
            Some(Value::N(number)) => number.as_str().to_owned(),
            _ => "none".to_owned(),
        };
        Changes {
            on_existing: plan.on_existing,
            null_is_missing: has(|edit| matches!(edit, ElementEdit::Set { existing, .. } if existing.null_is_missing)),
            removes: has(|edit| matches!(edit, ElementEdit::Remove { .. })),
            converts: has(|edit| matches!(edit, ElementEdit::Convert { .. })),
            kind: has(|edit| matches!(edit, ElementEdit::Compute { .. })).then_some(Value::S(kind)),
            item,
        }
    }

    fn is_computable(&self) -> bool {
        let is_container = matches!(self.item.get("lines"), None | Some(Value::L(_) | Value::M(_) | Value::Null));
        is_container || !(self.converts || self.kind.is_some())
    }

    fn change(&self, element: &mut Value) {
        let Value::M(members) = element else { return };
        if !(is_other(members) && self.on_existing == OnExisting::Skip)
            && let Some(sku) = members.remove("sku")
        {
            members.insert("product".to_owned(), sku);
        }
        if self.lacks_currency(members) {
            members.insert("cur".to_owned(), Value::S("EUR".to_owned()));
        }
        if self.removes {
            members.remove("tmp");
        }
        if let (true, Some(Value::S(digits))) = (self.converts, members.get("qty")) {
            let number = Value::N(Num::parse(digits).unwrap());
            members.insert("qty".to_owned(), number);
        }
        if let Some(kind) = &self.kind {
            members.insert("kind".to_owned(), kind.clone());
        }
    }

    fn lacks_currency(&self, members: &Item) -> bool {
        match members.get("cur") {
            None => true,
            Some(currency) => self.null_is_missing && *currency == Value::Null,
        }
    }

    fn verdict(&self, element: &Value) -> Verdict {
        let Value::M(members) = element else { return Verdict::Matching };
        let moved = match (members.get("sku"), members.get("product")) {
            (None, _) => Verdict::Matching,
            (Some(_), None) => Verdict::Missing,
            (Some(old), Some(new)) if old == new => Verdict::Unexpected,
            (Some(_), Some(_)) if self.on_existing == OnExisting::Skip => Verdict::Skipped,
            (Some(_), Some(_)) => Verdict::Stale,
        };
        let currency = match members.get("cur") {
            _ if self.lacks_currency(members) => Verdict::Missing,
            Some(Value::S(currency)) if currency == "EUR" => Verdict::Matching,
            _ => Verdict::Skipped,
        };
        let removed = match self.removes && members.contains_key("tmp") {
            true => Verdict::Unexpected,
            false => Verdict::Matching,
        };
        let converted = match members.get("qty") {
            Some(Value::S(_)) if self.converts => Verdict::Stale,
            _ => Verdict::Matching,
        };
        let computed = match (&self.kind, members.get("kind")) {
            (Some(_), None) => Verdict::Missing,
            (Some(kind), Some(there)) if kind != there => Verdict::Stale,
            _ => Verdict::Matching,
        };
        [moved, currency, removed, converted, computed].into_iter().max().unwrap()
    }
}

/// Returns whether the changes have a result for this item.
pub(crate) fn is_computable(plan: &Plan, each: &Each, item: &Item) -> bool {
    Changes::new(plan, each, item).is_computable()
}

/// Returns the container after the changes. Returns `None` if nothing changes, or if an existing value prevents the
/// write.
pub(crate) fn changed(plan: &Plan, item: &Item) -> Option<Value> {
    let each = plan.changes.iter().find_map(|change| change.each())?;
    let changes = Changes::new(plan, each, item);
    let lines = item.get("lines");
    let mut after = lines?.clone();
    let is_kept = |element: &Value| matches!(element, Value::M(members) if is_other(members));
    if plan.on_existing == OnExisting::Keep && elements(&after).into_iter().any(is_kept) {
        return None;
    }
    match &mut after {
        Value::L(list) => list.iter_mut().for_each(|element| changes.change(element)),
        Value::M(map) => map.values_mut().for_each(|element| changes.change(element)),
        _ => return None,
    }
    (lines != Some(&after)).then_some(after)
}

/// Returns whether the element has a value under the old name and a different value under the new name.
fn is_other(members: &Item) -> bool {
    members.contains_key("sku") && members.contains_key("product") && members.get("sku") != members.get("product")
}

fn elements(container: &Value) -> Vec<&Value> {
    match container {
        Value::L(list) => list.iter().collect(),
        Value::M(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Returns the correct verdict on a container.
pub(crate) fn verdict(plan: &Plan, each: &Each, item: &Item) -> Verdict {
    let changes = Changes::new(plan, each, item);
    if !changes.is_computable() {
        return Verdict::Stale;
    }
    let elements = item.get("lines").map(elements).unwrap_or_default();
    elements.into_iter().map(|element| changes.verdict(element)).max().unwrap_or(Verdict::Matching)
}

/// Returns whether an element has a member that only the tool writes.
fn has_own_member(container: &Value) -> bool {
    let is_own = |element: &Value| match element {
        Value::M(members) => members.contains_key("kind") || members.get("cur") == Some(&Value::S("EUR".to_owned())),
        _ => false,
    };
    elements(container).into_iter().any(is_own)
}

impl World {
    /// Checks that the rollback has reported every item in which an element still has a member that only the tool
    /// writes. Call this method after a rollback.
    pub(crate) async fn check_no_element_is_left(&self) {
        let Ok(Some(run)) = self.state.current_run(phase::ROLLBACK).await else { return };
        let of_rollback = || ListQuery { run: Some(run.id), ..ALL };
        let diverged = self.state.diverged(of_rollback()).await.unwrap();
        let failures = self.state.failures(of_rollback()).await.unwrap();
        let left = self.table.history(|history| {
            let kept = history.all().filter(|(_, versions)| {
                let item = versions.last().and_then(|version| version.item.as_ref());
                item.and_then(|item| item.get("lines")).is_some_and(has_own_member)
            });
            kept.map(|(key, _)| key.clone()).collect::<Vec<_>>()
        });
        for key in left {
            let is_reported = diverged.iter().any(|row| row.key == key) || failures.iter().any(|row| row.key == key);
            if !is_reported {
                self.violation(format!("{key} keeps a part of the migration, and the rollback did not report it"));
            }
        }
    }
}
