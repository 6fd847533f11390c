//! What a pass decides about an item, in words.

use super::ExplainedPass;
use super::write::ExplainedWrite;
use crate::change::{Change, Changes, Decision, GuardedWrite};
use crate::item::{IndexSchema, Path};
use crate::passes::PredictedOutcome;

/// What a pass decides about an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The class in which a dry run counts the item; `None` if the table has no such item.
    pub class: Option<PredictedOutcome>,
    /// The decision in one or two sentences. The text contains no attribute values.
    pub summary: String,
    /// The targets that keep values different from the values that the plan implies.
    pub paths: Vec<Path>,
    /// Why the item is rejected: its shape, or the rule that forbids the write.
    pub reason: Option<String>,
    /// The write that the pass plans for the item.
    pub write: Option<ExplainedWrite>,
    /// The writes that follow, if the item needs several (`split = true`).
    pub later: Vec<ExplainedWrite>,
}

impl Verdict {
    /// Puts a decision into words. `later` contains the writes that follow the decision's own write. `plan` contains
    /// the changes of the plan, and `indexes` the indexes of the table.
    pub(super) fn of_decision(
        pass: ExplainedPass,
        (decision, later): (Decision, Vec<GuardedWrite>),
        plan: &[Change],
        indexes: &[IndexSchema],
    ) -> Verdict {
        let explained = |write, is_sent| Some(ExplainedWrite::new(write, is_sent, plan, indexes));
        match decision {
            Decision::NothingToDo => Verdict::new(
                PredictedOutcome::NothingToDo,
                match pass {
                    ExplainedPass::Undo => {
                        "there is nothing to undo: according to the records, the item has no value that the migration wrote. \
                         The item gets no write"
                    }
                    ExplainedPass::Expand | ExplainedPass::Contract | ExplainedPass::OldFromNew => {
                        "no change of the plan applies to the item in this pass. It gets no write"
                    }
                },
            ),
            Decision::AlreadyApplied => Verdict::new(
                PredictedOutcome::AlreadyApplied,
                "the item is already in the state that this pass produces. It gets no write",
            ),
            Decision::Skipped(paths) if paths.is_empty() => Verdict::new(
                PredictedOutcome::Skipped,
                "an expression or a conversion has no result for the item, and the plan skips such items. The item gets \
                 no write",
            ),
            Decision::Skipped(paths) => {
                let summary = format!(
                    "{}, and `on_existing = \"skip\"` counts it as done. The item gets no write",
                    existing_values(&paths, plan)
                );
                Verdict { paths, ..Verdict::new(PredictedOutcome::Skipped, summary) }
            }
            // `contract` keeps an old value only for this reason.
            Decision::Diverged(paths) if pass == ExplainedPass::Contract => {
                let old = plural(&paths, "is the only copy of its value", "are the only copies of their values");
                let summary =
                    format!("{old}, because the new value is missing. The old value stays, and the item gets no write");
                Verdict { paths, ..Verdict::new(PredictedOutcome::Diverged, summary) }
            }
            Decision::Diverged(paths) => {
                let unequal = plural(&paths, "differs", "differ");
                let summary =
                    format!("{unequal} from what the plan implies. The values stay, and the item gets no write");
                Verdict { paths, ..Verdict::new(PredictedOutcome::Diverged, summary) }
            }
            Decision::Rejected(why) => {
                let summary = format!("{why}. The item gets no write and becomes a failure");
                Verdict { reason: Some(why), ..Verdict::new(PredictedOutcome::Rejected, summary) }
            }
            Decision::NotComputable(why) => {
                let why = why.to_string();
                let summary = format!("{why}. The item gets no write and becomes a failure");
                Verdict { reason: Some(why), ..Verdict::new(PredictedOutcome::NotComputable, summary) }
            }
            Decision::Refused(write, rule) => {
                let class = match rule.is_item_size() {
                    true => PredictedOutcome::WouldExceed,
                    false => PredictedOutcome::Rejected,
                };
                let why = rule.to_string();
                let summary = format!("{why}. The write below is not sent, and the item becomes a failure");
                Verdict { reason: Some(why), write: explained(*write, false), ..Verdict::new(class, summary) }
            }
            Decision::NeedsAnswers(..) => Verdict::new(
                PredictedOutcome::WouldChange,
                "the program of an `exec` decides: it computes the outputs from the inputs that the item has now. If the \
                 item lacks these outputs, one conditional write stores them. If it has other values, `on_existing` \
                 decides. `explain` does not start the program",
            ),
            Decision::Write(write) => {
                let summary = match (write.deleted_item(), write.created_item()) {
                    _ if write.derived_item().is_some() => {
                        "if there is no item with the derived key, one transaction checks the item and puts the derived \
                         item. `explain` does not read the derived item"
                            .to_owned()
                    }
                    (Some(_), _) => "one conditional write deletes the item".to_owned(),
                    (None, Some(_)) => "one conditional write restores the deleted item".to_owned(),
                    (None, None) if later.is_empty() => format!("one conditional write {}", pass.effect()),
                    (None, None) => format!(
                        "{} conditional writes, one after the other, {}. Readers may see the item between two writes",
                        later.len() + 1,
                        pass.effect_of_several()
                    ),
                };
                let later = later.into_iter().map(|write| ExplainedWrite::new(write, true, plan, indexes)).collect();
                let verdict = Verdict::new(PredictedOutcome::WouldChange, summary);
                Verdict { write: explained(write, true), later, ..verdict }
            }
        }
    }

    /// The verdict on a key without an item, if the pass does not create the item.
    pub(super) fn gone(pass: ExplainedPass, changes: &Changes) -> Verdict {
        let why = match pass {
            ExplainedPass::Undo if changes.removes_derived_items() => {
                "the table has no item with this key, and the journal has no derived item with this key. A rollback only \
                 deletes derived items that this migration put. Pass the key of a derived item"
            }
            ExplainedPass::Undo if changes.restores_items() => {
                "the table has no item with this key, and the journal has no deleted item with this key. A rollback puts \
                 back only items that this migration deleted and whose journal is kept"
            }
            ExplainedPass::Undo => {
                "the table has no item with this key. The plan deletes no items, so another writer deleted the item, or it \
                 never existed. A rollback does not create it"
            }
            ExplainedPass::Expand | ExplainedPass::Contract | ExplainedPass::OldFromNew => {
                "the table has no item with this key. This pass only changes items that exist"
            }
        };
        Verdict {
            class: None,
            summary: why.to_owned(),
            paths: Vec::new(),
            reason: None,
            write: None,
            later: Vec::new(),
        }
    }

    /// An earlier rollback restored the item, and the item has been deleted since then.
    pub(super) fn put_back_before() -> Verdict {
        Verdict::new(
            PredictedOutcome::AlreadyApplied,
            "an earlier rollback restored the item, and the item has been deleted since then. It gets no write",
        )
    }

    fn new(class: PredictedOutcome, summary: impl Into<String>) -> Verdict {
        let summary = summary.into();
        Verdict { class: Some(class), summary, paths: Vec::new(), reason: None, write: None, later: Vec::new() }
    }

    /// The verdict on an item that the selection does not include.
    pub(super) fn not_selected() -> Verdict {
        Verdict::new(
            PredictedOutcome::NothingToDo,
            "the selection does not include the item: `where` is false for this item. The item gets no write",
        )
    }

    /// The verdict on a selected item to which no change applies.
    pub(super) fn applies_to_nothing() -> Verdict {
        Verdict::new(
            PredictedOutcome::NothingToDo,
            "no change applies to the item: the `where` of each change is false. The item gets no write",
        )
    }

    /// The verdict of a pass that changes nothing with this plan.
    pub(super) fn empty_pass(pass: ExplainedPass) -> Verdict {
        let summary = match pass {
            ExplainedPass::Expand => "`run` changes nothing with this plan. The item gets no write",
            ExplainedPass::Contract => {
                "`contract` removes nothing with this plan, because `run` already makes every change. The item gets no write"
            }
            ExplainedPass::OldFromNew => {
                "this plan has no old attribute that must equal a new one, so the pass does nothing. The item gets no write"
            }
            ExplainedPass::Undo => {
                "this plan changes nothing that a rollback could restore, so the pass does nothing. The item gets no write"
            }
        };
        Verdict::new(PredictedOutcome::NothingToDo, summary)
    }

    /// Adds the note that this stable attribute differs from its recorded value.
    pub(super) fn with_changed_stable(mut self, path: &Path) -> Verdict {
        if self.reason.is_none() {
            self.summary += &format!(
                ". The stable attribute `{path}` differs from its recorded value, so this pass does not rely on the \
                 selection: it acts only on what the records show"
            );
        }
        self
    }

    /// Adds the note that the verdict depends on an assumption: the plan's index contains the item.
    pub(super) fn assuming_index(mut self, index: &str) -> Verdict {
        self.summary += &format!(
            ". This assumes that the index `{index}` contains the item: without the table, the key of the index is unknown"
        );
        self
    }

    /// Adds the note that the changes with these targets do not apply to the item.
    pub(super) fn without_changes_of(mut self, left_out: &[Path]) -> Verdict {
        for target in left_out {
            self.summary += &format!(". The change of `{target}` does not apply: its `where` is false");
        }
        self
    }

    /// The verdict on an item that is not in the plan's index.
    pub(super) fn not_in_index() -> Verdict {
        Verdict::new(
            PredictedOutcome::NothingToDo,
            "the plan's index does not contain the item, because the item lacks a key attribute of the index. The item \
             gets no write",
        )
    }

    /// The verdict on an item whose key is not in the plan's file of keys.
    pub(super) fn not_listed() -> Verdict {
        Verdict::new(
            PredictedOutcome::NothingToDo,
            "the plan's file of keys does not contain the item's key, so no pass reads the item. The item gets no write",
        )
    }

    /// Returns the name that JSON uses for the decision.
    pub fn name(&self) -> &'static str {
        self.class.map_or("gone", PredictedOutcome::name)
    }

    /// Returns the name of the decision for people.
    pub(super) fn label(&self) -> &'static str {
        match self.class {
            None => "gone",
            Some(PredictedOutcome::WouldChange) => "would change",
            Some(PredictedOutcome::AlreadyApplied) => "already applied",
            Some(PredictedOutcome::NothingToDo) => "nothing to do",
            Some(PredictedOutcome::Skipped) => "skipped",
            Some(PredictedOutcome::Diverged) => "diverged",
            Some(PredictedOutcome::WouldExceed) => "would exceed 400 KB",
            Some(PredictedOutcome::Rejected) => "rejected",
            Some(PredictedOutcome::NotComputable) => "not computable",
        }
    }
}

/// Says which existing values count as done. The target of an `each` change is inside the elements, so `paths` contains
/// only the container's path.
fn existing_values(paths: &[Path], plan: &[Change]) -> String {
    let is_container = |path: &&Path| plan.iter().filter_map(Change::each).any(|each| each.container() == *path);
    let (containers, targets): (Vec<&Path>, Vec<&Path>) = paths.iter().partition(is_container);
    let mut parts = Vec::new();
    if !targets.is_empty() {
        let targets: Vec<Path> = targets.into_iter().cloned().collect();
        parts.push(format!("{} a different value", plural(&targets, "already has", "already have")));
    }
    for container in containers {
        parts.push(format!("an element of `{container}` already has a different value at a target of the change"));
    }
    parts.join(", and ")
}

/// Returns the paths as the subject of a sentence, with the verb in the right form.
fn plural(paths: &[Path], one: &str, many: &str) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { one } else { many })
}
