//! Proofs of a review: each of these fails.

use super::*;

fn goals(kind: Kind) -> Vec<Goal> {
    let back = |to, now| Goal::Back { to, now };
    let mut all = vec![
        RUN, AGAIN, Goal::FailuresRetry, VERIFY, SAMPLE, REPAIR, DUAL, READ, WRITE, Goal::Contract, Goal::Rollback,
        back(BackTo::OldReads, false), back(BackTo::OldReads, true), back(BackTo::OldWrites, false),
    ];
    if kind == Kind::Flagged {
        all.push(SOME);
    }
    all
}

/// The goal of the words behind "Next:", as the command line would make it of them.
fn parse(desk: &Desk, words: &str) -> Option<(Goal, bool)> {
    let force = words.ends_with("--force REASON");
    let words = words.trim_end_matches(" --force REASON");
    let bare = Fact::DualWritesSince { since: Timestamp::UNIX_EPOCH };
    let mut words = words.replace(&format!(" {}", bare.option()), "");
    for fact in ALL_FACTS {
        words = words.replace(&format!(" {}", fact.option()), "");
    }
    let flag = if desk.kind == Kind::Flagged { desk.flag.as_ref() } else { desk.state.stated.as_ref() };
    let to = flag.map_or(BackTo::OldWrites, |flag| BackTo::of(flag, time(desk.now)));
    let all = goals(desk.kind).into_iter().filter(|goal| !matches!(goal, Goal::Back { .. }));
    let backs = [Goal::Back { to, now: false }, Goal::Back { to, now: true }];
    all.chain(backs).find(|goal| Next::from(*goal).words() == words).map(|goal| (goal, force))
}

/// Follows the "Next:" of a refusal until a command is accepted; gives the way where none ever is.
fn dead_end(desk: &mut Desk, goal: Goal) -> Option<String> {
    let (mut goal, mut way) = (goal, Vec::new());
    desk.force = None;
    for _ in 0..6 {
        desk.begin();
        if desk.kind == Kind::Stated || desk.kind == Kind::RemoveOnly {
            desk.facts = facts(desk.now);
        }
        let refused = match desk.ask(goal, true) {
            Ok(_) => return None,
            Err(refused) => refused,
        };
        let words = refused.next.words().to_owned();
        if ["soaks until", "set back", "by hand", "changed by somebody else"].iter().any(|w| refused.why.contains(w)) {
            return None;
        }
        way.push(format!("{goal:?} -> {} [{}]", words, refused.why));
        if ["status", "check"].contains(&words.as_str()) || words.starts_with("run --state") {
            return None;
        }
        let Some((next, force)) = parse(desk, &words) else { return Some(format!("no command: {words}")) };
        (goal, desk.force) = (next, force.then_some("review"));
    }
    Some(way.join("\n    "))
}

/// Every refusal's "Next:" leads to a command that is accepted.
#[test]
fn every_next_leads_to_a_command_that_is_accepted() {
    let mut found = std::collections::BTreeMap::new();
    for seed in 0..6_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kind = [Kind::Flagged, Kind::Flagged, Kind::Stated, Kind::InPlace, Kind::RemoveOnly][rng.usize(..5)];
        let mut desk = Desk::new(kind);
        let mut history = Vec::new();
        for _ in 0..rng.usize(1..14) {
            let goal = *rng.choice(&goals(kind)).unwrap();
            desk.failures = if rng.u8(..6) == 0 { 3 } else { desk.failures };
            desk.diverged = if rng.u8(..8) == 0 { 2 } else { desk.diverged };
            desk.mismatches = if rng.u8(..4) == 0 { 5 } else { 0 };
            if goal == Goal::FailuresRetry && rng.bool() && desk.says(goal) == "allowed" {
                desk.failures = 0;
            }
            if rng.u8(..4) == 0 {
                desk.now += SOAK;
            }
            if kind == Kind::Flagged && desk.flag.is_some() && rng.u8(..25) == 0 && desk.state.preflight.is_some() {
                desk.gone = desk.flag.take();
                history.push("flag removed".to_owned());
            }
            desk.force = rng.bool().then_some("force");
            desk.facts = if matches!(kind, Kind::Stated | Kind::RemoveOnly) { facts(desk.now) } else { Vec::new() };
            let ended = desk.give(goal).is_ok();
            if goal == REPAIR && ended {
                desk.diverged = 0;
            }
            history.push(format!("{goal:?}{}{}", if desk.force.is_some() { " force" } else { "" }, if ended { "" } else { " x" }));
            for goal in goals(kind) {
                if matches!(goal, Goal::Back { .. }) {
                    continue;
                }
                if let Some(way) = dead_end(&mut desk, goal) {
                    let shape = way.split('[').map(|part| part.chars().take(60).collect::<String>()).collect::<String>();
                    let seen = found.entry(shape).or_insert_with(|| (way.clone(), history.clone(), format!("f{} d{}", desk.failures, desk.diverged)));
                    if history.len() < seen.1.len() {
                        *seen = (way, history.clone(), format!("f{} d{}", desk.failures, desk.diverged));
                    }
                }
            }
            // What `status` says is next.
            if let (_, Some(words)) = desk.stands() {
                desk.force = None;
                if let Some((goal, _)) = parse(&desk, &words)
                    && let Some(way) = dead_end(&mut desk, goal)
                {
                    found.entry(format!("status {words}")).or_insert((way, history.clone(), String::new()));
                }
            }
        }
    }
    let text: Vec<String> = found.values().map(|(way, history, open)| format!("  {way}\n  {open} after {history:?}")).collect();
    assert!(found.is_empty(), "{} dead ends:\n{}", found.len(), text.iter().take(12).cloned().collect::<Vec<_>>().join("\n"));
}

/// A reason that is given for one thing that stood in the way goes past no other one, of which nobody was told.
#[test]
fn a_reason_given_for_one_refusal_goes_past_no_other_one() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    desk.mismatches = 5;
    desk.done(VERIFY);
    desk.no_way_back = Some("a run was begun anew");
    let refused = desk.give(READ).unwrap_err();
    assert!(refused.why.contains("a rollback could not") && !refused.why.contains("mismatches"), "{refused}");
    assert_eq!(refused.next.words(), "cutover --to read-new --force REASON");
    // The operator does what "Next:" says, and gives up the way back. Of the mismatches nobody has said a word.
    desk.force = Some("we will not roll back");
    let gave = desk.give(READ);
    assert!(gave.is_err(), "readers moved past 5 mismatches: {gave:?}");
}

/// A reason given for one item that cannot be made equal sends readers to no other item whose old value is stale.
#[test]
fn a_reason_given_for_one_item_sends_no_reader_to_others() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.mismatches = 1;
    let refused = desk.give(Goal::Rollback).unwrap_err();
    assert!(refused.why.contains("1 items differ"), "{refused}");
    // The operator looks at that one, and leaves it. By the next look there are more, which nobody has been told of.
    desk.mismatches = 5_000;
    desk.force = Some("P#7 has grown, and nobody reads it");
    let gave = desk.give(Goal::Rollback);
    assert!(gave.is_err(), "readers were sent to 5,000 stale values: {gave:?}");
}

/// Nor does one that was given for what stood in the way of beginning.
#[test]
fn a_reason_given_to_begin_a_rollback_sends_no_reader_to_stale_values() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.no_way_back = Some("a run was begun anew");
    let refused = desk.give(Goal::Rollback).unwrap_err();
    assert_eq!(refused.next.words(), "rollback --force REASON");
    desk.force = Some("some new attributes may stay");
    desk.mismatches = 5_000;
    let gave = desk.give(Goal::Rollback);
    assert!(gave.is_err(), "readers were sent to 5,000 stale values: {gave:?}");
}

/// `write = new` was set, and the process died before it had seen it there; then the flag was removed. That new values alone
/// may have been written is on record (`flag_intended`), and old ones are not begun anew at without a word.
#[test]
fn a_removed_flag_is_as_stale_as_what_was_intended_with_it() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    let last_seen = desk.flag.take().unwrap();
    desk.append(What::FlagIntended { change: FlagChange::WriteNew, version: last_seen.version, forced: None });
    // Applications obeyed `write = new`, for a day.
    desk.now += 86_400;
    desk.gone = Some(last_seen);
    let gave = desk.give(BACK);
    assert!(gave.is_err(), "begun anew at old, without `--now`: {gave:?}");
}
