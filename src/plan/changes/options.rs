//! Reads `where` and `null_is_missing`, the options of a `[[change]]`.

use super::{WrittenChange, this_change};
use crate::change::{Change, ChangeOptions, OptionsByTarget, Selection};
use crate::expr::Expected;
use crate::item::{Path, Value};
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::{WrittenExpr, read_expression, read_where_of_each};

/// The options of a change, and their positions in the plan's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::plan) struct WrittenOptions {
    /// The change's own `where`.
    pub(in crate::plan) applies_to: Option<WrittenExpr>,
    /// The text of `where` and its position, even if the text is not a valid expression.
    pub(in crate::plan) written_where: Option<(String, TextSpan)>,
    /// The position of `null_is_missing`, if it is true.
    pub(in crate::plan) null_is_missing: Option<TextSpan>,
}

impl WrittenOptions {
    /// Returns whether the change has a `where` with errors. Other rules then report nothing that may be a consequence.
    pub(in crate::plan) fn is_where_unreadable(&self) -> bool {
        self.written_where.is_some() && self.applies_to.is_none()
    }

    /// Returns the text of `where`.
    pub(in crate::plan) fn where_text(&self) -> Option<&str> {
        self.written_where.as_ref().map(|(text, _)| text.as_str())
    }

    /// Returns the options without their positions. `stable` contains the attributes that never change according to
    /// `[select]`.
    pub(in crate::plan) fn options(&self, stable: &[String]) -> ChangeOptions {
        let selection = |written: &WrittenExpr| Selection { condition: written.expr.clone(), stable: stable.to_vec() };
        ChangeOptions {
            applies_to: self.applies_to.as_ref().map(selection),
            null_is_missing: self.null_is_missing.is_some(),
        }
    }
}

/// Returns whether at least one change has its own `where`, even one with errors.
pub(in crate::plan) fn any_has_where(root: &Fields<'_, '_>) -> bool {
    let changes = root.get("change").and_then(|(_, value)| value.get_ref().as_array());
    changes.is_some_and(|all| {
        all.iter().any(|entry| entry.get_ref().as_table().is_some_and(|table| table.contains_key("where")))
    })
}

/// Collects the options of all changes.
pub(in crate::plan) fn by_target(changes: &[WrittenChange], stable: &[String]) -> OptionsByTarget {
    OptionsByTarget::new(changes.iter().map(|written| (&written.change, written.options.options(stable))))
}

/// Reads the options of a change of this kind. `key` is the position of the word for the kind.
pub(super) fn read(fields: &Fields<'_, '_>, kind: &str, key: &TextSpan, problems: &mut Problems) -> WrittenOptions {
    let no_null = match kind {
        "remove" => Some("a `remove` writes no value, so it has no target that could be missing"),
        "bump" => Some("a `bump` needs a number; an item whose version is NULL is not computable"),
        "exec" => Some("an `exec` treats NULL like any other value"),
        "delete" => Some("a `delete` removes the whole item, so it has no target that could be missing"),
        "put" => Some("a `put` writes another item, and changes no attribute of the selected item"),
        "convert" if fields.get("into").is_none() => {
            Some("a `convert` without `into` has no target of its own. A NULL at its path cannot be converted")
        }
        _ => None,
    };
    let kinds = "only with `move`, `copy`, `set`, `compute`, `append`, `custom` or `convert … into`";
    let null_at = fields.get("null_is_missing").map(|(at, _)| at);
    let null_is_missing = match (&null_at, no_null) {
        (Some(at), Some(why)) => {
            refuse("null_is_missing", at, (kind, key), (kinds, why), problems);
            false
        }
        (_, _) => fields.flag("null_is_missing", problems).unwrap_or(false),
    };
    let applies_to = match (fields.get("where"), kind) {
        (Some((at, _)), "bump") => {
            let why = "a `bump` raises the version in every write of the migration, for all changes";
            refuse("where", &at, (kind, key), ("not with `bump`", why), problems);
            None
        }
        (Some((at, _)), "delete") => {
            let why = "`where` in [select] selects the items to delete";
            refuse("where", &at, (kind, key), ("not with `delete`", why), problems);
            None
        }
        (Some((at, _)), "put") => {
            let why = "`where` in [select] selects the items from which items are derived";
            refuse("where", &at, (kind, key), ("not with `put`", why), problems);
            None
        }
        (Some((_, value)), _) if fields.get("each").is_some() => read_where_of_each(value, problems),
        (Some((_, value)), _) => read_expression("where", value, Expected::Bool, problems),
        (None, _) => None,
    };
    let written_where = fields.get("where").map(|(_, value)| {
        let text = value.get_ref().as_str().unwrap_or_default();
        (text.to_owned(), value.span())
    });
    WrittenOptions { applies_to, written_where, null_is_missing: null_at.filter(|_| null_is_missing) }
}

fn refuse(
    field: &str,
    at: &TextSpan,
    (kind, key): (&str, &TextSpan),
    (label, why): (&str, &str),
    problems: &mut Problems,
) {
    problems.add(
        Diagnostic::new(format!("`{field}` is not allowed with `{kind}`"), at.clone(), label)
            .also(key.clone(), this_change(kind))
            .help(format!("remove the line: {why}")),
    );
}

/// Refuses a constant NULL together with `null_is_missing`, because the target would still count as missing after the
/// write.
pub(in crate::plan) fn check_null(written: &WrittenChange, problems: &mut Problems) {
    if let (Change::Set { value: Value::Null, .. }, Some(at)) = (&written.change, &written.options.null_is_missing) {
        problems.add(
            Diagnostic::new("this change writes a NULL, which would count as missing", at.clone(), "a NULL is missing")
                .also(written.value.clone(), "the constant")
                .help("remove `null_is_missing`, or write another constant"),
        );
    }
}

/// Refuses changes that copy and remove the same path under different conditions. Also refuses a `where` that reads a
/// path that another change modifies. After the first write, the result of such a `where` could be different, and a
/// second run would change the item again.
pub(in crate::plan) fn check_conditions(changes: &[WrittenChange], problems: &mut Problems) {
    for (at, written) in changes.iter().enumerate() {
        let others = changes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        for other in others {
            check_read(written, other, problems);
            check_copied(written, other, problems);
        }
    }
}

fn check_read(written: &WrittenChange, other: &WrittenChange, problems: &mut Problems) {
    let Some(condition) = &written.options.applies_to else { return };
    let paths = other.change.paths();
    let changed = paths.writes.into_iter().chain(paths.removes);
    let reads = |path: &&Path| condition.expr.inputs().iter().any(|input| input.overlaps(path));
    if let Some(path) = changed.into_iter().find(reads) {
        problems.add(
            Diagnostic::new(
                format!("this `where` reads `{path}`, which another change modifies"),
                condition.at.clone(),
                format!("reads `{path}`"),
            )
            .also(other.first.clone(), "modified by this change")
            .help("after the first write, the result of the `where` could be different, and a second run would change the item again")
            .help("use two plans, one after the other, or move the condition to [select], which applies to all changes"),
        );
    }
}

fn check_copied(written: &WrittenChange, other: &WrittenChange, problems: &mut Problems) {
    let copies = written.change.paths();
    let is_removed = |from: &&&Path| other.change.paths().removes.contains(*from);
    let source = copies.reads.iter().filter(|from| !copies.removes.contains(from)).find(is_removed);
    if let Some(path) = source
        && written.options.where_text() != other.options.where_text()
    {
        problems.add(
            Diagnostic::new(
                format!("`{path}` is copied and removed under different conditions"),
                other.first.clone(),
                "removed by this change",
            )
            .also(written.first.clone(), "copied by this change")
            .help("write the same `where` in both changes; otherwise some items would lose the value without having a copy"),
        );
    }
}
