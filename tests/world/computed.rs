//! Checks the writes and the verdicts of plans that compute values.

use backfill::internals::change::{Addition, Change, OnExisting, OnNotComputable};
use backfill::internals::dynamodb::memory::{Author, Version};
use backfill::internals::item::{Item, ItemKey, Num, Path, Value};
use backfill::internals::plan::Plan;
use backfill::internals::state::{History, Verdict};

use super::claims::{Claim, next_version};
use super::scene::World;
use super::select::is_selected;
use super::values::{TAG, appended, applies, applies_at, label, price, unless_missing, without_tag};
use super::{elements, program};

/// Returns whether every change of the plan has a result for this item.
fn is_computable(plan: &Plan, item: &Item) -> bool {
    let has_result = |change: &Change| match change {
        Change::Compute { to, .. } => computed(to.root(), item).is_ok(),
        Change::Convert { .. } => item.get("price").is_none_or(|value| price(value).is_some()),
        Change::Append { .. } => appended(unless_missing(plan, change, item.get("tags"))).is_some(),
        Change::Bump { .. } => next_version(item).is_some(),
        Change::Each { each } => elements::is_computable(plan, each, item),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Exec { .. }
        | Change::Put { .. }
        | Change::Delete { .. } => true,
    };
    plan.changes.iter().all(|change| match applies(plan, change, item) {
        Some(applies) => !applies || has_result(change),
        None => false,
    })
}

/// Returns the value that a change computes for this target. `Ok(None)` means that the change computes nothing for this
/// item. An error means that the expression has no result.
fn computed(target: &str, item: &Item) -> Result<Option<Value>, ()> {
    match target {
        "label" => label(item).map(Some).ok_or(()),
        "amount" => match item.get("weight") {
            None => Ok(None),
            Some(weight) => price(weight).map(Some).ok_or(()),
        },
        other => panic!("no plan computes {other}"),
    }
}

impl World {
    /// Checks one write of the tool. `is_way_back` is true if the write undoes values.
    pub(crate) async fn check_computed(&self, key: &ItemKey, before: &Item, after: &Item, is_way_back: bool, at: &str) {
        let plan = &self.plan;
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
                let what = format!("{at}: {name} is written, but its change does not apply: {before:?}");
                self.broken(Claim::UnselectedTouched, &what);
            }
            let is_null = before.get(name) == Some(&Value::Null);
            let right = match (name.as_str(), after.get(name)) {
                ("version", _) => continue,
                ("label" | "amount", now) if !is_way_back => {
                    now.is_some() && computed(name, before).is_ok_and(|value| value.as_ref() == now)
                }
                ("summary", Some(now)) if !is_way_back => *now == program::summary(&program::inputs(before)),
                ("summary_of", Some(now)) if !is_way_back => *now == program::marker(before),
                ("price", now) if !is_way_back => now.is_some() && now == before.get("price").and_then(price).as_ref(),
                ("lines", now) if !is_way_back => now.is_some() && now == elements::changed(plan, before).as_ref(),
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
                ("label" | "amount" | "summary" | "summary_of" | "price" | "marker" | "lines", now) if is_way_back => {
                    let ours = before.get(name).is_some_and(|value| self.was_written_by_the_tool(key, name, value));
                    ours && now.is_none_or(journaled)
                }
                _ => false,
            };
            if !right {
                let what = format!("{at}: {name} is wrong: it was {before:?} and is {after:?}");
                self.broken(Claim::StaleComputation, &what);
            }
            let kept = |value: &Value| {
                journaled(value)
                    || after.values().any(|there| there == value)
                    || self.was_written_by_the_tool(key, name, value)
                    || (name == "tags" && is_way_back && without_tag(Some(value)).as_ref() == after.get("tags"))
            };
            if before.get(name).is_some_and(|value| !kept(value)) {
                self.broken(Claim::LostUpdate, &format!("{at}: the last copy of {name} is lost: {before:?}"));
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

    /// Returns whether a write of the tool made this condition true for the item.
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
            let to = if let Change::Exec { exec, .. } = change {
                Some(exec.main_target())
            } else {
                paths.writes.first().copied()
            };
            let Some(to) = to else { continue };
            let applies = applies(plan, change, item);
            is_left_out &= applies == Some(false) || matches!(change, Change::Bump { .. });
            // The tool does not record constants, because the plan contains them.
            let is_recorded = !matches!(change, Change::Set { .. } | Change::Append { .. } | Change::Bump { .. });
            let ours = |now: &Value| is_recorded && self.was_written_by_the_tool(key, to.root(), now);
            let is_ours = to.get(item).is_some_and(ours);
            let is_own_compute = is_ours && matches!(change, Change::Compute { .. });
            let verdict = match change {
                Change::Exec { exec, .. } if exec.is_deterministic() => {
                    self.recomputed_verdict(key, item, change.skips_existing())
                }
                Change::Exec { .. } => self.program_verdict(key, item, change.skips_existing()),
                Change::Move { .. }
                | Change::Copy { .. }
                | Change::Set { .. }
                | Change::Remove { .. }
                | Change::Compute { .. }
                | Change::Convert { .. }
                | Change::Append { .. }
                | Change::Bump { .. }
                | Change::Each { .. }
                | Change::Put { .. }
                | Change::Delete { .. } => change_verdict(plan, change, item, is_own_compute),
            };
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

impl World {
    /// Returns the verdict on the value of a program whose change has no marker.
    fn recomputed_verdict(&self, key: &ItemKey, item: &Item, skips: bool) -> Verdict {
        let inputs = program::inputs(item);
        let there = item.get("summary");
        let is_own = there.is_some_and(|now| self.was_written_by_the_tool(key, "summary", now));
        match there {
            _ if inputs.is_empty() && is_own => Verdict::Unexpected,
            _ if inputs.is_empty() => Verdict::Matching,
            None => Verdict::Missing,
            Some(now) if *now == program::summary(&inputs) => Verdict::Matching,
            Some(_) if skips && !is_own => Verdict::Skipped,
            Some(_) => Verdict::Stale,
        }
    }

    /// Returns the verdict on the values of a program.
    fn program_verdict(&self, key: &ItemKey, item: &Item, skips: bool) -> Verdict {
        let is_own = |name: &str| item.get(name).is_some_and(|now| self.was_written_by_the_tool(key, name, now));
        let has_inputs = !program::inputs(item).is_empty();
        let is_current = item.get("summary_of") == Some(&program::marker(item));
        match (item.contains_key("summary"), item.contains_key("summary_of")) {
            _ if !has_inputs && is_own("summary_of") => Verdict::Unexpected,
            _ if !has_inputs => Verdict::Matching,
            (true, true) if is_current && is_own("summary_of") && !is_own("summary") => Verdict::Stale,
            (true, true) if is_current => Verdict::Matching,
            (false, false) => Verdict::Missing,
            _ if skips && !is_own("summary") && !is_own("summary_of") => Verdict::Skipped,
            (false, true) if is_current => Verdict::Missing,
            _ => Verdict::Stale,
        }
    }
}

/// Returns the verdict on one change. An outdated result of the tool itself never counts as done.
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
        Change::Compute { to, .. } => match (computed(to.root(), item), to.get(item)) {
            // The item no longer has the input, so nothing implies the value.
            (Ok(None), Some(_)) if is_ours => Verdict::Unexpected,
            (Ok(None), _) => Verdict::Matching,
            (result, there) => target(result.unwrap_or_default(), there),
        },
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
        Change::Each { each } => elements::verdict(plan, each, item),
        Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Exec { .. } => Verdict::Matching,
    }
}
