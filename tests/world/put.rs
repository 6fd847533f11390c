//! Worlds in which the plan puts a derived item for each selected item. Writers change the inputs, delete sources, and
//! put, change and delete derived items. Several sources can share a derived key.

use std::collections::BTreeSet;

use backfill::internals::change::OnNotComputable;
use backfill::internals::dynamodb::memory::{Author, MemoryTable, Version};
use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::state::{ListQuery, RunStatus, Runs, Verdict, phase};
use fastrand::Rng;

use super::checks::{ALL, NewVersion};
use super::claims::Claim;
use super::kinds::Kind;
use super::plan::{Generated, INDEX, Rates, key_of, load_plan, spend_limit};
use super::scene::World;
use super::select::{self, Selections, is_selected};

/// The sort key of every derived item. The selections of these plans include no item with this sort key.
const LOOKUP: &str = "LOOKUP";

/// The change in a plan.
const CHANGE: &str = "[[change]]\nput = { key = { pk = '\"D#\" + item.pk + item.status', sk = '\"LOOKUP\"' }, \
                      attributes = { source_pk = \"item.pk\", source_sk = \"item.sk\", \
                      what = 'has(item.kind) ? string(item.kind) : \"none\"' } }\n";

/// Generates a plan that puts derived items.
pub(crate) fn plan(wish: Option<Kind>, rng: &mut Rng) -> Generated {
    let otherwise = ["fail", "skip"][rng.usize(..2)];
    let segments = [1, 2, 4][rng.usize(..3)];
    let write = 1_000;
    let rates = Rates { table: write.into(), index: write.into(), partition_key: write.into() };
    let text = format!(
        "[migration]\nname = \"world\"\non_not_computable = \"{otherwise}\"\n\
         [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
         [scan]\nsegments = {segments}\npage_limit = 5\n\
         [capacity]\nwrite = {write}\nread = 1000\nper_partition_key = {{ write = {write} }}\n\
         [capacity.index]\n{INDEX} = {write}\n\
         [limits]\nmax_failures = 1000\n{}{}{CHANGE}",
        spend_limit(wish, rng),
        select::section(Selections::OfSources, wish, rng)
    );
    (load_plan(&text), rates)
}

/// Computes the derived item of a source without the tool. Returns `None` if the source has no result.
fn derived(source: &Item) -> Option<Item> {
    let (Some(Value::S(pk)), Some(Value::S(status))) = (source.get("pk"), source.get("status")) else { return None };
    let what = match source.get("kind") {
        None => "none".to_owned(),
        Some(Value::S(kind)) => kind.clone(),
        Some(Value::N(number)) => number.as_str().to_owned(),
        Some(_) => return None,
    };
    let mut item = Item::new();
    item.insert("pk".to_owned(), Value::S(format!("D#{pk}{status}")));
    item.insert("sk".to_owned(), Value::S(LOOKUP.to_owned()));
    item.insert("source_pk".to_owned(), Value::S(pk.clone()));
    item.insert("source_sk".to_owned(), source.get("sk")?.clone());
    item.insert("what".to_owned(), Value::S(what));
    Some(item)
}

pub(crate) fn is_derived(key: &ItemKey) -> bool {
    key.attributes().get("sk") == Some(&Value::S(LOOKUP.to_owned()))
}

/// Returns the key of the source from which a derived item was computed.
fn source_of(derived: &Item) -> Option<ItemKey> {
    let (pk, sk) = (derived.get("source_pk")?.clone(), derived.get("source_sk")?.clone());
    Some(ItemKey::new([("pk".to_owned(), pk), ("sk".to_owned(), sk)].into()))
}

/// Makes the item different from every derived item.
fn alter(item: &mut Item) {
    item.insert("what".to_owned(), Value::S("another".to_owned()));
}

/// Generates the derived items that exist before the migration. Some of them are correct, and some are wrong.
pub(crate) fn existing(sources: &[Item], rng: &mut Rng) -> Vec<Item> {
    let items = sources.iter().filter_map(derived).filter_map(|mut item| {
        match rng.u8(..10) {
            0 => {}
            1 => alter(&mut item),
            _ => return None,
        }
        Some(item)
    });
    items.collect()
}

/// Changes the derived item of this source as a live writer does.
pub(crate) fn change(table: &MemoryTable, source: &ItemKey, rng: &mut Rng) {
    let source = current(table, source);
    let Some(mut item) = source.as_ref().and_then(derived) else { return };
    let what = rng.u8(..4);
    table.change(&key_of(&item), Author::Application, |now| match (what, now) {
        (0, _) => Some(item),
        (1, _) => {
            alter(&mut item);
            Some(item)
        }
        (2, _) | (_, None) => None,
        (_, Some(now)) => {
            let mut now = now.clone();
            now.insert("note".to_owned(), Value::Bool(true));
            Some(now)
        }
    });
}

/// Changes an input of a derived item.
pub(crate) fn input(rng: &mut Rng) -> &'static str {
    ["status", "kind"][rng.usize(..2)]
}

fn current(table: &MemoryTable, key: &ItemKey) -> Option<Item> {
    table.history(|history| {
        let (_, versions) = history.all().find(|(other, _)| *other == key)?;
        versions.last()?.item.clone()
    })
}

impl World {
    /// Checks one write of the tool. It must put a missing item that its source implies, or remove an item that the
    /// tool has put.
    pub(crate) fn check_put(&self, version: &NewVersion, is_way_back: bool, at: &str) {
        let NewVersion { key, number, before, after, .. } = version;
        match (before, after, is_way_back) {
            (None, Some(put), false) if is_derived(key) => {
                let source = source_of(put).and_then(|source| self.item_before(&source, *number));
                let Some(source) = source else {
                    let what = format!("{at}: the derived item has no source: {put:?}");
                    return self.broken(Claim::StaleComputation, &what);
                };
                if is_selected(&self.plan, &source) != Some(true) {
                    self.broken(Claim::UnselectedTouched, &format!("{at}: put for {source:?}"));
                }
                if derived(&source).as_ref() != Some(put) {
                    let what = format!("{at}: put from stale inputs: {put:?}, but the source is {source:?}");
                    self.broken(Claim::StaleComputation, &what);
                }
            }
            (Some(removed), None, true) if is_derived(key) => {
                // The tool cannot notice that an application has deleted the item and put an equal one.
                if !self.has_put(key, removed) {
                    let what = format!("{at}: a derived item is deleted that the tool did not put: {removed:?}");
                    self.broken(Claim::LostUpdate, &what);
                }
            }
            _ => {
                let what = format!("{at}: the tool changed an item that it must not change: {before:?} to {after:?}");
                self.broken(Claim::UnselectedTouched, &what);
            }
        }
    }

    /// Returns the item as it was immediately before the version with this number.
    fn item_before(&self, key: &ItemKey, number: u64) -> Option<Item> {
        self.table.history(|history| {
            let (_, versions) = history.all().find(|(other, _)| *other == key)?;
            versions.iter().rfind(|version| version.number < number)?.item.clone()
        })
    }

    /// Returns whether the tool put this item.
    fn has_put(&self, key: &ItemKey, item: &Item) -> bool {
        let is_put =
            |version: &Version| matches!(version.author, Author::Tool(_)) && version.item.as_ref() == Some(item);
        self.table.history(|history| {
            let mut all = history.all().filter(|(other, _)| *other == key);
            all.any(|(_, versions)| versions.iter().any(is_put))
        })
    }

    /// Returns the correct verdict on an item.
    pub(crate) fn put_verdict(&self, key: &ItemKey, item: &Item) -> Verdict {
        let plan = &self.plan;
        if is_derived(key) {
            let is_orphan = self.has_put(key, item) && self.is_orphan(key, item);
            return if is_orphan { Verdict::Unexpected } else { Verdict::NotSelected };
        }
        let unknown = match plan.on_not_computable {
            OnNotComputable::Skip => Verdict::Skipped,
            OnNotComputable::Fail => Verdict::Missing,
        };
        match (is_selected(plan, item), derived(item)) {
            (Some(false), _) => Verdict::NotSelected,
            (None, _) | (Some(true), None) => unknown,
            (Some(true), Some(derived)) => match current(&self.table, &key_of(&derived)) {
                None => Verdict::Missing,
                Some(there) if there == derived => Verdict::Matching,
                Some(_) => Verdict::Stale,
            },
        }
    }

    /// Returns whether the source of a derived item is gone, is no longer selected, or now has a different derived key.
    fn is_orphan(&self, key: &ItemKey, item: &Item) -> bool {
        let Some(source) = source_of(item).and_then(|source| current(&self.table, &source)) else { return true };
        match is_selected(&self.plan, &source) {
            Some(false) => true,
            Some(true) => derived(&source).as_ref().map(key_of).as_ref() != Some(key),
            None => false,
        }
    }

    /// Returns whether an application put the derived item, which is now an orphan. If a transaction was in flight when
    /// the tool's process died, the tool does not know whether it has put an equal item. So the tool is allowed to
    /// report such an orphan.
    pub(crate) fn is_maybe_put(&self, key: &ItemKey, item: &Item) -> bool {
        is_derived(key) && !self.has_put(key, item) && self.is_orphan(key, item)
    }

    /// Returns whether an application wrote or deleted the derived item of this source.
    pub(crate) fn is_derived_item_foreign(&self, source: &Item) -> bool {
        let Some(key) = derived(source).as_ref().map(key_of) else { return false };
        self.table.history(|history| {
            let mut all = history.all().filter(|(other, _)| **other == key);
            all.any(|(_, versions)| versions.iter().any(|version| version.author == Author::Application))
        })
    }

    /// Checks that a rollback has removed or reported every derived item that was put by the tool and has not changed
    /// since.
    pub(crate) async fn check_no_derived_item_is_left(&self) {
        let Ok(Some(run)) = self.state.current_run(phase::ROLLBACK).await else { return };
        // A killed run has not reported all items.
        if run.status != RunStatus::Complete {
            return;
        }
        let of_rollback = || ListQuery { run: Some(run.id), ..ALL };
        let failures = self.state.failures(of_rollback()).await.unwrap().into_iter().map(|row| row.key.to_text());
        let diverged = self.state.diverged(of_rollback()).await.unwrap().into_iter().map(|row| row.key.to_text());
        let reported: BTreeSet<String> = failures.chain(diverged).collect();
        let left: Vec<String> = self.table.history(|history| {
            let is_left = |versions: &[Version]| {
                versions.last().is_some_and(|last| matches!(last.author, Author::Tool(_)) && last.item.is_some())
            };
            history.all().filter(|(_, versions)| is_left(versions)).map(|(key, _)| key.to_text()).collect()
        });
        for key in left.into_iter().filter(|key| !reported.contains(key)) {
            self.violation(format!("{key} stays after the rollback, which did not report it"));
        }
    }
}
