//! Rules for plans that put derived items.

use crate::change::{DerivedItem, MAX_OPERATORS};
use crate::expr::{Expr, KnownTypes};
use crate::item::{KeyAttribute, KeySchema};
use crate::plan::changes::WrittenChange;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;

/// The maximum number of attributes of a derived item, without its key. A rollback compares every attribute, and the
/// condition needs a comparison and an `AND` for each.
const MAX_ATTRIBUTES: usize = MAX_OPERATORS / 2 - 1;

/// Checks a plan that puts derived items. `plan_table` is the name of the plan's table. `in_place` is the position of
/// `strategy = "in-place"`, if the plan says it. `selects` says whether [select] has a valid `where`.
pub(in super::super) fn check_put(
    root: &Fields<'_, '_>,
    changes: &[WrittenChange],
    plan_table: Option<&str>,
    in_place: Option<TextSpan>,
    selects: bool,
    problems: &mut Problems,
) {
    let Some((put, derived)) = changes.iter().find_map(|written| Some((written, written.change.derived()?))) else {
        return;
    };
    for other in changes.iter().filter(|other| other.first != put.first) {
        // `check_delete` reports a plan that contains a delete and another change.
        if other.change.deletes_items() {
            continue;
        }
        let title = match other.change.derived() {
            Some(_) => "a plan can have only one `put`",
            None => "a plan that puts derived items cannot have other changes",
        };
        problems.add(
            Diagnostic::new(title, other.first.clone(), "another change")
                .also(put.first.clone(), "puts the derived items")
                .help("one transaction checks the item and puts its derived item; use a separate plan for this change"),
        );
    }
    match (&derived.table, &put.derived_table) {
        (Some(table), Some(at)) if plan_table == Some(table) => problems.add(
            Diagnostic::new("`table` names the table of the plan", at.clone(), "the table of the sources")
                .help("remove `table`: derived items go to the table of the plan, unless you name another one")
                .help("in the table of the plan, `where` must be false for each derived item"),
        ),
        (Some(_), _) => {}
        (None, _) => check_selection(root, put, selects, problems),
    }
    if let Some(at) = in_place {
        problems.add(
            Diagnostic::new("a plan that puts derived items cannot be in-place", at, "for moves and removals")
                .also(put.first.clone(), "leaves the selected item unchanged")
                .help("remove the line"),
        );
    }
    if let Some((at, _)) = root.get("cutover") {
        problems.add(
            Diagnostic::new(
                "a plan that puts derived items cannot have a cutover",
                at,
                "for plans that move readers and writers",
            )
            .also(put.first.clone(), "puts the derived items")
            .help("remove [cutover]"),
        );
    }
    if derived.attributes.len() > MAX_ATTRIBUTES {
        problems.add(
            Diagnostic::new(
                "the derived item has too many attributes",
                put.first.clone(),
                format!("{} attributes, without the key", derived.attributes.len()),
            )
            .help(format!(
                "a rollback compares each attribute. DynamoDB accepts {MAX_OPERATORS} operators, so a derived item can \
                 have {MAX_ATTRIBUTES} attributes and its key"
            ))
            .help("combine several values in one map or list attribute"),
        );
    }
}

/// Checks which items the plan selects. Each derived item must be outside the selection, so there must be a `where` to
/// test it with, even if a file lists the keys of the sources.
fn check_selection(root: &Fields<'_, '_>, put: &WrittenChange, selects: bool, problems: &mut Problems) {
    let Some((_, select)) = root.get("select") else {
        if !root.has_misspelt(&["select"]) {
            problems.add_missing(
                Diagnostic::new("`put` needs a [select]", put.first.clone(), "would derive items from derived items")
                    .help("each run would derive new items from the derived items of the previous run")
                    .example("select the source items:\n[select]\nwhere = 'item.sk == \"PROFILE\"'"),
            );
        }
        return;
    };
    let Some(table) = select.get_ref().as_table() else { return };
    if !selects && table.get("where").is_none() {
        problems.add_missing(
            Diagnostic::new("`put` needs a `where`", select.span(), "no `where`")
                .also(put.first.clone(), "puts the derived items")
                .help(
                    "each derived item must be outside the selection; the tool checks this with `where` before it puts the item",
                ),
        );
    }
}

/// Checks that `key` names exactly the key attributes of the table that gets the derived items. `table` is the name of
/// that table in `put`, or `None` for the table of the plan. A `put` into another table is not checked.
pub(in super::super) fn check_put_key(
    changes: &[WrittenChange],
    table: Option<&str>,
    key: &[&str],
    problems: &mut Problems,
) {
    for (put, derived) in puts_into(changes, table) {
        let is_named = |part: &str| derived.key.iter().any(|(name, _)| name == part);
        let missing: Vec<&&str> = key.iter().filter(|part| !is_named(part)).collect();
        let other = derived.key.iter().map(|(name, _)| name).find(|name| !key.contains(&name.as_str()));
        let what = match (missing.first(), other) {
            (None, None) => continue,
            (Some(missing), _) => format!("`{missing}` is missing"),
            (None, Some(other)) => format!("`{other}` is not a key attribute"),
        };
        let names: Vec<String> = key.iter().map(|part| format!("`{part}`")).collect();
        let title = format!("the derived item does not have the key of {}", name_of(table));
        problems.add(
            Diagnostic::new(title, put.value.clone(), what)
                .help(format!("write an expression for each key attribute, and for nothing else: {}", names.join(", ")))
                .help("the other attributes of the derived item belong in `attributes`"),
        );
    }
}

/// Checks that each key attribute of a derived item has a valid value. `schema` is the key of the table that gets the
/// derived items, and `table` its name, as in [`check_put_key`]. `known` describes the attributes that every source has.
/// If `allows_not_computable` is true, the plan says what happens to an item without a valid key.
/// Each of the `guards` is true for every selected item, and has a result for every item.
pub(in super::super) fn check_put_types(
    changes: &[WrittenChange],
    guards: &[&Expr],
    (table, schema): (Option<&str>, &KeySchema),
    known: &KnownTypes,
    allows_not_computable: bool,
    problems: &mut Problems,
) {
    for (put, derived) in puts_into(changes, table) {
        for part in std::iter::once(&schema.partition).chain(&schema.sort) {
            check_part((put, derived), (table, part), (known, guards), allows_not_computable, problems);
        }
    }
}

/// Returns each `put` into this table.
fn puts_into<'a>(
    changes: &'a [WrittenChange],
    table: Option<&'a str>,
) -> impl Iterator<Item = (&'a WrittenChange, &'a DerivedItem)> {
    let puts = changes.iter().filter_map(|written| Some((written, written.change.derived()?.as_ref())));
    puts.filter(move |(_, derived)| derived.table.as_deref() == table)
}

fn name_of(table: Option<&str>) -> String {
    table.map_or_else(|| "the table".to_owned(), |table| format!("table `{table}`"))
}

fn check_part(
    (written, derived): (&WrittenChange, &DerivedItem),
    (table, part): (Option<&str>, &KeyAttribute),
    (known, guards): (&KnownTypes, &[&Expr]),
    allows_not_computable: bool,
    problems: &mut Problems,
) {
    let Some(place) = derived.key.iter().position(|(name, _)| *name == part.name) else { return };
    let (Some((name, expression)), Some(at)) = (derived.key.get(place), written.derived.get(place)) else { return };
    let at = at.at.clone();
    let types = expression.result_types(known, guards);
    let kind = part.kind.as_str();
    let others: Vec<&str> = types.iter().copied().filter(|result| *result != kind).collect();
    if !types.contains(&kind) {
        problems.add(
            Diagnostic::new(
                format!(
                    "DynamoDB would reject every derived item: `{name}` has type {kind} in the key of {}",
                    name_of(table)
                ),
                at,
                format!("of type {}", others.join(" or ")),
            )
            .help(convert_help(kind)),
        );
    } else if !others.is_empty() && !allows_not_computable {
        problems.add(
            Diagnostic::new(
                format!("`{name}` can be an invalid key value: the key attribute has type {kind}"),
                at,
                format!("can also be of type {}", others.join(" or ")),
            )
            .help(convert_help(kind))
            .help(
                "or write on_not_computable in [migration]: \"fail\" makes such an item a failure, and \"skip\" leaves it \
                 out",
            ),
        );
    } else if kind != "N" && !allows_not_computable && !expression.is_never_empty(known) {
        problems.add(
            Diagnostic::new(
                format!("`{name}` can be empty, and DynamoDB rejects empty key values"),
                at,
                "the expression does not guarantee at least one character",
            )
            .help("begin with a constant, as in '\"EMAIL#\" + item.email'")
            .help(
                "or write on_not_computable in [migration]: \"fail\" makes such an item a failure, and \"skip\" leaves it \
                 out",
            ),
        );
    }
}

fn convert_help(kind: &str) -> &'static str {
    match kind {
        "S" => "convert the value: string(item.number)",
        "N" => "convert the value, for example with number(item.text)",
        _ => "the expression must have a binary result",
    }
}
