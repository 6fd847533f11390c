//! Reports the items that a rollback did not restore exactly to their state from before the migration.

use std::io::{Result, Write};

use serde_json::{Value as Json, json};

use super::dry_run::PAIRS_UNRECORDED;
use crate::change::Leftover;
use crate::figure::count;
use crate::item::item_to_json;
use crate::state::AffectedItems;

/// Number of example items that the text shows.
const SHOWN: usize = 5;

/// The items that a run did not restore to their state from before the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct UnrestoredItems {
    /// The reason why these items differ from their earlier state.
    pub reason: Leftover,
    /// Items that definitely differ from their earlier state.
    pub items: AffectedItems,
    /// The items whose records cannot be read. It is unknown whether these items differ; see [`Leftover::Unknown`].
    pub unreadable: AffectedItems,
}

impl UnrestoredItems {
    /// Returns whether every item definitely has its state from before the migration.
    pub fn is_empty(&self) -> bool {
        self.items.count == 0 && !self.items.pairs_unrecorded && self.unreadable.count == 0
    }

    /// Writes the items as text.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let UnrestoredItems { reason, items, unreadable } = self;
        if items.pairs_unrecorded {
            writeln!(out, "{PAIRS_UNRECORDED}.")?;
        }
        if items.count > 0 {
            let items = count(items.count, "item is not as it was", "items are not as they were");
            writeln!(out, "{items} before the migration: {reason}.")?;
        }
        write_listed(out, items)?;
        if unreadable.count > 0 {
            let items = count(unreadable.count, "item may not be as it was", "items may not be as they were");
            writeln!(out, "{items} before the migration: {}.", Leftover::Unknown)?;
        }
        write_listed(out, unreadable)
    }

    /// Returns the items as JSON. In the JSON, `unknown` is true if it is possible that more items than `count` differ.
    pub fn to_json(&self) -> Json {
        let UnrestoredItems { reason, items, unreadable } = self;
        json!({
            "reason": reason.id(), "count": items.count, "items": listed_json(items),
            "unknown": items.pairs_unrecorded || unreadable.count > 0,
            "unreadable": affected_json(unreadable),
        })
    }
}

/// Writes the items that the report of a rollback names for this reason. `journal` is the command that lists the recorded
/// values.
pub fn write_noted(out: &mut impl Write, reason: Leftover, items: &AffectedItems, journal: &str) -> Result<()> {
    if items.count == 0 {
        return Ok(());
    }
    let counted = count(items.count, "item", "items");
    writeln!(out, "{}: {counted}: {reason}.", reason.label())?;
    write_listed(out, items)?;
    writeln!(out, "  To list the recorded values: {journal}")
}

/// Returns these items as JSON.
pub fn affected_json(items: &AffectedItems) -> Json {
    json!({ "count": items.count, "items": listed_json(items) })
}

/// Writes the first few of the affected items.
pub fn write_listed(out: &mut impl Write, listed: &AffectedItems) -> Result<()> {
    listed.first.iter().take(SHOWN).try_for_each(|(key, path)| writeln!(out, "  such as {key}: {path}"))
}

fn listed_json(listed: &AffectedItems) -> Vec<Json> {
    let listed_json = listed.first.iter();
    listed_json.map(|(key, path)| json!({ "key": item_to_json(key.attributes()), "path": path.to_string() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{ItemKey, Path, Value};

    #[test]
    fn items_with_an_unreadable_record_are_listed_apart() {
        let key = ItemKey::new([("pk".to_owned(), Value::S("P#1".to_owned()))].into());
        let one = AffectedItems { count: 1, first: vec![(key, Path::attribute("old"))], pairs_unrecorded: false };
        let left =
            UnrestoredItems { reason: Leftover::OldCreated, items: AffectedItems::default(), unreadable: one.clone() };
        let written_text = |left: &UnrestoredItems| {
            let mut text = Vec::new();
            left.write(&mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let text = written_text(&left);
        assert!(text.starts_with("1 item may not be as it was before") && text.contains("P#1"), "{text}");
        let json = left.to_json();
        assert_eq!((&json["reason"], &json["count"]), (&"old_made".into(), &0.into()), "{json:#}");
        assert_eq!(
            (&json["unknown"], &json["unreadable"]["items"][0]["key"]["pk"]["S"]),
            (&true.into(), &"P#1".into())
        );
        let known = UnrestoredItems { items: one, unreadable: AffectedItems::default(), ..left };
        assert_eq!(known.to_json()["unknown"], false);
        let text = written_text(&known);
        assert!(text.starts_with("1 item is not as it was") && !text.contains("unknown"), "{text}");
    }
}
