//! Rules for the changes of a plan. These rules refuse changes that cannot be replayed, and changes whose result
//! depends on their order.
//!
//! If a run does not know whether a write arrived, it sends the write again. A plan is therefore valid only if applying
//! its changes twice, in any order, gives the same result as applying them once.

use super::changes::WrittenChange;
use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::expression_limits::{MAX_EXPRESSION_BYTES, MAX_OPERATORS, expression_bound};
use crate::change::{Change, index_key_fault};
use crate::item::{IndexSchema, Item, MAX_ITEM_BYTES, Path, PathStep, Value, item_bytes};

/// The longest attribute name (developer guide, "Service quotas": 64 KB). DynamoDB also limits all names and values of
/// an expression to 2 MB. A plan never exceeds that limit. All its names together have at most 256 KB, which is the
/// maximum size of a plan. All its values together are at most as large as three items.
const MAX_NAME_BYTES: usize = 65_535;

/// How a change uses a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathRole {
    Target,
    MovedFrom,
    CopiedFrom,
    Removed,
}

struct PathUse<'a> {
    role: PathRole,
    path: &'a Path,
    at: &'a TextSpan,
}

/// Reports every change that breaks a rule.
pub(super) fn check(changes: &[WrittenChange], problems: &mut Problems) {
    for change in changes {
        check_change(change, problems);
    }
    check_constants(changes, problems);
    // If the plan is too long, do not compare each pair of changes, because the number of pairs could be huge.
    if check_length(changes, problems) {
        for (i, first) in changes.iter().enumerate() {
            for second in &changes[i + 1..] {
                check_pair(first, second, problems);
            }
        }
    }
}

/// Reports changes that would write, move or remove a key attribute.
pub(super) fn check_keys(changes: &[WrittenChange], keys: &[&str], problems: &mut Problems) {
    for path_use in changes.iter().flat_map(uses).filter(|path_use| keys.contains(&path_use.path.root())) {
        let (verb, help) = match path_use.role {
            PathRole::CopiedFrom => continue,
            PathRole::Target => ("written", "choose another target; DynamoDB never changes the key of an item"),
            PathRole::MovedFrom => {
                ("moved away", "use `copy` instead: the key attribute stays, and its value is copied to `to`")
            }
            PathRole::Removed => ("removed", "remove this change; a different key needs a new table"),
        };
        let root = Path::attribute(path_use.path.root());
        let label = if path_use.path.is_top_level() { "a key attribute" } else { "inside a key attribute" };
        problems.add(
            Diagnostic::new(format!("`{root}` is a key attribute and cannot be {verb}"), path_use.at.clone(), label)
                .help(help),
        );
    }
}

/// Reports changes that would write an invalid index key value to every item.
pub(super) fn check_index_keys(
    changes: &[WrittenChange],
    table_key: &[&str],
    indexes: &[IndexSchema],
    problems: &mut Problems,
) {
    for written in changes {
        for to in written.change.paths().writes {
            let value = root_value(to, &written.change).filter(|_| !table_key.contains(&to.root()));
            let Some(fault) = value.and_then(|value| index_key_fault(to.root(), &value, indexes)) else { continue };
            let (at, label) = match to.is_top_level() {
                true => (&written.value, "not valid as a key value"),
                false => (&written.to, "inside a key attribute"),
            };
            problems.add(
                Diagnostic::new("DynamoDB would reject this change for every item", at.clone(), label)
                    .help(fault.to_string())
                    .help("choose another target or another value, or delete the index first"),
            );
        }
    }
}

/// Returns the value that a change writes to its target's top-level attribute. For a target inside that attribute, the
/// result is an empty list or map, because only the type of the attribute is known. Returns `None` if the value is
/// copied from the item.
fn root_value(to: &Path, change: &Change) -> Option<Value> {
    match (to.steps().get(1), change) {
        (Some(PathStep::Index(_)), _) => Some(Value::L(Vec::new())),
        (Some(PathStep::Name(_)), _) => Some(Value::M(Item::new())),
        (None, Change::Set { value, .. }) => Some(value.clone()),
        (None, Change::Move { .. } | Change::Copy { .. } | Change::Remove { .. }) => None,
    }
}

fn check_change(written: &WrittenChange, problems: &mut Problems) {
    for path_use in uses(written) {
        if let Some(name) = path_use.path.steps().iter().find_map(too_long_name) {
            let title = format!("an attribute name has at most {MAX_NAME_BYTES} bytes");
            problems.add(
                Diagnostic::new(title, path_use.at.clone(), format!("a name of {} bytes", name.len()))
                    .help("no item has such an attribute, because DynamoDB rejects the name"),
            );
        }
    }
    for path_use in
        uses(written).iter().filter(|path_use| path_use.role != PathRole::CopiedFrom && path_use.path.ends_in_index())
    {
        let verb = if path_use.role == PathRole::Target { "written" } else { "removed" };
        problems.add(
            Diagnostic::new(format!("a list element cannot be {verb}"), path_use.at.clone(), "ends in a list index")
                .help("a write may be sent twice, and the second one would change another element or append one")
                .help(format!("name the list itself, `{}`, or a member of a document", list_of(path_use.path))),
        );
    }
    for (from, to) in written.change.paths().pairs().into_iter().filter(|(from, to)| from.overlaps(to)) {
        let what = if from == to {
            format!("`{from}` is its own target")
        } else {
            format!("one of `{from}` and `{to}` contains the other")
        };
        problems.add(
            Diagnostic::new(what, written.to.clone(), "the target")
                .also(written.first.clone(), "the source")
                .help("choose a target that is neither inside the source nor contains it"),
        );
    }
}

fn check_pair(first: &WrittenChange, second: &WrittenChange, problems: &mut Problems) {
    for a in uses(first) {
        for b in uses(second).into_iter().filter(|b| a.path.overlaps(b.path)) {
            if let Some(problem) = conflict(&a, &b) {
                problems.add(problem);
            }
        }
    }
}

/// Returns the error for two changes that use overlapping paths, or `None` if the two changes are allowed together. `a`
/// belongs to the change that is earlier in the plan.
fn conflict(a: &PathUse<'_>, b: &PathUse<'_>) -> Option<Diagnostic> {
    use PathRole::{CopiedFrom, MovedFrom, Removed, Target};
    let same = a.path == b.path;
    let (title, help) = match (a.role, b.role) {
        (CopiedFrom, CopiedFrom) => return None,
        // One write both copies the value and removes the original, so the original is never removed without being
        // copied.
        (CopiedFrom, Removed | MovedFrom) | (Removed | MovedFrom, CopiedFrom) if same => return None,
        (CopiedFrom, Removed | MovedFrom) | (Removed | MovedFrom, CopiedFrom) => (
            format!("{} is copied, and {} is removed", name(a, b, CopiedFrom), other_name(a, b, CopiedFrom)),
            "copy exactly the path that is removed, or remove it with a later plan",
        ),
        (Target, Target) if same => (
            format!("two changes write `{}`", a.path),
            "keep one of them; otherwise the last one would decide the value",
        ),
        (Target, Target) => (
            format!("`{}` and `{}` are both written, and one contains the other", a.path, b.path),
            "write the outer path in one change, or its members one by one",
        ),
        (Target, MovedFrom | CopiedFrom) | (MovedFrom | CopiedFrom, Target) if same => (
            format!("`{}` is the source of one change and the target of another", a.path),
            "the result would depend on which comes first; use two plans, one after the other (a swap needs three, through a third name)",
        ),
        (Target, MovedFrom | CopiedFrom) | (MovedFrom | CopiedFrom, Target) => (
            format!("{} is a source and {} is a target", other_name(a, b, Target), name(a, b, Target)),
            "the result would depend on which change comes first; use two plans, one after the other",
        ),
        (Target, Removed) | (Removed, Target) if same => {
            (format!("`{}` is both written and removed", a.path), "keep one of the two changes")
        }
        (Target, Removed) | (Removed, Target) => (
            format!("{} is written and {} is removed", name(a, b, Target), other_name(a, b, Target)),
            "keep one of the two changes",
        ),
        (MovedFrom, MovedFrom) if same => {
            (format!("`{}` is moved twice", a.path), "`copy` it to both targets and add a `remove`")
        }
        (MovedFrom, Removed) | (Removed, MovedFrom) if same => (
            format!("`{}` is moved and removed", a.path),
            "drop the `remove`: `move` already removes the old attribute",
        ),
        (Removed, Removed) if same => (format!("`{}` is removed twice", a.path), "keep one of the two changes"),
        (MovedFrom | Removed, MovedFrom | Removed) => (
            format!("`{}` and `{}` are both removed, and one contains the other", a.path, b.path),
            "remove the outer path with a later plan, or drop the inner change",
        ),
    };
    Some(Diagnostic::new(title, b.at.clone(), label(b)).also(a.at.clone(), label(a)).help(help))
}

/// Returns the path of `a` or of `b`, whichever has this role.
fn name(a: &PathUse<'_>, b: &PathUse<'_>, role: PathRole) -> String {
    format!("`{}`", if a.role == role { a.path } else { b.path })
}

fn other_name(a: &PathUse<'_>, b: &PathUse<'_>, role: PathRole) -> String {
    name(b, a, if a.role == role { b.role } else { a.role })
}

fn label(path_use: &PathUse<'_>) -> &'static str {
    match path_use.role {
        PathRole::Target => "written by this change",
        PathRole::MovedFrom => "moved away by this change",
        PathRole::CopiedFrom => "copied by this change",
        PathRole::Removed => "removed by this change",
    }
}

/// Checks whether every write of the plan stays within DynamoDB's limits for expressions, and reports an error if not.
fn check_length(changes: &[WrittenChange], problems: &mut Problems) -> bool {
    let plain: Vec<Change> = changes.iter().map(|written| written.change.clone()).collect();
    let bound = expression_bound(&plain);
    if bound.is_within_limits() {
        return true;
    }
    let fitting = (0..plain.len()).find(|n| !expression_bound(&plain[..*n + 1]).is_within_limits()).unwrap_or(0);
    let bytes = bound.update_bytes.max(bound.condition_bytes);
    let operators = bound.update_operators.max(bound.condition_operators);
    // Show the error at the first change that makes the plan exceed the limit.
    if let Some(written) = changes.get(fitting) {
        problems.add(
            Diagnostic::new(
                "the plan is too long for one write",
                written.first.clone(),
                format!("{fitting} changes fit before this one"),
            )
            .help(format!(
                "all {} changes of an item go in one write; its expressions could take {bytes} bytes and {operators} \
                     operators; DynamoDB accepts at most {MAX_EXPRESSION_BYTES} bytes and {MAX_OPERATORS} operators",
                plain.len()
            ))
            .help("split the plan in two and run one after the other"),
        );
    }
    false
}

/// Reports an error if all constants together are larger than the maximum size of an item.
fn check_constants(changes: &[WrittenChange], problems: &mut Problems) {
    let mut total = 0;
    for written in changes {
        if let Change::Set { to, value, .. } = &written.change {
            total += item_bytes(&Item::from([(to.root().to_owned(), value.clone())]));
            if total > MAX_ITEM_BYTES {
                problems.add(
                    Diagnostic::new(
                        "this constant does not fit into any item",
                        written.value.clone(),
                        format!("{total} bytes up to here"),
                    )
                    .help(format!(
                        "an item has at most {MAX_ITEM_BYTES} bytes, including names and all other attributes"
                    )),
                );
                return;
            }
        }
    }
}

fn uses(written: &WrittenChange) -> Vec<PathUse<'_>> {
    let paths = written.change.paths();
    let read = paths.reads.iter().map(|path| {
        let role = if paths.removes.contains(path) { PathRole::MovedFrom } else { PathRole::CopiedFrom };
        PathUse { role, path, at: &written.first }
    });
    let target = paths.writes.iter().map(|path| PathUse { role: PathRole::Target, path, at: &written.to });
    let gone = paths.removes.iter().filter(|path| !paths.reads.contains(path));
    let removed = gone.map(|path| PathUse { role: PathRole::Removed, path, at: &written.first });
    read.chain(target).chain(removed).collect()
}

fn too_long_name(step: &PathStep) -> Option<&str> {
    match step {
        PathStep::Name(name) if name.len() > MAX_NAME_BYTES => Some(name),
        PathStep::Name(_) | PathStep::Index(_) => None,
    }
}

/// Returns the path of the list that contains this element.
fn list_of(path: &Path) -> Path {
    let mut list = path.clone();
    while list.ends_in_index()
        && let Some(parent) = list.parent()
    {
        list = parent;
    }
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::change::Change;
    use crate::item::{Item, Value, item_from_json};
    use crate::plan::load;

    /// Applies the changes as one write: reads every value from the image before the write.
    fn apply(changes: &[Change], image: &Item) -> Item {
        let mut after = image.clone();
        let mut gone = Vec::new();
        for change in changes {
            match change {
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                    if let Some(value) = from.get(image) {
                        to.set(&mut after, value.clone());
                    }
                    gone.extend(matches!(change, Change::Move { .. }).then_some(from));
                }
                Change::Set { to, value, .. } => {
                    to.set(&mut after, value.clone());
                }
                Change::Remove { path } => gone.push(path),
            }
        }
        gone.into_iter().for_each(|path| drop(path.remove(&mut after)));
        after
    }

    fn one_change() -> impl Strategy<Value = String> {
        let path = || proptest::sample::select(vec!["a", "b", "a.x", "a.y", "b.x", "c", "d", "l", "l[0]", "l[0].z"]);
        prop_oneof![
            (path(), path()).prop_map(|(from, to)| format!("move = \"{from}\"\nto = \"{to}\"")),
            (path(), path()).prop_map(|(from, to)| format!("copy = \"{from}\"\nto = \"{to}\"")),
            path().prop_map(|to| format!("set = \"{to}\"\nvalue = 7")),
            path().prop_map(|path| format!("remove = \"{path}\"")),
        ]
    }

    fn plan(changes: &[String]) -> String {
        let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
        format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n{changes}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// The changes of an accepted plan give the same result in any order, and when they are applied twice.
        #[test]
        fn an_accepted_plan_does_not_depend_on_order_or_repetition(
            (changes, shuffled) in proptest::collection::vec(one_change(), 1..4)
                .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
        ) {
            let first = load("p", &plan(&changes));
            let second = load("p", &plan(&shuffled));
            prop_assert_eq!(first.is_ok(), second.is_ok());
            if let (Ok(first), Ok(second)) = (first, second) {
                let image = item_from_json(&json!({
                    "a": {"M": {"x": {"N": "1"}, "y": {"M": {}}}}, "b": {"M": {"x": {"S": "2"}}}, "c": {"S": "3"},
                    "l": {"L": [{"M": {"z": {"BOOL": true}}}, {"S": "5"}]},
                })).unwrap();
                let once = apply(&first.plan.changes, &image);
                prop_assert_eq!(&once, &apply(&second.plan.changes, &image));
                prop_assert_eq!(&once, &apply(&first.plan.changes, &once));
            }
        }
    }

    #[test]
    fn names_may_have_the_length_that_dynamodb_accepts() {
        let named = |bytes: usize| plan(&[format!("set = \"{}\"\nvalue = 1", "n".repeat(bytes))]);
        assert!(load("p", &named(65_535)).is_ok());
        let errors = load("p", &named(65_536)).unwrap_err().to_string();
        assert!(errors.contains("an attribute name has at most 65535 bytes"), "{errors:.500}");
    }

    #[test]
    fn one_write_may_copy_a_value_and_remove_it() {
        let text = plan(&[
            "copy = \"a\"\nto = \"b\"".to_owned(),
            "remove = \"a\"".to_owned(),
            "copy = \"a\"\nto = \"c\"".to_owned(),
        ]);
        let plan = load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let before = Item::from([("a".to_owned(), Value::Bool(true))]);
        let after = apply(&plan.changes, &before);
        assert_eq!(after.into_keys().collect::<Vec<_>>(), ["b", "c"]);
    }
}
