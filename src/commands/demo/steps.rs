//! The steps of the demo, in order. Each step has a line of text that explains it.

use backfill::internals::cutover::{Flag, WriteTo};
use backfill::internals::migration::Driver;
use backfill::internals::playbook::{BackTarget, CutoverTarget, ExpandStatus, Goal, PhaseStatus, VerifyScope};

/// One step of the demo.
pub(crate) struct DemoStep {
    pub(crate) command: &'static str,
    pub(crate) why: &'static str,
    pub(crate) goal: Goal,
    /// Whether the demo expects a refusal.
    pub(crate) refused: bool,
    /// Whether the demo shows an item before and after this step.
    pub(crate) shows_item: bool,
}

const fn step(goal: Goal, command: &'static str, why: &'static str) -> DemoStep {
    DemoStep { command, why, goal, refused: false, shows_item: false }
}

/// A step that changes items.
const fn writing_step(goal: Goal, command: &'static str, why: &'static str) -> DemoStep {
    DemoStep { shows_item: true, ..step(goal, command, why) }
}

const fn verify(repair: bool) -> Goal {
    Goal::Verify { scope: VerifyScope::Full, repair }
}

/// Every step of the playbook.
pub(crate) const STEPS: [DemoStep; 10] = [
    step(
        Goal::CutoverTo(CutoverTarget::DualWrite),
        "cutover --to dual-write",
        "Writers write both attributes from now on, so items inserted behind the scan position have the new attribute too.",
    ),
    writing_step(
        Goal::Run { again: false },
        "run",
        "Every item gets `contact_email`, a copy of `email`, which stays. You can kill it at any moment.",
    ),
    step(verify(false), "verify --all", "Shadow reads compare every item. The gate opens only on this evidence."),
    DemoStep {
        refused: true,
        ..step(
            Goal::CutoverTo(CutoverTarget::ReadNew(10)),
            "cutover --to read-new --percent 10",
            "This step is too early, on purpose. The gate is closed while items are diverged. The refusal names the next step.",
        )
    },
    step(
        verify(true),
        "verify --all --repair",
        "Readers still read the old values, so the old values are correct. Differing new values are overwritten; the \
         journal keeps them.",
    ),
    step(
        Goal::CutoverTo(CutoverTarget::ReadNew(10)),
        "cutover --to read-new --percent 10",
        "Readers read the new attribute for a tenth of the keys.",
    ),
    step(
        Goal::Back { to: BackTarget::OldReads, now: false },
        "cutover --back",
        "The way back, if something looks wrong: every reader reads the old attribute again. It needs no gate, no lock and \
         no state file. Up to contract, `rollback` undoes the migration as well. The journal keeps the values that it does \
         not restore.",
    ),
    step(
        Goal::CutoverTo(CutoverTarget::ReadNew(100)),
        "cutover --to read-new",
        "Readers read the new attribute for all keys. Both attributes are still written, so old values stay current and \
         a step back changes no item.",
    ),
    step(
        Goal::CutoverTo(CutoverTarget::WriteNew),
        "cutover --to write-new",
        "Writers write only the new attribute. From here, `rollback` first makes old values equal to new ones.",
    ),
    writing_step(
        Goal::Contract,
        "contract",
        "The soak time is over. This removes the old attribute; there is no way back.",
    ),
];

/// Returns the number of steps that the migration has completed. After the step back, the flag has the same value as
/// before readers moved, so this function cannot distinguish the two cases. A demo that was killed right after the step
/// back therefore moves readers forward and back once more.
pub(crate) async fn completed_steps(driver: &Driver) -> anyhow::Result<usize> {
    let state = driver.state();
    let diverged = driver.store.open_work(None).await?.diverged;
    let verified = state.full.as_ref().map(|report| report.mismatches == 0 && diverged == 0);
    Ok(match driver.flag().await? {
        _ if state.contract == PhaseStatus::Complete => 10,
        Some(Flag { write: WriteTo::New, .. }) => 9,
        Some(Flag { read_percent: 100, .. }) => 8,
        Some(Flag { read_percent: 10, .. }) => 6,
        _ if verified == Some(true) => 5,
        _ if verified.is_some() => 3,
        _ if matches!(state.expand, ExpandStatus::Complete { .. }) => 2,
        Some(Flag { write: WriteTo::Both, .. }) => 1,
        Some(Flag { write: WriteTo::Old, .. }) | None => 0,
    })
}
