//! Simulates a command up to its first lasting work. So if a precondition of the command is unmet, the command is
//! refused before it records anything.
//!
//! A command has several steps, and each step can be refused. If a later step were refused after the tool had carried
//! out the first steps, the refused command would have changed something. So before the tool records or asks anything,
//! it simulates the steps on a copy of the state. The simulation ends at the first step that does lasting work: a flag
//! change, a wait, or a pass over the table. It cannot know the result of that work.
//!
//! It is also lasting work to record facts that the operator states. For a plan that only removes, these facts begin
//! the soak, and the command that records them is refused until the soak is over.

use super::request::StepRequest;
use super::{Event, EventBody, Fact, Goal, Mark, MigrationState, PlanKind, Step, StepContext, StepRefusal};
use crate::cutover::Flag;
use jiff::Timestamp;

/// The maximum number of steps before lasting work. It is twice the number of possible steps. The possible steps are a
/// preflight, a confirmation, one step for each fact, one override for each obstacle, and the beginning of a phase.
const MAX_STEPS: usize = 32;

/// The steps of a command before its first lasting work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Whether the command runs a preflight.
    pub preflight: bool,
    /// Whether the command asks for a confirmation.
    pub confirm: bool,
    /// Whether the command has already reached its goal, so that it does nothing.
    pub is_done: bool,
}

/// Simulates a command up to its first lasting work. If the operator must still state facts, the refusal lists all of
/// them.
pub fn rehearse(
    state: &MigrationState,
    context: &StepContext<'_>,
    goal: Goal,
    now: Timestamp,
) -> Result<Rehearsal, StepRefusal> {
    let mut rehearsal = Rehearsal::default();
    let mut state = state.clone();
    let mut flag = context.flag.cloned();
    let mut facts = context.facts.to_vec();
    let mut confirmed = context.confirmed;
    let mut missing = Vec::new();
    let mut stated = false;
    for number in 0..MAX_STEPS {
        let step = {
            let context = StepContext { flag: flag.as_ref(), facts: &facts, confirmed, ..context.clone() };
            (StepRequest { state: &state, context: &context, goal, now }).next_step()
        };
        let recorded = match step {
            Err(refused) if !refused.missing.is_empty() => {
                // Continue as if the operator had stated these facts. So the simulation also finds the other missing
                // facts.
                missing.extend(&refused.missing);
                facts.extend(&refused.missing);
                continue;
            }
            Err(_) if stated || !missing.is_empty() => break,
            Err(refused) => return Err(refused),
            Ok(Step::Confirm) => {
                rehearsal.confirm = true;
                confirmed = true;
                continue;
            }
            Ok(Step::Preflight) => {
                rehearsal.preflight = true;
                // The preflight step also creates the flag.
                if context.kind == PlanKind::Flagged {
                    flag = flag.or_else(|| Some(Flag::new(0, now)));
                }
                EventBody::PreflightAccepted { kind: context.kind, accepted: Vec::new() }
            }
            Ok(Step::Record(body)) => body,
            Ok(Step::Backup(phase)) => EventBody::BackedUp { phase, arn: String::new() },
            Ok(Step::Done) => {
                rehearsal.is_done = number == 0;
                break;
            }
            Ok(Step::Change(_) | Step::RecreateFlag(_) | Step::Wait(_) | Step::RunPass(_)) => break,
        };
        stated |= matches!(recorded, EventBody::FactStated { .. });
        let event = Event {
            at: now.max(state.latest),
            actor: String::new(),
            flag: flag.as_ref().map(Mark::from_flag),
            body: recorded,
        };
        match state.next(&event) {
            Ok(next) => state = next,
            Err(_) if !missing.is_empty() => break,
            Err(refused) => return Err(refused),
        }
    }
    // List the facts in the order in which they become true.
    missing.sort_by_key(|fact: &Fact| fact.rank());
    if missing.is_empty() { Ok(rehearsal) } else { Err(StepRefusal::for_missing_facts(goal, context.facts, missing)) }
}

impl StepRefusal {
    /// Returns the refusal for facts that only the operator can state. A refused command records nothing, so the
    /// suggested command repeats the facts that the operator has already stated.
    pub(super) fn for_missing_facts(goal: Goal, given: &[Fact], missing: Vec<Fact>) -> StepRefusal {
        let each: Vec<String> = missing.iter().map(|fact| format!("`{}` ({})", fact.option(), fact.claim())).collect();
        let unproven = if missing == [Fact::WritersStopped] {
            "the table does not show whether its writers have stopped, so you must confirm it"
        } else {
            "no flag is configured, so you must confirm what a flag would prove"
        };
        let why = format!("{unproven}: {}. Check each one, then add its option", each.join(", "));
        let mut facts: Vec<&Fact> = given.iter().chain(&missing).collect();
        facts.sort_by_key(|fact| fact.rank());
        let next = facts.into_iter().fold(goal.into(), |next: super::NextCommand, fact| next.with(fact.option()));
        StepRefusal { missing, ..StepRefusal::new(why, next) }
    }
}
