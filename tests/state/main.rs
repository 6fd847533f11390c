//! The conformance suite for stores. Each promise of the traits in `src/state/` has one test function, which runs with
//! every implementation. To add a new store, add it to [`conformance`] with its [`StoreFixture`].
//!
//! `broken.rs` checks that the suite fails for each store that breaks a promise.

mod broken;
mod checkpoints;
mod events;
mod exclusive;
mod history;
mod runs;
mod spend;
mod store;
mod verifications;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use backfill::internals::change::{Digest, Outcome, PreImage};
use backfill::internals::item::{ItemKey, Path, Position, Value};
use backfill::internals::state::memory::MemoryState;
use backfill::internals::state::{
    self, BeginMode, Commit, Counts, Cursor, DivergedItem, Failure, Identity, ListQuery, NewRun, PreImageRow, RunId,
    RunStatus, SegmentEvent, SessionId, State, StoreError, phase,
};
use futures::future::BoxFuture;

/// The stored state of one implementation. A test can open it several times.
trait StoreFixture: Send {
    /// Opens the state for this plan and table.
    fn open_as(&mut self, identity: &Identity) -> Result<State, StoreError>;

    /// Simulates the death of the process that owns the state, and opens the durable state.
    fn crash(&mut self, owned: State) -> State;

    /// Opens the state for the default plan and table.
    fn open(&mut self) -> State {
        self.open_as(&identity()).unwrap()
    }
}

/// A test of one promise. The test panics if the store breaks the promise.
type Promise = for<'a> fn(&'a mut dyn StoreFixture) -> BoxFuture<'a, ()>;

macro_rules! conformance {
    ($($port:ident::$promise:ident),+ $(,)?) => {
        /// Every promise, with its name.
        const PROMISES: &[(&str, Promise)] = &[$((stringify!($promise), |store| Box::pin($port::$promise(store)))),+];

        mod sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$port::$promise(&mut super::SqliteFixture::new()).await;
            })+
        }

        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$port::$promise(&mut super::MemoryFixture::new()).await;
            })+
        }
    };
}

conformance! {
    runs::a_run_that_has_begun_is_durable,
    runs::after_a_crash_the_run_is_stopped_and_its_counts_are_a_lower_bound,
    runs::a_resumed_run_keeps_its_segments,
    runs::a_run_has_one_session_at_a_time,
    runs::another_pass_begins_only_on_request,
    runs::another_pass_needs_a_complete_run,
    runs::a_restart_supersedes_the_unfinished_run,
    runs::a_run_whose_baseline_was_completed_is_never_resumed,
    runs::a_run_has_one_to_a_million_segments,
    runs::a_run_is_complete_only_when_every_segment_is_done,
    runs::an_earlier_session_does_not_end_a_later_one,
    runs::abandoned_pages_make_the_counts_a_lower_bound,
    runs::a_complete_run_resolves_what_earlier_runs_left_open,
    runs::findings_are_accepted_once_and_permanently,
    runs::an_item_that_two_runs_left_open_counts_once,
    runs::a_phase_is_proven_by_an_applied_write_or_a_complete_run,
    runs::a_list_continues_after_the_cursor,
    runs::a_failure_is_resolved_once_and_by_a_fitting_outcome,
    runs::a_failed_retry_counts_as_one_more_attempt,
    runs::a_diverged_item_is_closed_in_every_run_that_has_it,
    runs::an_earlier_session_neither_accepts_nor_resolves,
    runs::a_retry_resolves_what_an_earlier_run_left_open,
    runs::a_superseded_run_accepts_no_more_writes,
    checkpoints::a_commit_is_durable_with_its_failures_and_diverged_items,
    checkpoints::every_kind_of_position_survives,
    checkpoints::a_commit_that_is_refused_stores_nothing,
    checkpoints::progress_never_moves_backwards,
    checkpoints::a_commit_of_an_earlier_session_is_refused_and_changes_nothing,
    checkpoints::a_commit_needs_an_open_session_and_a_segment_of_the_run,
    checkpoints::a_refused_pre_image_that_is_unknown_fails_the_whole_commit,
    checkpoints::segments_are_read_in_order_and_in_pieces,
    checkpoints::totals_are_the_sum_of_the_segments,
    checkpoints::unclear_items_make_the_counts_a_lower_bound,
    history::pre_images_are_durable_when_the_call_returns,
    history::pre_images_of_an_item_come_newest_first,
    history::a_refused_pre_image_is_not_restored,
    history::stable_attributes_keep_their_first_record,
    history::a_delete_is_unconfirmed_until_its_confirmation_is_recorded,
    history::deleted_items_are_listed_once_with_every_page_size,
    history::a_purge_leaves_no_pre_image,
    history::either_all_marks_of_refusal_are_stored_or_none,
    history::an_earlier_session_records_no_history,
    history::a_baseline_needs_an_open_session,
    history::the_baseline_is_durable_when_the_call_returns,
    history::the_first_record_of_an_item_stays,
    history::a_filled_target_is_recognised_by_either_digest,
    history::committing_a_page_forgets_its_items_under_way,
    history::items_under_way_of_a_killed_session_stay_until_their_segment_ends,
    history::the_first_pass_is_the_first_to_read_every_item,
    history::a_complete_rollback_ends_the_recorded_history,
    history::a_complete_run_leaves_no_unfinished_writes,
    history::restarting_the_first_pass_makes_a_rollback_uncertain,
    spend::nothing_is_reserved_before_the_spend_has_begun,
    spend::a_slice_counts_as_spent_after_a_crash,
    spend::a_settled_slice_counts_only_what_was_used,
    spend::an_earlier_session_neither_reserves_nor_settles,
    spend::a_killed_session_cannot_reserve_or_lower_the_spend,
    spend::the_units_of_committed_pages_count_as_spent,
    verifications::a_verification_is_resumed_only_by_the_same_request,
    verifications::verified_pages_are_durable_with_their_mismatches,
    verifications::verified_pages_that_do_not_add_up_store_nothing,
    verifications::an_earlier_session_commits_and_ends_nothing,
    verifications::a_verification_ends_with_a_report_once_all_due_segments_are_done,
    verifications::reports_come_newest_first,
    events::events_are_durable_and_in_order,
    events::an_event_names_the_newest_run,
    events::a_fact_replaces_its_earlier_value_and_is_durable,
    events::only_the_kept_histories_stay,
    events::a_state_without_a_run_can_be_forgotten,
    exclusive::a_different_plan_is_refused_after_work_has_begun,
    exclusive::a_closed_state_takes_no_request_and_can_be_opened_again,
}

/// The SQLite store.
struct SqliteFixture {
    dir: tempfile::TempDir,
    /// The number of processes whose death was simulated.
    crashes: u32,
}

impl SqliteFixture {
    fn new() -> SqliteFixture {
        SqliteFixture { dir: tempfile::tempdir().unwrap(), crashes: 0 }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join(self.crashes.to_string())
    }
}

impl StoreFixture for SqliteFixture {
    fn open_as(&mut self, identity: &Identity) -> Result<State, StoreError> {
        state::open(&self.folder().join("s.db"), identity, || "2026-01-01T00:00:00Z".to_owned())
    }

    /// Copies the files while their owner is alive, because a killed process would leave the same files.
    fn crash(&mut self, owned: State) -> State {
        let from = self.folder();
        self.crashes += 1;
        fs::create_dir(self.folder()).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(file.path(), self.folder().join(file.file_name())).unwrap();
            }
        }
        drop(owned);
        self.open()
    }
}

/// The in-memory state.
struct MemoryFixture(MemoryState);

impl MemoryFixture {
    fn new() -> MemoryFixture {
        MemoryFixture(MemoryState::new(Arc::new(|| "2026-01-01T00:00:00Z".to_owned())))
    }
}

impl StoreFixture for MemoryFixture {
    fn open_as(&mut self, identity: &Identity) -> Result<State, StoreError> {
        self.0 = self.0.open_as(identity)?;
        Ok(State::new(self.0.clone()))
    }

    fn crash(&mut self, owned: State) -> State {
        drop(owned);
        self.open()
    }
}

fn identity() -> Identity {
    Identity {
        migration: "rename".to_owned(),
        fingerprint: "aaaaaaaaaaaaaaaaaaaa".to_owned(),
        table_arn: "arn:aws:dynamodb:eu-west-1:111122223333:table/orders".to_owned(),
        table_id: Some("id-1".to_owned()),
        meaning: "move zip to postcode".to_owned(),
    }
}

const ALL: ListQuery = ListQuery { run: None, open_only: false, after: Cursor::START, limit: u32::MAX };
const OPEN: ListQuery = ListQuery { open_only: true, ..ALL };

fn new_run(total_segments: u32) -> NewRun {
    run_of(phase::EXPAND, total_segments)
}

fn run_of(phase: &str, total_segments: u32) -> NewRun {
    NewRun { phase: phase.to_owned(), total_segments, tool_version: "0.1.0".to_owned(), table_items_estimate: Some(9) }
}

async fn begin(store: &State, mode: BeginMode, total_segments: u32) -> RunId {
    store.begin(mode, new_run(total_segments)).await.unwrap().run.id
}

/// Completes a run of one segment. The items of the segment have these outcomes.
async fn complete(store: &State, mode: BeginMode, phase: &str, outcomes: &[Outcome]) -> RunId {
    let run = store.begin(mode, run_of(phase, 1)).await.unwrap().run.id;
    store.commit(commit(run, 0, pages(1, None, outcomes))).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();
    run
}

fn key(name: impl ToString) -> ItemKey {
    ItemKey::new([("pk".to_owned(), text(name))].into())
}

fn text(value: impl ToString) -> Value {
    Value::S(value.to_string())
}

fn path(name: &str) -> Path {
    Path::attribute(name)
}

fn digest(name: &str) -> Digest {
    Digest::from_text(&key(name).to_text())
}

/// Returns the event that completes page number `first` of a segment. The items of the page have these outcomes. The
/// segment continues at the position `next`, or ends if `next` is `None`.
fn pages(first: u64, next: Option<&str>, outcomes: &[Outcome]) -> SegmentEvent {
    let mut counts = Counts { write_units: outcomes.len() as f64, read_units: 0.5, ..Counts::default() };
    outcomes.iter().for_each(|outcome| counts.count(*outcome));
    SegmentEvent::PagesDone { first, pages: 1, next: next.map(|name| Position::Key(key(name))), counts }
}

/// Returns the run's session with this number.
fn session_of(run: RunId, epoch: u64) -> SessionId {
    SessionId { run, epoch }
}

/// Returns a commit of the run's first session.
fn commit(run: RunId, segment: u32, event: SegmentEvent) -> Commit {
    commit_in(session_of(run, 1), segment, event)
}

fn commit_in(session: SessionId, segment: u32, event: SegmentEvent) -> Commit {
    Commit { session, segment, event, failures: vec![], diverged: vec![], refused: vec![] }
}

/// Returns the last page of a segment, with one failed and one diverged item.
fn page_with_work(run: RunId, segment: u32, failed: &str, diverged: &str) -> Commit {
    Commit {
        failures: vec![failure(failed, "too large")],
        diverged: vec![DivergedItem { key: key(diverged), paths: vec![path("postcode")], derived: None }],
        ..commit(run, segment, pages(1, None, &[Outcome::Rejected, Outcome::Diverged, Outcome::Applied]))
    }
}

fn failure(name: &str, reason: &str) -> Failure {
    Failure { key: key(name), outcome: Outcome::Rejected, reason: reason.to_owned() }
}

fn pre_image(name: &str, value: &str) -> PreImageRow {
    PreImageRow { key: key(name), pre: PreImage::with_value(&path("zip"), &text(value)) }
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
}
