//! Explores all states of the playbook together with an application. The model consists of one item, the flag, the
//! migration's state, a tool, two application instances and an operator. The tool can be killed anywhere. The caches of
//! the instances can contain an older flag. The operator can run any command at any time.
//!
//! The model uses the real flag, the real state and the real decisions ([`backfill::internals::cutover::Flag`],
//! [`backfill::internals::playbook`]). `model/sweep.rs` describes the guarded writes of each phase to the item.
//! `model/table.rs` compares this description with the tool's own decisions.
//!
//! **Process.** Between two steps, a command knows only the durable records. So the model has no running commands: each
//! step of the tool belongs to a command that the operator runs at that time. In this way, the model includes every
//! kill between steps, every rerun of a command, and every different command that the operator can run next. A killed
//! pass loses the image that it has read.
//!
//! **Time.** The cache time is one second, and so is the soak. The rules depend only on the order of two times, and on
//! whether they differ by a second. So the model replaces times with their ranks, which keeps the number of states
//! finite.
//!
//! **Clocks.** `cutover --back` runs on a second host. That host's clock is three seconds (three cache times) ahead of
//! or behind the first host's clock. A host measures a wait from the moment when it first saw the current flag. So
//! every wait must still be long enough, and at most as long as the cache time. If the tool compared the flag's times
//! with its own clock, the model would find this mistake.
//!
//! **Reads** are not actions. Instead, the model checks in every state that a read by any instance would return the
//! value that the application wrote last.

#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod control;
mod sweep;
mod system;
mod table;
mod tool;

use std::collections::HashMap;
use std::sync::Arc;

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use system::{Action, Mistake, System, Tool};

/// Returns a model that combines a tool without bugs with an application that writes or deletes at most `writes` times.
fn correct_tool(writes: u8) -> Tool {
    Tool { mistake: None, writes, force: false, max_mismatch: 0, skew: 3, controls: Arc::default() }
}

/// RUNBOOK: "no read returns a value that is older than the last write, at any step, in either direction"
#[test]
fn no_read_is_stale_and_no_value_is_lost() {
    let checker = correct_tool(2).checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "{} states are too few", checker.unique_state_count());
}

/// Checks that the model finds the mistake in a former rule. With that rule, the wait ends too early if a host's clock
/// is ahead of the flag's clock.
#[test]
fn a_wait_by_the_flags_time_is_found() {
    let mistake = Some(Mistake::WaitByTheFlagsTime);
    assert_found_in(Tool { mistake, skew: -3, ..correct_tool(1) }, system::READS_ARE_FRESH);
}

/// If the operator overrides every closed gate, readers can see stale values, but no value is lost. In this test, the
/// application only reads. With one write, the property also holds in all 898,581 states, but exploring these states
/// takes too long for a test.
#[test]
fn force_loses_no_value() {
    let checker = Tool { force: true, ..correct_tool(0) }.checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

fn assert_found(mistake: Mistake, property: &'static str) {
    assert_found_in(Tool { mistake: Some(mistake), ..correct_tool(1) }, property);
}

fn assert_found_in(model: Tool, property: &'static str) {
    let mistake = model.mistake;
    let checker = model.checker().finish_when(HasDiscoveries::AllOf([property].into())).spawn_bfs().join();
    println!("{mistake:?}: {} states", checker.unique_state_count());
    let path = checker.discovery(property).expect("the model did not find the mistake");
    println!("{}", path.into_actions().iter().map(|action| format!("{action:?}")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_missing_cache_wait_is_found() {
    assert_found(Mistake::NoCacheWait, system::READS_ARE_FRESH);
}

#[test]
fn a_removal_without_journal_is_found() {
    assert_found(Mistake::NoJournal, system::REMOVED_VALUES_HAVE_COPIES);
}

#[test]
fn going_back_to_stale_values_is_found() {
    assert_found(Mistake::BackWhileStale, system::READS_ARE_FRESH);
}

/// Checks that the model finds the mistakes in two former rules.
#[test]
fn skipping_items_without_an_old_value_is_found() {
    assert_found(Mistake::SkipPreexisting, system::READS_ARE_FRESH);
    assert_found(Mistake::SkipPreexistingValue, system::READS_ARE_FRESH);
}

/// A plan can allow a number of mismatches at the gate. So after the gate has opened, an item can still have only an
/// old value, which was written before dual writes and behind the scan position. Readers of the new attribute do not
/// see this value, but the old-from-new pass must not remove it.
#[test]
fn an_old_value_without_a_new_one_stays() {
    let checker = Tool { max_mismatch: 1, ..correct_tool(1) }.checker().spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert_found_in(
        Tool { mistake: Some(Mistake::RemoveOldWithoutNew), max_mismatch: 1, ..correct_tool(1) },
        system::ONLY_VALUE_STAYS,
    );
}

/// From every state before `contracting`, an operator who only reruns `rollback` can complete the rollback, even if the
/// application does nothing. From `contracting` on, the same is true for `contract`.
/// RUNBOOK: "can finish from every state before `contract`, even after a kill at any moment"
#[test]
fn a_migration_can_be_finished_from_every_state() {
    // Here, the other host's clock is behind. In the other tests, it is ahead.
    let model = Tool { skew: -3, ..correct_tool(1) };
    let graph = Graph::explore(&model);
    println!("{} states", graph.states.len());
    for property in model.properties().iter().filter(|property| matches!(property.expectation, Expectation::Always)) {
        let broken = graph.states.iter().find(|state| !(property.condition)(&model, state));
        assert!(broken.is_none(), "{}: {broken:#?}", property.name);
    }
    for goal in [system::ROLLBACK, system::CONTRACT] {
        let stuck = graph.cannot_reach(&model, goal);
        assert!(stuck.is_empty(), "{} states cannot finish with {goal:?}, for instance {:#?}", stuck.len(), stuck[0]);
    }
}

/// All reachable states, and the edges between them.
struct Graph {
    states: Vec<System>,
    edges: Vec<(usize, usize, Action)>,
}

impl Graph {
    #[expect(
        clippy::mutable_key_type,
        reason = "a key is compared and hashed by its control's number, which never changes"
    )]
    fn explore(model: &Tool) -> Graph {
        let mut graph = Graph { states: Vec::new(), edges: Vec::new() };
        let mut known: HashMap<System, usize> = HashMap::new();
        for state in model.init_states() {
            known.entry(state).or_insert_with(|| {
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
                    graph.states.push(*next);
                    graph.states.len() - 1
                });
                graph.edges.push((at, to, action));
            }
            at += 1;
        }
        graph
    }

    /// Returns the states to which this goal applies, but from which reruns of the goal's command cannot reach it.
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
        let applies_to = |state: &System| state.applies_to(goal);
        self.states
            .iter()
            .zip(reaches)
            .filter(|(state, reaches)| !reaches && applies_to(state))
            .map(|(s, _)| s)
            .collect()
    }
}

/// Normalising a state does not change the result of any later action.
#[test]
fn normalising_a_state_changes_no_later_result() {
    let model = correct_tool(0);
    let graph = Graph::explore(&model);
    let mut compared = 0;
    // Check only some of the edges, because checking all of them takes a minute. A check of all edges also succeeds.
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
