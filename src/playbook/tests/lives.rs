//! Runs random commands in any order on a simulated migration.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::machine::Rng;

const KINDS: [Kind; 5] = [Kind::Flagged, Kind::Stated, Kind::InPlace, Kind::SetOnly, Kind::RemoveOnly];

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
    /// Runs random commands in random order. Each command ends or is refused, a replay of the history gives the same
    /// state, and at least one command is always allowed.
    #[test]
    fn any_commands_end_and_replay(
        kind in prop::sample::select(KINDS.to_vec()),
        goals in prop::collection::vec(prop::sample::select(&EVERY_GOAL[..]), 0..14),
    ) {
        let mut desk = Desk::new(kind);
        for goal in goals {
            if matches!(kind, Kind::Stated | Kind::RemoveOnly) {
                desk.facts = facts(desk.now);
            }
            let _ = desk.give(goal);
            prop_assert_eq!(State::replay(&desk.events), Ok(desk.state.clone()));
            desk.now += SOAK;
        }
        // The playbook must accept the next command that `status` shows, together with the facts that `status` shows.
        if matches!(kind, Kind::Stated | Kind::RemoveOnly) {
            desk.facts = facts(desk.now);
        }
        if let (stage, Some(next)) = desk.stands() {
            let goal = COMMANDS.into_iter().find(|goal| next.starts_with(Next::from(*goal).words()));
            let said = desk.says(goal.unwrap_or_else(|| panic!("{next} is not a command")));
            prop_assert_eq!(said, "allowed", "{:?} says {}: {:?}", stage, next, desk.state);
        }
        let way_on = COMMANDS.into_iter().any(|goal| desk.says(goal) == "allowed");
        prop_assert!(way_on, "{:?}", desk.state);
    }
}

/// From every reachable state, an operator who follows "Next:" reaches a command that is accepted.
#[test]
fn every_next_leads_to_a_command_that_is_accepted() {
    let mut cycles = BTreeMap::new();
    for seed in 0..6_000 {
        let mut life = Life::new(seed);
        for _ in 0..life.rng.usize(1..14) {
            life.goes_on();
            for goal in EVERY_GOAL.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. })) {
                if let Some(way) = life.cycle(goal) {
                    cycles.entry(way).or_insert_with(|| life.history.clone());
                }
            }
            // An operator who follows the next command in `status` must also reach an accepted command.
            let next = life.desk.stands().1.and_then(|words| life.goal(&words));
            if let Some(way) = next.and_then(|(goal, _)| life.cycle(goal)) {
                cycles.entry(format!("status: {way}")).or_insert_with(|| life.history.clone());
            }
        }
    }
    let shown: Vec<_> = cycles.iter().take(5).map(|(way, history)| format!("{way}\n  after {history:?}")).collect();
    assert!(cycles.is_empty(), "{} cycles:\n{}", cycles.len(), shown.join("\n"));
}

/// A simulated migration. The operator runs random commands, and the table and the flag change at random.
struct Life {
    desk: Desk,
    rng: Rng,
    history: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut rng = Rng::with_seed(seed);
        let kind = [KINDS[0], KINDS[0], KINDS[1], KINDS[2], KINDS[3], KINDS[4]][rng.usize(..6)];
        Life { desk: Desk::new(kind), rng, history: Vec::new() }
    }

    /// Changes the table or the flag at random, then runs a random command.
    fn goes_on(&mut self) {
        let Life { desk, rng, history } = self;
        let goal = EVERY_GOAL[rng.usize(..EVERY_GOAL.len())];
        desk.failures = if rng.u8(..6) == 0 { 3 } else { desk.failures };
        desk.diverged = if rng.u8(..8) == 0 { 2 } else { desk.diverged };
        desk.mismatches = if rng.u8(..4) == 0 { 5 } else { 0 };
        desk.now += if rng.u8(..4) == 0 { SOAK } else { 0 };
        desk.no_way_back = (rng.u8(..8) == 0).then_some(7);
        desk.one_way = (rng.u8(..8) == 0).then_some("copies may differ");
        if desk.flag.is_some() && desk.state.preflight.is_some() && rng.u8(..25) == 0 {
            desk.gone = desk.flag.take();
            history.push("the flag is removed".to_owned());
        }
        desk.force = rng.bool().then_some("a reason");
        state_facts(desk);
        let fixed = goal == Goal::FailuresRetry && rng.bool() && desk.says(goal) == "allowed";
        let ended = desk.give(goal);
        desk.failures = if fixed { 0 } else { desk.failures };
        desk.diverged = if goal == REPAIR && ended.is_ok() { 0 } else { desk.diverged };
        history.push(format!("{goal:?} for {:?}: {:?}", desk.force, ended.err().map(|refused| refused.why)));
    }

    /// Follows "Next:" until a command is accepted; returns the path if no command is accepted.
    fn cycle(&mut self, mut goal: Goal) -> Option<String> {
        const WAITS: [&str; 4] = ["soaks until", "set back", "by hand", "changed by somebody else"];
        let mut way = Vec::new();
        self.desk.force = None;
        for _ in 0..6 {
            self.desk.begin();
            state_facts(&mut self.desk);
            let refused = self.desk.ask(goal, true).err()?;
            let words = refused.next.words();
            let looks = ["status", "check", "failures list"].contains(&words) || words.starts_with("run --state");
            if looks || WAITS.iter().any(|wait| refused.why.contains(wait)) {
                return None;
            }
            way.push(format!("{goal:?}: {refused}"));
            let Some((next, forced)) = self.goal(words) else { return Some(format!("{words} is not a command")) };
            goal = next;
            self.desk.force = forced.then_some("a reason");
        }
        Some(way.join("\n  "))
    }

    /// Returns the goal of a suggested command, and whether the suggestion includes `--force`.
    fn goal(&self, words: &str) -> Option<(Goal, bool)> {
        let desk = &self.desk;
        let bare = words.trim_end_matches(" --force REASON");
        let command =
            ALL_FACTS.iter().fold(bare.to_owned(), |words, fact| words.replace(&format!(" {}", fact.option()), ""));
        let flag = if desk.kind == Kind::Flagged { desk.flag.as_ref() } else { desk.state.stated.as_ref() };
        let to = flag.map_or(BackTo::OldWrites, |flag| BackTo::of(flag, time(desk.now), desk.left()));
        let backs = [false, true].map(|now| Goal::Back { to, now });
        let others = EVERY_GOAL.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. }));
        let goal = others.chain(backs).find(|goal| Next::from(*goal).words() == command)?;
        Some((goal, bare != words))
    }
}

/// States every fact if the plan has no flag that proves the facts.
fn state_facts(desk: &mut Desk) {
    desk.facts = if matches!(desk.kind, Kind::Stated | Kind::RemoveOnly) { facts(desk.now) } else { Vec::new() };
}
