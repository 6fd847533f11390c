//! How long the expressions of one guarded write can become: DynamoDB refuses long ones, for every item alike.

use crate::change::Change;
use crate::item::{Path, Step};

/// The longest expression that DynamoDB takes, in bytes (developer guide, "Service quotas": 4 KB).
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// The most operators and functions that an expression may have (developer guide, "Service quotas": 300).
pub const MAX_OPERATORS: usize = 300;

/// Bytes of a placeholder at most: `#n999`, `:v999`. A plan with more names or values is far above the limit anyway.
const PLACEHOLDER: usize = 5;

/// Bytes around the path in the longest condition term: `attribute_type(` + `, ` + `:v999` + `)`.
const TERM: usize = 15 + 2 + PLACEHOLDER + 1;

/// Bytes of ` AND `.
const AND: usize = 5;

/// Upper bounds of what any guarded write of a plan is rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpressionBound {
    /// Bytes of the update expression.
    pub update_bytes: usize,
    /// Bytes of the condition expression.
    pub condition_bytes: usize,
    /// Operators and functions of the update expression.
    pub update_operators: usize,
    /// Operators and functions of the condition expression.
    pub condition_operators: usize,
}

impl ExpressionBound {
    /// Whether DynamoDB takes every write of the plan.
    pub fn fits(&self) -> bool {
        self.update_bytes.max(self.condition_bytes) <= MAX_EXPRESSION_BYTES
            && self.update_operators.max(self.condition_operators) <= MAX_OPERATORS
    }
}

/// The upper bounds for these changes, whatever an item looks like.
///
/// Assumed of the renderer, and held by its tests: names and values are placeholders of at most five bytes; a change is
/// at most one `SET` action (`path = path` or `path = :v`) and one `REMOVE` action; and its condition is at most one term
/// for its source, one for its target, and one for the type of the map that holds the target, none longer than
/// `attribute_type(path, :v999)`. The item's existence is one more term for all of them.
///
/// What is written can be undone: the reverse of a move in place sets both paths; what goes back into a map asks for the
/// map too.
pub fn expression_bound(changes: &[Change]) -> ExpressionBound {
    let mut bound = ExpressionBound {
        update_bytes: "SET ".len() + " REMOVE ".len(),
        condition_bytes: TERM + PLACEHOLDER,
        update_operators: 0,
        condition_operators: 1,
    };
    for change in changes {
        let effect = change.effect();
        let longest = |paths: &[&Path]| paths.iter().map(|path| path_bytes(path)).max().unwrap_or(0);
        let gone = effect.removes.iter().filter(|path| !effect.reads.contains(path));
        let sources: Vec<&Path> = effect.reads.iter().chain(gone).copied().collect();
        let mut terms: Vec<usize> = sources.iter().map(|path| path_bytes(path)).collect();
        // It goes back into the map that held it.
        terms.extend(sources.iter().filter_map(|path| path.parent()).flat_map(|parent| [path_bytes(&parent); 2]));
        for to in &effect.writes {
            // `SET` copies a value, or has a constant in a placeholder, which counts as long as its target at least.
            let value = if effect.reads.is_empty() { path_bytes(to) } else { longest(&effect.reads) }.max(PLACEHOLDER);
            bound.update_bytes += path_bytes(to) + " = ".len() + value + ", ".len();
            bound.update_operators += 1;
            terms.push(path_bytes(to));
            terms.extend(to.parent().as_ref().map(path_bytes));
            // A constant has no source; the term is for a pre-image beside an absent parent.
            terms.extend(sources.is_empty().then(|| path_bytes(to)));
        }
        for path in &effect.removes {
            // Or it is set again: to a value, or to what the target has.
            let value = longest(&effect.writes).max(PLACEHOLDER);
            bound.update_bytes += path_bytes(path) + " = ".len() + value + ", ".len();
            bound.update_operators += 1;
        }
        for path in terms {
            bound.condition_bytes += AND + TERM + path;
            bound.condition_operators += 2;
        }
    }
    bound
}

/// Bytes of a path with placeholders for its names.
fn path_bytes(path: &Path) -> usize {
    let steps = path.steps().iter().map(|step| match step {
        Step::Name(_) => PLACEHOLDER + ".".len(),
        Step::Index(index) => index.to_string().len() + "[]".len(),
    });
    steps.sum::<usize>().saturating_sub(".".len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::OnExisting;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_as_long_as_its_placeholders() {
        for (text, rendered) in [("a", "#n999"), ("a.b", "#n999.#n999"), ("a[12].b", "#n999[12].#n999")] {
            assert_eq!(path_bytes(&path(text)), rendered.len());
        }
        assert!(path_bytes(&path("a[3]")) >= "#n999[3]".len() - 1);
    }

    #[test]
    fn the_bound_covers_the_longest_spelling() {
        let moved = Change::Move { from: path("a.b"), to: path("c.d"), on_existing: OnExisting::Keep };
        let bound = expression_bound(&[moved]);
        assert!(bound.update_bytes >= "SET #n999.#n999 = #n999.#n999 REMOVE #n999.#n999".len());
        let condition = "attribute_exists(#n999) AND attribute_exists(#n999.#n999) AND \
                         attribute_not_exists(#n999.#n999) AND attribute_type(#n999, :v999)";
        assert!(bound.condition_bytes >= condition.len());
        // The item, source, target, the map of the target; and two for the map that the value goes back into.
        assert_eq!((bound.update_operators, bound.condition_operators), (2, 11));
        assert!(bound.fits());
    }

    #[test]
    fn many_changes_do_not_fit() {
        let changes: Vec<Change> =
            (0..200).map(|i| Change::Remove { path: Path::attribute(format!("a{i}")) }).collect();
        assert!(!expression_bound(&changes).fits());
        assert!(expression_bound(&changes[..50]).fits());
    }
}
