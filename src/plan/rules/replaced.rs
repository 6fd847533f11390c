//! Rules for changes that replace an old attribute by a computed value.

use crate::change::{Change, Formula, Replaced, Strategy, index_key_fault};
use crate::item::{IndexSchema, Path};
use crate::plan::changes::{WrittenChange, WrittenReplaced};
use crate::plan::diagnostic::{Diagnostic, Problems};

/// A change that replaces an old attribute.
struct Replacement<'a> {
    to: &'a Path,
    formula: &'a Formula,
    replaced: &'a Replaced,
    written: &'a WrittenChange,
    spans: &'a WrittenReplaced,
}

/// Reports an error if the paths, the formula and the inverse of a replacement do not fit together.
pub(super) fn check_replaced(written: &WrittenChange, problems: &mut Problems) {
    let Some(replacement) = replacement(written) else { return };
    replacement.check_paths(problems);
    replacement.check_facts(problems);
    replacement.check_inverse(problems);
}

/// Refuses replacements in an in-place plan.
pub(in crate::plan) fn check_strategy(changes: &[WrittenChange], strategy: Strategy, problems: &mut Problems) {
    for replacement in changes.iter().filter_map(replacement).filter(|_| strategy == Strategy::InPlace) {
        problems.add(
            Diagnostic::new(
                "`replaces` is not possible with strategy = \"in-place\"",
                replacement.spans.at.clone(),
                "an old attribute that is replaced",
            )
            .help("use strategy = \"expand-contract\": `contract` removes the old attribute after the cutover")
            .help("or remove `replaces`, and remove the old attribute with a later plan"),
        );
    }
}

/// Reports an error if the old attribute is an index key attribute and DynamoDB would reject the result of the inverse
/// for every item.
pub(super) fn check_inverse_index_key(written: &WrittenChange, indexes: &[IndexSchema], problems: &mut Problems) {
    let Some(Replacement { replaced, spans, .. }) = replacement(written) else { return };
    let (Some(inverse), Some(at)) = (&replaced.inverse, &spans.inverse) else { return };
    let Formula::Conversion { conversion, .. } = inverse.formula() else { return };
    let example = super::example_of_type(conversion.target_type()).filter(|_| replaced.path.is_top_level());
    let Some(fault) = example.and_then(|value| index_key_fault(replaced.path.root(), &value, indexes)) else { return };
    problems.add(
        Diagnostic::new(
            "DynamoDB would reject the result of `inverse` for every item",
            at.at.clone(),
            "not valid as a key value",
        )
        .help(fault.to_string())
        .help("write an inverse with a result of the key's type"),
    );
}

fn replacement(written: &WrittenChange) -> Option<Replacement<'_>> {
    match (&written.change, &written.replaced) {
        (Change::Compute { to, formula, replaces: Some(replaced), .. }, Some(spans)) => {
            Some(Replacement { to, formula, replaced, written, spans })
        }
        (
            Change::Compute { .. }
            | Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Each { .. }
            | Change::Exec { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. },
            _,
        ) => None,
    }
}

impl Replacement<'_> {
    fn check_paths(&self, problems: &mut Problems) {
        let (to, old) = (self.to, &self.replaced.path);
        let at = &self.spans.at;
        if to.overlaps(old) {
            let title = match to == old {
                true => format!("`{to}` cannot replace itself"),
                false => format!("one of `{to}` and `{old}` contains the other"),
            };
            problems.add(
                Diagnostic::new(title, at.clone(), "the old attribute")
                    .also(self.written.to.clone(), "the new attribute")
                    .help("write the value to a new attribute, because items have both attributes until `contract`"),
            );
            return;
        }
        let inputs = self.formula.inputs();
        if inputs.iter().any(|input| old.contains(input)) {
            return;
        }
        let problem = match inputs.iter().find(|input| input.contains(old)) {
            Some(whole) => Diagnostic::new(
                format!("`{to}` is computed from `{whole}`, but replaces only a part of it"),
                at.clone(),
                format!("inside `{whole}`"),
            )
            .also(self.written.value.clone(), format!("reads `{whole}`"))
            .help(format!("read exactly the path that is replaced, item.{old}, or replace `{whole}`")),
            None => Diagnostic::new(
                format!("`{to}` replaces `{old}`, but is not computed from it"),
                at.clone(),
                "not an input of `as`",
            )
            .also(self.written.value.clone(), "the expression")
            .help("replace an attribute that the expression reads")
            .help(format!("or remove `replaces`, and remove `{old}` with a later plan")),
        };
        problems.add(problem);
    }

    /// Refuses a formula that applications cannot evaluate. While applications write both attributes, they must compute
    /// the same new values as the plan.
    fn check_facts(&self, problems: &mut Problems) {
        if matches!(self.formula, Formula::Expression(expression) if expression.reads_facts()) {
            problems.add(
                Diagnostic::new(
                    "applications cannot compute this value, because they do not know `migration.started_at`",
                    self.written.value.clone(),
                    "reads `migration.started_at`",
                )
                .also(self.spans.at.clone(), "replaces an attribute")
                .help("while applications write both attributes, they must compute the same new value")
                .help("compute the value from attributes only, or remove `replaces`"),
            );
        }
    }

    fn check_inverse(&self, problems: &mut Problems) {
        let (to, old) = (self.to, &self.replaced.path);
        let (Some(inverse), Some(written)) = (&self.replaced.inverse, &self.spans.inverse) else { return };
        let inputs = inverse.formula().inputs();
        if inputs.iter().any(|input| input.overlaps(old)) {
            problems.add(
                Diagnostic::new(
                    format!("`inverse` reads `{old}`, whose value it must compute"),
                    written.at.clone(),
                    format!("reads `{old}`"),
                )
                .also(self.spans.at.clone(), "the old attribute")
                .help("whenever the inverse is used, the old value is stale or missing")
                .help(format!("compute the value from `{to}` and from attributes that stay")),
            );
        } else if !inputs.iter().any(|input| input.overlaps(to)) {
            problems.add(
                Diagnostic::new(format!("`inverse` does not read `{to}`"), written.at.clone(), "the inverse")
                    .also(self.written.to.clone(), "the new attribute")
                    .help(format!("the inverse computes the value of `{old}` from the value of `{to}`")),
            );
        }
    }
}
