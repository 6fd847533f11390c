//! A state in memory, for tests. This state implements the store traits without SQLite, threads or a clock of its own.
//!
//! A call takes effect at one instant and is durable from then on. If the process is killed before this instant, the
//! call changes nothing. If the process is killed after this instant, nothing is lost. [`MemoryState::crash`] simulates
//! the kill.

mod checkpoints;
mod events;
mod history;
mod runs;
mod spend;
mod verifications;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    CrashPoint, DivergedRecord, EventRecord, FailureRecord, Identity, Mismatch, PreImageId, RunId, RunRecord,
    RunStatus, SampleDraw, SegmentState, SessionId, SpendState, StateStore, StoreError, VerdictCounts,
    VerificationParameters, rules,
};
use crate::change::{BaselinePair, Digest, PreImage};
use crate::cost::UnitPrices;
use crate::item::{ItemKey, Path};

/// Records about the values of items. The key of the outer map is the item key's text, and the key of the inner map is
/// the value's path. Each record contains the run that recorded it.
type ByItem<T> = BTreeMap<String, BTreeMap<Path, (RunId, T)>>;

/// A function that returns the current time in its stored form.
pub type TimeSource = Arc<dyn Fn() -> String + Send + Sync>;

/// A function that returns how long the next request or the next reply takes to arrive.
pub type Latency = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A function that is called when the process reaches a crash point. If it returns true, the process is dead, and the
/// call in progress never returns.
pub type CrashHook = Arc<dyn Fn(CrashPoint) -> bool + Send + Sync>;

/// The crash points immediately before and immediately after a call takes effect.
type CrashPoints = (Option<CrashPoint>, Option<CrashPoint>);

/// One process's handle to the state of a migration.
#[derive(Clone)]
pub struct MemoryState {
    tables: Arc<Mutex<StateTables>>,
    /// The number of the owner that uses this handle. Only the newest owner can use the state.
    owner: u64,
    time: TimeSource,
    /// The function that returns how long a request or a reply takes to arrive; `None` if they take no time.
    latency: Option<Latency>,
    /// The function that decides at which crash point the process dies.
    crash_hook: Option<CrashHook>,
}

/// The stored tables. All of them are ordered, so that repeated calls return the same results.
#[derive(Debug, Clone, Default)]
struct StateTables {
    owner: u64,
    identity: Option<Identity>,
    runs: Vec<RunRecord>,
    accepted: BTreeSet<(RunId, String)>,
    /// The state of each segment, with the time of the segment's last commit.
    segments: BTreeMap<(RunId, u32), (SegmentState, String)>,
    failures: Vec<FailureRecord>,
    diverged: Vec<DivergedRecord>,
    journal: Vec<JournalRow>,
    /// The indexes of each item's rows in `journal`. The map's key is the text of the item's key.
    item_journal: BTreeMap<String, Vec<usize>>,
    /// The digests of preexisting targets.
    preexisting: ByItem<Digest>,
    /// Pairs of an old and a new attribute. The first pass recorded these pairs.
    pairs: ByItem<BaselinePair>,
    pages_under_way: Vec<PageUnderWay>,
    spend: BTreeMap<RunId, (SpendState, UnitPrices)>,
    /// The sessions that have called `begin_spend` since the state was opened.
    spending: BTreeSet<(RunId, u64)>,
    verifications: BTreeMap<RunId, Verification>,
    verdicts: BTreeMap<(RunId, u32), VerdictCounts>,
    mismatches: BTreeMap<RunId, Vec<Mismatch>>,
    events: Vec<EventRecord>,
    facts: BTreeMap<Cow<'static, str>, String>,
}

#[derive(Debug, Clone)]
struct JournalRow {
    run: RunId,
    key: ItemKey,
    pre: PreImage,
    at: String,
    refused: bool,
}

/// An uncommitted page whose items may have been written.
#[derive(Debug, Clone)]
struct PageUnderWay {
    run: RunId,
    segment: u32,
    session: u32,
    page: u64,
    items: Vec<Digest>,
}

#[derive(Debug, Clone)]
struct Verification {
    parameters: VerificationParameters,
    drawn: Option<SampleDraw>,
    segments_to_read: u32,
    /// The verification's report, and the hash of the report.
    report: Option<(String, String)>,
}

impl MemoryState {
    /// Creates an empty state. `time` returns the current time in its stored form.
    pub fn new(time: TimeSource) -> MemoryState {
        MemoryState { tables: Arc::default(), owner: 0, time, latency: None, crash_hook: None }
    }

    /// Returns a handle to the same state. Every call on this handle takes time before and after the call takes effect.
    /// So if a process is killed during a call, the call may or may not have taken effect.
    pub fn with_latency(self, latency: Latency) -> MemoryState {
        MemoryState { latency: Some(latency), ..self }
    }

    /// Returns a handle to the same state. Calls `hook` whenever a call on this handle, or on the handle of a later
    /// owner, reaches a crash point.
    pub fn with_crash_points(self, hook: CrashHook) -> MemoryState {
        MemoryState { crash_hook: Some(hook), ..self }
    }

    /// Returns a handle to the same state. Calls on this handle take no time and reach no crash point. Use it in a test
    /// that only observes the state.
    pub fn without_latency(self) -> MemoryState {
        MemoryState { latency: None, crash_hook: None, ..self }
    }

    /// Kills the owner. Returns the next owner's handle. The state keeps all durable data. Open sessions become
    /// stopped, and their reserved capacity counts as spent. Every later call on this handle or on one of its clones
    /// fails and changes nothing.
    pub fn crash(&self) -> MemoryState {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.owner += 1;
        for run in tables.runs.iter_mut().filter(|run| run.open_session) {
            run.status = RunStatus::Stopped;
            run.open_session = false;
            run.lower_bound = true;
            run.stop_reason = Some(rules::KILLED.to_owned());
        }
        tables.count_lost_slices_as_spent();
        tables.spending.clear();
        MemoryState { owner: tables.owner, ..self.clone() }
    }

    /// Opens the state for this plan and table, as a new process does. Returns the new owner's handle, like
    /// [`MemoryState::crash`].
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Foreign`] if the state's migration has begun and the state belongs to a different plan or
    /// table. The state is then unchanged.
    pub fn open_as(&self, identity: &Identity) -> Result<MemoryState, StoreError> {
        {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if tables.identity.as_ref().is_some_and(|theirs| !theirs.matches(identity)) && !tables.clear_unless_begun()
            {
                return Err(StoreError::Foreign("the state belongs to another plan or table".to_owned()));
            }
            tables.identity = Some(identity.clone());
        }
        Ok(self.crash())
    }

    /// Returns all stored data as text. Two states are equal if their texts are equal.
    pub fn dump(&self) -> String {
        format!("{:#?}", self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Executes one call, if this handle still belongs to the owner. A failed call changes nothing.
    async fn call<T: Send>(
        &self,
        call: impl FnOnce(&mut StateTables, &str) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.call_at((None, None), call).await
    }

    /// Executes one call, like [`MemoryState::call`]. The process may die at these crash points.
    async fn call_at<T: Send>(
        &self,
        (before, after): CrashPoints,
        call: impl FnOnce(&mut StateTables, &str) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.simulate_latency().await;
        self.reach(before).await;
        let result = self.apply(call);
        self.reach(after).await;
        self.simulate_latency().await;
        result
    }

    /// Reports that the process reached a crash point. Never returns if the process dies there.
    async fn reach(&self, point: Option<CrashPoint>) {
        if let (Some(hook), Some(point)) = (&self.crash_hook, point)
            && hook(point)
        {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether this session reads the rest of a stopped pass without writing an item.
    fn is_read_only(&self, session: SessionId) -> bool {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.run(session.run).is_ok_and(|run| run.looked_through)
    }

    /// Waits for the time that a request or a reply takes to arrive.
    async fn simulate_latency(&self) {
        if let Some(latency) = &self.latency {
            tokio::time::sleep(latency()).await;
        }
    }

    fn apply<T>(&self, call: impl FnOnce(&mut StateTables, &str) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.owner != self.owner {
            return Err(StoreError::Broken("another process owns the state now".to_owned()));
        }
        call(&mut tables, &(self.time)())
    }
}

#[async_trait]
impl StateStore for MemoryState {
    fn now(&self) -> String {
        (self.time)()
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Closes an open session, as the next owner does.
        self.call(|_, _| Ok(())).await?;
        drop(self.crash());
        Ok(())
    }
}

impl StateTables {
    fn run(&self, id: RunId) -> Result<&RunRecord, StoreError> {
        let found = self.runs.iter().find(|run| run.id == id);
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no run {id}")))
    }

    fn run_mut(&mut self, id: RunId) -> Result<&mut RunRecord, StoreError> {
        let found = self.runs.iter_mut().find(|run| run.id == id);
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no run {id}")))
    }

    fn current_run(&self, phase: &str) -> Option<&RunRecord> {
        self.runs.iter().rev().find(|run| run.phase == phase)
    }

    fn runs_of_phase<'a>(&'a self, phase: &'a str) -> impl Iterator<Item = &'a RunRecord> {
        self.runs.iter().filter(move |run| run.phase == phase)
    }

    fn segments_of(&self, run: RunId) -> impl Iterator<Item = (u32, &SegmentState)> {
        let range = (run, 0)..=(run, u32::MAX);
        self.segments.range(range).map(|((_, segment), (state, _))| (*segment, state))
    }

    /// Returns an error if one of these pre-images is not stored.
    fn check_pre_images(&self, ids: &[PreImageId]) -> Result<(), StoreError> {
        let known = |id: &PreImageId| journal_index(*id).is_some_and(|index| index < self.journal.len());
        match ids.iter().find(|id| !known(id)) {
            Some(id) => Err(StoreError::Corrupt(format!("there is no pre-image {id}"))),
            None => Ok(()),
        }
    }

    /// Marks pre-images as refused. Call [`StateTables::check_pre_images`] first.
    fn mark_refused(&mut self, ids: &[PreImageId]) {
        for index in ids.iter().filter_map(|id| journal_index(*id)) {
            self.journal[index].refused = true;
        }
    }
}

/// Returns a pre-image's index in the journal. The ids of pre-images start at 1.
fn journal_index(id: PreImageId) -> Option<usize> {
    usize::try_from(id.number() - 1).ok()
}

fn pre_image_id(index: usize) -> PreImageId {
    PreImageId::from_number(index as i64 + 1)
}
