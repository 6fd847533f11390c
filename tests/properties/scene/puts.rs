//! Plants defects in derived items and in elements.

use std::collections::{BTreeMap, BTreeSet};

use backfill::internals::change::OnExisting;
use backfill::internals::item::{Item, Value};
use fastrand::Rng;

use super::{Scene, Wrong};
use crate::derived::DERIVED;
use crate::elements::elements;
use crate::harness::key_of;
use crate::naive::{Expected, expected as naive};
use crate::spec::{ChangeSpec, Kind};

impl Scene<'_> {
    /// Removes and changes derived items that the run put, and removes sources. Verification must find exactly these
    /// defects. Afterwards, restores the items.
    pub(super) async fn check_planted_puts(
        &mut self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
        due: &BTreeSet<String>,
    ) -> Result<u64, Wrong> {
        let Some(derive) = self.spec.put().map(|at| DERIVED[at].value) else { return Ok(0) };
        let mut rng = Rng::with_seed(before.len() as u64);
        let mut due = due.clone();
        let mut planted = 0;
        for (source, expected) in expected {
            let Expected::Puts(item) = expected else { continue };
            let key = key_of(item).to_text();
            // Returns whether verification compares the source with this derived item.
            let judged = |source: &&String| {
                let source = &before[*source];
                let is_judged = !matches!(naive(self.spec, source), Expected::NothingToDo | Expected::Skipped);
                is_judged && derive(source).is_some_and(|derived| key_of(&derived).to_text() == key)
            };
            let sources: Vec<&String> = before.keys().filter(judged).collect();
            match rng.u8(..4) {
                0 => {
                    self.server.delete(item).await;
                    due.extend(sources.into_iter().cloned());
                }
                1 => {
                    let mut other = item.clone();
                    other.insert("zz".to_owned(), Value::S("another".to_owned()));
                    self.server.put(&other).await;
                    due.extend(sources.into_iter().cloned());
                }
                // The derived item loses its source.
                2 if sources.len() == 1 && !due.contains(source) => {
                    self.server.delete(&before[source]).await;
                    due.insert(key);
                }
                _ => continue,
            }
            planted += 1;
        }
        if planted == 0 {
            return Ok(0);
        }
        self.check_verification("with planted defects", &due, None).await?;
        for item in after.values() {
            self.server.put(item).await;
        }
        Ok(planted)
    }

    /// Returns the item with a wrong value at the target of a `set` in an element, or `None` if no element makes this a
    /// defect.
    pub(super) fn wrong_element(&self, item: &Item, change: &ChangeSpec) -> Option<Item> {
        let Kind::Each { container, edits } = &change.kind else { return None };
        let target = edits.iter().find_map(|edit| match edit.kind {
            Kind::Set { to, .. } if self.spec.on_existing(edit) != OnExisting::Skip && !to.contains('.') => Some(to),
            _ => None,
        })?;
        let mut defect = item.clone();
        let map = elements(defect.get_mut(*container)?).into_iter().find_map(|element| match element {
            Value::M(map) => Some(map),
            _ => None,
        })?;
        map.insert(target.to_owned(), Value::S("a defect".to_owned()));
        Some(defect)
    }
}
