//! Rules for the changes of a plan. They refuse changes that cannot be replayed, and changes with a result that depends
//! on their order.
//!
//! If a run does not know whether a write was applied, it resends the write. Therefore, a plan is valid only if
//! applying its changes twice, in any order, gives the same result as applying them once.

mod computed;
mod delete;
mod each;
mod index;
mod length;
mod put;
mod replaced;
mod stable;
#[cfg(test)]
mod tests;

pub(super) use each::check_each;
pub(super) use index::check_index;

use super::changes::{WrittenChange, WrittenElement, check_conditions, check_null};
use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::select::WrittenSelection;
use crate::change::{Change, Formula, OptionsByTarget, index_key_fault};
use crate::item::{IndexSchema, Item, MAX_ITEM_BYTES, Num, Path, PathStep, Value, item_bytes};
use computed::{check_bumps, check_own_inputs};
pub(super) use delete::{check_delete, check_delete_names};
use each::{check_elements, constants};
use length::check_length;
pub(super) use put::{check_put, check_put_key, check_put_types};
pub(super) use replaced::check_strategy;
use replaced::{check_inverse_index_key, check_replaced};
pub(super) use stable::check_stable_names;

/// The maximum length of an attribute name (developer guide, "Service quotas": 64 KB). DynamoDB also limits the total
/// size of the names and values of an expression to 2 MB. A plan never exceeds that limit. Its names have at most 256
/// KB in total (the maximum size of a plan), and all of its values together are at most as large as three items.
const MAX_NAME_BYTES: usize = 65_535;

/// The role of a path in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathRole {
    Target,
    MovedFrom,
    CopiedFrom,
    Removed,
    /// An old attribute that a computed value replaces.
    Replaced,
    /// An input of an expression or a conversion.
    Input,
}

struct PathUse<'a> {
    role: PathRole,
    path: &'a Path,
    at: &'a TextSpan,
}

/// Reports every change that breaks a rule. If `has_unreadable_where` is true, the `where` in [select] has errors, so
/// errors that may be a consequence are left out.
pub(super) fn check(
    changes: &[WrittenChange],
    (selection, has_unreadable_where): (Option<&WrittenSelection>, bool),
    has_index: bool,
    options: &OptionsByTarget,
    split: Option<&TextSpan>,
    problems: &mut Problems,
) {
    for change in changes {
        check_change(change, problems);
        if !has_unreadable_where {
            check_own_inputs(change, selection, problems);
        }
        check_null(change, problems);
        check_replaced(change, problems);
    }
    check_bumps(changes, problems);
    check_constants(changes, problems);
    // If the plan is too long, do not compare pairs of changes, because there can be too many pairs.
    if check_length(changes, selection, has_index, options, split, problems) {
        check_conditions(changes, problems);
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
            PathRole::CopiedFrom | PathRole::Input => continue,
            PathRole::Target => ("written", "choose another target; DynamoDB never changes the key of an item"),
            PathRole::MovedFrom => {
                ("moved away", "use `copy` instead, which keeps the key attribute and copies its value to `to`")
            }
            PathRole::Removed => ("removed", "remove this change; a different key needs a new table"),
            PathRole::Replaced => (
                "replaced",
                "remove `replaces`; the key attribute then stays, and the new attribute is computed from it",
            ),
        };
        let root = Path::attribute(path_use.path.root());
        let label = if path_use.path.is_top_level() { "a key attribute" } else { "inside a key attribute" };
        problems.add(
            Diagnostic::new(format!("`{root}` is a key attribute and cannot be {verb}"), path_use.at.clone(), label)
                .help(help),
        );
    }
}

/// Reports changes that would write an invalid value for an index key to every item.
pub(super) fn check_index_keys(
    changes: &[WrittenChange],
    table_key: &[&str],
    indexes: &[IndexSchema],
    problems: &mut Problems,
) {
    for written in changes {
        check_inverse_index_key(written, indexes, problems);
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

/// Returns the value that a change writes to its target's top-level attribute. If the target is inside the attribute,
/// returns an empty list or map, because only the type of the attribute is known. Returns `None` if the change copies
/// the value from the item, or if the type of the value is unknown.
fn root_value(to: &Path, change: &Change) -> Option<Value> {
    match (to.steps().get(1), change) {
        (Some(PathStep::Index(_)), _) => Some(Value::L(Vec::new())),
        (Some(PathStep::Name(_)), _) => Some(Value::M(Item::new())),
        (None, Change::Set { value, .. }) => Some(value.clone()),
        (
            None,
            Change::Convert { conversion, .. }
            | Change::Compute { formula: Formula::Conversion { conversion, .. }, .. },
        ) => example_of_type(conversion.target_type()),
        (None, Change::Append { addition, .. }) => example_of_type(addition.container_type()),
        (None, Change::Each { .. }) => Some(Value::L(Vec::new())),
        (None, Change::Bump { .. }) => Some(Value::N(Num::from_wire("1".to_owned()))),
        (
            None,
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Remove { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Compute { formula: Formula::Expression(_) | Formula::Inverse(_) | Formula::Custom(_), .. }
            | Change::Exec { .. },
        ) => None,
    }
}

/// Returns an example value of this type. If a key attribute can have this type, the value is valid for the key.
fn example_of_type(name: &str) -> Option<Value> {
    match name {
        "S" => Some(Value::S("x".to_owned())),
        "N" => Some(Value::N(Num::from_wire("1".to_owned()))),
        "B" => Some(Value::B(vec![0])),
        "BOOL" => Some(Value::Bool(true)),
        "L" => Some(Value::L(Vec::new())),
        "M" => Some(Value::M(Item::new())),
        "SS" | "NS" | "BS" => Some(Value::Null),
        _ => None,
    }
}

/// Reports names that are too long, and changes that would write or remove a list element.
fn check_paths(uses: &[PathUse<'_>], problems: &mut Problems) {
    for path_use in uses {
        if let Some(name) = path_use.path.steps().iter().find_map(too_long_name) {
            let title = format!("an attribute name must have at most {MAX_NAME_BYTES} bytes");
            problems.add(
                Diagnostic::new(title, path_use.at.clone(), format!("a name of {} bytes", name.len()))
                    .help("no item has such an attribute, because DynamoDB rejects the name"),
            );
        }
    }
    for path_use in uses.iter().filter(|path_use| {
        !matches!(path_use.role, PathRole::CopiedFrom | PathRole::Input) && path_use.path.ends_in_index()
    }) {
        let verb = if path_use.role == PathRole::Target { "written" } else { "removed" };
        problems.add(
            Diagnostic::new(format!("a list element cannot be {verb}"), path_use.at.clone(), "ends in a list index")
                .help("a write can be sent twice, and the second one would change a different element or append one")
                .help(format!("use the list itself, `{}`, or a member of a document", list_of(path_use.path))),
        );
    }
}

fn check_change(written: &WrittenChange, problems: &mut Problems) {
    check_paths(&uses(written), problems);
    check_elements(written, problems);
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

/// Returns the error for two changes that use overlapping paths. Returns `None` if a plan can contain both changes. `a`
/// belongs to the change that is earlier in the plan.
fn conflict(a: &PathUse<'_>, b: &PathUse<'_>) -> Option<Diagnostic> {
    use PathRole::{CopiedFrom, Input, MovedFrom, Removed, Replaced, Target};
    let same = a.path == b.path;
    let (title, help) = match (a.role, b.role) {
        (CopiedFrom | Input, CopiedFrom | Input) => return None,
        (Target, Input) | (Input, Target) => (
            format!("{} is an input and {} is a target", other_name(a, b, Target), name(a, b, Target)),
            "the result would depend on which change comes first; use two plans, one after the other",
        ),
        (Input, MovedFrom | Removed | Replaced) | (MovedFrom | Removed | Replaced, Input) => (
            format!("{} is an input, and {} is removed", name(a, b, Input), other_name(a, b, Input)),
            "a value cannot be computed again after its input is removed; remove the input with a later plan",
        ),
        // One write copies the value and removes the original, so the original is never removed without a copy.
        (CopiedFrom, Removed | MovedFrom) | (Removed | MovedFrom, CopiedFrom) if same => return None,
        (CopiedFrom, Replaced) | (Replaced, CopiedFrom) => (
            format!("{} is copied, and {} is replaced", name(a, b, CopiedFrom), name(a, b, Replaced)),
            "after new-only writes, the copy and the replacement can differ; copy the attribute with an earlier plan",
        ),
        (CopiedFrom, Removed | MovedFrom) | (Removed | MovedFrom, CopiedFrom) => (
            format!("{} is copied, and {} is removed", name(a, b, CopiedFrom), other_name(a, b, CopiedFrom)),
            "copy exactly the path that is removed, or remove it with a later plan",
        ),
        (Target, Target) if same => (
            format!("two changes write `{}`", a.path),
            "keep one of them; otherwise the last one would determine the value",
        ),
        (Target, Target) => (
            format!("`{}` and `{}` are both written, and one contains the other", a.path, b.path),
            "write the outer path in one change, or its members one by one",
        ),
        (Target, MovedFrom | CopiedFrom) | (MovedFrom | CopiedFrom, Target) if same => (
            format!("`{}` is the source of one change and the target of another", a.path),
            "the result would depend on which change comes first; use two plans, one after the other (a swap needs three, through a third name)",
        ),
        (Target, MovedFrom | CopiedFrom) | (MovedFrom | CopiedFrom, Target) => (
            format!("{} is a source and {} is a target", other_name(a, b, Target), name(a, b, Target)),
            "the result would depend on which change comes first; use two plans, one after the other",
        ),
        (Target, Replaced) | (Replaced, Target) => (
            format!("{} is written and {} is replaced", name(a, b, Target), name(a, b, Replaced)),
            "keep one of the two changes, or use two plans, one after the other",
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
            "delete the `remove`, because `move` already removes the old attribute",
        ),
        (Replaced, Replaced) if same => (
            format!("`{}` is replaced twice", a.path),
            "remove one `replaces`: after new-only writes, the two new values could imply different old values",
        ),
        (Replaced, Removed) | (Removed, Replaced) if same => (
            format!("`{}` is replaced and removed", a.path),
            "delete the `remove`, because `contract` already removes an attribute that is replaced",
        ),
        (Replaced, MovedFrom) | (MovedFrom, Replaced) if same => {
            (format!("`{}` is moved and replaced", a.path), "keep one of the two changes")
        }
        (Removed, Removed) if same => (format!("`{}` is removed twice", a.path), "keep one of the two changes"),
        (MovedFrom | Removed | Replaced, MovedFrom | Removed | Replaced) => (
            format!("`{}` and `{}` are both removed, and one contains the other", a.path, b.path),
            "remove the outer path with a later plan, or delete the inner change",
        ),
    };
    Some(Diagnostic::new(title, b.at.clone(), label(b)).also(a.at.clone(), label(a)).help(help))
}

/// Returns the quoted path of the path use (`a` or `b`) that has this role.
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
        PathRole::Replaced => "replaced by this change",
        PathRole::Input => "read by this change",
    }
}

/// Reports an error if all constants together are larger than the maximum size of an item.
fn check_constants(changes: &[WrittenChange], problems: &mut Problems) {
    let mut total = 0;
    for written in changes {
        for (name, value) in constants(&written.change) {
            total += item_bytes(&Item::from([(name.to_owned(), value.clone())]));
            if total > MAX_ITEM_BYTES {
                problems.add(
                    Diagnostic::new(
                        "this constant does not fit into any item",
                        written.value.clone(),
                        format!("{total} bytes up to here"),
                    )
                    .help(format!(
                        "an item can have at most {MAX_ITEM_BYTES} bytes, including names and all other attributes"
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
    // The replaced attribute is also an input, but has a role of its own.
    let is_replaced = |path: &Path| written.replaced.is_some() && paths.removes.iter().any(|old| old.overlaps(path));
    let inputs = paths.inputs.iter().filter(|path| !is_replaced(path)).map(|path| PathUse {
        role: PathRole::Input,
        path,
        at: input_span(written, path),
    });
    let target = paths.writes.iter().map(|path| PathUse { role: PathRole::Target, path, at: &written.to });
    let gone = paths.removes.iter().filter(|path| !paths.reads.contains(path));
    let removed = gone.map(|path| match &written.replaced {
        Some(replaced) => PathUse { role: PathRole::Replaced, path, at: &replaced.at },
        None => PathUse { role: PathRole::Removed, path, at: &written.first },
    });
    read.chain(inputs).chain(target).chain(removed).collect()
}

/// Returns the position of the expression that reads this input.
fn input_span<'a>(written: &'a WrittenChange, input: &Path) -> &'a TextSpan {
    let reads = |element: &&WrittenElement| {
        element.expression.as_ref().is_some_and(|expression| expression.expr.inputs().contains(input))
    };
    if let Some(element) = written.elements.iter().find(reads) {
        return &element.value;
    }
    let is_of_formula = match &written.change {
        Change::Compute { formula, .. } => formula.inputs().contains(input),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Convert { .. }
        | Change::Append { .. }
        | Change::Each { .. }
        | Change::Exec { .. }
        | Change::Bump { .. }
        | Change::Delete { .. }
        | Change::Put { .. } => true,
    };
    match written.replaced.as_ref().and_then(|replaced| replaced.inverse.as_ref()) {
        Some(inverse) if !is_of_formula => &inverse.at,
        Some(_) | None if written.expression.is_some() => &written.value,
        Some(_) | None => &written.first,
    }
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
