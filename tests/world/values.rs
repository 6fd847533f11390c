//! Worlds in which the plan selects items and computes values. The checks compute the correct values on their own,
//! without the tool's expressions.

use backfill::internals::change::{Addition, Change, OnExisting, OnNotComputable};
use backfill::internals::dynamodb::memory::{Author, Version};
use backfill::internals::item::{Item, ItemKey, Num, Path, Value};
use backfill::internals::plan::{Plan, load};
use backfill::internals::state::{History, Verdict};
use fastrand::Rng;

use super::plan::{INDEX, Rates};
use super::scene::World;

/// The selections of the generated plans.
const SELECTIONS: [&str; 4] = ["", "item.sk < \"030\"", "has(item.kind) && item.kind == \"order\"", "!has(item.label)"];

/// The conditions of single changes.
const CONDITIONS: [&str; 3] = ["", "has(item.kind)", "has(item.kind) && item.kind == \"order\""];

/// What the plans add to the set `tags`.
const TAG: &str = "migrated";

/// Generates a plan that computes `label` from `status` and the sort key, and that may also convert `price`, set
/// `marker`, append to `tags`, raise `version` and, in place, move `old` to `new`. Each of these changes may have its
/// own condition, and a NULL may count as missing.
pub(crate) fn plan(rng: &mut Rng) -> (Plan, Rates) {
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
         [limits]\nmax_failures = 1000\n"
    );
    let selection = SELECTIONS[rng.usize(..SELECTIONS.len())];
    if !selection.is_empty() {
        text += &format!("[select]\nwhere = '{selection}'\n");
    }
    text += "[[change]]\ncompute = \"label\"\nas = 'item.status + \"#\" + item.sk'\n";
    text += &options(rng, true);
    if rng.bool() {
        text += "[[change]]\nconvert = \"price\"\nto = \"N\"\n";
        text += &options(rng, false);
    }
    if rng.bool() {
        text += "[[change]]\nset = \"marker\"\nvalue = 2\n";
        text += &options(rng, true);
    }
    if rng.bool() {
        text += &format!("[[change]]\nappend = \"tags\"\nvalues = {{ SS = [\"{TAG}\"] }}\n");
        text += &options(rng, true);
    }
    if rng.bool() {
        text += "[[change]]\nbump = \"version\"\n";
    }
    if in_place && rng.bool() {
        text += "[[change]]\nmove = \"old\"\nto = \"new\"\n";
    }
    (load("plan.toml", &text).unwrap_or_else(|error| panic!("{error:?}\n{text}")).plan, rates)
}

/// Generates the condition of a change, and whether a NULL at its target counts as missing.
fn options(rng: &mut Rng, has_target: bool) -> String {
    let condition = CONDITIONS[rng.usize(..CONDITIONS.len())];
    let null = if has_target && rng.bool() { "null_is_missing = true\n" } else { "" };
    let condition = if condition.is_empty() { String::new() } else { format!("where = '{condition}'\n") };
    format!("{null}{condition}")
}

/// Returns whether a plan computes values without a cutover.
pub(crate) fn computes(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| matches!(change, Change::Compute { replaces: None, .. }))
}

/// Adds the attributes that these plans read and write.
pub(crate) fn add_attributes(item: &mut Item, rng: &mut Rng) {
    for name in ["kind", "status", "price", "version", "label", "tags"] {
        change_attribute(item, name, rng);
    }
}

/// Changes one of these attributes to a value of a random kind, or removes it.
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
        ("version", 0) => None,
        ("version", 1) => text("v1"),
        ("version", _) => number("4"),
        ("label", 0) => text("another"),
        ("label", 1) | ("tags", 0) => Some(Value::Null),
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

/// Returns whether a change applies to a selected item. `None` means that this cannot be computed.
fn applies(plan: &Plan, change: &Change, item: &Item) -> Option<bool> {
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
fn applies_at(plan: &Plan, name: &str, item: &Item) -> bool {
    let of_name = |change: &&Change| change.own_path().is_some_and(|path| path.root() == name);
    plan.changes.iter().find(of_name).is_none_or(|change| applies(plan, change, item) == Some(true))
}

/// Returns the value, unless it is a NULL that counts as missing at the target of this change.
fn unless_missing<'v>(plan: &Plan, change: &Change, value: Option<&'v Value>) -> Option<&'v Value> {
    value.filter(|value| !(plan.options.of_change(change).null_is_missing && **value == Value::Null))
}

/// Returns the set with the appended member. `None` if the value is not such a set.
fn appended(tags: Option<&Value>) -> Option<Value> {
    match tags {
        None => Some(set(&[TAG])),
        Some(Value::Ss(members)) => {
            let others = members.iter().filter(|member| *member != TAG).cloned();
            Some(Value::Ss(others.chain([TAG.to_owned()]).collect()))
        }
        Some(_) => None,
    }
}

/// Returns the set without the appended member. `None` if nothing is left.
fn without_tag(tags: Option<&Value>) -> Option<Value> {
    let Some(Value::Ss(members)) = tags else { return None };
    let others: Vec<String> = members.iter().filter(|member| *member != TAG).cloned().collect();
    (!others.is_empty()).then_some(Value::Ss(others))
}

/// Returns whether the plan selects the item. `None` means that this cannot be computed.
pub(crate) fn is_selected(plan: &Plan, item: &Item) -> Option<bool> {
    let Some(selection) = &plan.select else { return Some(true) };
    let place = SELECTIONS.iter().position(|source| *source == selection.condition.source()).unwrap();
    match (place, item.get("kind")) {
        (1, _) => Some(matches!(item.get("sk"), Some(Value::S(sk)) if sk.as_str() < "030")),
        (2, None) => Some(false),
        (2, Some(Value::S(kind))) => Some(kind == "order"),
        (2, Some(_)) => None,
        (_, _) => Some(!item.contains_key("label")),
    }
}

fn label(item: &Item) -> Option<Value> {
    match (item.get("status"), item.get("sk")) {
        (Some(Value::S(status)), Some(Value::S(sk))) => Some(Value::S(format!("{status}#{sk}"))),
        _ => None,
    }
}

/// Returns the converted price. `None` means that the price cannot be converted.
fn price(value: &Value) -> Option<Value> {
    match value {
        Value::S(text) => Num::parse(text).ok().map(Value::N),
        Value::N(_) => Some(value.clone()),
        _ => None,
    }
}

fn next_version(item: &Item) -> Option<Value> {
    match item.get("version") {
        Some(Value::N(number)) => {
            let next: u64 = number.as_str().parse::<u64>().ok()? + 1;
            Some(Value::N(Num::parse(&next.to_string()).unwrap()))
        }
        _ => None,
    }
}

fn has(plan: &Plan, wanted: &str) -> bool {
    plan.changes.iter().any(|change| change.paths().writes.iter().any(|path| path.root() == wanted))
}

/// Returns whether every change of the plan has a result for this item.
fn is_computable(plan: &Plan, item: &Item) -> bool {
    let has_result = |change: &Change| match change {
        Change::Compute { .. } => label(item).is_some(),
        Change::Convert { .. } => item.get("price").is_none_or(|value| price(value).is_some()),
        Change::Append { .. } => appended(unless_missing(plan, change, item.get("tags"))).is_some(),
        Change::Bump { .. } => next_version(item).is_some(),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Exec { .. }
        | Change::Delete { .. } => true,
    };
    plan.changes.iter().all(|change| match applies(plan, change, item) {
        Some(applies) => !applies || has_result(change),
        None => false,
    })
}

impl World {
    /// Checks one write of the tool. `is_way_back` is true if the write undoes values.
    pub(crate) async fn check_computed(&self, key: &ItemKey, before: &Item, after: &Item, is_way_back: bool, at: &str) {
        let plan = &self.plan;
        if !is_way_back && is_selected(plan, before) != Some(true) {
            self.violation(format!("{at}: an item is written that is not selected: {before:?}"));
        }
        if has(plan, "version") && after.get("version") != next_version(before).as_ref() {
            self.violation(format!("{at}: the write does not raise the version by one"));
        }
        for name in before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)) {
            let path: Path = name.parse().unwrap();
            let journal = self.state.pre_images(key.clone(), Some(path)).await.unwrap_or_default();
            let journaled = |value: &Value| journal.iter().any(|record| record.value.as_ref() == Some(value));
            let moved = |other: &str| before.get(other).or(after.get(other));
            if !is_way_back
                && name != "version"
                && !applies_at(plan, name, before)
                && !matches!(name.as_str(), "old" | "new")
            {
                self.violation(format!("{at}: {name} is written, but its change does not apply: {before:?}"));
            }
            let is_null = before.get(name) == Some(&Value::Null);
            let right = match (name.as_str(), after.get(name)) {
                ("version", _) => continue,
                ("label", now) if !is_way_back => now.is_some() && now == label(before).as_ref(),
                ("price", now) if !is_way_back => now.is_some() && now == before.get("price").and_then(price).as_ref(),
                ("marker", Some(now)) if !is_way_back => *now == Value::N(Num::parse("2").unwrap()),
                ("new", Some(now)) => moved("old") == Some(now) || journaled(now),
                ("old", Some(now)) => moved("new") == Some(now) || journaled(now),
                ("old" | "new", None) => true,
                ("tags", Some(now)) if !is_way_back => {
                    Some(now) == appended(before.get("tags").filter(|_| !is_null)).as_ref()
                }
                ("tags", now) if is_way_back => {
                    let rest = without_tag(before.get("tags"));
                    self.was_tagged_by_the_tool(key)
                        && (now == rest.as_ref() || (rest.is_none() && now.is_some_and(journaled)))
                }
                ("label" | "price" | "marker", now) if is_way_back => {
                    let ours = before.get(name).is_some_and(|value| self.was_written_by_the_tool(key, name, value));
                    ours && now.is_none_or(journaled)
                }
                _ => false,
            };
            if !right {
                self.violation(format!("{at}: {name} is wrong: it was {before:?} and is {after:?}"));
            }
            let kept = |value: &Value| {
                journaled(value)
                    || after.values().any(|there| there == value)
                    || self.was_written_by_the_tool(key, name, value)
                    || (name == "tags" && is_way_back && without_tag(Some(value)).as_ref() == after.get("tags"))
            };
            if before.get(name).is_some_and(|value| !kept(value)) {
                self.violation(format!("{at}: the last copy of {name} is lost"));
            }
        }
    }

    fn was_written_by_the_tool(&self, key: &ItemKey, name: &str, value: &Value) -> bool {
        self.was_made_by_the_tool(key, |item| item.get(name) == Some(value))
    }

    /// Returns whether the tool added its tag to the item.
    fn was_tagged_by_the_tool(&self, key: &ItemKey) -> bool {
        let has_tag = |item: &Item| match item.get("tags") {
            Some(Value::Ss(members)) => members.iter().any(|member| member == TAG),
            _ => false,
        };
        self.was_made_by_the_tool(key, has_tag)
    }

    /// Returns whether a write of the tool made this true for the item.
    fn was_made_by_the_tool(&self, key: &ItemKey, is_true: impl Fn(&Item) -> bool) -> bool {
        self.table.history(|history| {
            let versions = history.all().find(|(other, _)| *other == key).map(|(_, versions)| versions);
            let there = |version: &Version| version.item.as_ref().is_some_and(&is_true);
            versions.is_some_and(|versions| {
                let changes = versions.windows(2);
                changes
                    .into_iter()
                    .any(|two| matches!(two[1].author, Author::Tool(_)) && there(&two[1]) && !there(&two[0]))
            })
        })
    }

    /// Returns the correct verdict on an item.
    pub(crate) fn computed_verdict(&self, key: &ItemKey, item: &Item) -> Verdict {
        let plan = &self.plan;
        let skips = plan.on_not_computable == OnNotComputable::Skip;
        let selected = is_selected(plan, item);
        let is_unknown = |change: &Change| applies(plan, change, item).is_none();
        if !skips && (selected.is_none() || selected == Some(true) && plan.changes.iter().any(is_unknown)) {
            return Verdict::Missing;
        }
        let is_skipped = skips && !is_computable(plan, item);
        let mut worst = Verdict::Matching;
        let mut is_left_out = true;
        for change in &plan.changes {
            let paths = change.paths();
            let Some(to) = paths.writes.first() else { continue };
            let applies = applies(plan, change, item);
            is_left_out &= applies == Some(false) || matches!(change, Change::Bump { .. });
            // A constant is not recorded, because the plan itself says what it was.
            let is_recorded = matches!(change, Change::Compute { .. } | Change::Convert { .. } | Change::Move { .. });
            let ours = |now: &Value| is_recorded && self.was_written_by_the_tool(key, to.root(), now);
            let is_ours = to.get(item).is_some_and(ours);
            let is_own_compute = is_ours && matches!(change, Change::Compute { .. });
            let verdict = change_verdict(plan, change, item, is_own_compute);
            if applies == Some(false) && !is_ours {
                continue;
            }
            if is_skipped && !is_ours && verdict.is_mismatch() {
                worst = worst.max(Verdict::Skipped);
            } else if selected == Some(true) || is_ours {
                worst = worst.max(verdict);
            }
        }
        match !worst.is_mismatch() && (selected == Some(false) || is_left_out) {
            true => Verdict::NotSelected,
            false => worst,
        }
    }
}

/// Returns the verdict on one change. An old result of the tool itself never counts as done.
fn change_verdict(plan: &Plan, change: &Change, item: &Item, is_ours: bool) -> Verdict {
    let skips = change.skips_existing() && !is_ours;
    let target = |expected: Option<Value>, there: Option<&Value>| match (expected, unless_missing(plan, change, there))
    {
        (_, None) => Verdict::Missing,
        (Some(expected), Some(there)) if expected == *there => Verdict::Matching,
        (_, Some(_)) if skips => Verdict::Skipped,
        (_, Some(_)) => Verdict::Stale,
    };
    match change {
        Change::Compute { to, .. } => target(label(item), to.get(item)),
        Change::Set { to, value, .. } => target(Some(value.clone()), to.get(item)),
        Change::Convert { path, .. } => match path.get(item) {
            Some(Value::N(_)) | None => Verdict::Matching,
            Some(_) => Verdict::Stale,
        },
        Change::Move { from, to, on_existing } => match (from.get(item), to.get(item)) {
            (None, _) => Verdict::Matching,
            (Some(_), None) => Verdict::Missing,
            (Some(old), Some(new)) if old == new => Verdict::Unexpected,
            (Some(_), Some(_)) if *on_existing == OnExisting::Skip => Verdict::Skipped,
            (Some(_), Some(_)) => Verdict::Stale,
        },
        Change::Append { to, addition: Addition::Members(_) | Addition::Element(_) } => {
            match unless_missing(plan, change, to.get(item)) {
                None => Verdict::Missing,
                Some(Value::Ss(members)) if members.iter().any(|member| member == TAG) => Verdict::Matching,
                Some(Value::Ss(_)) => Verdict::Missing,
                Some(_) => Verdict::Stale,
            }
        }
        Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Exec { .. } => Verdict::Matching,
    }
}
