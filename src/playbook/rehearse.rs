//! A command, played through to its first lasting work: nothing is recorded before every precondition is known to hold.
//!
//! A command leads from one step to the next, and each may refuse. If the first ones were carried out and a later one refused,
//! a refused command would have changed something. So before anything is recorded or asked, the steps are played through on
//! a copy of the state, up to the first that does lasting work: a change of the flag, a wait, a pass over the table. What that
//! work finds is not known before.
//!
//! To record what the operator states is lasting work too: it begins the soak of a plan that only removes, and the same
//! command is refused until that is over.

use super::asked::Asked;
use super::{Event, Fact, Goal, Kind, Mark, Refused, State, Step, What, World};
use crate::cutover::Flag;
use jiff::Timestamp;

/// Steps between two pieces of lasting work: a preflight, a confirmation, the facts that there are, an override of each
/// obstacle, and what begins. Twice as many as those.
const MOST_STEPS: usize = 32;

/// What a command does before its first lasting work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// It holds a preflight.
    pub preflight: bool,
    /// It asks for a confirmation.
    pub confirm: bool,
}

/// Plays a command through to its first lasting work. A refusal names every fact that is missing.
pub fn rehearse(state: &State, world: &World<'_>, goal: Goal, now: Timestamp) -> Result<Rehearsal, Refused> {
    let mut rehearsal = Rehearsal::default();
    let (mut state, mut flag, mut facts) = (state.clone(), world.flag.cloned(), world.facts.to_vec());
    let (mut confirmed, mut missing, mut stated) = (world.confirmed, Vec::new(), false);
    for _ in 0..MOST_STEPS {
        let step = {
            let world = World { flag: flag.as_ref(), facts: &facts, confirmed, ..world.clone() };
            (Asked { state: &state, world: &world, goal, now }).plain()
        };
        let recorded = match step {
            Err(refused) if !refused.missing.is_empty() => {
                // As if it were stated: what else is missing?
                missing.extend(&refused.missing);
                facts.extend(&refused.missing);
                continue;
            }
            Err(_) if stated || !missing.is_empty() => break,
            Err(refused) => return Err(refused),
            Ok(Step::Confirm) => {
                (rehearsal.confirm, confirmed) = (true, true);
                continue;
            }
            Ok(Step::Preflight) => {
                rehearsal.preflight = true;
                // It is made with the preflight.
                if world.kind == Kind::Flagged {
                    flag = flag.or_else(|| Some(Flag::first(0, now)));
                }
                What::PreflightAccepted { kind: world.kind, accepted: Vec::new() }
            }
            Ok(Step::Record(what)) => what,
            Ok(Step::Change(_) | Step::Renew(_) | Step::Wait(_) | Step::Sweep(_) | Step::Done) => break,
        };
        stated |= matches!(recorded, What::FactStated { .. });
        let event = Event {
            at: now.max(state.latest),
            actor: String::new(),
            flag: flag.as_ref().map(Mark::of),
            what: recorded,
        };
        match state.next(&event) {
            Ok(next) => state = next,
            Err(_) if !missing.is_empty() => break,
            Err(refused) => return Err(refused),
        }
    }
    // In the order in which they come true.
    missing.sort_by_key(|fact: &Fact| fact.place());
    if missing.is_empty() { Ok(rehearsal) } else { Err(Refused::unstated(goal, world.facts, missing)) }
}

impl Refused {
    /// Refuses for facts that only the operator can state. A refused command records nothing, so the next one states the
    /// facts that were given again.
    pub(super) fn unstated(goal: Goal, given: &[Fact], missing: Vec<Fact>) -> Refused {
        let each: Vec<String> = missing.iter().map(|fact| format!("`{}` ({})", fact.option(), fact.claim())).collect();
        let why = format!(
            "no flag is configured, so you must confirm what it would prove: {}. Make sure of each, then give its \
             option",
            each.join(", ")
        );
        let mut facts: Vec<&Fact> = given.iter().chain(&missing).collect();
        facts.sort_by_key(|fact| fact.place());
        let next = facts.into_iter().fold(goal.into(), |next: super::Next, fact| next.with(fact.option()));
        Refused { missing, ..Refused::new(why, next) }
    }
}
