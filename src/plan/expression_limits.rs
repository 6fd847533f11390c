//! Upper bounds for the expressions of a guarded write. If an expression is too long, DynamoDB rejects the write for
//! every item.

use std::collections::BTreeSet;

use crate::change::{Change, OptionsByTarget, Selection, inseparable};
pub use crate::change::{MAX_EXPRESSION_BYTES, MAX_OPERATORS};
use crate::item::{Path, PathStep};

/// Maximum length of a placeholder, such as `#n999` or `:v999`, in bytes. Placeholders never need more digits, because
/// a plan with more than 1,000 names or values exceeds the expression limits anyway.
const MAX_PLACEHOLDER_BYTES: usize = 5;

/// Length of the longest condition term without its path, in bytes: `attribute_type(` + `, ` + `:v999` + `)`.
const MAX_TERM_BYTES: usize = 15 + 2 + MAX_PLACEHOLDER_BYTES + 1;

/// Length of ` AND ` in bytes.
const AND: usize = 5;

/// Maximum number of key attributes of an index. There can be four for the partition key and four for the sort key.
const MAX_INDEX_KEY: usize = 8;

/// Upper bounds for the expressions of any guarded write of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpressionBound {
    /// Maximum length of the update expression in bytes.
    pub update_bytes: usize,
    /// Maximum length of the condition expression in bytes.
    pub condition_bytes: usize,
    /// Maximum number of operators and functions in the update expression.
    pub update_operators: usize,
    /// Maximum number of operators and functions in the condition expression.
    pub condition_operators: usize,
}

impl ExpressionBound {
    /// Returns the bounds for a plan that selects items through an index. The condition then has a term for each key
    /// attribute of the index. The index key is unknown until the table's description has been read, so these bounds
    /// assume the maximum number of attributes.
    #[must_use]
    pub fn with_index(self) -> ExpressionBound {
        let term = AND + MAX_TERM_BYTES + MAX_PLACEHOLDER_BYTES;
        ExpressionBound {
            condition_bytes: self.condition_bytes + MAX_INDEX_KEY * term,
            condition_operators: self.condition_operators + 2 * MAX_INDEX_KEY,
            ..self
        }
    }

    /// Adds the condition term that pins this input.
    fn add_input(&mut self, input: &Path) {
        self.condition_bytes += AND + MAX_TERM_BYTES + path_bytes(input);
        self.condition_operators += 2;
    }

    /// Returns whether DynamoDB accepts every write of the plan.
    pub fn is_within_limits(&self) -> bool {
        self.update_bytes.max(self.condition_bytes) <= MAX_EXPRESSION_BYTES
            && self.update_operators.max(self.condition_operators) <= MAX_OPERATORS
    }
}

/// Returns the upper bounds for the writes of these changes to selected items. The bounds are valid for every item. The
/// condition has one term for each input of an expression, of the selection, or of a change's own `where`.
///
/// `options` must contain all options of the plan, even if `changes` contains only the changes of one write. Every
/// write pins all stable attributes that any `where` of the plan reads. So the condition has one more term for each
/// stable input that only the `where` of another change reads.
///
/// The bounds rely on properties of the code that renders expressions. The tests of that code check these properties.
/// Names and values are placeholders of at most five bytes. A change needs at most one `SET` action (`path = path` or
/// `path = :v`) and one `REMOVE` action. The condition of a change has at most one term for the source, one for the
/// target, and one for the type of the map that contains the target. No term is longer than `attribute_type(path,
/// :v999)`. One more term checks that the item exists.
///
/// The bounds are also valid for undo. When undo reverts an in-place move, it sets both paths. If undo restores a value
/// inside a map, the condition has a term for that map.
pub fn expression_bound(
    changes: &[Change],
    selection: Option<&Selection>,
    options: &OptionsByTarget,
) -> ExpressionBound {
    let mut bound = bound_without_other_conditions(changes, selection, options);
    let own = changes.iter().filter_map(|change| options.of_change(change).applies_to.as_ref());
    let counted: BTreeSet<&Path> =
        selection.into_iter().chain(own).flat_map(|selection| selection.condition.inputs()).collect();
    let stable: BTreeSet<&Path> = options.selections().flat_map(Selection::stable_inputs).collect();
    stable.difference(&counted).for_each(|input| bound.add_input(input));
    bound
}

/// Like [`expression_bound`], but ignores stable attributes that only other changes of the plan read.
pub(super) fn bound_without_other_conditions(
    changes: &[Change],
    selection: Option<&Selection>,
    options: &OptionsByTarget,
) -> ExpressionBound {
    let mut bound = ExpressionBound {
        update_bytes: "SET ".len() + " REMOVE ".len(),
        condition_bytes: MAX_TERM_BYTES + MAX_PLACEHOLDER_BYTES,
        update_operators: 0,
        condition_operators: 1,
    };
    let inputs = changes.iter().flat_map(|change| change.paths().inputs);
    let own = changes.iter().filter_map(|change| options.of_change(change).applies_to.as_ref());
    let selected_by = selection.into_iter().chain(own).flat_map(|selection| selection.condition.inputs());
    inputs.chain(selected_by).for_each(|input| bound.add_input(input));
    for change in changes {
        let paths = change.paths();
        let longest = |paths: &[&Path]| paths.iter().map(|path| path_bytes(path)).max().unwrap_or(0);
        let gone = paths.removes.iter().filter(|path| !paths.reads.contains(path));
        let sources: Vec<&Path> = paths.reads.iter().chain(gone).copied().collect();
        let mut terms: Vec<usize> = sources.iter().map(|path| path_bytes(path)).collect();
        // Undo restores the value inside the map that contained it.
        terms.extend(sources.iter().filter_map(|path| path.parent()).flat_map(|parent| [path_bytes(&parent); 2]));
        for to in &paths.writes {
            // `SET` copies a value from a source path, or sets a constant through a placeholder. For a constant, the
            // bound uses the length of the target path, which is at least the length of a placeholder.
            let value =
                if paths.reads.is_empty() { path_bytes(to) } else { longest(&paths.reads) }.max(MAX_PLACEHOLDER_BYTES);
            bound.update_bytes += path_bytes(to) + " = ".len() + value + ", ".len();
            bound.update_operators += 1;
            terms.push(path_bytes(to));
            terms.extend(to.parent().as_ref().map(path_bytes));
            // A constant has no source. But if the parent of its target is missing, the condition can contain one more
            // term for the target.
            terms.extend(sources.is_empty().then(|| path_bytes(to)));
        }
        for path in &paths.removes {
            // To restore a removed path, undo sets the path to a recorded value or to a copy of the target.
            let value = longest(&paths.writes).max(MAX_PLACEHOLDER_BYTES);
            bound.update_bytes += path_bytes(path) + " = ".len() + value + ", ".len();
            bound.update_operators += 1;
        }
        for path in terms {
            bound.condition_bytes += AND + MAX_TERM_BYTES + path;
            bound.condition_operators += 2;
        }
    }
    bound
}

/// Returns an upper bound for the number of writes that an item needs if the plan allows several. Each write contains
/// as many groups of [`inseparable`] changes as fit, in the order of the plan. The decision for an item uses the actual
/// expressions, which can be shorter, so the item can need fewer writes.
pub fn writes_per_item(changes: &[Change], selection: Option<&Selection>, options: &OptionsByTarget) -> usize {
    let fits = |changes: &[Change]| expression_bound(changes, selection, options).is_within_limits();
    if fits(changes) {
        return 1;
    }
    let every: Vec<Change> = changes.iter().filter(|change| matches!(change, Change::Bump { .. })).cloned().collect();
    let mut writes = 1;
    let mut write = every.clone();
    for group in inseparable(changes, options) {
        let before = write.len();
        write.extend(group.iter().map(|position| changes[*position].clone()));
        if before > every.len() && !fits(&write) {
            write.drain(every.len()..before);
            writes += 1;
        }
    }
    writes
}

/// Returns the length of a path in bytes, with a placeholder for each name.
fn path_bytes(path: &Path) -> usize {
    let steps = path.steps().iter().map(|step| match step {
        PathStep::Name(_) => MAX_PLACEHOLDER_BYTES + ".".len(),
        PathStep::Index(index) => index.to_string().len() + "[]".len(),
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
    fn the_length_of_a_path_counts_its_placeholders() {
        for (text, rendered) in [("a", "#n999"), ("a.b", "#n999.#n999"), ("a[12].b", "#n999[12].#n999")] {
            assert_eq!(path_bytes(&path(text)), rendered.len());
        }
        assert!(path_bytes(&path("a[3]")) >= "#n999[3]".len() - 1);
    }

    #[test]
    fn the_bound_covers_the_longest_expression() {
        let moved = Change::Move { from: path("a.b"), to: path("c.d"), on_existing: OnExisting::Keep };
        let bound = expression_bound(&[moved], None, &OptionsByTarget::default());
        assert!(bound.update_bytes >= "SET #n999.#n999 = #n999.#n999 REMOVE #n999.#n999".len());
        let condition = "attribute_exists(#n999) AND attribute_exists(#n999.#n999) AND \
                         attribute_not_exists(#n999.#n999) AND attribute_type(#n999, :v999)";
        assert!(bound.condition_bytes >= condition.len());
        // The condition has one term each for the item, the source, the target and the map of the target. It has two
        // terms for the map in which undo restores the value.
        assert_eq!((bound.update_operators, bound.condition_operators), (2, 11));
        assert!(bound.is_within_limits());
    }

    #[test]
    fn many_changes_do_not_fit() {
        let changes: Vec<Change> =
            (0..200).map(|i| Change::Remove { path: Path::attribute(format!("a{i}")) }).collect();
        assert!(!expression_bound(&changes, None, &OptionsByTarget::default()).is_within_limits());
        assert!(expression_bound(&changes[..50], None, &OptionsByTarget::default()).is_within_limits());
    }

    /// Even a write with only some of the changes pins the stable attributes of all changes.
    #[test]
    fn the_stable_attributes_of_other_changes_count() {
        let text = "[migration]\nname = \"m\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n\
                    [select]\nstable = [\"s\", \"t\", \"u\"]\n\
                    [[change]]\nset = \"a\"\nvalue = 1\nwhere = 'has(item.s) && has(item.t)'\n\
                    [[change]]\nset = \"b\"\nvalue = 1\nwhere = 'has(item.t) && has(item.u) && has(item.free)'\n\
                    [[change]]\nset = \"c\"\nvalue = 1\n";
        let plan = crate::plan::load("p", text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let terms = |of: &[Change]| {
            let all = expression_bound(of, None, &plan.options);
            let own = bound_without_other_conditions(of, None, &plan.options);
            assert_eq!(all.update_bytes, own.update_bytes);
            let bytes =
                (all.condition_operators - own.condition_operators) / 2 * (AND + MAX_TERM_BYTES + "#n999".len());
            assert_eq!(all.condition_bytes - own.condition_bytes, bytes);
            (all.condition_operators - own.condition_operators) / 2
        };
        assert_eq!(plan.changes.iter().map(|one| terms(std::slice::from_ref(one))).collect::<Vec<_>>(), [1, 1, 3]);
        assert_eq!((terms(&plan.changes[..2]), terms(&plan.changes)), (0, 0), "nothing changes for a single write");
    }

    /// The terms for an index key leave fewer bytes and operators for the changes.
    #[test]
    fn the_key_of_an_index_counts() {
        let changes: Vec<Change> =
            (0..120).map(|i| Change::Remove { path: Path::attribute(format!("a{i}")) }).collect();
        let bound = |n: usize| expression_bound(&changes[..n], None, &OptionsByTarget::default());
        let fits = (0..120).take_while(|n| bound(*n).is_within_limits()).count() - 1;
        assert!(bound(fits).is_within_limits() && !bound(fits).with_index().is_within_limits());
        assert_eq!(bound(1).with_index().condition_operators - bound(1).condition_operators, 16);
        let term = " AND attribute_exists(#n999)".len();
        assert!(bound(1).with_index().condition_bytes >= bound(1).condition_bytes + 8 * term);
    }
}
