//! Values that an application writes at a target of the plan after the run.

use std::collections::BTreeMap;

use backfill::internals::change::OnExisting;
use backfill::internals::item::{Item, Value};
use backfill::internals::playbook::Goal;

use super::{Scene, Wrong};
use crate::naive::{Expected, get};
use crate::spec::{ChangeSpec, Kind};

/// The targets that no change of a random plan reads.
const UNREAD: [&str; 3] = ["t1", "t2", "t3"];

impl Scene<'_> {
    /// An application writes another value at a target that the run wrote, in one item. If the plan overwrites values,
    /// another run overwrites this one. Returns the key of the item, and the item that a rollback must leave behind: the
    /// rollback restores the application's value, or leaves the item alone. Returns `None` if no item has such a target.
    pub(super) async fn write_at_target(
        &mut self,
        before: &BTreeMap<String, Item>,
        after: &BTreeMap<String, Item>,
        expected: &BTreeMap<String, Expected>,
        live: Option<&String>,
    ) -> Result<Option<(String, Item)>, Wrong> {
        let written = after.iter().filter(|(key, _)| Some(*key) != live && before.contains_key(*key));
        let mut applied = written.filter(|(key, _)| matches!(expected[*key], Expected::Applied(_)));
        let found = applied.find_map(|(key, is)| Some((key, is, self.replaceable_target(&before[key], is)?)));
        let Some((key, is, (to, on_existing))) = found else { return Ok(None) };
        let with_theirs = |item: &Item| {
            let mut item = item.clone();
            item.insert(to.to_owned(), Value::S("theirs".to_owned()));
            item
        };
        self.server.put(&with_theirs(is)).await;
        if on_existing != OnExisting::Overwrite {
            return Ok(Some((key.clone(), with_theirs(is))));
        }
        self.command(Goal::Run { again: true }).await?;
        let now = self.server.dump().await;
        match now.get(key) == Some(is) {
            true => Ok(Some((key.clone(), with_theirs(&before[key])))),
            false => Err(format!("the run did not overwrite `{to}`: {:?}", now.get(key))),
        }
    }

    /// Returns a target that the run changed in this item, and what the plan does with an existing value there. Applications
    /// do not keep the target equal to another attribute.
    fn replaceable_target(&self, was: &Item, is: &Item) -> Option<(&'static str, OnExisting)> {
        let is_simple = |change: &&ChangeSpec| change.condition.is_none();
        if self.spec.bumps() || self.spec.select.is_some() {
            return None;
        }
        self.spec.changes.iter().filter(is_simple).find_map(|change| {
            let to = match change.kind {
                Kind::Set { to, .. } => to,
                Kind::Copy { from, to } if self.spec.in_place => get(is, from).map(|_| to)?,
                Kind::Copy { .. }
                | Kind::Move { .. }
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
                | Kind::Put { .. } => return None,
            };
            (UNREAD.contains(&to) && get(was, to) != get(is, to)).then_some((to, self.spec.on_existing(change)))
        })
    }
}
