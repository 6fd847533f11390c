//! Warns before a run that begins without dual writes.

use crate::command_line::CommandLine;
use crate::cutover::{Flag, WriteTo};
use crate::playbook::{NextCommand, PlanKind};

/// The reason why nothing shows that writers write both attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingDualWrites {
    /// The flag says `write = old`, or it does not exist yet.
    Off,
    /// The plan has no flag, and the operator has not stated that writers write both attributes.
    NotStated,
}

impl MissingDualWrites {
    /// Returns `None` if writers write both attributes, or if the plan has no dual writes. `flag` is the flag, or the
    /// virtual flag that follows from the stated facts.
    pub fn find(kind: PlanKind, flag: Option<&Flag>) -> Option<MissingDualWrites> {
        if flag.is_some_and(|flag| flag.write != WriteTo::Old) {
            return None;
        }
        match kind {
            PlanKind::Flagged => Some(MissingDualWrites::Off),
            PlanKind::Stated => Some(MissingDualWrites::NotStated),
            PlanKind::InPlace | PlanKind::SetOnly | PlanKind::RemoveOnly => None,
        }
    }

    /// Returns the line of a run's header.
    pub(super) fn warning(self, commands: &CommandLine) -> String {
        let (why, kind) = match self {
            MissingDualWrites::Off => ("dual writes are off. This", PlanKind::Flagged),
            MissingDualWrites::NotStated => (
                "nobody has stated with --dual-writes-since that writers write both attributes. If they do not, this",
                PlanKind::Stated,
            ),
        };
        format!(
            "warning  {why} pass misses items that writers insert behind its scan position, and its copies become stale when \
             writers change the old attribute. The pass must then be repeated: `{}` after dual writes have begun. To begin \
             dual writes first: {}",
            commands.render("verify --all --repair"),
            NextCommand::first_dual_write(kind).render(commands)
        )
    }

    /// Returns the first sentence of a run's question.
    pub(super) fn notice(self) -> &'static str {
        match self {
            MissingDualWrites::Off => "Dual writes are off, so this pass must be repeated after they have begun. ",
            MissingDualWrites::NotStated => {
                "If writers do not write both attributes yet, this pass must be repeated after they do. "
            }
        }
    }
}
