//! Worlds in which the plan deletes the selected items. Writers change the selection's inputs, add attributes, and
//! delete and recreate items. The writers keep the promise that the plan's gap rule requires.

use std::collections::BTreeSet;

use backfill::internals::change::{GapRule, OnNotComputable};
use backfill::internals::dynamodb::memory::{Author, Version};
use backfill::internals::item::{Item, ItemKey, Num, Path, Value};
use backfill::internals::plan::Plan;
use backfill::internals::state::{History, Runs, Verdict};
use fastrand::Rng;

use super::checks::ALL;
use super::claims::Claim;
use super::kinds::Kind;
use super::plan::{Generated, INDEX, Rates, load_plan, spend_limit};
use super::scene::World;
use super::select::{self, GROUPS, Selections, is_selected};

/// All attributes of the items, except key attributes.
const ATTRIBUTES: [&str; 17] = [
    "n",
    "old",
    "new",
    "doc",
    "marker",
    "kind",
    "status",
    "price",
    "version",
    "label",
    "tags",
    "weight",
    "amount",
    "summary",
    "summary_of",
    "group",
    "legacy",
];

/// Generates a plan that deletes items, with each of the gap rules.
pub(crate) fn plan(wish: Option<Kind>, rng: &mut Rng) -> Generated {
    let otherwise = ["fail", "skip"][rng.usize(..2)];
    let segments = [1, 2, 4][rng.usize(..3)];
    let write = [100, 1_000][rng.usize(..2)];
    let rates = Rates { table: write.into(), index: write.into(), partition_key: write.into() };
    // If the list does not contain `legacy`, each item with this attribute is a failure.
    let listed = &ATTRIBUTES[..ATTRIBUTES.len() - rng.usize(..2)];
    let gap = match rng.u8(..3) {
        0 => "version = \"version\"".to_owned(),
        1 => format!("attributes = {listed:?}"),
        _ => "writers = \"stopped\"".to_owned(),
    };
    let journal = if rng.u8(..4) == 0 { "journal = \"none\"\n" } else { "" };
    let journal = if wish.is_some() { "" } else { journal };
    let selection = select::section(Selections::WithWhere, wish, rng);
    let text = format!(
        "[migration]\nname = \"world\"\non_not_computable = \"{otherwise}\"\n\
         [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
         [scan]\nsegments = {segments}\npage_limit = 5\n\
         [capacity]\nwrite = {write}\nread = 1000\nper_partition_key = {{ write = {write} }}\n\
         [capacity.index]\n{INDEX} = {write}\n{GROUPS} = {write}\n\
         [limits]\nmax_failures = 1000\n{}{selection}\
         [[change]]\ndelete = true\n{gap}\n{journal}",
        spend_limit(wish, rng)
    );
    (load_plan(&text), rates)
}

/// Returns the gap rule of a plan that deletes items.
fn gap(plan: &Plan) -> Option<&GapRule> {
    plan.changes.iter().find_map(|change| Some(change.deletion()?.0))
}

/// Returns whether the plan requires that no application writes.
pub(crate) fn stops_writers(plan: &Plan) -> bool {
    gap(plan) == Some(&GapRule::WritersStopped)
}

/// Returns whether every writer raises the version.
pub(crate) fn raises_version(plan: &Plan) -> bool {
    matches!(gap(plan), Some(GapRule::Version(_)))
}

/// Gives an item a random new version.
pub(crate) fn raise_version(item: &mut Item, rng: &mut Rng) {
    let version = 1_000 + u64::from(rng.u32(..)) * 1_000 + u64::from(rng.u16(..));
    item.insert("version".to_owned(), Value::N(Num::parse(&version.to_string()).unwrap()));
}

fn has_version(plan: &Plan, item: &Item) -> bool {
    !raises_version(plan) || matches!(item.get("version"), Some(Value::N(_)))
}

/// Returns whether the plan lists every attribute of the item.
fn is_listed(plan: &Plan, item: &Item) -> bool {
    match gap(plan) {
        Some(GapRule::Attributes(names)) => {
            item.keys().all(|name| name == "pk" || name == "sk" || names.contains(name))
        }
        Some(GapRule::Version(_) | GapRule::WritersStopped) | None => true,
    }
}

/// Returns the correct verdict on an existing item.
pub(crate) fn verdict(plan: &Plan, item: &Item) -> Verdict {
    let skips = plan.on_not_computable == OnNotComputable::Skip;
    match is_selected(plan, item) {
        Some(false) => Verdict::NotSelected,
        None if skips => Verdict::Skipped,
        None => Verdict::Missing,
        Some(true) if skips && !has_version(plan, item) => Verdict::Skipped,
        Some(true) => Verdict::Unexpected,
    }
}

impl World {
    /// Checks one write of the tool.
    pub(crate) async fn check_delete(
        &self,
        key: &ItemKey,
        before: Option<&Item>,
        after: Option<&Item>,
        is_way_back: bool,
        at: &str,
    ) {
        let path: Path = "pk".parse().unwrap();
        let journal = self.state.pre_images(key.clone(), Some(path)).await.unwrap_or_default();
        let journaled = |item: &Item| journal.iter().any(|row| row.value == Some(Value::M(item.clone())));
        match (before, after, is_way_back) {
            (Some(before), None, false) => {
                let plan = &self.plan;
                if is_selected(plan, before) != Some(true) || !has_version(plan, before) || !is_listed(plan, before) {
                    let what = format!("{at}: an item is deleted that must stay: {before:?}");
                    self.broken(Claim::UnselectedTouched, &what);
                }
                match plan.deletion() {
                    Some(true) if !journaled(before) => {
                        let what = format!("{at}: the last copy of a deleted item is lost: {before:?}");
                        self.broken(Claim::LostUpdate, &what);
                    }
                    Some(false) if !journal.is_empty() => {
                        self.violation(format!("{at}: the journal keeps an item of a plan without a journal"));
                    }
                    Some(_) | None => {}
                }
            }
            (None, Some(after), true) => {
                if self.last_deleted(key).as_ref() != Some(after) {
                    let what = format!("{at}: an item is put back that the tool did not delete: {after:?}");
                    self.broken(Claim::Resurrection, &what);
                }
                if self.puts_since_delete(key) > 1 {
                    let what = format!("{at}: the application deleted the item after it was put back");
                    self.broken(Claim::Resurrection, &what);
                }
            }
            _ => self.violation(format!("{at}: from {before:?} to {after:?}")),
        }
    }

    /// Returns the item with this key that the tool deleted last.
    fn last_deleted(&self, key: &ItemKey) -> Option<Item> {
        self.table.history(|history| {
            let (_, versions) = history.all().find(|(other, _)| *other == key)?;
            let deletes = versions.windows(2).rev();
            let mut deletes = deletes.filter(|two| matches!(two[1].author, Author::Tool(_)) && two[1].item.is_none());
            deletes.next()?[0].item.clone()
        })
    }

    /// Returns the number of times that the tool has restored the item since its last delete.
    fn puts_since_delete(&self, key: &ItemKey) -> usize {
        self.table.history(|history| {
            let Some((_, versions)) = history.all().find(|(other, _)| *other == key) else { return 0 };
            let by_tool = versions.iter().rev().filter(|version| matches!(version.author, Author::Tool(_)));
            by_tool.take_while(|version| version.item.is_some()).count()
        })
    }

    /// Checks that each item that the application never changed equals its image from before the migration. Skips items
    /// with a recorded failure, because the tool does not know whether it has deleted them.
    pub(crate) async fn check_undeleted(&self) {
        let failures = self.state.failures(ALL).await.unwrap();
        let failed: BTreeSet<String> = failures.iter().map(|row| row.key.to_text()).collect();
        let untouched = |versions: &[Version]| versions.iter().all(|version| version.author != Author::Application);
        let items: Vec<(ItemKey, Option<Item>)> = self.table.history(|history| {
            let items = history.all().filter(|(_, versions)| untouched(versions));
            items.map(|(key, versions)| (key.clone(), versions.last().and_then(|last| last.item.clone()))).collect()
        });
        for (key, item) in items {
            let text = key.to_text();
            if item.as_ref() != self.seed_items.get(&text) && !failed.contains(&text) {
                self.violation(format!("{key} is not put back: it is {item:?}"));
            }
        }
    }
}
