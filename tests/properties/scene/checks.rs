//! The checks of one migration.

use std::collections::{BTreeMap, BTreeSet};

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Num, Value};
use backfill::internals::passes::Prediction;
use backfill::internals::playbook::{CutoverTarget, Goal, VerifyScope};
use backfill::internals::state::{Checkpoints, Runs, Verdict, Verifications, phase};
use fastrand::Rng;

use super::{Sabotage, Scene, Wrong, outcome_of};
use crate::facts::{decimal, number_of};
use crate::harness::bytes_of;
use crate::naive::{Expected, contracted, get};
use crate::spec::{ChangeSpec, Kind};

impl Scene<'_> {
    pub(super) fn check_counts(
        &self,
        what: &str,
        expected: &BTreeMap<String, Expected>,
        counted: impl Fn(Outcome) -> u64,
    ) -> Result<(), Wrong> {
        for outcome in Outcome::ALL {
            let due = expected.values().filter(|expected| outcome_of(expected) == outcome).count() as u64;
            if counted(outcome) != due {
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
        self.check_counts("the run", expected, |outcome| totals.counts.of(outcome))
    }

    /// Compares the capacity that the dry run predicted for all items with what the server counted for the run.
    pub(super) fn check_estimate(&self, predicted: &Prediction) -> Result<(), Wrong> {
        // A dry run knows the answers of programs here, so it can count every write exactly.
        match self.log.lock().unwrap().writes == predicted.would_change {
            true => Ok(()),
            false => Err(format!("{} writes, but {} were predicted", self.writes(), predicted.would_change)),
        }
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
            if is != due {
                return Err(format!("the run left {is:?}, but expected is {due:?}; before: {was:?}"));
            }
            let Some(is) = is else { continue };
            let untouched = |item: &Item| bytes_of(&without(item, &touched));
            if untouched(is) != untouched(was) {
                return Err(format!("an attribute that the plan does not name changed: {was:?} became {is:?}"));
            }
        }
        match after.keys().find(|key| !before.contains_key(*key)) {
            Some(key) => Err(format!("the run created {key}")),
            None => Ok(()),
        }
    }

    /// Verifies the table. Returns the keys of the items with mismatches.
    async fn verify(&mut self) -> Result<BTreeSet<String>, Wrong> {
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

    /// Plants defects in items that the run wrote, and harmless changes in others. Verification must find exactly the
    /// defects. Afterwards, the items are as they were.
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
                // The write of the run is lost.
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
                // This attribute is nothing to the plan, so the change is no defect.
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
            // Only an undeleted item has no state to return to. The rollback must leave it alone.
            if let Some(is) = after.get(*key) {
                self.server.put(is).await;
            }
        }
        Ok(planted.len() as u64)
    }

    fn deletes(&self) -> bool {
        self.spec.changes.iter().any(|change| matches!(change.kind, Kind::Delete { .. }))
    }

    /// Returns the item with another value at the target of a change. `None` if no change makes this a defect.
    fn wrong_target(&self, item: &Item) -> Option<Item> {
        let mut defect = item.clone();
        let wrong = Value::S("a defect".to_owned());
        let is_simple = |change: &&ChangeSpec| change.condition.is_none();
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
            | Kind::Exec { .. } => None,
        });
        // A target in an index must be a string, which this is. A selection could leave the item out.
        let target = target.filter(|to| !to.contains('.') && self.spec.select.is_none())?;
        defect.insert(target.to_owned(), wrong);
        Some(defect)
    }

    /// Rolls back. Every item must be as it was before the migration, byte for byte, except for the version and for
    /// what an application has written since.
    pub(super) async fn check_rollback(
        &mut self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
        sabotage: Option<Sabotage>,
    ) -> Result<(), Wrong> {
        let mut due = before.clone();
        if let Some((key, is)) = after.iter().next().filter(|_| !self.deletes()) {
            let mut live = is.clone();
            live.insert("zz".to_owned(), Value::S("live".to_owned()));
            self.server.put(&live).await;
            due.entry(key.clone()).or_default().insert("zz".to_owned(), Value::S("live".to_owned()));
        }
        if self.spec.changes.iter().any(|change| change.kind == Kind::Bump) {
            for (key, item) in &mut due {
                if let (Expected::Applied(_), Some(Value::N(version))) = (&expected[key], item.get("v")) {
                    // The run raised the version once, and the rollback raises it again.
                    let next = number_of(&(decimal(version) + 2));
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
            if is.map(bytes_of) != Some(bytes_of(due)) {
                let after = after.get(key);
                return Err(format!("the rollback left {is:?}, but expected is {due:?}; after the run: {after:?}"));
            }
        }
        match restored.len() == due.len() {
            true => Ok(()),
            false => Err("the rollback created an item".to_owned()),
        }
    }

    /// Returns whether every item from which `contract` removes something has a version that it can raise.
    pub(super) fn can_contract(&self, after: &BTreeMap<String, Item>) -> bool {
        let bumps = self.spec.changes.iter().any(|change| change.kind == Kind::Bump);
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
            let due = contracted(self.spec, was);
            if now.get(key) != Some(&due) {
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
                Some(Sabotage::LostWrite) => {
                    let is_written = before.get(&key) != Some(&item);
                    item.clone_from(&before[&key]);
                    is_written
                }
                Some(Sabotage::IncompleteRollback | Sabotage::OverlookedMismatch) | None => false,
            };
            if is_done {
                return self.server.put(&item).await;
            }
        }
    }
}

/// Rounds a number of 38 digits, as a float would. Returns false if the value is no such number.
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
