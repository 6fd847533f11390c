//! The checks of one migration.

use std::collections::{BTreeMap, BTreeSet};

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::passes::Prediction;
use backfill::internals::playbook::{CutoverTarget, Goal, VerifyScope};
use backfill::internals::state::{Checkpoints, Runs, Verdict, Verifications, phase};
use bigdecimal::BigDecimal;
use fastrand::Rng;

use super::{Sabotage, Scene, Wrong, outcome_of};
use crate::facts::{decimal, number_of};
use crate::harness::{bytes_of, key_of};
use crate::naive::{Expected, contracted, get};
use crate::spec::{ChangeSpec, Kind};

impl Scene<'_> {
    pub(super) fn check_counts(
        &self,
        what: &str,
        expected: &BTreeMap<String, Expected>,
        inserted: u64,
        counted: impl Fn(Outcome) -> u64,
    ) -> Result<(), Wrong> {
        for outcome in Outcome::ALL {
            let due = expected.values().filter(|expected| outcome_of(expected) == outcome).count() as u64;
            // The pass can also read some of the items that it has just put.
            let more = if outcome == Outcome::NothingToDo { inserted } else { 0 };
            if !(due..=due + more).contains(&counted(outcome)) {
                let all: Vec<(&str, u64)> = Outcome::ALL
                    .iter()
                    .map(|outcome| (outcome.name(), counted(*outcome)))
                    .filter(|(_, n)| *n > 0)
                    .collect();
                return Err(format!("{what} counted {all:?}, but {due} items are {}: {expected:?}", outcome.name()));
            }
        }
        Ok(())
    }

    pub(super) async fn check_run_counts(&self, expected: &BTreeMap<String, Expected>) -> Result<(), Wrong> {
        let run = self.state.current_run(phase::EXPAND).await.map_err(|error| error.to_string())?;
        let totals = self.state.totals(run.ok_or("there is no run")?.id).await.map_err(|error| error.to_string())?;
        let puts = expected.values().filter(|expected| matches!(expected, Expected::Puts(_))).count() as u64;
        self.check_counts("the run", expected, puts, |outcome| totals.counts.of(outcome))
    }

    /// Compares the number of writes that the dry run predicted with the run's number of writes.
    pub(super) fn check_estimate(&self, predicted: &Prediction) -> Result<(), Wrong> {
        let writes = self.writes();
        let is_right = match self.spec.put() {
            // If several sources share one derived key, the dry run counts all of them.
            Some(_) => writes <= predicted.writes,
            // In these tests, a dry run receives the answers of the programs, so it can count every write exactly.
            None => writes == predicted.writes && (writes == predicted.would_change || self.spec.is_wide()),
        };
        match is_right {
            true => Ok(()),
            false => Err(format!("{writes} writes, but {} were predicted", predicted.writes)),
        }
    }

    /// Checks that each write raised the version of its item once.
    pub(super) fn check_raises(
        &self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
    ) -> Result<(), Wrong> {
        if !self.spec.bumps() {
            return Ok(());
        }
        let raise = |key: &String| match (before[key].get("v"), after.get(key)?.get("v")?) {
            (Some(Value::N(before)), Value::N(after)) => Some(decimal(after) - decimal(before)),
            _ => None,
        };
        let raises: BigDecimal = before.keys().filter_map(raise).sum();
        match raises == self.writes() {
            true => Ok(()),
            false => Err(format!("{} writes raised the versions by {raises}", self.writes())),
        }
    }

    /// Returns the expected item. If the item can have received several writes, replaces the expected version with the
    /// item's actual one. Each write of a pass raises the version, and a pass makes at most 16 writes to an item.
    fn with_its_version(&self, is: Option<&Item>, due: Option<&Item>, was: &Item) -> Option<Item> {
        let mut due = due?.clone();
        if let (true, Some(is), Some(Value::N(was))) = (self.spec.bumps() && self.spec.is_wide(), is, was.get("v"))
            && due.get("v") != Some(&Value::N(was.clone()))
            && let Some(Value::N(now)) = is.get("v")
            && (1..=16).any(|raises| decimal(now) == decimal(was) + raises)
        {
            due.insert("v".to_owned(), Value::N(now.clone()));
        }
        Some(due)
    }

    /// Compares every item with the naive implementation.
    pub(super) fn check_items(
        &self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
    ) -> Result<(), Wrong> {
        let touched: BTreeSet<&str> = self.spec.changes.iter().flat_map(ChangeSpec::touched).collect();
        for (key, was) in before {
            let due = match &expected[key] {
                Expected::Applied(None) => None,
                Expected::Applied(Some(due)) => Some(due),
                _ => Some(was),
            };
            let is = after.get(key);
            let due = &self.with_its_version(is, due, was);
            if is != due.as_ref() {
                return Err(format!("the run left {is:?}, but expected is {due:?}; before: {was:?}"));
            }
            let Some(is) = is else { continue };
            let untouched = |item: &Item| bytes_of(&without(item, &touched));
            if untouched(is) != untouched(was) {
                return Err(format!("an attribute that the plan does not name changed: {was:?} became {is:?}"));
            }
        }
        let mut derived: BTreeMap<String, &Item> = BTreeMap::new();
        for expected in expected.values() {
            if let Expected::Puts(item) = expected {
                derived.insert(key_of(item).to_text(), item);
            }
        }
        match after.iter().find(|(key, item)| !before.contains_key(*key) && derived.get(*key) != Some(item)) {
            Some((key, item)) => Err(format!("the run created {key}: {item:?}")),
            None if after.len() > before.len() + derived.len() => Err("the run created items".to_owned()),
            None => Ok(()),
        }
    }

    /// Verifies the table. Returns the keys of the items with mismatches.
    pub(super) async fn verify(&mut self) -> Result<BTreeSet<String>, Wrong> {
        self.command(Goal::Verify { scope: VerifyScope::Full, repair: false }).await?;
        let report = self.state.latest_report().await.map_err(|error| error.to_string())?;
        let report = report.ok_or("there is no report")?;
        let mut found = BTreeSet::new();
        for verdict in Verdict::MISMATCHES {
            let rows = self.state.mismatches(report.run, verdict, u32::MAX).await.map_err(|error| error.to_string())?;
            found.extend(rows.into_iter().map(|row| row.key.to_text()));
        }
        Ok(found)
    }

    pub(super) async fn check_verification(
        &mut self,
        when: &str,
        due: &BTreeSet<String>,
        sabotage: Option<Sabotage>,
    ) -> Result<(), Wrong> {
        let mut found = self.verify().await?;
        if sabotage == Some(Sabotage::OverlookedMismatch) {
            found.pop_first();
        }
        if found == *due {
            return Ok(());
        }
        let items = self.server.dump().await;
        let differs: Vec<(&String, Option<&Item>)> =
            found.symmetric_difference(due).map(|key| (key, items.get(key))).collect();
        Err(format!("{when}, verification found {found:?}, but expected is {due:?}; items: {differs:?}"))
    }

    /// Plants defects in items that the run wrote, and harmless changes in other items. Verification must find exactly
    /// the defects. Afterwards, restores the items.
    pub(super) async fn check_planted_defects(
        &mut self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
        due: &BTreeSet<String>,
    ) -> Result<u64, Wrong> {
        let mut rng = Rng::with_seed(before.len() as u64);
        let mut due = due.clone();
        let mut planted = Vec::new();
        for (key, was) in before {
            let is_applied = matches!(expected[key], Expected::Applied(_));
            let is = after.get(key);
            let defect = match (is_applied, is, rng.u8(..4)) {
                // The item loses the write of the run.
                (true, _, 0) => {
                    due.insert(key.clone());
                    was.clone()
                }
                (true, Some(is), 1) => match self.wrong_target(is) {
                    Some(defect) => {
                        due.insert(key.clone());
                        defect
                    }
                    None => continue,
                },
                // The plan does not use this attribute, so the change is not a defect.
                (_, Some(is), 2) if !self.deletes() => {
                    let mut other = is.clone();
                    other.insert("zz".to_owned(), Value::S("another".to_owned()));
                    other
                }
                (_, _, _) => continue,
            };
            planted.push((key, defect));
        }
        if planted.is_empty() {
            return Ok(0);
        }
        for (_, defect) in &planted {
            self.server.put(defect).await;
        }
        self.check_verification("with planted defects", &due, None).await?;
        for (key, _) in &planted {
            // If the run deleted the item, the planted defect put it into the table. Such an item did not exist after
            // the run, so it stays in the table. The rollback must not change it.
            if let Some(is) = after.get(*key) {
                self.server.put(is).await;
            }
        }
        Ok(planted.len() as u64)
    }

    fn deletes(&self) -> bool {
        self.spec.changes.iter().any(|change| matches!(change.kind, Kind::Delete { .. }))
    }

    /// Returns the item with a wrong value at the target of a change, or `None` if no change makes this a defect.
    fn wrong_target(&self, item: &Item) -> Option<Item> {
        let mut defect = item.clone();
        let wrong = Value::S("a defect".to_owned());
        let is_simple = |change: &&ChangeSpec| change.condition.is_none();
        let elements =
            || self.spec.changes.iter().filter(is_simple).find_map(|change| self.wrong_element(item, change));
        if let Some(defect) = elements().filter(|_| self.spec.select.is_none()) {
            return Some(defect);
        }
        let target = self.spec.changes.iter().filter(is_simple).find_map(|change| match change.kind {
            Kind::Set { to, .. } => {
                let skips = self.spec.on_existing(change).name() == "skip";
                (!skips).then_some(to)
            }
            Kind::Move { from, to } if !self.spec.in_place => get(item, from).map(|_| to),
            Kind::Copy { from, to } => {
                let is_removed = |other: &ChangeSpec| matches!(other.kind, Kind::Remove { path } if path == from);
                let skips_any = self.spec.in_place && self.spec.on_existing(change).name() == "skip";
                let stays = !self.spec.changes.iter().any(is_removed) && !skips_any;
                get(item, from).filter(|_| stays).map(|_| to)
            }
            Kind::Move { .. }
            | Kind::Remove { .. }
            | Kind::Compute { .. }
            | Kind::Prefix { .. }
            | Kind::Replace { .. }
            | Kind::Convert { .. }
            | Kind::ConvertInto { .. }
            | Kind::Append { .. }
            | Kind::Bump
            | Kind::Delete { .. }
            | Kind::Exec { .. }
            | Kind::Custom { .. }
            | Kind::Each { .. }
            | Kind::ElementCompute { .. }
            | Kind::Put { .. } => None,
        });
        // The wrong value is a string, so it is also valid as an index key. With a selection, the change could exclude
        // the item.
        let target = target.filter(|to| !to.contains('.') && self.spec.select.is_none())?;
        defect.insert(target.to_owned(), wrong);
        Some(defect)
    }

    /// Rolls back. Every item must be as it was before the migration, byte for byte, except for the version and for
    /// what an application has written since. Returns the number of items in which an application wrote a target.
    pub(super) async fn check_rollback(
        &mut self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
        sabotage: Option<Sabotage>,
    ) -> Result<u64, Wrong> {
        let mut due = before.clone();
        let mut stays = after.iter().filter(|(key, _)| before.contains_key(*key));
        let live = stays.next().filter(|_| !self.deletes());
        let replaced = self.write_at_target(before, after, expected, live.map(|(key, _)| key)).await?;
        let count = u64::from(replaced.is_some());
        due.extend(replaced);
        if let Some((key, is)) = live {
            let mut live = is.clone();
            live.insert("zz".to_owned(), Value::S("live".to_owned()));
            self.server.put(&live).await;
            due.entry(key.clone()).or_default().insert("zz".to_owned(), Value::S("live".to_owned()));
        }
        if self.spec.bumps() {
            for (key, item) in &mut due {
                if let (Expected::Applied(_), Some(Value::N(version))) = (&expected[key], after[key].get("v")) {
                    // The rollback also raises the version.
                    let next = number_of(&(decimal(version) + 1));
                    item.extend(next.map(|next| ("v".to_owned(), next)));
                }
            }
        }
        self.command(Goal::Rollback).await?;
        if sabotage == Some(Sabotage::IncompleteRollback) {
            let undone = after.iter().find(|(key, is)| before.get(*key) != Some(is));
            if let Some((_, is)) = undone {
                self.server.put(is).await;
            }
        }
        let restored = self.server.dump().await;
        for (key, due) in &due {
            let is = restored.get(key);
            let after = after.get(key);
            let due = match after {
                Some(after) => &self.with_its_version(is, Some(due), after).unwrap_or_default(),
                None => due,
            };
            if is.map(bytes_of) != Some(bytes_of(due)) {
                return Err(format!("the rollback left {is:?}, but expected is {due:?}; after the run: {after:?}"));
            }
        }
        match restored.len() == due.len() {
            true => Ok(count),
            false => Err("the rollback created an item".to_owned()),
        }
    }

    /// Returns whether `contract` can raise the version of every item from which it removes an attribute.
    pub(super) fn can_contract(&self, after: &BTreeMap<String, Item>) -> bool {
        let bumps = self.spec.bumps();
        let can_rise = |item: &Item| match item.get("v") {
            Some(Value::N(version)) => (1..=3).all(|times| number_of(&(decimal(version) + times)).is_some()),
            _ => false,
        };
        !bumps || after.values().all(|item| contracted(self.spec, item) == *item || can_rise(item))
    }

    /// Moves readers and writers, and removes the old attributes.
    pub(super) async fn check_contract(&mut self, after: &BTreeMap<String, Item>) -> Result<(), Wrong> {
        for target in [CutoverTarget::ReadNew(100), CutoverTarget::WriteNew] {
            self.command(Goal::CutoverTo(target)).await?;
        }
        self.command(Goal::Contract).await?;
        let now = self.server.dump().await;
        for (key, was) in after {
            let due = self.with_its_version(now.get(key), Some(&contracted(self.spec, was)), was);
            if now.get(key) != due.as_ref() {
                let is = now.get(key);
                return Err(format!("contract left {is:?}, but expected is {due:?}; after the run: {was:?}"));
            }
        }
        self.check_verification("after contract", &BTreeSet::new(), None).await
    }

    /// Plants a defect that the checks after the run must find.
    pub(super) async fn sabotage_run(&self, sabotage: Option<Sabotage>, before: &BTreeMap<String, Item>) {
        for (key, mut item) in self.server.dump().await {
            let is_done = match sabotage {
                Some(Sabotage::LostAttribute) => item.remove("unlisted").is_some(),
                Some(Sabotage::LostDigit) => item.values_mut().any(lose_digit),
                Some(Sabotage::LostWrite) => match before.get(&key) {
                    Some(was) if *was != item => {
                        item.clone_from(was);
                        true
                    }
                    Some(_) | None => false,
                },
                Some(Sabotage::IncompleteRollback | Sabotage::OverlookedMismatch) | None => false,
            };
            if is_done {
                return self.server.put(&item).await;
            }
        }
    }
}

/// Rounds the number 12345678901234567890123456789012345678 in a value, as a conversion to a float would. Returns false
/// if the value does not contain this number.
fn lose_digit(value: &mut Value) -> bool {
    match value {
        Value::N(number) if number.as_str() == "12345678901234567890123456789012345678" => {
            *number = Num::parse("12345678901234567890123456789012345680").unwrap();
            true
        }
        Value::L(list) => list.iter_mut().any(lose_digit),
        Value::M(map) => map.values_mut().any(lose_digit),
        _ => false,
    }
}

fn without(item: &Item, names: &BTreeSet<&str>) -> Item {
    item.iter().filter(|(name, _)| !names.contains(name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}
