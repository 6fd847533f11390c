//! The durable state of a migration, and the only function that changes it.

mod parts;

pub use parts::{Expand, Intended, Open, Preflight, Report, Span, Way};

use std::time::Duration;

use jiff::Timestamp;

use super::{Event, Fact, Goal, Kind, Obstacle, Override, Phase, Refused, Scope, What};
use crate::cutover::{Flag, FlagChange, ReadFrom, WriteTo};

/// The durable state of a migration. Replaying the events of the migration gives this state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The preflight that was accepted last; no command proceeds without one.
    pub preflight: Option<Preflight>,
    /// The progress of the expand passes.
    pub expand: Expand,
    /// The phase that began last, if it is not complete. The progress of an expand pass is in `expand` instead.
    pub open: Option<Open>,
    /// The last full verification; `None` if a later event invalidated it.
    pub full: Option<Report>,
    /// The last sampled verification; `None` if a later event invalidated it.
    pub sampled: Option<Report>,
    /// Number of items that the last complete expand pass read; `None` if its reads were not strongly consistent.
    pub expanded_items: Option<u64>,
    /// Whether the open failures were retried since the last expand pass began.
    pub retried: bool,
    /// The time range of the last complete old-from-new pass; `None` if a later event invalidated the pass.
    pub restored: Option<Span>,
    /// Number of items that the last old-from-new pass read, if known.
    pub restored_items: Option<u64>,
    /// The change of the flag that a command was about to make; `None` if the outcome of every change is known.
    pub intended: Option<Intended>,
    /// The version of the flag that this migration last saw or made.
    pub seen: Option<u64>,
    /// Whether writers ever wrote both attributes.
    pub dual_written: bool,
    /// The operator's `--force` reason, if readers were moved while the gate was closed.
    pub forced_reads: Option<String>,
    /// The overridden obstacles: each obstacle once, with the largest number of items that was overridden.
    pub overrides: Vec<Override>,
    /// Number of items that an override allows to stay unequal on the way back.
    pub left: u64,
    /// For a plan without a flag: the virtual flag from the facts that the operator stated.
    pub stated: Option<Flag>,
    /// For a plan that only removes: the time at which the operator stated that nobody reads the old attribute.
    pub readers_moved: Option<Timestamp>,
    /// For a plan that only removes: the time at which the operator stated that nobody writes the old attribute.
    pub old_writes_stopped: Option<Timestamp>,
    /// For a plan without a flag: the last time at which the operator stated that every reader reads the old attribute
    /// again.
    pub readers_back: Option<Timestamp>,
    /// For a plan without a flag: the last time at which the operator stated that nobody writes the new attribute.
    pub new_writes_stopped: Option<Timestamp>,
    /// The progress of contract.
    pub contract: Way,
    /// The progress of the rollback.
    pub rollback: Way,
    /// The time of the latest event.
    pub latest: Timestamp,
}

impl State {
    /// Replays an entire history, and returns the resulting state.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<State, Refused> {
        events.into_iter().try_fold(State::default(), |state, event| state.next(event))
    }

    /// The state after an event. Refuses an event that cannot follow the current state.
    pub fn next(&self, event: &Event) -> Result<State, Refused> {
        let mut next = self.clone();
        if self.preflight.is_none() && !matches!(event.what, What::PreflightAccepted { .. }) {
            return Err(Refused::new("no preflight was accepted", "check"));
        }
        match &event.what {
            What::PreflightAccepted { kind, accepted } => {
                self.check_preflight(*kind)?;
                next.preflight = Some(Preflight { at: event.at, kind: *kind, accepted: accepted.clone() });
                next.stated = (*kind == Kind::Stated)
                    .then(|| self.stated.clone().unwrap_or_else(|| Flag::first(0, Timestamp::MIN)));
            }
            What::PhaseBegun { phase } => next.begin(*phase, event)?,
            What::PhaseComplete { phase, scanned } => next.complete(*phase, *scanned, event.at)?,
            What::Verified { scope, repair, mismatches, plan, hash, compared } => {
                let span = next.close(Phase::Verify { scope: *scope, repair: *repair }, event.at)?;
                if *scope == Scope::Full {
                    // If this verification found fewer unequal items than the operator accepted, only that lower number
                    // stays accepted.
                    next.left = self.left.min(*mismatches);
                }
                // A sample may miss the items that an earlier sample found to differ. So only a later full verification
                // lowers the number of a sample.
                let mismatches = match scope {
                    Scope::Full => *mismatches,
                    Scope::Sampled => self.sampled_mismatches().max(*mismatches),
                };
                let compared = *compared;
                let repair = *repair;
                let report = Report { span, mismatches, compared, repair, plan: plan.clone(), hash: hash.clone() };
                match scope {
                    Scope::Full => next.full = Some(report),
                    Scope::Sampled => next.sampled = Some(report),
                }
            }
            What::FlagIntended { change, version, forced } => {
                self.forward_only_before_rollback(*change)?;
                next.noted(*change, forced.as_ref());
                next.seen = Some(*version);
                next.intended = Some(Intended { change: *change, version: *version, forced: forced.clone() });
            }
            What::FlagSeen { version, ours } => {
                let Some(intended) = next.intended.take() else {
                    return Err(Refused::new("no change of the flag was intended", "status"));
                };
                next.seen = Some(if *ours { *version } else { intended.version });
            }
            What::FactStated { fact, forced } => next.state_fact(*fact, forced.as_ref(), event.at)?,
            What::OldIsFresh => next.move_stated(FlagChange::OldIsFresh, event.at)?,
            What::Overridden(given) => {
                if !self.is_overridden(given.obstacle) {
                    next.overrides.retain(|known| !given.obstacle.covers(known.obstacle));
                    next.overrides.push(given.clone());
                }
                next.left = self.left.max(given.obstacle.items_left());
            }
            What::RollbackBegun { forced } => {
                if self.contract != Way::Ahead {
                    return Err(self.contracting());
                }
                next.rollback = Way::Begun;
                next.open = None;
                if forced.is_some() {
                    // The reason for beginning a rollback does not cover any mismatch, so the table must be verified
                    // again.
                    next.full = None;
                }
            }
        }
        next.latest = self.latest.max(event.at);
        Ok(next)
    }

    /// The kind of plan that this migration began with; `None` before its preflight.
    pub fn kind(&self) -> Option<Kind> {
        self.preflight.as_ref().map(|preflight| preflight.kind)
    }

    /// Whether the operator overrode this obstacle, for at least this number of items.
    pub fn is_overridden(&self, obstacle: Obstacle) -> bool {
        self.overrides.iter().any(|known| known.obstacle.covers(obstacle))
    }

    /// Number of mismatches that earlier samples found and no later full verification covers.
    fn sampled_mismatches(&self) -> u64 {
        let stands = |sampled: &&Report| self.full.as_ref().is_none_or(|full| sampled.span.began >= full.span.began);
        self.sampled.as_ref().filter(stands).map_or(0, |sampled| sampled.mismatches)
    }

    /// Begins a phase. After contract or rollback has begun, refuses every phase that cannot follow.
    fn begin(&mut self, phase: Phase, event: &Event) -> Result<(), Refused> {
        let at = event.at;
        let looks = matches!(phase, Phase::Verify { repair: false, .. });
        if (self.contract == Way::Complete && !looks) || (self.contract == Way::Begun && phase != Phase::Contract) {
            return Err(self.contracting());
        }
        let on_the_way_back = matches!(phase, Phase::OldFromNew | Phase::Undo)
            || matches!(phase, Phase::Verify { scope: Scope::Full, repair: false });
        if self.rollback == Way::Complete || (self.rollback == Way::Begun && !on_the_way_back) {
            return Err(self.rolled_back());
        }
        if matches!(phase, Phase::Expand | Phase::OldFromNew) {
            self.full = None;
            self.sampled = None;
        }
        if phase == Phase::OldFromNew {
            self.restored = None;
        }
        match phase {
            Phase::Expand => {
                self.expand = Expand::Open { began: at };
                self.open = None;
                self.retried = false;
            }
            Phase::Undo if self.rollback == Way::Ahead => {
                return Err(Refused::new("the rollback has not begun", Goal::Rollback));
            }
            Phase::Retry | Phase::Verify { .. } | Phase::OldFromNew | Phase::Undo | Phase::Contract => {
                self.open = Some(Open { phase, began: at, under: event.flag })
            }
        }
        if phase == Phase::Contract {
            self.contract = Way::Begun;
            if let Some(flag) = &mut self.stated {
                *flag = moved(flag, FlagChange::Contract, at)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, phase: Phase, scanned: Option<u64>, at: Timestamp) -> Result<(), Refused> {
        if phase == Phase::Expand {
            let Expand::Open { .. } = self.expand else {
                return Err(Refused::new("no pass of expand is open", Goal::Run { again: false }));
            };
            self.expand = Expand::Complete { ended: at };
            self.expanded_items = scanned;
            return Ok(());
        }
        let span = self.close(phase, at)?;
        match phase {
            Phase::Retry => self.retried = true,
            Phase::OldFromNew => {
                self.restored = Some(span);
                self.restored_items = scanned;
            }
            Phase::Undo => self.rollback = Way::Complete,
            Phase::Contract => self.contract = Way::Complete,
            Phase::Expand | Phase::Verify { .. } => {
                return Err(Refused::new("a verification ends with its report", "verify --all"));
            }
        }
        Ok(())
    }

    /// Ends the open phase.
    fn close(&mut self, phase: Phase, ended: Timestamp) -> Result<Span, Refused> {
        match self.open.take() {
            Some(Open { phase: open, began, under }) if open == phase => Ok(Span { began, ended, under }),
            _ => Err(Refused::new("a phase that has not begun cannot end", "status")),
        }
    }

    fn check_preflight(&self, kind: Kind) -> Result<(), Refused> {
        if self.contract != Way::Ahead {
            return Err(self.contracting());
        }
        if self.rollback != Way::Ahead {
            return Err(self.rolled_back());
        }
        match self.kind() {
            Some(before) if before != kind => Err(Refused::new(
                "the plan was of another kind when the migration began (with a flag, without one, in place, or only \
                 removing): restore that, or roll back and begin with a new state file",
                Goal::Rollback,
            )),
            _ => Ok(()),
        }
    }

    fn forward_only_before_rollback(&self, change: FlagChange) -> Result<(), Refused> {
        let forward = match change {
            FlagChange::DualWrite | FlagChange::ReadNew(_) | FlagChange::WriteNew | FlagChange::Contract => true,
            FlagChange::DualWriteAgain | FlagChange::OldIsFresh | FlagChange::ReadOld { .. } | FlagChange::WriteOld => {
                false
            }
        };
        if forward && self.rollback != Way::Ahead { Err(self.rolled_back()) } else { Ok(()) }
    }

    fn state_fact(&mut self, fact: Fact, forced: Option<&String>, at: Timestamp) -> Result<(), Refused> {
        if self.kind() == Some(Kind::RemoveOnly) {
            match fact {
                Fact::ReadersMoved => self.readers_moved = Some(at),
                Fact::OldWritesStopped => self.old_writes_stopped = Some(at),
                Fact::DualWritesSince { .. } | Fact::ReadersBack | Fact::NewWritesStopped => {
                    return Err(Refused::new("a plan that only removes has no such fact", Goal::Contract));
                }
            }
            return Ok(());
        }
        let Some(flag) = &self.stated else {
            return Err(Refused::new("the plan's flag proves that, so it must not be stated", "status"));
        };
        match fact {
            Fact::DualWritesSince { .. } => self.new_writes_stopped = None,
            Fact::ReadersMoved => self.readers_back = None,
            Fact::OldWritesStopped => {}
            Fact::ReadersBack => self.readers_back = Some(at),
            Fact::NewWritesStopped => self.new_writes_stopped = Some(at),
        }
        let (change, when) = match fact {
            Fact::DualWritesSince { since } if since > at => {
                return Err(Refused::new("`--dual-writes-since` lies in the future", "status"));
            }
            Fact::DualWritesSince { since } if flag.write == WriteTo::New => (FlagChange::DualWriteAgain, since),
            Fact::DualWritesSince { since } => (FlagChange::DualWrite, since),
            Fact::ReadersMoved => (FlagChange::ReadNew(100), at),
            Fact::OldWritesStopped => (FlagChange::WriteNew, at),
            // The operator repeats a fact that is already true.
            Fact::ReadersBack if flag.read == ReadFrom::Old => return Ok(()),
            Fact::NewWritesStopped if flag.write == WriteTo::Old => return Ok(()),
            // If old values may be stale, the operator who states this fact also accepts stale reads.
            Fact::ReadersBack => (FlagChange::ReadOld { accept_stale: flag.old_stale }, at),
            Fact::NewWritesStopped => (FlagChange::WriteOld, at),
        };
        self.forward_only_before_rollback(change)?;
        self.noted(change, forced);
        self.move_stated(change, when)
    }

    /// Updates the state for a flag change. Discards results that the change invalidates, because a pass that read the
    /// table earlier did not see the writes that applications make from now on.
    fn noted(&mut self, change: FlagChange, forced: Option<&String>) {
        match change {
            FlagChange::DualWrite => {
                self.dual_written = true;
                // Without a flag, dual writes may have begun long before the operator states this fact. So the gate may
                // still accept earlier reports.
                if self.stated.is_none() {
                    self.full = None;
                    self.sampled = None;
                    self.open = self.open.filter(|open| !matches!(open.phase, Phase::Verify { .. }));
                }
            }
            FlagChange::ReadNew(_) => self.forced_reads = forced.cloned(),
            FlagChange::WriteNew => {
                self.restored = None;
                self.left = 0;
                self.open = self.open.filter(|open| open.phase != Phase::OldFromNew);
            }
            FlagChange::Contract
            | FlagChange::DualWriteAgain
            | FlagChange::OldIsFresh
            | FlagChange::ReadOld { .. }
            | FlagChange::WriteOld => {}
        }
    }

    fn move_stated(&mut self, change: FlagChange, at: Timestamp) -> Result<(), Refused> {
        let Some(flag) = &mut self.stated else {
            return Err(Refused::new("only a plan without a flag needs such statements", "status"));
        };
        *flag = moved(flag, change, at)?;
        Ok(())
    }

    /// The refusal of every command except `contract`, after contract has begun.
    pub(super) fn contracting(&self) -> Refused {
        match self.contract {
            Way::Complete => Refused::new("the migration is over: the old attribute is gone", "status"),
            Way::Ahead | Way::Begun => {
                Refused::new("the old attribute is being removed, and there is no way back", Goal::Contract)
            }
        }
    }

    /// The refusal of every command except `rollback`, after the rollback has begun.
    pub(super) fn rolled_back(&self) -> Refused {
        match self.rollback {
            Way::Complete => Refused::new(
                "the migration was rolled back, and this state file is its record: begin again with another one",
                "run --state PATH",
            ),
            Way::Ahead | Way::Begun => Refused::new("the rollback has begun", Goal::Rollback),
        }
    }
}

fn moved(flag: &Flag, change: FlagChange, at: Timestamp) -> Result<Flag, Refused> {
    let next = flag.next(change, at, Duration::ZERO).map_err(|error| Refused::new(error.to_string(), "status"))?;
    // A stated fact takes effect at its stated time, because a plan without a flag has no caches that must expire.
    let before = flag.settled_at();
    if at < before {
        return Err(Refused::new(
            format!("the fact confirmed before is dated {before}, and this one is earlier"),
            "status",
        ));
    }
    Ok(next)
}
