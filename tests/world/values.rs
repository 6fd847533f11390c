//! Worlds in which the plan selects items and computes values. The checks (`computed.rs`) compute the correct values
//! without the tool's expressions.

use backfill::internals::change::Change;
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::plan::Plan;
use fastrand::Rng;

use super::elements;
use super::kinds::Kind;
use super::plan::{Generated, INDEX, Rates, load_plan, spend_limit};
use super::program;
use super::select::{self, Selections};

/// The conditions of single changes.
const CONDITIONS: [&str; 3] = ["", "has(item.kind)", "has(item.kind) && item.kind == \"order\""];

/// The member that the plans add to the set `tags`.
pub(crate) const TAG: &str = "migrated";

/// The attributes that these plans read and write, and that applications change.
pub(crate) const ATTRIBUTES: [&str; 10] =
    ["kind", "status", "price", "version", "label", "tags", "weight", "amount", "summary", "summary_of"];

/// Generates a plan with some of these changes: compute `label` from `status` and the sort key, convert `price`,
/// convert `weight` into `amount`, let a program compute `summary`, set `marker`, append to `tags`. The plan can also
/// change the elements of `lines`, raise `version` and, in place, move `old` to `new`. Most of these changes can have
/// their own condition, and a NULL can count as missing.
pub(crate) fn plan(wish: Option<Kind>, rng: &mut Rng) -> Generated {
    let in_place = rng.bool();
    let strategy = if in_place { "in-place" } else { "expand-contract" };
    let on_existing = ["keep", "skip", "overwrite"][rng.usize(..3)];
    let otherwise = ["fail", "skip"][rng.usize(..2)];
    let segments = [1, 2, 4][rng.usize(..3)];
    let write = [100, 1_000][rng.usize(..2)];
    let rates = Rates { table: write.into(), index: write.into(), partition_key: write.into() };
    let mut text = format!(
        "[migration]\nname = \"world\"\nstrategy = \"{strategy}\"\non_existing = \"{on_existing}\"\n\
         on_not_computable = \"{otherwise}\"\n\
         [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
         [scan]\nsegments = {segments}\npage_limit = 5\n\
         [capacity]\nwrite = {write}\nread = 1000\nper_partition_key = {{ write = {write} }}\n\
         [capacity.index]\n{INDEX} = {write}\n\
         [limits]\nmax_failures = 1000\n{}",
        spend_limit(wish, rng)
    );
    text += &select::section(Selections::Any, wish, rng);
    text += &changes(in_place, wish, rng);
    (load_plan(&text), rates)
}

/// Generates the changes of a plan.
fn changes(in_place: bool, wish: Option<Kind>, rng: &mut Rng) -> String {
    let selects = matches!(wish, Some(Kind::Where | Kind::StableWhere | Kind::Keys | Kind::Index));
    let mut text = String::new();
    if matches!(wish, Some(Kind::Compute)) || selects || (wish.is_none() && rng.u8(..4) > 0) {
        text += "[[change]]\ncompute = \"label\"\nas = 'item.status + \"#\" + item.sk'\n";
        text += &options(rng, true);
    }
    let may_have = |kind: Kind, rng: &mut Rng| wish == Some(kind) || (wish.is_none() && rng.bool());
    if may_have(Kind::Convert, rng) {
        text += "[[change]]\nconvert = \"price\"\nto = \"N\"\n";
        text += &options(rng, false);
    }
    if may_have(Kind::ConvertInto, rng) {
        text += "[[change]]\nconvert = \"weight\"\nto = \"N\"\ninto = \"amount\"\n";
        text += &options(rng, true);
    }
    if may_have(Kind::Append, rng) {
        text += &format!("[[change]]\nappend = \"tags\"\nvalues = {{ SS = [\"{TAG}\"] }}\n");
        text += &options(rng, true);
    }
    if may_have(Kind::Each, rng) {
        let options = options(rng, false);
        text += &elements::changes(&options, rng);
    }
    // A plan of this family has at least one change that is specific to the family.
    if may_have(Kind::Exec, rng) || (wish.is_none() && text.is_empty()) {
        text += if rng.bool() { program::CHANGE } else { program::DETERMINISTIC };
    }
    if may_have(Kind::Bump, rng) {
        text += "[[change]]\nbump = \"version\"\n";
    }
    if wish == Some(Kind::Bump) || (wish.is_none() && rng.bool()) {
        text += "[[change]]\nset = \"marker\"\nvalue = 2\n";
        text += &options(rng, true);
    }
    if in_place && wish.is_none() && rng.bool() {
        text += "[[change]]\nmove = \"old\"\nto = \"new\"\n";
    }
    text
}

/// Generates the condition of a change, and whether a NULL at its target counts as missing.
fn options(rng: &mut Rng, has_target: bool) -> String {
    let condition = CONDITIONS[rng.usize(..CONDITIONS.len())];
    let null = if has_target && rng.bool() { "null_is_missing = true\n" } else { "" };
    let condition = if condition.is_empty() { String::new() } else { format!("where = '{condition}'\n") };
    format!("{null}{condition}")
}

/// Returns whether a plan changes the elements of `lines`. Items have this attribute only in such plans.
pub(crate) fn changes_elements(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| change.each().is_some())
}

/// Returns whether a plan computes values without a cutover.
pub(crate) fn computes(plan: &Plan) -> bool {
    let is_of_this_family = |change: &Change| match change {
        Change::Compute { replaces: None, .. }
        | Change::Convert { .. }
        | Change::Append { .. }
        | Change::Each { .. }
        | Change::Exec { .. } => true,
        // Plans with a move or a removal can raise the version too.
        Change::Bump { .. } => plan.changes.iter().all(Change::only_writes_values),
        Change::Compute { replaces: Some(_), .. }
        | Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Put { .. }
        | Change::Delete { .. } => false,
    };
    plan.changes.iter().any(is_of_this_family)
}

/// Adds the attributes that these plans read and write.
pub(crate) fn add_attributes(item: &mut Item, rng: &mut Rng) {
    for name in ATTRIBUTES {
        change_attribute(item, name, rng);
    }
}

/// Sets one of these attributes to a value of a random kind, or removes it.
pub(crate) fn change_attribute(item: &mut Item, name: &str, rng: &mut Rng) {
    let text = |text: &str| Some(Value::S(text.to_owned()));
    let number = |text: &str| Some(Value::N(Num::parse(text).unwrap()));
    let value = match (name, rng.u8(..12)) {
        ("kind", 0) => None,
        ("kind", 1) => number("1"),
        ("kind", 2..=4) => text("user"),
        ("kind", _) => text("order"),
        ("status", 0) => None,
        ("status", 1) => Some(Value::Null),
        ("status", n) => text(&format!("state {n}")),
        ("price", 0) => None,
        ("price", 1) => text("twelve"),
        ("price", 2..=3) => number("7"),
        ("price", n) => text(&format!("{n}.50")),
        ("weight", 0..=1) => None,
        ("weight", 2) => text("heavy"),
        ("weight", 3) => Some(Value::Null),
        ("weight", n) => text(&format!("{n}")),
        ("amount", 0) => number("99"),
        ("version", 0) => None,
        ("version", 1) => text("v1"),
        ("version", _) => number("4"),
        ("label" | "summary" | "summary_of", 0) => text("another"),
        ("label" | "amount", 1) | ("tags", 0) => Some(Value::Null),
        ("tags", 1) => text("a text"),
        ("tags", 2..=3) => Some(set(&["x"])),
        ("tags", 4) => Some(set(&["x", TAG])),
        ("tags", 5) => Some(set(&["y"])),
        (_, _) => None,
    };
    match value {
        Some(value) => drop(item.insert(name.to_owned(), value)),
        None => drop(item.remove(name)),
    }
}

fn set(members: &[&str]) -> Value {
    Value::Ss(members.iter().map(|member| (*member).to_owned()).collect())
}

/// Returns whether a change applies to a selected item, or `None` if its condition has no result.
pub(crate) fn applies(plan: &Plan, change: &Change, item: &Item) -> Option<bool> {
    let Some(selection) = &plan.options.of_change(change).applies_to else { return Some(true) };
    let place = CONDITIONS.iter().position(|source| *source == selection.condition.source()).unwrap();
    match (place, item.get("kind")) {
        (1, kind) => Some(kind.is_some()),
        (_, None) => Some(false),
        (_, Some(Value::S(kind))) => Some(kind == "order"),
        (_, Some(_)) => None,
    }
}

/// Returns whether the change with this target applies to the item.
pub(crate) fn applies_at(plan: &Plan, name: &str, item: &Item) -> bool {
    let of_name = |change: &&Change| change.own_path().is_some_and(|path| path.root() == name);
    plan.changes.iter().find(of_name).is_none_or(|change| applies(plan, change, item) == Some(true))
}

/// Returns the value, or `None` if it is a NULL that counts as missing at the target of this change.
pub(crate) fn unless_missing<'v>(plan: &Plan, change: &Change, value: Option<&'v Value>) -> Option<&'v Value> {
    value.filter(|value| !(plan.options.of_change(change).null_is_missing && **value == Value::Null))
}

/// Returns the set with the appended member, or `None` if the value is not a string set.
pub(crate) fn appended(tags: Option<&Value>) -> Option<Value> {
    match tags {
        None => Some(set(&[TAG])),
        Some(Value::Ss(members)) => {
            let others = members.iter().filter(|member| *member != TAG).cloned();
            Some(Value::Ss(others.chain([TAG.to_owned()]).collect()))
        }
        Some(_) => None,
    }
}

/// Returns the set without the appended member. Returns `None` if the set then has no member.
pub(crate) fn without_tag(tags: Option<&Value>) -> Option<Value> {
    let Some(Value::Ss(members)) = tags else { return None };
    let others: Vec<String> = members.iter().filter(|member| *member != TAG).cloned().collect();
    (!others.is_empty()).then_some(Value::Ss(others))
}

pub(crate) fn label(item: &Item) -> Option<Value> {
    match (item.get("status"), item.get("sk")) {
        (Some(Value::S(status)), Some(Value::S(sk))) => Some(Value::S(format!("{status}#{sk}"))),
        _ => None,
    }
}

/// Returns the converted price, or `None` if it cannot be converted.
pub(crate) fn price(value: &Value) -> Option<Value> {
    match value {
        Value::S(text) => Num::parse(text).ok().map(Value::N),
        Value::N(_) => Some(value.clone()),
        _ => None,
    }
}
