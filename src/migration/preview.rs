//! Previews a command before it opens and locks the state file. A preview locks, creates and changes nothing.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::begun::{from_text, kind_of, limits, other_flag, read};
use super::standing::Seen;
use super::{DriverError, OperatorInput};
use crate::cutover::{Flag, FlagStore};
use crate::dynamodb::TableDescription;
use crate::plan::Plan;
use crate::playbook::{BackTo, Goal, Kind, Rehearsal, State, World, one_way, rehearse};
use crate::state::phase::EXPAND;
use crate::state::{self, Identity, KeptFact, OpenWork};

/// The preview of a command: its steps before its first lasting work, given the current state file and flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    /// The goal of the command. For `--back`, the goal is one stage back from the current flag.
    pub goal: Goal,
    /// The steps before the first lasting work.
    pub rehearsal: Rehearsal,
}

/// The part of a state file's content that a preview needs. The file was opened read-only.
#[derive(Default)]
struct Known {
    state: State,
    seen: Option<Seen>,
    open: OpenWork,
    no_way_back: Option<u64>,
}

/// Simulates a command up to its first lasting work. Returns `None` if the state file cannot be read. The command's
/// later attempt to open the file then reports the error. Refuses a state file that belongs to another plan or table.
pub async fn preview(
    path: &Path,
    plan: &Plan,
    table: &TableDescription,
    flags: Option<&dyn FlagStore>,
    input: &OperatorInput,
    goal: Goal,
    now: Timestamp,
) -> Result<Option<Preview>, DriverError> {
    let Some(known) = Known::of(path, plan, table).await? else { return Ok(None) };
    let kind = kind_of(plan, &known.state);
    let flag = match flags.filter(|_| kind == Kind::Flagged) {
        Some(flags) => read(flags, plan).await?.map(|(flag, _)| flag),
        None => None,
    };
    let left = match (&flag, flags) {
        (Some(flag), Some(flags)) => {
            let mut watched = known.seen.as_ref().map(|seen| seen.watched(flag)).unwrap_or_default();
            watched.look(flag, flags.lead())
        }
        _ => Duration::ZERO,
    };
    let gone = known.seen.map(|seen| seen.flag).unwrap_or_else(|| Flag::first(plan.cutover.max_cache_seconds, now));
    let goal = match goal {
        Goal::Back { now: accept_stale, .. } => {
            let current = if kind == Kind::Flagged { flag.as_ref() } else { known.state.stated.as_ref() };
            Goal::Back { to: current.map_or(BackTo::OldWrites, |flag| BackTo::of(flag, now, left)), now: accept_stale }
        }
        Goal::Run { .. }
        | Goal::FailuresRetry
        | Goal::Verify { .. }
        | Goal::CutoverTo(_)
        | Goal::Contract
        | Goal::Rollback => goal,
    };
    let fingerprint = plan.fingerprint();
    let one_way = one_way(&plan.changes, &table.key);
    let world = World {
        kind,
        plan: fingerprint.as_str(),
        flag: flag.as_ref(),
        left,
        failures: known.open.failures,
        unfinished: 0,
        diverged: known.open.diverged,
        limits: limits(plan),
        no_way_back: known.no_way_back,
        one_way: one_way.as_deref(),
        facts: &input.facts,
        force: input.force.as_deref(),
        accept_empty: input.accept_empty,
        confirmed: false,
        swept: &[],
        first: flag.as_ref().map(|flag| flag.version),
        gone: Some(&gone).filter(|_| flag.is_none()),
    };
    Ok(Some(Preview { goal, rehearsal: rehearse(&known.state, &world, goal, now)? }))
}

impl Known {
    async fn of(path: &Path, plan: &Plan, table: &TableDescription) -> Result<Option<Known>, DriverError> {
        if state::is_absent(path).await {
            return Ok(Some(Known::default()));
        }
        let Ok(file) = state::read(path) else { return Ok(None) };
        let begun = file.has_begun().await?;
        let ours = Identity::of(plan, table);
        file.check_is_of(&ours).await?;
        if !file.identity().await?.is_of(&ours) {
            // No migration has begun in this file, so the command may use it for this plan.
            return Ok(Some(Known::default()));
        }
        let mut state = State::default();
        for record in file.events().await? {
            state = state.next(&from_text(&record.event)?)?;
        }
        let other = other_flag(file.kept(KeptFact::FlagPlace).await?, plan);
        let another_way = state.kind().is_some_and(|before| before != kind_of(plan, &state));
        if !begun && (other.is_some() || another_way) {
            return Ok(Some(Known::default()));
        }
        if let Some(other) = other {
            return Err(other);
        }
        let seen = file.kept(KeptFact::FlagSeen).await?.map(|text| Seen::from_text(&text)).transpose()?;
        let open = file.open_work_of(EXPAND).await?;
        let no_way_back = file.no_way_back().await?;
        Ok(Some(Known { state, seen, open, no_way_back }))
    }
}
