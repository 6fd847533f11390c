//! What is durably known of a migration, and the only way in which that moves.

use std::time::Duration;

use jiff::Timestamp;

use super::{Event, Fact, Goal, Kind, Mark, Obstacle, Override, Phase, Refused, Scope, What};
use crate::cutover::{Flag, FlagChange, ReadFrom, WriteTo};

/// What is durably known of a migration: its events, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The preflight that was accepted last; nothing goes on without one.
    pub preflight: Option<Preflight>,
    /// The expand passes.
    pub expand: Expand,
    /// The phase that has begun last, other than a pass of expand, and is not complete.
    pub open: Option<Open>,
    /// The last full verification since data was last changed by a phase.
    pub full: Option<Report>,
    /// The last sampled one, likewise.
    pub sampled: Option<Report>,
    /// Items that the last complete pass of expand read, if it read strongly consistently.
    pub expanded_items: Option<u64>,
    /// The open failures were tried once more since the last pass of expand began.
    pub retried: bool,
    /// When old was last made equal new.
    pub restored: Option<Span>,
    /// Items that this pass read.
    pub restored_items: Option<u64>,
    /// A change of the flag that was about to be made, and of which nothing is known.
    pub intended: Option<Intended>,
    /// The flag's version that this migration saw last, or made.
    pub seen: Option<u64>,
    /// Both attributes were written at some time.
    pub dual_written: bool,
    /// Why reads were moved although the gate was closed.
    pub forced_reads: Option<String>,
    /// What stood in the way and was overridden: each obstacle once, to its largest extent.
    pub overrides: Vec<Override>,
    /// So many items may stay unequal on the way back, for a reason.
    pub left: u64,
    /// What a flag would say, where the operator states it.
    pub stated: Option<Flag>,
    /// When a plan that only removes was said to have no readers of the old attribute.
    pub readers_moved: Option<Timestamp>,
    /// When it was said to have no writers of it.
    pub old_writes_stopped: Option<Timestamp>,
    /// Without a flag: when readers were last said to be back.
    pub readers_back: Option<Timestamp>,
    /// Without a flag: when writers of the new attribute were last said to have stopped.
    pub new_writes_stopped: Option<Timestamp>,
    /// The contraction.
    pub contract: Way,
    /// The rollback.
    pub rollback: Way,
    /// When the last event was.
    pub latest: Timestamp,
}

/// A preflight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Preflight {
    /// When.
    pub at: Timestamp,
    /// The kind of the plan then.
    pub kind: Kind,
    /// What was accepted by name.
    pub accepted: Vec<String>,
}

/// How far expand is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Expand {
    /// No pass has begun.
    #[default]
    NotBegun,
    /// A pass is under way, or was stopped.
    Open {
        /// When it began.
        began: Timestamp,
    },
    /// The last pass that began is complete.
    Complete {
        /// When it ended.
        ended: Timestamp,
    },
}

/// A phase that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Open {
    /// Which.
    pub phase: Phase,
    /// When it began first, however often it was resumed.
    pub began: Timestamp,
    /// The flag that it began under.
    pub under: Option<Mark>,
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// When it began first.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The flag that it began under.
    pub under: Option<Mark>,
}

/// A verification that went over all that it meant to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    /// From when to when.
    pub span: Span,
    /// Items that differ.
    pub mismatches: u64,
    /// Items that were compared, where that is known.
    pub compared: Option<u64>,
    /// Whether it repaired what it could: then those are what it left.
    pub repair: bool,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Hash of the report.
    pub hash: String,
}

/// A change of the flag, intended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Intended {
    /// How.
    pub change: FlagChange,
    /// The flag's version before.
    pub version: u64,
    /// Why, although the gate was closed.
    pub forced: Option<String>,
}

/// A way that is gone once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Way {
    /// Not begun.
    #[default]
    Ahead,
    /// Begun.
    Begun,
    /// Complete.
    Complete,
}

impl State {
    /// The state after a whole history.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<State, Refused> {
        events.into_iter().try_fold(State::default(), |state, event| state.next(event))
    }

    /// The state after an event. An event that cannot follow is refused, whoever wants to append it.
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
                    // Whoever is told of fewer leaves no more than those.
                    next.left = self.left.min(*mismatches);
                }
                let (mismatches, compared, repair) = (*mismatches, *compared, *repair);
                let report = Report { span, mismatches, compared, repair, plan: plan.clone(), hash: hash.clone() };
                *(if *scope == Scope::Full { &mut next.full } else { &mut next.sampled }) = Some(report);
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
                (next.rollback, next.open) = (Way::Begun, None);
                if forced.is_some() {
                    // That reason was given for no mismatch: what was found is looked for once more.
                    next.full = None;
                }
            }
        }
        next.latest = self.latest.max(event.at);
        Ok(next)
    }

    /// The kind of plan that this migration has; none before its preflight.
    pub fn kind(&self) -> Option<Kind> {
        self.preflight.as_ref().map(|preflight| preflight.kind)
    }

    /// Whether a reason was given for this obstacle, to this extent.
    pub fn is_overridden(&self, obstacle: Obstacle) -> bool {
        self.overrides.iter().any(|known| known.obstacle.covers(obstacle))
    }

    /// Refuses what goes over the table after the way was left on which that makes sense.
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
            (self.full, self.sampled) = (None, None);
        }
        if phase == Phase::OldFromNew {
            self.restored = None;
        }
        match phase {
            Phase::Expand => (self.expand, self.open, self.retried) = (Expand::Open { began: at }, None, false),
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
            (self.expand, self.expanded_items) = (Expand::Complete { ended: at }, scanned);
            return Ok(());
        }
        let span = self.close(phase, at)?;
        match phase {
            Phase::Retry => self.retried = true,
            Phase::OldFromNew => (self.restored, self.restored_items) = (Some(span), scanned),
            Phase::Undo => self.rollback = Way::Complete,
            Phase::Contract => self.contract = Way::Complete,
            Phase::Expand | Phase::Verify { .. } => {
                return Err(Refused::new("a verification ends with its report", "verify --all"));
            }
        }
        Ok(())
    }

    /// The phase that is open ends.
    fn close(&mut self, phase: Phase, ended: Timestamp) -> Result<Span, Refused> {
        match self.open.take() {
            Some(Open { phase: open, began, under }) if open == phase => Ok(Span { began, ended, under }),
            _ => Err(Refused::new("a phase ends that has not begun", "status")),
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
                "the plan named another way (with a flag, without one, in place, removing only) when the migration began: put \
                 that back, or roll back and begin with a new state file",
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
            return Err(Refused::new("the plan's flag proves that; nothing is stated beside it", "status"));
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
            // Said once more, of what was never said to be otherwise.
            Fact::ReadersBack if flag.read == ReadFrom::Old => return Ok(()),
            Fact::NewWritesStopped if flag.write == WriteTo::Old => return Ok(()),
            // That the operator accepts stale reads shows in `old_stale`.
            Fact::ReadersBack => (FlagChange::ReadOld { accept_stale: flag.old_stale }, at),
            Fact::NewWritesStopped => (FlagChange::WriteOld, at),
        };
        self.forward_only_before_rollback(change)?;
        self.noted(change, forced);
        self.move_stated(change, when)
    }

    /// What stays known of a change of the flag, and what is known no more: what looked at the table before cannot tell
    /// what applications write from then on.
    fn noted(&mut self, change: FlagChange, forced: Option<&String>) {
        match change {
            FlagChange::DualWrite => {
                self.dual_written = true;
                // Without a flag the operator may state what has long been so.
                if self.stated.is_none() {
                    (self.full, self.sampled) = (None, None);
                    self.open = self.open.filter(|open| !matches!(open.phase, Phase::Verify { .. }));
                }
            }
            FlagChange::ReadNew(_) => self.forced_reads = forced.cloned(),
            FlagChange::WriteNew => {
                (self.restored, self.left) = (None, 0);
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
            return Err(Refused::new("only a plan without a flag states what one would say", "status"));
        };
        *flag = moved(flag, change, at)?;
        Ok(())
    }

    /// The refusal of everything but `contract`.
    pub(super) fn contracting(&self) -> Refused {
        match self.contract {
            Way::Complete => Refused::new("the migration is over: the old attribute is gone", "status"),
            Way::Ahead | Way::Begun => {
                Refused::new("the old attribute is being removed, and there is no way back", Goal::Contract)
            }
        }
    }

    /// The refusal of everything but `rollback`.
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
    // What is stated is in effect when it is said to be: there is no cache to wait for.
    let before = flag.settled_at();
    if at < before {
        return Err(Refused::new(
            format!("the fact confirmed before is dated {before}, and this one is earlier"),
            "status",
        ));
    }
    Ok(next)
}
