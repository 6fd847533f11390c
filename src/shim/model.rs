//! What the generated code contains, independent of the language.

use super::comment::comment;
use super::names::Stems;
use super::refusal::ShimRefusal;
use crate::change::{Change, Source, Strategy};
use crate::item::{Path, PathStep};
use crate::plan::{FlagKey, FlagLocation, Plan};

/// What the generated code contains.
pub(super) struct ShimModel<'p> {
    /// The migration's name.
    pub(super) migration: &'p str,
    /// The name of the table.
    pub(super) table: &'p str,
    /// The name of the partition key.
    pub(super) partition_key: &'p str,
    /// Where the application reads the flag.
    pub(super) flag: ModelFlag<'p>,
    /// Whether the plan changes only selected items.
    pub(super) is_selective: bool,
    /// The attributes that move; at least one.
    pub(super) moves: Vec<MoveModel<'p>>,
}

/// Where the application reads the flag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ModelFlag<'p> {
    /// An item of a table. The plan does not name the table's partition key; this is its value.
    Value { table: &'p str, value: &'p str },
    /// An item of a table with this key.
    Key { table: &'p str, key: &'p [(String, String)] },
    /// The application's own flag service.
    Service,
}

/// An attribute that moves.
pub(super) struct MoveModel<'p> {
    /// The part of identifiers that names the value, in `snake_case`.
    pub(super) stem: String,
    /// The name of the old attribute or member.
    pub(super) old: &'p str,
    /// The name of the new attribute or member.
    pub(super) new: &'p str,
    /// The map that contains both; empty if both are attributes of the item.
    pub(super) map: &'p [PathStep],
    /// A number that makes the placeholders of this move different from those of the other moves; empty if the plan has
    /// only one move.
    pub(super) number: String,
    /// The common prefix of both paths in an expression, such as `#map_1.`; empty if both are attributes of the item.
    pub(super) prefix: String,
    /// The placeholders in the prefix, with their names.
    pub(super) prefix_names: Vec<(String, &'p str)>,
}

impl<'p> ShimModel<'p> {
    /// Reads the plan, or returns every reason why no code can be generated.
    pub(super) fn new(plan: &'p Plan) -> Result<ShimModel<'p>, Vec<ShimRefusal>> {
        let pairs: Vec<(&Path, &Path)> = plan.changes.iter().filter_map(moved).collect();
        let mut refusals: Vec<ShimRefusal> = plan.changes.iter().filter_map(computed).collect();
        if let Some(each) = plan.changes.iter().find_map(Change::each) {
            return Err(vec![ShimRefusal::Elements { container: each.container().clone() }]);
        }
        if plan.strategy == Strategy::InPlace {
            return Err(vec![ShimRefusal::InPlace]);
        }
        if pairs.is_empty() && refusals.is_empty() {
            return Err(vec![ShimRefusal::NoMove]);
        }
        let flag = plan.cutover.flag.as_ref().map(flag);
        if flag.is_none() {
            refusals.push(ShimRefusal::NoFlag);
        }
        let partition_key = plan.table.key.as_ref().and_then(|key| key.first());
        if partition_key.is_none() {
            refusals.push(ShimRefusal::NoKey);
        }
        let moves = moves(&pairs, &mut refusals);
        match (flag, partition_key) {
            (Some(flag), Some(partition_key)) if refusals.is_empty() => Ok(ShimModel {
                migration: &plan.name,
                table: &plan.table.name,
                partition_key,
                flag,
                is_selective: plan.select.is_some()
                    || plan.keys.is_some()
                    || plan.options.selections().next().is_some(),
                moves,
            }),
            _ => Err(refusals),
        }
    }
}

/// Returns the old and the new path of a change that moves a value.
fn moved(change: &Change) -> Option<(&Path, &Path)> {
    match change {
        Change::Move { from, to, on_existing: _ } => Some((from, to)),
        Change::Copy { .. }
        | Change::Set { .. }
        | Change::Remove { .. }
        | Change::Compute { .. }
        | Change::Convert { .. }
        | Change::Append { .. }
        | Change::Bump { .. }
        | Change::Each { .. }
        | Change::Exec { .. }
        | Change::Delete { .. }
        | Change::Put { .. } => None,
    }
}

/// Returns the reason why the code for this change cannot be generated, if it replaces an attribute.
fn computed(change: &Change) -> Option<ShimRefusal> {
    match Source::of_change(change) {
        Some((Source { path, derivation: Some(_) }, to)) => Some(ShimRefusal::Computed { from: path, to: to.clone() }),
        Some((Source { derivation: None, .. }, _)) | None => None,
    }
}

fn flag(location: &FlagLocation) -> ModelFlag<'_> {
    match location {
        FlagLocation::Table { name, key: FlagKey::Partition(value) } => ModelFlag::Value { table: name, value },
        FlagLocation::Table { name, key: FlagKey::Attributes(key) } => ModelFlag::Key { table: name, key },
        FlagLocation::Exec(_) => ModelFlag::Service,
    }
}

fn moves<'p>(pairs: &[(&'p Path, &'p Path)], refusals: &mut Vec<ShimRefusal>) -> Vec<MoveModel<'p>> {
    let mut stems = Stems::default();
    let mut moves = Vec::new();
    for (at, (from, to)) in pairs.iter().enumerate() {
        let number = if pairs.len() == 1 { String::new() } else { (at + 1).to_string() };
        match (member(from), member(to)) {
            (Some((old, map)), Some((new, new_map))) if map == new_map => {
                let (prefix, prefix_names) = prefix(map, &number);
                moves.push(MoveModel { stem: stems.next(new), old, new, map, number, prefix, prefix_names });
            }
            _ => refusals.push(ShimRefusal::DifferentMaps { from: (*from).clone(), to: (*to).clone() }),
        }
    }
    moves
}

/// Splits a path into the name of its last step, and the path of the map that contains it. Returns `None` for an
/// element of a list, which a plan cannot move.
fn member(path: &Path) -> Option<(&str, &[PathStep])> {
    match path.steps().split_last()? {
        (PathStep::Name(name), map) => Some((name, map)),
        (PathStep::Index(_), _) => None,
    }
}

/// Returns the beginning of an expression's path to the members of a map, and the names of its placeholders.
fn prefix<'p>(map: &'p [PathStep], number: &str) -> (String, Vec<(String, &'p str)>) {
    let (mut prefix, mut names) = (String::new(), Vec::new());
    for step in map {
        match step {
            PathStep::Name(name) => {
                let placeholder = format!("#map{number}_{}", names.len() + 1);
                prefix.push_str(if prefix.is_empty() { "" } else { "." });
                prefix.push_str(&placeholder);
                names.push((placeholder, name.as_str()));
            }
            PathStep::Index(index) => prefix.push_str(&format!("[{index}]")),
        }
    }
    if !prefix.is_empty() {
        prefix.push('.');
    }
    (prefix, names)
}

impl ShimModel<'_> {
    /// Returns the remarks for the comment at the beginning of the code. Each line has this indentation.
    pub(super) fn notes(&self, indent: &str) -> String {
        let mut notes = Vec::new();
        if self.is_selective {
            notes.push(
                "The plan changes only the items that its [select] describes. Use these functions only for such items: every \
                 other\nitem keeps its old attribute.",
            );
        }
        if self.moves.iter().any(|one| !one.map.is_empty()) {
            notes.push(
                "DynamoDB refuses the write of a member if the map that should contain it is missing. Write such a map as a \
                 whole.",
            );
        }
        let lines = notes.iter().flat_map(|note| ["", *note]).flat_map(|note| note.split('\n'));
        lines.map(|line| format!("{indent}{line}").trim_end().to_owned() + "\n").collect()
    }
}

/// Returns a path in a form that is safe inside a comment.
pub(super) fn plain_path(map: &[PathStep], name: &str) -> String {
    let mut path = String::new();
    for step in map {
        match step {
            PathStep::Name(name) if path.is_empty() => path.push_str(&comment(name)),
            PathStep::Name(name) => path.push_str(&format!(".{}", comment(name))),
            PathStep::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    let name = comment(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

impl MoveModel<'_> {
    /// Returns the name of the parameter for the item or map that contains the attributes. A language needs this
    /// parameter if the application chooses the type of values, because the code cannot read inside such values.
    pub(super) fn container(&self) -> &'static str {
        if self.map.is_empty() { "item" } else { "members" }
    }

    /// Describes [`MoveModel::container`].
    pub(super) fn about_container(&self) -> String {
        match self.map.split_last() {
            None => "the item".to_owned(),
            Some((PathStep::Name(name), map)) => format!("the map {} of the item", plain_path(map, name)),
            Some((PathStep::Index(index), list)) => match list.split_last() {
                Some((PathStep::Name(name), map)) => format!("the map {}[{index}] of the item", plain_path(map, name)),
                Some((PathStep::Index(_), _)) | None => format!("element {index} of the list that contains the map"),
            },
        }
    }
}
