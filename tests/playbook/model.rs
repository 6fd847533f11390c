//! The whole playbook against an application, explored exhaustively: one item, the flag, the migration's state, a tool
//! that is killed anywhere, two application instances that obey the flag with stale caches, and an operator who gives
//! every command at any time.
//!
//! The flag, the state and every decision are the real ones ([`backfill::internals::cutover::Flag`], [`backfill::internals::playbook`]); what a
//! phase does to the item is written down in `model/sweep.rs`, guarded write by guarded write, and held against the tool's
//! own decisions in `model/table.rs`.
//!
//! **Process.** Between two steps a command knows nothing that is not durable. So there is no running command in the
//! model: each step of the tool is some command that the operator gives then, which covers every kill between steps, every
//! command that is given again, and every other command given in its place. Within a sweep the image that was read is what
//! a kill loses.
//!
//! **Time.** The cache is one second, and so is the soak. All that the rules compare is which of two times is earlier, and
//! whether they are a second apart: times are replaced by their ranks, which keeps the model finite.
//!
//! **Clocks.** `--back` comes from another host, whose clock is three seconds, three caches, ahead of the first one's or
//! behind it. No wait is longer than the cache, and none too short: a host measures it from when it first saw what the flag
//! says. A tool that compares the flag's times with its own clock is found.
//!
//! **Reads** are no action: in every state, what each instance would read must be what the application wrote last.

#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

mod sweep;
mod system;
mod table;
mod tool;

use std::collections::HashMap;

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use system::{Action, Mistake, System, Tool};

/// A sound tool, and an application that writes or deletes so many times in all.
fn sound(writes: u8) -> Tool {
    Tool { mistake: None, writes, force: false, max_mismatch: 0, skew: 3 }
}

/// RUNBOOK: "no read returns a value that is older than the last write, at any step, in either direction"
#[test]
fn no_read_is_stale_and_no_value_is_lost() {
    let checker = sound(2).checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "{} states are too few", checker.unique_state_count());
}

/// What the rule was: by a clock that is ahead of the flag's, the wait is over too early.
#[test]
fn a_wait_by_the_flags_time_is_found() {
    let mistake = Some(Mistake::WaitByTheFlagsTime);
    discovered_in(Tool { mistake, skew: -3, ..sound(1) }, system::FRESH);
}

/// An operator who goes past every closed gate may let readers see stale values, and loses none. The application only
/// reads: with one write as well it held for 898,581 states, which takes too long here.
#[test]
fn force_loses_no_value() {
    let checker = Tool { force: true, ..sound(0) }.checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

fn discovered(mistake: Mistake, property: &'static str) {
    discovered_in(Tool { mistake: Some(mistake), ..sound(1) }, property);
}

fn discovered_in(model: Tool, property: &'static str) {
    let mistake = model.mistake;
    let checker = model.checker().finish_when(HasDiscoveries::AllOf([property].into())).spawn_bfs().join();
    println!("{mistake:?}: {} states", checker.unique_state_count());
    let path = checker.discovery(property).expect("the mistake is found");
    println!("{}", path.into_actions().iter().map(|action| format!("{action:?}")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_missing_cache_wait_is_found() {
    discovered(Mistake::NoCacheWait, system::FRESH);
}

#[test]
fn a_removal_without_journal_is_found() {
    discovered(Mistake::NoJournal, system::KEPT);
}

#[test]
fn going_back_to_stale_values_is_found() {
    discovered(Mistake::BackWhileStale, system::FRESH);
}

/// What the rule was before the model had its say.
#[test]
fn leaving_items_alone_that_had_no_old_value_is_found() {
    discovered(Mistake::LeaveThereBefore, system::FRESH);
    discovered(Mistake::LeaveAsBefore, system::FRESH);
}

/// Where a plan lets an item differ at the gate, an old value may be alone behind it: written before dual writes, and behind
/// the pass. Readers of the new attribute miss it; making old equal new does not take it away.
#[test]
fn an_old_value_that_is_alone_stays() {
    let checker = Tool { max_mismatch: 1, ..sound(1) }.checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    discovered_in(Tool { mistake: Some(Mistake::RemoveOldAlone), max_mismatch: 1, ..sound(1) }, system::STAYS);
}

/// From every state `rollback` alone comes to its end, without the application's help, and from `contracting` on
/// `contract` does.
/// RUNBOOK: "can finish from every state before `contract`, even after a kill at any moment"
#[test]
fn every_state_has_a_way_on() {
    // The clock of the other host is behind; elsewhere it is ahead.
    let model = Tool { skew: -3, ..sound(1) };
    let graph = Graph::of(&model);
    println!("{} states", graph.states.len());
    for property in model.properties().iter().filter(|property| matches!(property.expectation, Expectation::Always)) {
        let broken = graph.states.iter().find(|state| !(property.condition)(&model, state));
        assert!(broken.is_none(), "{}: {broken:#?}", property.name);
    }
    for goal in [system::ROLLBACK, system::CONTRACT] {
        let stuck = graph.cannot_reach(&model, goal);
        assert!(stuck.is_empty(), "{} states have no way on by {goal:?}, for instance {:#?}", stuck.len(), stuck[0]);
    }
}

/// All states, and the edges that need nobody but the tool.
struct Graph {
    states: Vec<System>,
    edges: Vec<(usize, usize, Action)>,
}

impl Graph {
    fn of(model: &Tool) -> Graph {
        let mut graph = Graph { states: Vec::new(), edges: Vec::new() };
        let mut known: HashMap<System, usize> = HashMap::new();
        for state in model.init_states() {
            known.entry(state.clone()).or_insert_with(|| {
                graph.states.push(state);
                graph.states.len() - 1
            });
        }
        let mut at = 0;
        while at < graph.states.len() {
            let mut actions = Vec::new();
            model.actions(&graph.states[at], &mut actions);
            for action in actions {
                let Some(next) = model.next_state(&graph.states[at], action) else { continue };
                let to = *known.entry(next).or_insert_with_key(|next| {
                    graph.states.push(next.clone());
                    graph.states.len() - 1
                });
                graph.edges.push((at, to, action));
            }
            at += 1;
        }
        graph
    }

    /// States that this goal is for, and from which it alone does not come to its end.
    fn cannot_reach(&self, model: &Tool, goal: backfill::internals::playbook::Goal) -> Vec<&System> {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.states.len()];
        for (from, to, action) in &self.edges {
            if action.serves(goal) {
                before[*to].push(*from);
            }
        }
        let mut reaches: Vec<bool> = self.states.iter().map(|state| model.has_ended(state, goal)).collect();
        let mut open: Vec<usize> = (0..reaches.len()).filter(|at| reaches[*at]).collect();
        assert!(!open.is_empty());
        while let Some(at) = open.pop() {
            for from in &before[at] {
                if !reaches[*from] {
                    reaches[*from] = true;
                    open.push(*from);
                }
            }
        }
        let is_for = |state: &System| state.is_for(goal);
        self.states.iter().zip(reaches).filter(|(state, reaches)| !reaches && is_for(state)).map(|(s, _)| s).collect()
    }
}

/// What normalising drops is of no consequence: whatever happens next comes out the same with it and without it.
#[test]
fn a_state_says_all_that_matters() {
    let model = sound(0);
    let graph = Graph::of(&model);
    let mut compared = 0;
    // Some of the edges: all of them take a minute, and say the same.
    for (from, to, action) in graph.edges.iter().step_by(11) {
        let mut whole = model.after(&graph.states[*from], *action).unwrap();
        whole.instances.sort();
        let mut actions = Vec::new();
        model.actions(&whole, &mut actions);
        for next in actions {
            let with = model.after(&whole, next).map(|state| model.normal(state));
            let without = model.after(&graph.states[*to], next).map(|state| model.normal(state));
            let same = |state: Option<System>| state.filter(|state| *state != graph.states[*to]);
            assert_eq!(same(with), same(without), "{action:?}, {next:?}: {whole:#?}");
            compared += 1;
        }
    }
    println!("{compared} compared");
}
