//! Runs random commands in random order on a simulated migration.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::machine::Rng;

const CHANGE_CASES: [PlanKind; 5] =
    [PlanKind::Flagged, PlanKind::Stated, PlanKind::InPlace, PlanKind::SetOnly, PlanKind::RemoveOnly];

const EVERY_GOAL: [Goal; 15] = [
    RUN,
    AGAIN,
    Goal::FailuresRetry,
    VERIFY,
    REPAIR,
    SAMPLE,
    DUAL,
    SOME,
    READ,
    WRITE,
    BACK,
    BACK_NOW,
    STOP_DUAL,
    Goal::Contract,
    Goal::Rollback,
];

proptest! {
    /// Runs random commands in random order. Every command ends or is refused. A replay of the history gives the same
    /// state. At least one command is always allowed.
    #[test]
    fn any_commands_end_and_replay(
        kind in prop::sample::select(CHANGE_CASES.to_vec()),
        goals in prop::collection::vec(prop::sample::select(&EVERY_GOAL[..]), 0..14),
    ) {
        let mut sim = SimulatedMigration::new(kind);
        for goal in goals {
            if matches!(kind, PlanKind::Stated | PlanKind::RemoveOnly) {
                sim.facts = facts(sim.now);
            }
            let _ = sim.try_run(goal);
            prop_assert_eq!(MigrationState::replay(&sim.events), Ok(sim.state.clone()));
            sim.now += SOAK;
        }
        // The playbook must accept the next command that `status` shows, together with the facts that `status` shows.
        if matches!(kind, PlanKind::Stated | PlanKind::RemoveOnly) {
            sim.facts = facts(sim.now);
        }
        if let (stage, Some(next)) = sim.stage_and_next() {
            let goal = COMMANDS.into_iter().find(|goal| next.starts_with(NextCommand::from(*goal).as_str()));
            let answer = sim.answer(goal.unwrap_or_else(|| panic!("{next} is not a command")));
            prop_assert_eq!(answer, "allowed", "{:?} says {}: {:?}", stage, next, sim.state);
        }
        let way_on = COMMANDS.into_iter().any(|goal| sim.answer(goal) == "allowed");
        prop_assert!(way_on, "{:?}", sim.state);
    }
}

/// From every reachable state, an operator who follows "Next:" reaches a command that the playbook accepts.
#[test]
fn every_next_leads_to_a_command_that_is_accepted() {
    let mut cycles = BTreeMap::new();
    for seed in 0..6_000 {
        let mut life = RandomLife::new(seed);
        for _ in 0..life.rng.usize(1..14) {
            life.run_random_command();
            for goal in EVERY_GOAL.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. })) {
                if let Some(way) = life.cycle(goal) {
                    cycles.entry(way).or_insert_with(|| life.history.clone());
                }
            }
            // An operator who follows the next command in `status` must also reach an accepted command.
            let next = life.sim.stage_and_next().1.and_then(|words| life.goal(&words));
            if let Some(way) = next.and_then(|(goal, _)| life.cycle(goal)) {
                cycles.entry(format!("status: {way}")).or_insert_with(|| life.history.clone());
            }
        }
    }
    let shown: Vec<_> = cycles.iter().take(5).map(|(way, history)| format!("{way}\n  after {history:?}")).collect();
    assert!(cycles.is_empty(), "{} cycles:\n{}", cycles.len(), shown.join("\n"));
}

/// A simulated migration. The operator runs random commands, and the table and the flag change at random.
struct RandomLife {
    sim: SimulatedMigration,
    rng: Rng,
    history: Vec<String>,
}

impl RandomLife {
    fn new(seed: u64) -> RandomLife {
        let mut rng = Rng::with_seed(seed);
        let kind =
            [CHANGE_CASES[0], CHANGE_CASES[0], CHANGE_CASES[1], CHANGE_CASES[2], CHANGE_CASES[3], CHANGE_CASES[4]]
                [rng.usize(..6)];
        RandomLife { sim: SimulatedMigration::new(kind), rng, history: Vec::new() }
    }

    /// Changes the table or the flag at random, then runs a random command.
    fn run_random_command(&mut self) {
        let RandomLife { sim, rng, history } = self;
        let goal = EVERY_GOAL[rng.usize(..EVERY_GOAL.len())];
        sim.failures = if rng.u8(..6) == 0 { 3 } else { sim.failures };
        sim.diverged = if rng.u8(..8) == 0 { 2 } else { sim.diverged };
        sim.mismatches = if rng.u8(..4) == 0 { 5 } else { 0 };
        sim.now += if rng.u8(..4) == 0 { SOAK } else { 0 };
        sim.unrestorable_targets = (rng.u8(..8) == 0).then_some(7);
        sim.one_way = (rng.u8(..8) == 0).then_some("copies may differ");
        if sim.flag.is_some() && sim.state.preflight.is_some() && rng.u8(..25) == 0 {
            sim.missing_flag = sim.flag.take();
            history.push("the flag is removed".to_owned());
        }
        sim.force = rng.bool().then_some("a reason");
        state_facts(sim);
        let fixed = goal == Goal::FailuresRetry && rng.bool() && sim.answer(goal) == "allowed";
        let ended = sim.try_run(goal);
        sim.failures = if fixed { 0 } else { sim.failures };
        sim.diverged = if goal == REPAIR && ended.is_ok() { 0 } else { sim.diverged };
        history.push(format!("{goal:?} for {:?}: {:?}", sim.force, ended.err().map(|refused| refused.why)));
    }

    /// Follows "Next:" until the playbook accepts a command. If the playbook accepts no command, returns the commands
    /// that were tried.
    fn cycle(&mut self, mut goal: Goal) -> Option<String> {
        const WAITS: [&str; 4] = ["soaks until", "set back", "by hand", "changed by somebody else"];
        let mut way = Vec::new();
        self.sim.force = None;
        for _ in 0..6 {
            self.sim.begin();
            state_facts(&mut self.sim);
            let refused = self.sim.next_step(goal, true).err()?;
            let words = refused.next.as_str();
            let looks = ["status", "check", "failures list"].contains(&words) || words.ends_with("--state PATH");
            if looks || WAITS.iter().any(|wait| refused.why.contains(wait)) {
                return None;
            }
            way.push(format!("{goal:?}: {refused}"));
            let Some((next, forced)) = self.goal(words) else { return Some(format!("{words} is not a command")) };
            goal = next;
            self.sim.force = forced.then_some("a reason");
        }
        Some(way.join("\n  "))
    }

    /// Returns the goal of a suggested command, and whether the suggestion includes `--force`.
    fn goal(&self, words: &str) -> Option<(Goal, bool)> {
        let sim = &self.sim;
        let bare = words.trim_end_matches(" --force REASON");
        let command =
            ALL_FACTS.iter().fold(bare.to_owned(), |words, fact| words.replace(&format!(" {}", fact.option()), ""));
        let flag = if sim.kind == PlanKind::Flagged { sim.flag.as_ref() } else { sim.state.stated_flag.as_ref() };
        let to = flag.map_or(BackTarget::OldWrites, |flag| BackTarget::new(flag, time(sim.now), sim.left()));
        let backs = [false, true].map(|now| Goal::Back { to, now });
        let others = EVERY_GOAL.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. }));
        let goal = others.chain(backs).find(|goal| NextCommand::from(*goal).as_str() == command)?;
        Some((goal, bare != words))
    }
}

/// If no flag proves the facts, makes the operator state every fact.
fn state_facts(sim: &mut SimulatedMigration) {
    sim.facts = if matches!(sim.kind, PlanKind::Stated | PlanKind::RemoveOnly) { facts(sim.now) } else { Vec::new() };
}
