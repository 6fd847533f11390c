//! Finds values that move from one map to another. Applications need two conditional updates to write both attributes.
//! This module is pure.

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::change::Change;
use crate::plan::Plan;
use crate::playbook::PlanKind;

/// Returns the finding if applications must write two attributes that are in different maps.
pub(super) fn different_maps(plan: &Plan) -> Option<Finding> {
    let moves: Vec<String> = plan.changes.iter().filter_map(between_maps).collect();
    match PlanKind::new(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) {
        PlanKind::Flagged | PlanKind::Stated if !moves.is_empty() => {}
        PlanKind::Flagged | PlanKind::Stated | PlanKind::InPlace | PlanKind::SetOnly | PlanKind::RemoveOnly => {
            return None;
        }
    }
    let what = format!("The plan moves values from one map to another: {}", moves.join(", "));
    let why = "While applications write both attributes, they must write both in one update. DynamoDB refuses an update of a \
               member if the item lacks its map, so no single update is right for every item, and `backfill shim` refuses \
               this plan";
    let action = "Before dual writes, let the writers use two conditional updates, as docs/flag.md, \"If the value moves to \
                  another map\", describes";
    Some(Finding::new(Warning, "different-maps", what).with_reason(why).with_action(action))
}

fn between_maps(change: &Change) -> Option<String> {
    let (from, to) = change.moved_between_maps()?;
    Some(format!("`{from}` to `{to}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn finding(migration: &str, from: &str, to: &str) -> Option<Finding> {
        let text = format!(
            "[migration]\nname = \"m\"\n{migration}\n[table]\nname = \"shop\"\n[[change]]\nmove = \"{from}\"\nto = \"{to}\"\n"
        );
        different_maps(&load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan)
    }

    /// `backfill shim` refuses such a move, so `check` must warn about it before the flag exists.
    #[test]
    fn a_move_between_maps_is_found() {
        let found = finding("", "cust_name", "customer.name").unwrap();
        assert!(found.what.contains("`cust_name` to `customer.name`"), "{found:?}");
        assert!(found.action.contains("two conditional updates"), "{found:?}");
        assert!(finding("", "a.b", "c.b").is_some());
        assert_eq!(finding("", "a", "b"), None);
        assert_eq!(finding("", "a.b", "a.c"), None);
        assert_eq!(finding("strategy = \"in-place\"", "a", "c.b"), None, "no application writes both");
    }
}
