//! Checks that every simulated migration must pass. The checks use the table's recorded history and the migration's
//! state.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backfill::internals::dynamodb::memory::{Author, Version};
use backfill::internals::item::{Item, ItemKey, Num, Path, Value};
use backfill::internals::state::{Checkpoints, Cursor, History, ListQuery, RunId, Runs, Verdict, Verifications, phase};

use super::claims::{Claim, bumps};
use super::put::is_derived;
use super::scene::World;
use super::select::{is_read, is_selected};
use super::verdicts::{KnownItem, move_verdicts, verdicts};
use super::{delete, plan, values};

/// A query for all rows of every run.
pub(crate) const ALL: ListQuery = ListQuery { run: None, open_only: false, after: Cursor::START, limit: 1_000_000 };

/// The attributes that the tool is allowed to change. `old` and `new` are paired, because the plan moves values between
/// them.
const TOOL_ATTRIBUTES: [(&str, Option<&str>); 5] =
    [("old", Some("new")), ("new", Some("old")), ("copied", None), ("marker", None), ("legacy", None)];

/// An item version that one of the tool's processes wrote.
pub(crate) struct NewVersion {
    pub(crate) key: ItemKey,
    pub(crate) number: u64,
    process: u32,
    at: Duration,
    pub(crate) before: Option<Item>,
    pub(crate) after: Option<Item>,
}

impl World {
    /// Returns the versions that the tool has written since the last call.
    fn new_versions(&self) -> Vec<NewVersion> {
        let (checked, charges) = self.checked.get();
        let (all, changes) = self.table.history(|history| {
            let mut all = Vec::new();
            for (key, versions) in history.all() {
                for (n, version) in versions.iter().enumerate().filter(|(_, version)| version.number >= checked) {
                    let Author::Tool(process) = version.author else { continue };
                    let before = n.checked_sub(1).and_then(|n| versions[n].item.clone());
                    let after = version.item.clone();
                    let (number, at) = (version.number, version.at);
                    all.push(NewVersion { key: key.clone(), number, process, at, before, after });
                }
            }
            (all, history.changes())
        });
        self.checked.set((changes, charges));
        all
    }

    /// Checks the tool's writes. Each one must have had an effect on an existing item, changed only allowed attributes,
    /// and lost no value.
    pub(crate) async fn check_versions(&self, during: &str) {
        let is_way_back = during == "rollback" || during == "the way back";
        for version in self.new_versions() {
            let NewVersion { key, process, at, before, after, number: _ } = &version;
            let at = format!("{during}: process {process} and {key} at {at:?}");
            if self.plan.puts_items() {
                self.check_put(&version, is_way_back, &at);
                continue;
            }
            self.check_claims(&version, is_way_back, &at);
            match (before, after) {
                _ if self.plan.deletes_items() => {
                    self.check_delete(key, before.as_ref(), after.as_ref(), is_way_back, &at).await;
                }
                (Some(before), Some(after)) if values::computes(&self.plan) => {
                    self.check_computed(key, before, after, is_way_back, &at).await;
                }
                (Some(before), Some(after)) => self.check_change(key, before, after, &at).await,
                // `claims.rs` checks these cases.
                (None, _) | (Some(_), None) => {}
            }
        }
    }

    async fn check_change(&self, key: &ItemKey, before: &Item, after: &Item, at: &str) {
        let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
        for name in names {
            // `claims.rs` checks the version and the application's attributes.
            let Some((_, other)) = TOOL_ATTRIBUTES.iter().find(|(ours, _)| ours == name) else { continue };
            let path: Path = name.parse().unwrap();
            let journal = self.state.pre_images(key.clone(), Some(path)).await.unwrap_or_default();
            let journaled = |value: &Value| journal.iter().any(|record| record.value.as_ref() == Some(value));
            let replaces = plan::replaces(&self.plan);
            let in_other = |item: &Item, value: &Value| {
                let there = other.and_then(|other| item.get(other));
                there.is_some_and(|there| match name == "old" {
                    true => *there == plan::new_value(replaces, value),
                    false => plan::new_value(replaces, there) == *value,
                })
            };
            if let Some(value) = before.get(name) {
                let copied = name == "copied" && source_of_copy(before) == Some(value);
                let kept = in_other(after, value) || in_other(before, value) || copied || is_constant(name, value);
                if !kept && !journaled(value) {
                    self.broken(Claim::LostUpdate, &format!("{at}: the last copy of {name} is lost: {before:?}"));
                }
            }
            if let Some(value) = after.get(name) {
                let copied = name == "copied" && source_of_copy(before) == Some(value);
                let known = in_other(before, value) || copied || is_constant(name, value);
                if !known && !journaled(value) {
                    let what = format!("{at}: {name} gets a value that does not follow from {before:?}");
                    self.broken(Claim::StaleComputation, &what);
                }
            }
        }
    }

    /// Checks that a complete pass has processed every item. An item that the application never changed must match all
    /// changes in the plan, or be listed as failed or diverged. While applications write both attributes, this method
    /// also checks the move on every other item.
    pub(crate) async fn check_no_item_is_missed(&self) {
        let failures = self.state.failures(ALL).await.unwrap();
        let diverged = self.state.diverged(ALL).await.unwrap();
        let listed: Vec<&ItemKey> =
            failures.iter().map(|row| &row.key).chain(diverged.iter().map(|row| &row.key)).collect();
        for (key, item, before) in self.items() {
            let known = KnownItem { item: &item, before };
            let best = match before {
                _ if self.plan.deletes_items() => match before {
                    Some(_) => delete::verdict(&self.plan, &item),
                    None => continue,
                },
                _ if self.plan.puts_items() => match before {
                    Some(_) if !self.is_derived_item_foreign(&item) => self.put_verdict(&key, &item),
                    Some(_) | None => continue,
                },
                _ if values::computes(&self.plan) => match before {
                    Some(_) => self.computed_verdict(&key, &item),
                    None => continue,
                },
                _ if is_selected(&self.plan, &item) != Some(true) => continue,
                Some(_) => verdicts(&self.plan, &known).0,
                None if plan::in_place(&self.plan) => continue,
                None => move_verdicts(&self.plan, &known).0,
            };
            if best.is_mismatch() && !listed.contains(&&key) {
                self.violation(format!("{key} was missed: {best:?}"));
            }
        }
    }

    /// Returns every current item. If the application never changed an item, the result also contains its image from
    /// before the migration.
    fn items(&self) -> Vec<(ItemKey, Item, Option<&Item>)> {
        let item = |(key, versions): (&ItemKey, &[Version])| {
            let untouched = versions.iter().all(|version| version.author != Author::Application);
            let before = if untouched { self.seed_items.get(&key.to_text()) } else { None };
            Some((key.clone(), versions.last()?.item.clone()?, before))
        };
        self.table.history(|history| history.all().filter_map(item).collect())
    }

    /// Returns the current images of the seed's items that the application never changed.
    fn untouched_items(&self) -> impl Iterator<Item = (ItemKey, Item)> {
        self.items().into_iter().filter_map(|(key, item, before)| before.map(|_| (key, item)))
    }

    /// Checks that the counts of each run add up, and that all runs together count no more write units than the table
    /// consumed.
    pub(crate) async fn check_counts(&self) {
        let mut counted = 0.0;
        let mut id = 1;
        while let Ok(totals) = self.state.totals(RunId::from_number(id)).await {
            counted += totals.counts.write_units;
            id += 1;
        }
        for name in [phase::EXPAND, phase::ROLLBACK, phase::OLD_EQUAL_NEW] {
            let Ok(Some(run)) = self.state.current_run(name).await else { continue };
            let Ok(totals) = self.state.totals(run.id).await else { continue };
            let outcomes: u64 = totals.counts.outcomes.iter().sum();
            let segments = totals.pending + totals.scanning + totals.done;
            if outcomes != totals.counts.scanned || segments != run.total_segments {
                self.violation(format!("{name}: the counts do not add up: {totals:?}"));
            }
        }
        let units = self.wire_log.lock().unwrap().units;
        if counted > units + 0.001 {
            self.violation(format!("the runs count {counted} write units, more than the table consumed: {units}"));
        }
    }

    /// Compares the verification's verdict on each item with the table. Call this method while no process writes.
    /// Returns whether every item matches.
    pub(crate) async fn check_verdict(&self) -> bool {
        let Ok(Some(report)) = self.state.latest_report().await else {
            self.violation("`verify` has no report");
            return false;
        };
        let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
        let mut found = BTreeMap::new();
        for verdict in Verdict::MISMATCHES {
            let of_kind = self.state.mismatches(report.run, verdict, u32::MAX).await.unwrap();
            found.extend(of_kind.into_iter().map(|mismatch| (mismatch.key.to_text(), mismatch.verdict)));
        }
        // If the plan has a file of keys, its passes read no other items. Then the verification looks derived items up.
        let is_looked_up = |key: &ItemKey| self.plan.looks_up_derived() && is_derived(key);
        let mut items = self.items();
        items.retain(|(key, item, _)| is_looked_up(key) || (is_read(&self.plan, item) && !is_looked_up(key)));
        let mut looked_up = 0;
        let mut maybe_put = 0;
        for (key, item, before) in &items {
            let (best, worst) = if self.plan.deletes_items() {
                let verdict = delete::verdict(&self.plan, item);
                (verdict, verdict)
            } else if self.plan.puts_items() {
                match self.put_verdict(key, item) {
                    // Such an item counts only if it is an orphan.
                    Verdict::NotSelected if is_looked_up(key) && !found.contains_key(&key.to_text()) => {
                        looked_up += 1;
                        (Verdict::NotSelected, Verdict::NotSelected)
                    }
                    Verdict::NotSelected if found.contains_key(&key.to_text()) && self.is_maybe_put(key, item) => {
                        maybe_put += 1;
                        (Verdict::Unexpected, Verdict::Unexpected)
                    }
                    verdict => (verdict, verdict),
                }
            } else if values::computes(&self.plan) {
                let verdict = self.computed_verdict(key, item);
                // If the program gives no answer, the tool cannot confirm that a stored output is correct.
                let may_fail = self.plan.recomputes() && !self.is_program_reliable.load(Ordering::Relaxed);
                let is_asked = may_fail && item.contains_key("summary") && verdict < Verdict::Stale;
                (verdict, if is_asked { Verdict::Stale } else { verdict })
            } else if self.is_left_out(item) {
                (Verdict::NotSelected, Verdict::NotSelected)
            } else {
                verdicts(&self.plan, &KnownItem { item, before: *before })
            };
            let right = match found.remove(&key.to_text()) {
                Some(verdict) => (best..=worst).contains(&verdict),
                None => !best.is_mismatch(),
            };
            if !right {
                self.violation(format!("`verify` is wrong about {key}: correct is {best:?} to {worst:?}, {item:?}"));
            }
        }
        found.keys().for_each(|key| self.violation(format!("`verify` found {key}, which does not exist")));
        let left_out = |(key, item, _): &&(ItemKey, Item, Option<&Item>)| {
            self.plan.deletes_items() && delete::verdict(&self.plan, item) == Verdict::NotSelected
                || self.plan.puts_items() && self.put_verdict(key, item) == Verdict::NotSelected
                || values::computes(&self.plan) && self.computed_verdict(key, item) == Verdict::NotSelected
                || self.is_left_out(item)
        };
        let not_selected = items.iter().filter(left_out).count() - maybe_put - looked_up;
        let counted = [&json["compared"], &json["not_selected"]].map(serde_json::Value::as_u64);
        let compared = items.len() - not_selected - looked_up;
        if counted != [Some(compared as u64), Some(not_selected as u64)] {
            self.violation(format!(
                "`verify` compared {counted:?} of {} items, {not_selected} not selected",
                items.len()
            ));
        }
        json["mismatches"] == 0
    }

    /// Checks that no item of the seed still has an old value that implies its new value. Ignores items that the
    /// application has changed. Call this method after a contract.
    pub(crate) fn check_contracted(&self) {
        for (key, item) in self.untouched_items() {
            let is_moved = plan::moves(&self.plan) && is_selected(&self.plan, &item) == Some(true);
            if is_moved && self.is_equal_pair(&item) {
                self.violation(format!("{key} still has its old attribute"));
            }
        }
    }

    /// Checks that every item that the application never changed equals its image from before the migration. Call this
    /// method after a rollback.
    pub(crate) async fn check_restored(&self) {
        let failures = self.state.failures(ALL).await.unwrap();
        for (key, item) in self.untouched_items() {
            let Some(seed) = self.seed_items.get(&key.to_text()) else { continue };
            // A rollback never lowers an item's version.
            let mut seed = seed.clone();
            if bumps(&self.plan) && item.get("version") != seed.get("version") {
                seed.extend(item.get("version").map(|version| ("version".to_owned(), version.clone())));
            }
            let seed = &seed;
            // If a pair is equal during dual writes, the tool assumes that an application wrote it.
            let equal = self.is_equal_pair(seed);
            let failed = failures.iter().any(|row| row.key == key);
            if item != *seed && !(failed || (equal && !plan::in_place(&self.plan))) {
                self.violation(format!("{key} is not restored: it was {seed:?} and is {item:?}"));
            }
        }
    }
}

impl World {
    /// Returns whether the plan belongs to the family of `plan.rs` and does not select the item.
    fn is_left_out(&self, item: &Item) -> bool {
        let is_of_other_family = self.plan.deletes_items() || self.plan.puts_items() || values::computes(&self.plan);
        !is_of_other_family && is_selected(&self.plan, item) != Some(true)
    }

    /// Returns whether the item has an old value and exactly the new value that the old value implies.
    fn is_equal_pair(&self, item: &Item) -> bool {
        let old = item.get("old").map(|old| plan::new_value(plan::replaces(&self.plan), old));
        old.is_some() && old.as_ref() == item.get("new")
    }

    /// Checks that every old value is the last value that an application wrote to either attribute. If no application
    /// wrote the item, the old value must be the seed's. Call this method after a rollback from new-only writes.
    pub(crate) fn check_old_values(&self) {
        let replaces = plan::replaces(&self.plan);
        let wrong = self.table.history(|history| {
            let mut wrong = Vec::new();
            for (key, versions) in history.all() {
                let Some(item) = versions.last().and_then(|version| version.item.as_ref()) else { continue };
                if is_selected(&self.plan, item) != Some(true) {
                    continue;
                }
                let written = (0..versions.len()).rev().find_map(|n| {
                    let version = versions[n].item.as_ref()?;
                    let old = || version.get("old").cloned();
                    let from_new = || version.get("new").map(|new| plan::old_value(replaces, new));
                    let Some(before) = n.checked_sub(1).and_then(|n| versions[n].item.as_ref()) else {
                        return Some(match versions[n].author {
                            Author::Seed => old().or_else(from_new),
                            Author::Application | Author::Tool(_) => from_new().or_else(old),
                        });
                    };
                    let is_changed = |name: &str| version.get(name) != before.get(name);
                    match versions[n].author {
                        Author::Application if is_changed("new") && version.contains_key("new") => Some(from_new()),
                        Author::Application if is_changed("old") => Some(old()),
                        Author::Application | Author::Seed | Author::Tool(_) => None,
                    }
                });
                let Some(Some(written)) = written else { continue };
                if item.get("old") != Some(&written) {
                    wrong.push(format!("{key}: the old value is not the last one that was written: {item:?}"));
                }
            }
            wrong
        });
        wrong.into_iter().for_each(|what| self.violation(what));
    }
}

fn source_of_copy(item: &Item) -> Option<&Value> {
    if let Some(Value::M(doc)) = item.get("doc") { doc.get("x") } else { None }
}

fn is_constant(name: &str, value: &Value) -> bool {
    name == "marker" && *value == Value::N(Num::parse("2").unwrap())
}
