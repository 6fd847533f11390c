//! Rules for the length of a plan. Either the changes fit in one write, or the plan contains `split = true` and the
//! changes fit in several writes.

use super::WrittenChange;
use crate::change::{Change, OptionsByTarget, Selection, inseparable};
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::expression_limits::{
    ExpressionBound, MAX_EXPRESSION_BYTES, MAX_OPERATORS, bound_without_other_conditions, expression_bound,
    writes_per_item,
};
use crate::plan::select::WrittenSelection;

/// The maximum number of writes for one item. DynamoDB charges each write for the whole item.
const MAX_WRITES: usize = 16;

/// The maximum number of changes in a plan with `split = true`. The limit bounds the time for comparing each pair of
/// changes.
const MAX_CHANGES: usize = 1_000;

/// Reports an error if a write of the plan exceeds DynamoDB's limits for expressions. Returns false if the plan is too
/// long for the checks that compare each pair of changes. `split` is the position of `split = true`, if the plan
/// contains it.
pub(super) fn check_length(
    changes: &[WrittenChange],
    selection: Option<&WrittenSelection>,
    has_index: bool,
    options: &OptionsByTarget,
    split: Option<&TextSpan>,
    problems: &mut Problems,
) -> bool {
    let deletes = changes.iter().find(|written| written.change.deletes_items());
    if let (Some(at), Some(delete)) = (split, deletes) {
        problems.add(
            Diagnostic::new(
                "a plan that deletes items must not have `split`",
                at.clone(),
                "only for changes of attributes",
            )
            .also(delete.first.clone(), "deletes whole items")
            .help("remove the line, because one write deletes an item"),
        );
        return false;
    }
    let plain: Vec<Change> = changes.iter().map(|written| written.change.clone()).collect();
    let bound_of = |changes: &[Change]| {
        let bound = expression_bound(changes, selection.map(|s| &s.selection), options);
        if has_index { bound.with_index() } else { bound }
    };
    let bound = bound_of(&plain);
    if bound.is_within_limits() {
        return true;
    }
    match split {
        Some(at) if has_index => {
            problems.add(
                Diagnostic::new(
                    "a plan that selects through an index cannot need several writes for one item",
                    at.clone(),
                    "allows several writes",
                )
                .help(needs(bound))
                .help("split the plan into two plans, and run one after the other"),
            );
            true
        }
        Some(at) => check_split(changes, &plain, selection, options, at, problems),
        None => {
            let fitting = (0..plain.len()).find(|n| !bound_of(&plain[..*n + 1]).is_within_limits()).unwrap_or(0);
            // Show the error at the first change that makes the plan exceed the limit.
            if let Some(written) = changes.get(fitting) {
                let label = format!("{fitting} changes fit before this one");
                problems.add(
                    Diagnostic::new("the plan is too long for one write", written.first.clone(), label)
                        .help(format!("all {} changes of an item must fit in one write; {}", plain.len(), needs(bound)))
                        .help("split the plan into two plans, and run one after the other")
                        .help(
                            "or write `split = true` in [migration]; an item then gets several writes, and readers can \
                             see the item between two of them",
                        ),
                );
            }
            false
        }
    }
}

/// Returns a text that states the size of the expressions, and DynamoDB's limits.
fn needs(bound: ExpressionBound) -> String {
    let bytes = bound.update_bytes.max(bound.condition_bytes);
    let operators = bound.update_operators.max(bound.condition_operators);
    format!(
        "its expressions could take {bytes} bytes and {operators} operators; DynamoDB accepts at most \
         {MAX_EXPRESSION_BYTES} bytes and {MAX_OPERATORS} operators"
    )
}

/// Checks a plan that needs several writes for one item.
fn check_split(
    changes: &[WrittenChange],
    plain: &[Change],
    selection: Option<&WrittenSelection>,
    options: &OptionsByTarget,
    split: &TextSpan,
    problems: &mut Problems,
) -> bool {
    if plain.len() > MAX_CHANGES {
        let label = format!("the plan has {} changes", plain.len());
        problems.add(
            Diagnostic::new(format!("`split` allows at most {MAX_CHANGES} changes"), split.clone(), label)
                .help("split the plan into two plans, and run one after the other"),
        );
        return false;
    }
    let has_programs = check_programs(changes, split, problems);
    let is_unstable = selection.is_some_and(|selection| check_selection(changes, selection, split, problems));
    let is_too_long = check_groups(changes, plain, selection.map(|written| &written.selection), options, problems);
    if has_programs || is_unstable || is_too_long {
        return true;
    }
    let writes = writes_per_item(plain, selection.map(|written| &written.selection), options);
    if writes > MAX_WRITES {
        let label = format!("an item could need {writes} writes");
        problems.add(
            Diagnostic::new(format!("`split` allows at most {MAX_WRITES} writes for one item"), split.clone(), label)
                .help("DynamoDB charges each write for the item's full size")
                .help("split the plan into two plans, and run one after the other"),
        );
    }
    true
}

/// Refuses an `exec`, because the program would run again before each write. Returns whether the plan has an `exec`.
fn check_programs(changes: &[WrittenChange], split: &TextSpan, problems: &mut Problems) -> bool {
    let mut found = false;
    for written in changes.iter().filter(|written| written.change.program().is_some()) {
        found = true;
        problems.add(
            Diagnostic::new(
                "a plan that needs several writes for one item cannot start a program",
                written.first.clone(),
                "the inputs of an `exec`",
            )
            .also(split.clone(), "allows several writes")
            .help("put the `exec` into a plan of its own"),
        );
    }
    found
}

/// Refuses a selection that reads an attribute that a change modifies. After the first write, such a selection could
/// exclude the item. No run would then make the remaining changes. Returns whether there is such a change.
fn check_selection(
    changes: &[WrittenChange],
    selection: &WrittenSelection,
    split: &TextSpan,
    problems: &mut Problems,
) -> bool {
    let mut found = false;
    let inputs = selection.selection.condition.inputs();
    for written in changes {
        let paths = written.change.paths();
        let modified = paths.writes.into_iter().chain(paths.removes);
        let Some(path) = modified.into_iter().find(|path| inputs.iter().any(|input| input.overlaps(path))) else {
            continue;
        };
        found = true;
        problems.add(
            Diagnostic::new(
                format!("`where` in [select] reads `{path}`, which this change modifies"),
                written.first.clone(),
                "modified by this change",
            )
            .also(split.clone(), "allows several writes for one item")
            .help(
                "after the first write, the selection could leave the item out, and its other changes would never be \
                 made; select by attributes that the plan does not modify",
            ),
        );
    }
    found
}

/// Refuses changes that must stay in one write but do not fit in it. Returns whether there are such changes.
fn check_groups(
    changes: &[WrittenChange],
    plain: &[Change],
    selection: Option<&Selection>,
    options: &OptionsByTarget,
    problems: &mut Problems,
) -> bool {
    let (mut found, mut is_stable_reported) = (false, false);
    let bumps: Vec<Change> = plain.iter().filter(|change| matches!(change, Change::Bump { .. })).cloned().collect();
    for group in inseparable(plain, options) {
        let mut together = bumps.clone();
        for (fitting, position) in group.iter().enumerate() {
            together.push(plain[*position].clone());
            if !expression_bound(&together, selection, options).is_within_limits() {
                found = true;
                let all: Vec<Change> = group.iter().map(|at| plain[*at].clone()).chain(bumps.iter().cloned()).collect();
                let bound = expression_bound(&all, selection, options);
                let at = changes[*position].first.clone();
                if bound_without_other_conditions(&all, selection, options).is_within_limits() {
                    // Later groups have the same problem, so one error is enough.
                    if !std::mem::replace(&mut is_stable_reported, true) {
                        problems.add(no_room_beside_stable(at, bound));
                    }
                    break;
                }
                let label = format!("{fitting} of these changes fit before this one");
                problems.add(
                    Diagnostic::new("changes that share an attribute are too long for one write", at, label)
                        .also(changes[group[0]].first.clone(), "the first of them")
                        .help(format!(
                            "these {} changes use the same attribute, so one write makes all of them, even with `split = true`; {}",
                            group.len(),
                            needs(bound)
                        ))
                        .help("split the plan into two plans, and run one after the other"),
                );
                break;
            }
        }
    }
    found
}

/// Returns the error for a change that fits in one write only without the stable attributes of other changes.
fn no_room_beside_stable(at: TextSpan, bound: ExpressionBound) -> Diagnostic {
    Diagnostic::new(
        "the `where` conditions of this plan read too many `stable` attributes for `split`",
        at,
        "this change does not fit in one write with all of these attributes",
    )
    .help(format!(
        "the condition of every write tests each `stable` attribute that a `where` of the plan reads; {}",
        needs(bound)
    ))
    .help("read fewer `stable` attributes, or split the plan into two plans, and run one after the other")
}
