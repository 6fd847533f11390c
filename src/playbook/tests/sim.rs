//! A simulated migration for tests, with its history, flag, operator and time. The pure function `step` makes all
//! decisions.

use std::time::Duration;

use super::super::*;

pub(super) const PLAN: &str = "fingerprint";
pub(super) const CACHE: u32 = 60;
pub(super) const SOAK: i64 = 1000;

/// A simulated migration with its flag, its operator and its own time.
#[derive(Clone)]
pub(super) struct SimulatedMigration {
    pub(super) kind: PlanKind,
    pub(super) state: MigrationState,
    pub(super) flag: Option<Flag>,
    pub(super) events: Vec<Event>,
    pub(super) now: i64,
    /// The recorded times of flag changes are this many seconds ahead of `now`, because a host with a different clock
    /// makes the changes.
    pub(super) skew: i64,
    /// The time of a monotonic clock, in seconds. `made` is the time of the last flag change on this clock.
    pub(super) ticks: i64,
    pub(super) made: i64,
    /// The passes that the current command has completed. `first` is the flag's version when the command began.
    pub(super) completed: Vec<Phase>,
    pub(super) first: Option<u64>,
    /// The last state of the flag before somebody removed it.
    pub(super) missing_flag: Option<Flag>,
    pub(super) failures: u64,
    pub(super) not_computable: bool,
    pub(super) unfinished: u64,
    pub(super) diverged: u64,
    pub(super) mismatches: u64,
    /// Number of items that a pass reads. `compares` is the number of items that a verification compares.
    pub(super) reads: Option<u64>,
    pub(super) compares: Option<u64>,
    pub(super) accept_empty: bool,
    /// The time at which the operator purged the journal, and whether `--accept no-way-back` was given.
    pub(super) purged_at: Option<&'static str>,
    pub(super) accept_no_way_back: bool,
    /// Whether the plan puts derived items.
    pub(super) puts_items: bool,
    pub(super) unrestorable_targets: Option<u64>,
    pub(super) one_way: Option<&'static str>,
    pub(super) force: Option<&'static str>,
    pub(super) facts: Vec<Fact>,
    pub(super) limits: Limits,
    pub(super) backup: BackupPhases,
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl SimulatedMigration {
    pub(super) fn new(kind: PlanKind) -> SimulatedMigration {
        SimulatedMigration {
            kind,
            state: MigrationState::default(),
            flag: (kind == PlanKind::Flagged).then(|| Flag::new(CACHE, time(0))),
            events: Vec::new(),
            now: 10_000,
            skew: 0,
            ticks: 0,
            made: -i64::from(CACHE),
            completed: Vec::new(),
            first: None,
            missing_flag: None,
            failures: 0,
            not_computable: false,
            unfinished: 0,
            diverged: 0,
            mismatches: 0,
            reads: Some(5),
            compares: Some(5),
            accept_empty: false,
            purged_at: None,
            accept_no_way_back: false,
            puts_items: false,
            unrestorable_targets: None,
            one_way: None,
            force: None,
            facts: Vec::new(),
            limits: Limits {
                max_age: Duration::from_secs(100_000),
                max_mismatch: 0,
                accept_sample: false,
                soak: Duration::from_secs(SOAK.unsigned_abs()),
            },
            backup: BackupPhases::default(),
        }
    }

    pub(super) fn next_step(&self, goal: Goal, confirmed: bool) -> Result<Step, StepRefusal> {
        step(&self.state, &self.context(confirmed), goal, time(self.now))
    }

    /// Begins the next command.
    pub(super) fn begin(&mut self) {
        self.completed = Vec::new();
        self.first = self.flag.as_ref().map(|flag| flag.version);
    }

    /// Returns the current stage, and the text of the next command.
    pub(super) fn stage_and_next(&self) -> (MigrationStage, Option<String>) {
        let status = status(&self.state, &self.context(true), time(self.now));
        (status.stage, status.next.map(|next| next.as_str().to_owned()))
    }

    pub(super) fn context(&self, confirmed: bool) -> StepContext<'_> {
        StepContext {
            kind: self.kind,
            plan: PLAN,
            flag: self.flag.as_ref(),
            left: self.left(),
            failures: self.failures,
            not_computable: self.not_computable,
            unfinished: self.unfinished,
            diverged: self.diverged,
            limits: self.limits,
            backup: self.backup,
            deletes_items: false,
            unrestorable_targets: self.unrestorable_targets,
            one_way: self.one_way,
            no_way_back: None,
            puts_items: self.puts_items,
            purged_at: self.purged_at,
            accept_no_way_back: self.accept_no_way_back,
            facts: &self.facts,
            force: self.force,
            accept_empty: self.accept_empty,
            confirmed,
            completed: &self.completed,
            first: self.first,
            missing_flag: self.missing_flag.as_ref(),
        }
    }

    /// Returns the remaining cache time after the flag's last change.
    pub(super) fn left(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.made + i64::from(CACHE) - self.ticks).unwrap_or(0))
    }

    pub(super) fn append(&mut self, body: EventBody) {
        let at = time(self.now).max(self.state.latest);
        let flag = self.flag.as_ref().map(Mark::from_flag);
        let event = Event { at, actor: "ops@host".to_owned(), flag, body };
        self.state = self.state.next(&event).unwrap_or_else(|refused| panic!("{refused}: {event:?}"));
        self.events.push(event);
        self.now += 1;
        self.ticks += 1;
    }

    /// Runs one command to completion, and returns the steps that it took.
    pub(super) fn try_run(&mut self, goal: Goal) -> Result<Vec<String>, StepRefusal> {
        let mut steps = Vec::new();
        self.try_run_noting_steps(goal, &mut steps)?;
        Ok(steps)
    }

    /// Like `try_run`, but also adds the steps of a refused command to `steps`.
    pub(super) fn try_run_noting_steps(&mut self, goal: Goal, steps: &mut Vec<String>) -> Result<(), StepRefusal> {
        let mut confirmed = false;
        self.begin();
        for _ in 0..60 {
            let step = self.next_step(goal, confirmed)?;
            steps.push(name(&step));
            match step {
                Step::Done => return Ok(()),
                Step::Preflight => {
                    self.append(EventBody::PreflightAccepted { kind: self.kind, accepted: vec!["no-pitr".to_owned()] });
                }
                Step::Confirm => confirmed = true,
                Step::Backup(phase) => self.append(EventBody::BackedUp { phase, arn: "arn".to_owned() }),
                Step::Record(body) => self.append(body),
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
                Step::RecreateFlag(flag) => {
                    self.flag = Some(*flag);
                    self.made = self.ticks;
                }
                Step::RunPass(Phase::Verify { scope, repair }) => {
                    let mismatches = self.mismatches;
                    let plan = PLAN.to_owned();
                    let hash = "hash".to_owned();
                    let compared = self.compares;
                    self.append(EventBody::Verified { scope, repair, mismatches, plan, hash, compared });
                    self.completed.push(Phase::Verify { scope, repair });
                }
                Step::RunPass(phase) => {
                    self.append(EventBody::PhaseComplete { phase, scanned: self.reads });
                    self.completed.push(phase);
                }
            }
        }
        panic!("{goal:?} does not end: {steps:?}");
    }

    pub(super) fn run(&mut self, goal: Goal) -> Vec<String> {
        self.try_run(goal).unwrap_or_else(|refused| panic!("{goal:?}: {refused}"))
    }

    pub(super) fn all(&mut self, goals: &[Goal]) {
        for goal in goals {
            self.run(*goal);
        }
    }

    /// Returns `allowed`, or the text of the command that the refusal suggests.
    pub(super) fn answer(&self, goal: Goal) -> String {
        let context =
            StepContext { completed: &[], first: self.flag.as_ref().map(|flag| flag.version), ..self.context(true) };
        match step(&self.state, &context, goal, time(self.now)) {
            Ok(_) => "allowed".to_owned(),
            Err(refused) => refused.next.as_str().to_owned(),
        }
    }
}

pub(super) fn name(step: &Step) -> String {
    match step {
        Step::Record(EventBody::FlagIntended { .. } | EventBody::FlagSeen { .. }) => "record".to_owned(),
        Step::Record(EventBody::PhaseBegun { phase }) => format!("begin {phase:?}"),
        Step::Record(EventBody::FactStated { fact, .. }) => fact.option().to_owned(),
        Step::Record(body) => format!("{body:?}"),
        Step::Change(change) => format!("{change:?}"),
        Step::Wait(_) => "wait".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) const RUN: Goal = Goal::Run { again: false };
pub(super) const AGAIN: Goal = Goal::Run { again: true };
pub(super) const VERIFY: Goal = Goal::Verify { scope: VerifyScope::Full, repair: false };
pub(super) const SAMPLE: Goal = Goal::Verify { scope: VerifyScope::Sampled, repair: false };
pub(super) const REPAIR: Goal = Goal::Verify { scope: VerifyScope::Full, repair: true };
pub(super) const DUAL: Goal = Goal::CutoverTo(CutoverTarget::DualWrite);
pub(super) const READ: Goal = Goal::CutoverTo(CutoverTarget::ReadNew(100));
pub(super) const SOME: Goal = Goal::CutoverTo(CutoverTarget::ReadNew(10));
pub(super) const WRITE: Goal = Goal::CutoverTo(CutoverTarget::WriteNew);
pub(super) const BACK: Goal = Goal::Back { to: BackTarget::OldReads, now: false };
pub(super) const BACK_NOW: Goal = Goal::Back { to: BackTarget::OldReads, now: true };
pub(super) const STOP_DUAL: Goal = Goal::Back { to: BackTarget::OldWrites, now: false };

/// The commands in the columns of the parent module's table, in the same order.
pub(super) const COMMANDS: [Goal; 9] =
    [RUN, Goal::FailuresRetry, VERIFY, DUAL, READ, WRITE, BACK, Goal::Contract, Goal::Rollback];

/// Every fact about the readers and the writers of old and new attributes.
pub(super) const ALL_FACTS: [Fact; 5] = [
    Fact::DualWritesSince { since: Timestamp::UNIX_EPOCH },
    Fact::ReadersMoved,
    Fact::OldWritesStopped,
    Fact::ReadersBack,
    Fact::NewWritesStopped,
];

/// Returns every fact. Facts with a time get the current time.
pub(super) fn facts(now: i64) -> Vec<Fact> {
    let since = time(now);
    ALL_FACTS
        .map(|fact| if let Fact::DualWritesSince { .. } = fact { Fact::DualWritesSince { since } } else { fact })
        .into()
}
