//! Detects plans with old values that might not be recoverable after new-only writes.

use crate::change::Change;
use crate::item::{KeySchema, Path};

/// Returns the reason why [`Phase::OldFromNew`](super::Phase::OldFromNew) could fail for this plan after new-only
/// writes. Returns `None` if every old value can be derived from a new value.
pub fn one_way(changes: &[Change], key: &KeySchema) -> Option<String> {
    let copies: Vec<(&Path, &Path)> = changes.iter().flat_map(|change| change.paths().pairs()).collect();
    let unwritable_source = copies.iter().find_map(|(from, _)| {
        if from.ends_in_index() {
            Some(format!("`{from}` is an element of a list, which backfill never writes"))
        } else if key.names().any(|name| name == from.root()) {
            Some(format!("`{from}` is a key attribute, which no write can change"))
        } else {
            None
        }
    });
    let divergence = || {
        let pairs =
            copies.iter().enumerate().flat_map(|(at, one)| copies[at + 1..].iter().map(move |other| (one, other)));
        pairs.filter(|(one, other)| one.0.overlaps(other.0)).map(|(one, other)| divergence_message(*one, *other)).next()
    };
    unwritable_source.or_else(divergence).or_else(|| changes.iter().find_map(without_inverse))
}

/// Returns the reason if the change computes a new value from an old one, but the plan cannot compute the old value
/// from the new one.
fn without_inverse(change: &Change) -> Option<String> {
    let (to, path) = change.without_inverse()?;
    Some(format!(
        "`{path}` cannot be computed from `{to}`, because the plan has no `inverse`. So the plan is irreversible after \
         write-new"
    ))
}

fn divergence_message((from, to): (&Path, &Path), (other_from, other_to): (&Path, &Path)) -> String {
    let of = if from == other_from { format!("`{from}`") } else { format!("`{from}` and `{other_from}`") };
    format!("`{to}` and `{other_to}` can differ by then, and {of} cannot equal both")
}
