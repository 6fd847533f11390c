//! The steps of a demo, in order, with one line of why each.

use backfill::internals::cutover::{Flag, WriteTo};
use backfill::internals::migration::Driver;
use backfill::internals::playbook::{Expand, Goal, Scope, Target, Way};

/// One step.
pub(crate) struct Part {
    pub(crate) command: &'static str,
    pub(crate) why: &'static str,
    pub(crate) goal: Goal,
    /// It is there to be refused.
    pub(crate) refused: bool,
}

const fn part(goal: Goal, command: &'static str, why: &'static str) -> Part {
    Part { command, why, goal, refused: false }
}

const fn verify(repair: bool) -> Goal {
    Goal::Verify { scope: Scope::Full, repair }
}

/// Every step of the playbook.
pub(crate) const PARTS: [Part; 9] = [
    part(
        Goal::CutoverTo(Target::DualWrite),
        "cutover --to dual-write",
        "Writers write both from here on: what they insert behind the scan has the new attribute already.",
    ),
    part(
        Goal::Run { again: false },
        "run",
        "Every item gets `contact_email`, copied from `email`, which stays. Kill it whenever you like.",
    ),
    part(
        verify(false),
        "verify --all",
        "Shadow reads of every item: a gate opens on what was seen, not on what was meant.",
    ),
    Part {
        refused: true,
        ..part(
            Goal::CutoverTo(Target::ReadNew(10)),
            "cutover --to read-new --percent 10",
            "Too early, to show it: the gate is closed while items are diverged, and a refusal names the next step.",
        )
    },
    part(
        verify(true),
        "verify --all --repair",
        "The old values are the truth as long as they are read: what differs is made from them, and kept in the journal.",
    ),
    part(
        Goal::CutoverTo(Target::ReadNew(10)),
        "cutover --to read-new --percent 10",
        "A tenth of the keys is read at the new name. `cutover --back` needs no gate and no lock.",
    ),
    part(
        Goal::CutoverTo(Target::ReadNew(100)),
        "cutover --to read-new",
        "All keys. Both are still written, so old values stay fresh: the way back costs nothing.",
    ),
    part(
        Goal::CutoverTo(Target::WriteNew),
        "cutover --to write-new",
        "Only the new one is written. A way back makes old equal new first; `rollback` does that.",
    ),
    part(Goal::Contract, "contract", "It has soaked: the old attribute goes. From here on there is no way back."),
];

/// How many steps are behind the migration: those it need not take any more.
pub(crate) async fn parts_behind(driver: &Driver) -> anyhow::Result<usize> {
    let state = driver.state();
    let diverged = driver.store.open_work(None).await?.diverged;
    let verified = state.full.as_ref().map(|report| report.mismatches == 0 && diverged == 0);
    Ok(match driver.flag().await? {
        _ if state.contract == Way::Complete => 9,
        Some(Flag { write: WriteTo::New, .. }) => 8,
        Some(Flag { read_percent: 100, .. }) => 7,
        Some(Flag { read_percent: 10, .. }) => 6,
        _ if verified == Some(true) => 5,
        _ if verified.is_some() => 3,
        _ if matches!(state.expand, Expand::Complete { .. }) => 2,
        Some(Flag { write: WriteTo::Both, .. }) => 1,
        Some(Flag { write: WriteTo::Old, .. }) | None => 0,
    })
}
