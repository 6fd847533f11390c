//! Records the positions of a plan's parts in its text, for checks that need the table's description.

use super::capacity::CapacityField;
use super::changes::WrittenChange;
use super::diagnostic::{Diagnostic, Problems};
use super::fields::join_with_or;
use super::index::WrittenIndex;
use super::select::{self, WrittenExpr, WrittenSelection};
use super::text::TextSpan;
use crate::change::{Change, Formula, Selection};
use crate::expr::{Expr, KnownTypes};
use crate::item::Path;

/// The positions of the plan's parts in its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlanSpans {
    pub(super) changes: Vec<WrittenChange>,
    pub(super) select: Option<WrittenSelection>,
    /// The attributes that never change, according to `[select]`.
    pub(super) stable: Vec<String>,
    /// Position of `keys` in `[select]`.
    pub(super) keys: Option<TextSpan>,
    /// `index` in `[select]`.
    pub(super) index: Option<WrittenIndex>,
    pub(super) key: Option<TextSpan>,
    pub(super) budgets: Vec<(CapacityField, TextSpan)>,
    /// Whether the plan has a cutover, or removes attributes without a replacement.
    pub(super) has_cutover: bool,
    /// Whether the plan has a rule for items for which an expression has no result.
    pub(super) allows_not_computable: bool,
    /// Whether the plan skips items for which an expression has no result.
    pub(super) skips_not_computable: bool,
}

impl PlanSpans {
    /// Runs the expression checks that need the names of the key attributes. `known` contains the types of the key
    /// attributes if they are known.
    pub(super) fn check_expressions(&self, key: &[&str], known: &KnownTypes, problems: &mut Problems) {
        let conditions = self.conditions();
        for (what, written) in &conditions {
            if self.has_cutover {
                check_stable((*what, written), &self.changes, |name| key.contains(&name), problems);
            }
            check_converted((*what, written), &self.changes, known, problems);
        }
        if !self.allows_not_computable {
            let conditions = conditions
                .into_iter()
                .map(|(_, written)| WrittenExpr { expr: written.selection.condition, at: written.at });
            select::check_faults(&conditions.collect::<Vec<_>>(), known, &[], problems);
            let selection = self.selection_guard(known);
            for written in &self.changes {
                let own = written.options.applies_to.as_ref().map(|written| &written.expr);
                let own = own.filter(|condition| condition.faults(known).is_empty());
                let guards = selection.into_iter().chain(own);
                check_computed(written, known, &guards.collect::<Vec<_>>(), problems);
            }
        }
    }

    /// Returns the `where` in `[select]`, which is true for every item that the plan changes. Returns `None` if it can
    /// lack a result: then it is refused, or it proves nothing.
    pub(super) fn selection_guard(&self, known: &KnownTypes) -> Option<&Expr> {
        let condition = self.select.as_ref().map(|written| &written.selection.condition);
        condition.filter(|condition| condition.faults(known).is_empty())
    }

    /// Refuses each `where` that has no result after the plan's own removals. Call this method only if the migration
    /// has not begun, because the plan of a begun migration can no longer change. `known` contains the types of the key
    /// attributes.
    pub(super) fn check_removals(&self, known: &KnownTypes, problems: &mut Problems) {
        // For a plan with a cutover, `check_stable` already refuses a `where` that reads removed attributes. A plan
        // that skips items without a result also skips the items that it has written.
        if self.has_cutover || self.skips_not_computable {
            return;
        }
        for (what, written) in &self.conditions() {
            check_removed((*what, written), &self.changes, known, problems);
        }
    }

    /// Returns the `where` of the plan and of each change, with its name in errors.
    fn conditions(&self) -> Vec<(&'static str, WrittenSelection)> {
        let own = self.changes.iter().filter_map(|written| written.options.applies_to.as_ref());
        let own = own.map(|written| {
            let selection = Selection { condition: written.expr.clone(), stable: self.stable.clone() };
            ("this `where`", WrittenSelection { selection, at: written.at.clone() })
        });
        self.select.iter().map(|written| ("the selection", written.clone())).chain(own).collect()
    }
}

/// Reports each part of a change's expressions that can lack a result for some items. Each of the `guards` is true for
/// every item that the change applies to.
///
/// If the change replaces an attribute, the expression is evaluated only for items with the old attribute, and its
/// inverse only for items with the new attribute. But the guards do not count: applications compute the same value for
/// the items that they write, and `cutover --back` recomputes values of items that it finds.
fn check_computed(written: &WrittenChange, known: &KnownTypes, guards: &[&Expr], problems: &mut Problems) {
    let in_elements = written.elements.iter().filter_map(|element| element.expression.clone());
    select::check_faults(&in_elements.collect::<Vec<_>>(), known, guards, problems);
    select::check_faults(&written.derived, known, guards, problems);
    let Change::Compute { to, formula, replaces, .. } = &written.change else { return };
    let expressions: Vec<WrittenExpr> = written.expression.iter().cloned().collect();
    let Some(replaced) = replaces else { return select::check_faults(&expressions, known, guards, problems) };
    let old = Some(&replaced.path).filter(|path| path.is_top_level());
    let of_formula = old.iter().fold(known.clone(), |known, path| known.with_any_type(path.root()));
    select::check_unguarded_faults(&expressions, &of_formula, guards, problems);
    let inverse = written.replaced.as_ref().and_then(|replaced| replaced.inverse.as_ref());
    let Some(expression) = inverse.and_then(|inverse| inverse.expression.clone()) else { return };
    let of_inverse = match (to.is_top_level(), formula) {
        (true, Formula::Expression(formula)) => known.clone().with_result_of(to.root(), formula, &of_formula),
        (true, Formula::Conversion { conversion, .. }) => known.clone().with_type(to.root(), conversion.target_type()),
        (true, Formula::Inverse(_) | Formula::Custom(_)) | (false, _) => known.clone(),
    };
    select::check_unguarded_faults(&[expression], &of_inverse, guards, problems);
}

/// Refuses a selection that reads attributes that can change. Call this function only for a plan with a cutover. An
/// item must not enter or leave the selection while readers and writers move to the new attribute.
fn check_stable(
    (what, written): (&str, &WrittenSelection),
    changes: &[WrittenChange],
    is_key: impl Fn(&str) -> bool,
    problems: &mut Problems,
) {
    let read = written.selection.condition.inputs().iter().map(|input| input.root());
    // If the plan changes a stable attribute, another error already reports this.
    let is_stable = |name: &str| written.selection.stable.iter().any(|stable| stable == name);
    for name in read.filter(|name| !is_key(name) && !is_stable(name)) {
        let changes_it = |change: &&WrittenChange| {
            let paths = change.change.paths();
            paths.writes.into_iter().chain(paths.removes).any(|path| path.root() == name)
        };
        let Some(change) = changes.iter().find(changes_it) else { continue };
        problems.add(
            Diagnostic::new(
                format!("{what} depends on `{name}`, which the plan changes"),
                written.at.clone(),
                format!("reads `{name}`"),
            )
            .also(change.first.clone(), "changes it")
            .help("this plan has a cutover, so its changes must not move items out of the selection")
            .help("select by key attributes or by attributes that the plan leaves unchanged"),
        );
        return;
    }
    let changeable = written.selection.changeable(is_key);
    if changeable.is_empty() {
        return;
    }
    let names = join_with_or(changeable.iter().map(|name| format!("`{name}`")));
    problems.add(
        Diagnostic::new(
            format!("this plan has a cutover, so the result of {what} must never change"),
            written.at.clone(),
            format!("{names} may change"),
        )
        .help(
            "select by key attributes only, or list in [select] the attributes that no writer ever changes: \
             stable = [\"type\"]",
        )
        .help("otherwise, use strategy = \"in-place\", or a plan that only sets or computes values"),
    );
}

/// Refuses a selection that has no result after the plan has removed an attribute that the selection reads. The written
/// item would then look like a failure. `known` describes the table's key.
fn check_removed(
    (what, written): (&str, &WrittenSelection),
    changes: &[WrittenChange],
    known: &KnownTypes,
    problems: &mut Problems,
) {
    let condition = &written.selection.condition;
    for change in changes {
        let paths = change.change.paths();
        let read = |path: &&Path| condition.inputs().iter().any(|input| input.overlaps(path));
        for path in paths.removes.into_iter().filter(read) {
            // Ignore a part that can lack a result even without the removal.
            let before = condition.faults(&known.clone().with_any_type_at(path));
            let after = condition.faults(&known.clone().with_missing(path));
            if after.iter().all(|fault| before.contains(fault)) {
                continue;
            }
            problems.add(
                Diagnostic::new(
                    format!("{what} reads `{path}`, which the plan removes"),
                    written.at.clone(),
                    format!("has no result if `{path}` is missing"),
                )
                .also(change.first.clone(), "removed by this change")
                .help(format!("first test whether the attribute exists: has(item.{path}) && …"))
                .help("otherwise, a second run and `verify` would report each written item as a failure"),
            );
        }
    }
}

/// Refuses a selection that has no result, or a different meaning, after a conversion that keeps the attribute's name.
/// The written item would then look like a failure. `known` describes the table's key.
fn check_converted(
    (what, written): (&str, &WrittenSelection),
    changes: &[WrittenChange],
    known: &KnownTypes,
    problems: &mut Problems,
) {
    let condition = &written.selection.condition;
    for change in changes {
        if let Some(each) = change.change.each() {
            let container = each.container();
            let is_read = condition.inputs().iter().any(|input| input.overlaps(container));
            if is_read && !condition.faults(known).is_empty() {
                problems.add(
                    Diagnostic::new(
                        format!("{what} reads `{container}`, whose elements the plan changes"),
                        written.at.clone(),
                        "might have no result for the written item",
                    )
                    .also(change.first.clone(), "changes every element")
                    .help("guard each access to an attribute, for example: item.lines.exists(x, type(x) == \"M\" && has(x.sku))")
                    .help("then the `where` has a result for every item, even after the run"),
                );
            }
            continue;
        }
        let Change::Convert { path, conversion } = &change.change else { continue };
        if !condition.inputs().iter().any(|input| input.overlaps(path)) {
            continue;
        }
        let converted = known.clone().with(path.root(), Some(conversion.target_type()));
        if path.is_top_level() && condition.faults(&converted).is_empty() {
            continue;
        }
        problems.add(
            Diagnostic::new(
                format!("{what} reads `{path}`, which the plan converts"),
                written.at.clone(),
                format!("might have no result if `{path}` is of type {}", conversion.target_type()),
            )
            .also(change.first.clone(), "converted by this change")
            .help(format!("if the old type is S, test it first: type(item.{path}) == \"S\" && …"))
            .help("guard the other attributes in the same way, so that the selection has a result for every converted item"),
        );
    }
}
