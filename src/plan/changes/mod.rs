//! Reads the changes in `[[change]]`, and the positions of their paths in the plan's text.

mod append;
mod computed;
mod custom;
mod delete;
mod each;
mod exec;
mod options;
mod put;
mod replaced;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::constant;
use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::{Fields, join_with_or};
use super::select::WrittenExpr;
use crate::change::{Change, OnExisting};
use crate::item::Path;
pub(super) use each::WrittenElement;
pub(super) use options::{WrittenOptions, any_has_where, by_target, check_conditions, check_null};
pub(super) use replaced::WrittenReplaced;

const CHANGE_CASES: [&str; 12] =
    ["move", "copy", "set", "remove", "compute", "convert", "append", "bump", "exec", "custom", "delete", "put"];

/// The fields that only some kinds of change have. Each field is listed with these kinds.
const DEPENDENT_FIELDS: [(&str, &[&str]); 28] = [
    ("to", &["move", "copy", "convert"]),
    ("value", &["set", "append"]),
    ("values", &["append"]),
    ("as", &["compute"]),
    ("into", &["convert"]),
    ("replaces", &["compute", "convert"]),
    ("inverse", &["compute", "convert"]),
    ("formats", &["convert"]),
    ("format", &["convert"]),
    ("zone", &["convert"]),
    ("unit", &["convert"]),
    ("fraction", &["convert"]),
    ("true_values", &["convert"]),
    ("false_values", &["convert"]),
    ("inputs", &["exec", "custom"]),
    ("outputs", &["exec", "custom"]),
    ("marker", &["exec"]),
    ("deterministic", &["exec"]),
    ("workers", &["exec"]),
    ("batch", &["exec"]),
    ("timeout", &["exec"]),
    ("start_timeout", &["exec"]),
    ("env", &["exec"]),
    ("files", &["exec"]),
    ("version", &["delete"]),
    ("attributes", &["delete"]),
    ("writers", &["delete"]),
    ("journal", &["delete"]),
];

/// A valid change, and the positions of its paths in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenChange {
    pub(super) change: Change,
    /// Position of the path after `move`, `copy`, `set` or `remove`.
    pub(super) first: TextSpan,
    /// Position of the path after `to`. If the change has no `to`, this is the same as `first`.
    pub(super) to: TextSpan,
    /// Position of the value of a `set`, or of the expression of a `compute`. For other changes, this is the same as
    /// `first`.
    pub(super) value: TextSpan,
    /// The expression of a `compute`.
    pub(super) expression: Option<WrittenExpr>,
    /// The options of the change.
    pub(super) options: WrittenOptions,
    /// Positions of `replaces` and `inverse`. `None` if the change has no `replaces`.
    pub(super) replaced: Option<WrittenReplaced>,
    /// The changes of the elements of a container. Empty for a change without `each`.
    pub(super) elements: Vec<WrittenElement>,
    /// The expressions of a `put`. The expressions of the key attributes come first.
    pub(super) derived: Vec<WrittenExpr>,
    /// Position of the name of the table that gets the derived items. `None` if the plan does not name it.
    pub(super) derived_table: Option<TextSpan>,
}

/// Reads all changes. Reports invalid changes and omits them from the result. If a change has no `on_existing` of its
/// own, it gets the `on_existing` of the plan.
pub(super) fn read(root: &Fields<'_, '_>, on_existing: OnExisting, problems: &mut Problems) -> Vec<WrittenChange> {
    let Some((_, value)) = root.get("change") else {
        if !root.has_misspelt(&["change"]) {
            problems.add_missing(nothing_to_do(root.at.clone()));
        }
        return Vec::new();
    };
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(not_a_list(value));
        return Vec::new();
    };
    if array.is_empty() {
        problems.add_missing(nothing_to_do(value.span()));
    }
    let changes = array.iter().flat_map(|entry| read_entry(entry, on_existing, problems)).collect();
    each::merge(changes, problems)
}

/// Reads one `[[change]]`. For a `custom`, returns one change for each output. Otherwise returns one change. Returns no
/// change if the `[[change]]` is not valid.
fn read_entry(entry: &Spanned<DeValue<'_>>, on_existing: OnExisting, problems: &mut Problems) -> Vec<WrittenChange> {
    match entry.get_ref() {
        DeValue::Table(table) => read_change(table, entry.span(), on_existing, problems),
        _ => {
            problems.add(not_a_list(entry));
            Vec::new()
        }
    }
}

fn read_change(
    table: &DeTable<'_>,
    at: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Vec<WrittenChange> {
    let dependent = DEPENDENT_FIELDS.iter().map(|(name, _)| *name);
    let names: Vec<&str> =
        CHANGE_CASES.into_iter().chain(dependent).chain(["each", "on_existing", "where", "null_is_missing"]).collect();
    let fields = Fields::open(table, "[[change]]", &names, at, problems);
    let kinds = fields.present_fields(&CHANGE_CASES);
    let (kind, key, value) = match kinds.as_slice() {
        [one] => one.clone(),
        [] => {
            if !fields.has_misspelt(&CHANGE_CASES) {
                problems.add_missing(
                    Diagnostic::new("this change does not say what to do", fields.at.clone(), "no move, copy, set, remove, compute, convert, append, bump, exec, custom, delete or put")
                        .help("write one of these: move = \"a\" with to = \"b\"; copy = \"a\" with to = \"b\"; set = \"a\" with value = 1; remove = \"a\"; compute = \"a\" with as = 'item.b + item.c'; convert = \"a\" with to = \"N\"; append = \"a\" with values = { SS = [\"b\"] }; bump = \"version\"; exec = [\"./program\"] with inputs, outputs and marker; custom = \"name\" with inputs and outputs; delete = true; put = { key = { pk = '\"EMAIL#\" + item.email' } }"),
                );
            }
            return Vec::new();
        }
        [first, others @ ..] => {
            for (name, key, _) in others {
                problems.add(
                    Diagnostic::new(
                        "a change can do only one thing",
                        key.clone(),
                        format!("`{name}` needs its own [[change]]"),
                    )
                    .also(first.1.clone(), this_change(first.0))
                    .help(format!(
                        "start another [[change]] for `{name}`; by default, one write still makes all changes of an item"
                    )),
                );
            }
            return Vec::new();
        }
    };
    if let Some((at, each)) = fields.get("each") {
        let written = each::read(&fields, (&at, each), (kind, &key, value), on_existing, problems);
        return written.into_iter().collect();
    }
    if kind == "delete" {
        own_on_existing(&fields, kind, &key, problems);
        refuse_foreign_fields(&fields, kind, &key, problems);
        // A `delete` has no options, so this call only refuses them.
        options::read(&fields, kind, &key, problems);
        return delete::read_delete(&fields, &key, value, problems).into_iter().collect();
    }
    if kind == "put" {
        own_on_existing(&fields, kind, &key, problems);
        refuse_foreign_fields(&fields, kind, &key, problems);
        // A `put` has no options, so this call only refuses them.
        options::read(&fields, kind, &key, problems);
        return put::read_put(&key, value, problems).into_iter().collect();
    }
    if kind == "exec" {
        let on_existing = own_on_existing(&fields, kind, &key, problems).unwrap_or(on_existing);
        refuse_foreign_fields(&fields, kind, &key, problems);
        let options = options::read(&fields, kind, &key, problems);
        let written = exec::read_exec(&fields, &key, on_existing, problems);
        let written = written.map(|written| WrittenChange { options, ..written });
        return written.into_iter().collect();
    }
    if kind == "custom" {
        let on_existing = own_on_existing(&fields, kind, &key, problems).unwrap_or(on_existing);
        refuse_foreign_fields(&fields, kind, &key, problems);
        let options = options::read(&fields, kind, &key, problems);
        let written = custom::read_custom(&fields, &key, value, on_existing, problems);
        return written.into_iter().map(|written| WrittenChange { options: options.clone(), ..written }).collect();
    }
    let path = read_path(kind, value, problems);
    let on_existing = own_on_existing(&fields, kind, &key, problems).unwrap_or(on_existing);
    refuse_foreign_fields(&fields, kind, &key, problems);
    let options = options::read(&fields, kind, &key, problems);
    let written = read_kind(&fields, kind, (&key, path), value.span(), on_existing, problems);
    written.map(|written| WrittenChange { options, ..written }).into_iter().collect()
}

/// Reads the effect that a change of this kind has on its path. `key` is the position of the word for the kind, and
/// `first` is the position of the path.
fn read_kind(
    fields: &Fields<'_, '_>,
    kind: &str,
    (key, path): (&TextSpan, Option<Path>),
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    match kind {
        "compute" => computed::read_compute(fields, key, path, first, on_existing, problems),
        "convert" => computed::read_convert(fields, path, first, on_existing, problems),
        "append" => append::read(fields, key, path, first, problems),
        "bump" => path.map(|path| WrittenChange::new(Change::Bump { path }, first)),
        _ => read_plain(fields, kind, (key, path), first, on_existing, problems),
    }
}

/// Reads a `move`, `copy`, `set` or `remove`. `key` is the position of this word, and `first` is the position of its
/// path.
fn read_plain(
    fields: &Fields<'_, '_>,
    kind: &str,
    (key, path): (&TextSpan, Option<Path>),
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let to = dependent_field(fields, "to", kind, key, matches!(kind, "move" | "copy"), problems);
    let constant = dependent_field(fields, "value", kind, key, kind == "set", problems);
    let target = to.and_then(|to| Some((read_path("to", to, problems)?, to.span())));
    let depth = each::depth(fields) + path.as_ref().map_or(1, |path| path.steps().len());
    let constant = constant.and_then(|value| Some((constant::read(value, depth, problems)?, value.span())));
    let written = |change, to: Option<TextSpan>, value: Option<TextSpan>| WrittenChange {
        to: to.unwrap_or_else(|| first.clone()),
        value: value.unwrap_or_else(|| first.clone()),
        ..WrittenChange::new(change, first.clone())
    };
    match (kind, path?) {
        ("move", from) => target.map(|(to, at)| written(Change::Move { from, to, on_existing }, Some(at), None)),
        ("copy", from) => target.map(|(to, at)| written(Change::Copy { from, to, on_existing }, Some(at), None)),
        ("set", to) => constant.map(|(value, at)| written(Change::Set { to, value, on_existing }, None, Some(at))),
        (_, path) => Some(written(Change::Remove { path }, None, None)),
    }
}

impl WrittenChange {
    /// Creates a change whose only path is at this position.
    pub(super) fn new(change: Change, first: TextSpan) -> WrittenChange {
        WrittenChange {
            change,
            to: first.clone(),
            value: first.clone(),
            first,
            expression: None,
            options: WrittenOptions::default(),
            replaced: None,
            elements: Vec::new(),
            derived: Vec::new(),
            derived_table: None,
        }
    }
}

/// Reads the `on_existing` of one change. Returns `None` if the change does not set it.
fn own_on_existing(fields: &Fields<'_, '_>, kind: &str, key: &TextSpan, problems: &mut Problems) -> Option<OnExisting> {
    let (at, _) = fields.get("on_existing")?;
    let why = match kind {
        "remove" => Some("a `remove` writes no value, so an existing value does not matter"),
        "bump" => Some("a `bump` always raises the existing value"),
        "append" => Some("an `append` keeps every existing value"),
        "delete" => Some("a `delete` writes no value, so an existing value does not matter"),
        "put" => Some("a `put` never replaces an item. A different item with the derived key is reported as diverged"),
        "convert" if fields.get("into").is_none() => {
            Some("a `convert` without `into` always replaces the value by the converted value")
        }
        _ => None,
    };
    if let Some(why) = why {
        problems.add(
            Diagnostic::new(
                format!("`on_existing` is not allowed with `{kind}`"),
                at,
                "only with `move`, `copy`, `set`, `compute`, `exec`, `custom` or `convert … into`",
            )
            .also(key.clone(), this_change(kind))
            .help(format!("remove the line: {why}")),
        );
        return None;
    }
    fields.choice("on_existing", &ON_EXISTING_VALUES, problems)
}

/// The valid values of `on_existing`, by name. The plan and its changes accept the same values.
pub(super) const ON_EXISTING_VALUES: [(&str, OnExisting); 3] =
    [("keep", OnExisting::Keep), ("overwrite", OnExisting::Overwrite), ("skip", OnExisting::Skip)];

/// Returns an error label that contains the kind of the change.
pub(super) fn this_change(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e']) { "an" } else { "a" };
    format!("this change is {article} `{kind}`")
}

/// Reports an error for each field that belongs to other kinds of change.
fn refuse_foreign_fields(fields: &Fields<'_, '_>, kind: &str, key: &TextSpan, problems: &mut Problems) {
    for (name, kinds) in DEPENDENT_FIELDS.iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
        let Some((at, _)) = fields.get(name) else { continue };
        let kinds = join_with_or(kinds.iter().map(|kind| format!("`{kind}`")));
        problems.add(
            Diagnostic::new(format!("`{name}` is not allowed with `{kind}`"), at, format!("only with {kinds}"))
                .also(key.clone(), this_change(kind))
                .help(format!("remove `{name}`, or use {kinds}")),
        );
    }
}

/// Reads a field that this kind of change requires.
pub(super) fn dependent_field<'t, 'i>(
    fields: &Fields<'t, 'i>,
    name: &str,
    kind: &str,
    key: &TextSpan,
    is_required: bool,
    problems: &mut Problems,
) -> Option<&'t Spanned<DeValue<'i>>> {
    match (fields.get(name), is_required) {
        (_, false) => None,
        (Some((_, value)), true) => Some(value),
        (None, true) => {
            if !fields.has_misspelt(&[name]) {
                let (why, example) = match name {
                    "to" => ("the new path of the value", "to = \"new_name\""),
                    "as" => ("the expression that computes the value", "as = 'item.first + \" \" + item.last'"),
                    _ => ("the value that every item gets", "value = 1"),
                };
                problems.add_missing(
                    Diagnostic::new(
                        format!("`{kind}` has no `{name}`"),
                        key.clone(),
                        format!("`{name}` must be {why}"),
                    )
                    .help(format!("add `{example}` to this change")),
                );
            }
            None
        }
    }
}

pub(super) fn read_path(field: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Path> {
    let DeValue::String(text) = value.get_ref() else {
        let found = value.get_ref().type_str();
        problems.add(
            Diagnostic::new(
                format!("`{field}` must be a path"),
                value.span(),
                format!("expected a quoted string, found {found}"),
            )
            .help("write the attribute's name, or a path into a document: \"email\", \"address.zip\""),
        );
        return None;
    };
    match text.parse::<Path>() {
        Ok(path) => Some(path),
        Err(error) => {
            let at = problems.char_span_in_string(value.span(), text, error.at);
            let problem = Diagnostic::new(format!("`{field}` is not a path"), at, error.message);
            problems.add(problem.help(path_help(text)));
            None
        }
    }
}

fn path_help(text: &str) -> String {
    if let Some((list, member)) = text.rsplit_once("[*]").filter(|(list, _)| !list.contains("[*]")) {
        return match member.strip_prefix('.') {
            Some(member) => format!(
                "to change every element of a list or map, write each = \"{list}[*]\" in this change, and write the member here: {member:?}"
            ),
            None => format!("to change every element of a list or map, write each = \"{list}[*]\" in this change"),
        };
    }
    if text.is_empty() || text.contains(['"', '\'']) || text.chars().any(char::is_control) {
        return "a path consists of names separated by dots: \"address.zip\", 'tags[0].label', '\"e-mail\".home'"
            .to_owned();
    }
    format!(
        "if {text:?} is the whole name of one attribute, quote it inside the TOML string: '{}'",
        Path::attribute(text.to_owned())
    )
}

fn nothing_to_do(at: TextSpan) -> Diagnostic {
    Diagnostic::new("the plan changes nothing", at, "there is no [[change]]")
        .example("add one, such as\n[[change]]\nmove = \"old_name\"\nto = \"new_name\"")
}

fn not_a_list(value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let found = value.get_ref().type_str();
    Diagnostic::new("each change must be a table of its own", value.span(), format!("found {found}"))
        .help("write [[change]] with double brackets above each change")
}
