//! A simulated migration for tests: its history, flag, operator and time. The pure function `step` decides everything
//! else.

use std::time::Duration;

use super::super::*;

pub(super) const PLAN: &str = "fingerprint";
pub(super) const CACHE: u32 = 60;
pub(super) const SOAK: i64 = 1000;

/// A simulated migration with its flag, its operator and its own time.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) flag: Option<Flag>,
    pub(super) events: Vec<Event>,
    pub(super) now: i64,
    /// Changes of the flag are dated this number of seconds ahead of `now`, because a host with a different clock makes
    /// them.
    pub(super) skew: i64,
    /// The time of a monotonic clock, in seconds. `made` is its reading when the flag last changed.
    pub(super) ticks: i64,
    pub(super) made: i64,
    /// The passes that the current command has completed. `first` is the flag's version when the command began.
    pub(super) swept: Vec<Phase>,
    pub(super) first: Option<u64>,
    /// The last state of the flag before somebody removed it.
    pub(super) gone: Option<Flag>,
    pub(super) failures: u64,
    pub(super) unfinished: u64,
    pub(super) diverged: u64,
    pub(super) mismatches: u64,
    /// Number of items that a pass reads. `compares` is the number of items that a verification compares.
    pub(super) reads: Option<u64>,
    pub(super) compares: Option<u64>,
    pub(super) accept_empty: bool,
    pub(super) no_way_back: Option<u64>,
    pub(super) one_way: Option<&'static str>,
    pub(super) force: Option<&'static str>,
    pub(super) facts: Vec<Fact>,
    pub(super) limits: Limits,
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl Desk {
    pub(super) fn new(kind: Kind) -> Desk {
        Desk {
            kind,
            state: State::default(),
            flag: (kind == Kind::Flagged).then(|| Flag::first(CACHE, time(0))),
            events: Vec::new(),
            now: 10_000,
            skew: 0,
            ticks: 0,
            made: -i64::from(CACHE),
            swept: Vec::new(),
            first: None,
            gone: None,
            failures: 0,
            unfinished: 0,
            diverged: 0,
            mismatches: 0,
            reads: Some(5),
            compares: Some(5),
            accept_empty: false,
            no_way_back: None,
            one_way: None,
            force: None,
            facts: Vec::new(),
            limits: Limits {
                max_age: Duration::from_secs(100_000),
                max_mismatch: 0,
                accept_sample: false,
                soak: Duration::from_secs(SOAK.unsigned_abs()),
            },
        }
    }

    pub(super) fn ask(&self, goal: Goal, confirmed: bool) -> Result<Step, Refused> {
        step(&self.state, &self.world(confirmed), goal, time(self.now))
    }

    /// Begins the next command.
    pub(super) fn begin(&mut self) {
        self.swept = Vec::new();
        self.first = self.flag.as_ref().map(|flag| flag.version);
    }

    /// The current stage, and the text of the next command.
    pub(super) fn stands(&self) -> (Stage, Option<String>) {
        let standing = standing(&self.state, &self.world(true), time(self.now));
        (standing.stage, standing.next.map(|next| next.words().to_owned()))
    }

    pub(super) fn world(&self, confirmed: bool) -> World<'_> {
        World {
            kind: self.kind,
            plan: PLAN,
            flag: self.flag.as_ref(),
            left: self.left(),
            failures: self.failures,
            unfinished: self.unfinished,
            diverged: self.diverged,
            limits: self.limits,
            no_way_back: self.no_way_back,
            one_way: self.one_way,
            facts: &self.facts,
            force: self.force,
            accept_empty: self.accept_empty,
            confirmed,
            swept: &self.swept,
            first: self.first,
            gone: self.gone.as_ref(),
        }
    }

    /// The remaining cache time after the flag's last change.
    pub(super) fn left(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.made + i64::from(CACHE) - self.ticks).unwrap_or(0))
    }

    pub(super) fn append(&mut self, what: What) {
        let at = time(self.now).max(self.state.latest);
        let flag = self.flag.as_ref().map(Mark::of);
        let event = Event { at, actor: "ops@host".to_owned(), flag, what };
        self.state = self.state.next(&event).unwrap_or_else(|refused| panic!("{refused}: {event:?}"));
        self.events.push(event);
        self.now += 1;
        self.ticks += 1;
    }

    /// Runs one command to its end, and returns the steps it took.
    pub(super) fn give(&mut self, goal: Goal) -> Result<Vec<String>, Refused> {
        let mut steps = Vec::new();
        self.give_noting(goal, &mut steps)?;
        Ok(steps)
    }

    /// Like `give`. In addition, `steps` contains the steps that a refused command took.
    pub(super) fn give_noting(&mut self, goal: Goal, steps: &mut Vec<String>) -> Result<(), Refused> {
        let mut confirmed = false;
        self.begin();
        for _ in 0..60 {
            let step = self.ask(goal, confirmed)?;
            steps.push(name(&step));
            match step {
                Step::Done => return Ok(()),
                Step::Preflight => {
                    self.append(What::PreflightAccepted { kind: self.kind, accepted: vec!["no-pitr".to_owned()] });
                }
                Step::Confirm => confirmed = true,
                Step::Record(what) => self.append(what),
                Step::Wait(left) => {
                    self.now += left.as_secs().cast_signed();
                    self.ticks += left.as_secs().cast_signed();
                }
                Step::Change(change) => {
                    self.flag = Some(
                        self.flag.as_ref().unwrap().next(change, time(self.now + self.skew), self.left()).unwrap(),
                    );
                    self.made = self.ticks;
                }
                Step::Renew(flag) => {
                    self.flag = Some(*flag);
                    self.made = self.ticks;
                }
                Step::Sweep(Phase::Verify { scope, repair }) => {
                    let mismatches = self.mismatches;
                    let plan = PLAN.to_owned();
                    let hash = "hash".to_owned();
                    let compared = self.compares;
                    self.append(What::Verified { scope, repair, mismatches, plan, hash, compared });
                    self.swept.push(Phase::Verify { scope, repair });
                }
                Step::Sweep(phase) => {
                    self.append(What::PhaseComplete { phase, scanned: self.reads });
                    self.swept.push(phase);
                }
            }
        }
        panic!("{goal:?} does not end: {steps:?}");
    }

    pub(super) fn done(&mut self, goal: Goal) -> Vec<String> {
        self.give(goal).unwrap_or_else(|refused| panic!("{goal:?}: {refused}"))
    }

    pub(super) fn all(&mut self, goals: &[Goal]) {
        for goal in goals {
            self.done(*goal);
        }
    }

    /// Returns `allowed`, or the text of the command to run instead.
    pub(super) fn says(&self, goal: Goal) -> String {
        let world = World { swept: &[], first: self.flag.as_ref().map(|flag| flag.version), ..self.world(true) };
        match step(&self.state, &world, goal, time(self.now)) {
            Ok(_) => "allowed".to_owned(),
            Err(refused) => refused.next.words().to_owned(),
        }
    }
}

pub(super) fn name(step: &Step) -> String {
    match step {
        Step::Record(What::FlagIntended { .. } | What::FlagSeen { .. }) => "record".to_owned(),
        Step::Record(What::PhaseBegun { phase }) => format!("begin {phase:?}"),
        Step::Record(What::FactStated { fact, .. }) => fact.option().to_owned(),
        Step::Record(what) => format!("{what:?}"),
        Step::Change(change) => format!("{change:?}"),
        Step::Wait(_) => "wait".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) const RUN: Goal = Goal::Run { again: false };
pub(super) const AGAIN: Goal = Goal::Run { again: true };
pub(super) const VERIFY: Goal = Goal::Verify { scope: Scope::Full, repair: false };
pub(super) const SAMPLE: Goal = Goal::Verify { scope: Scope::Sampled, repair: false };
pub(super) const REPAIR: Goal = Goal::Verify { scope: Scope::Full, repair: true };
pub(super) const DUAL: Goal = Goal::CutoverTo(Target::DualWrite);
pub(super) const READ: Goal = Goal::CutoverTo(Target::ReadNew(100));
pub(super) const SOME: Goal = Goal::CutoverTo(Target::ReadNew(10));
pub(super) const WRITE: Goal = Goal::CutoverTo(Target::WriteNew);
pub(super) const BACK: Goal = Goal::Back { to: BackTo::OldReads, now: false };
pub(super) const BACK_NOW: Goal = Goal::Back { to: BackTo::OldReads, now: true };
pub(super) const STOP_DUAL: Goal = Goal::Back { to: BackTo::OldWrites, now: false };

/// The commands for the columns of the table in the parent module, in the order of the columns.
pub(super) const COMMANDS: [Goal; 9] =
    [RUN, Goal::FailuresRetry, VERIFY, DUAL, READ, WRITE, BACK, Goal::Contract, Goal::Rollback];

pub(super) const ALL_FACTS: [Fact; 5] = [
    Fact::DualWritesSince { since: Timestamp::UNIX_EPOCH },
    Fact::ReadersMoved,
    Fact::OldWritesStopped,
    Fact::ReadersBack,
    Fact::NewWritesStopped,
];

/// States every fact, with the current time for a fact that has a time.
pub(super) fn facts(now: i64) -> Vec<Fact> {
    let since = time(now);
    ALL_FACTS
        .map(|fact| if let Fact::DualWritesSince { .. } = fact { Fact::DualWritesSince { since } } else { fact })
        .into()
}
