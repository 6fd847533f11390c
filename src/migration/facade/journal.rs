//! Purges the journal of a migration.

use std::sync::Arc;

use crate::clock::now;
use crate::figure::count;
use crate::migration::history::{migration_kind, parse_event};
use crate::migration::{Answer, Migration, MigrationError, Question};
use crate::playbook::{EventBody, MigrationState, StepRefusal, check_purge, items_left_by_rollback};
use crate::state::{self, EventRecord, State, StateReader, StoredFact, phase};

/// The phases of a rollback.
const WAY_BACK: [&str; 2] = [phase::OLD_EQUAL_NEW, phase::ROLLBACK];

/// The result of [`Migration::purge_journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// The number of values that the journal contained. For each derived item, the journal contains several values.
    pub values: u64,
    /// The number of derived items that the journal recorded. `None` if the plan does not put derived items.
    pub derived_items: Option<u64>,
}

/// The records in the state file that determine whether a purge of the journal is allowed.
struct RecordedForPurge {
    events: Vec<EventRecord>,
    /// The minimum number of items that the rollback did not restore. For each phase of the rollback, open failures and
    /// diverged items are added. The number is the largest of these sums.
    failures: u64,
    /// The number of items whose state before the migration is unknown. `None` if there are no such items.
    unsure: Option<u64>,
}

impl RecordedForPurge {
    async fn read(file: &Arc<dyn StateReader>) -> Result<RecordedForPurge, MigrationError> {
        let mut failures = 0;
        for phase in WAY_BACK {
            let open = file.open_work_of_phase(phase).await?;
            failures = failures.max(open.failures + open.diverged);
        }
        Ok(RecordedForPurge { events: file.events().await?, failures, unsure: file.unrestorable_targets().await? })
    }

    async fn read_locked(store: &State) -> Result<RecordedForPurge, MigrationError> {
        let mut failures = 0;
        for phase in WAY_BACK {
            let open = store.open_work_of_phase(phase).await?;
            failures = failures.max(open.failures + open.diverged);
        }
        Ok(RecordedForPurge { events: store.events().await?, failures, unsure: store.unrestorable_targets().await? })
    }
}

impl Migration {
    /// Deletes every value in the journal from the state file and from its log. After the purge, a rollback is refused.
    /// Copies of the state file still contain the values. `accepts_no_way_back` is true if the operator accepts that no
    /// rollback will be possible. This acceptance is necessary if the migration could still be rolled back, or if a
    /// forced rollback did not restore some items.
    ///
    /// # Errors
    ///
    /// Fails if a pass may still need the journal, if the operator does not confirm, if another command changed the
    /// migration before the operator confirmed, or if the state file cannot be used. If the purge itself fails, a
    /// rollback is no longer possible, but the purge can be repeated.
    pub async fn purge_journal(&self, accepts_no_way_back: bool) -> Result<PurgeOutcome, MigrationError> {
        let file = state::read(&self.state)?;
        let identity = file.identity().await?;
        if identity.fingerprint != self.plan().fingerprint().as_str() {
            return Err(MigrationError::Refused {
                why: "the state file belongs to another plan. Nothing was done".to_owned(),
                next: self.commands.render("status"),
                not_before: None,
            });
        }
        let shown = RecordedForPurge::read(&file).await?;
        let left = self.check_purge(&shown, accepts_no_way_back)?;
        let derived_items = if self.plan().puts_items() { Some(file.derived_items().await?) } else { None };
        let values = match derived_items {
            Some(items) => count(items, "derived item", "derived items"),
            None => count(file.summary().await?.pre_images, "value", "values"),
        };
        drop(file);
        let left = match left {
            0 => String::new(),
            left => format!(" The rollback left at least {} unrestored.", count(left, "item", "items")),
        };
        let question = format!(
            "Delete the {values} that the journal in {} keeps?{left} A rollback is not possible afterwards. Copies of \
             this file keep the values.",
            self.state.display()
        );
        self.confirm_purge(&question)?;
        let store = state::open(&self.state, &identity, now)?;
        let purged = async {
            // Another command may have worked on the migration before this command locked the file.
            let locked = RecordedForPurge::read_locked(&store).await?;
            self.check_purge(&locked, accepts_no_way_back)?;
            if locked.events != shown.events {
                return Err(MigrationError::Refused {
                    why: "another command changed the migration in the meantime. Nothing was done; check the status, \
                          then run the purge again"
                        .to_owned(),
                    next: self.commands.render("status"),
                    not_before: None,
                });
            }
            // Record the purge first. Otherwise, if the purge died half-way, a rollback could restore only a part of
            // the values.
            store.set_fact(StoredFact::JournalPurged, now()).await?;
            Ok(store.history().purge_journal().await?)
        };
        let purged = purged.await;
        store.close().await?;
        Ok(PurgeOutcome { values: purged?, derived_items })
    }

    /// Checks whether a purge of the journal is allowed. Returns the number of items that a forced rollback did not
    /// restore.
    fn check_purge(&self, recorded: &RecordedForPurge, accepts: bool) -> Result<u64, MigrationError> {
        let mut state = MigrationState::default();
        let mut is_forced = false;
        for record in &recorded.events {
            let event = parse_event(&record.event)?;
            is_forced |= matches!(event.body, EventBody::RollbackBegun { forced: Some(_) });
            state = state.next(&event).map_err(|refused| self.refused(refused))?;
        }
        let kind = migration_kind(self.plan(), &state);
        // If the state before the migration is known for every item, a rollback needs no force to begin.
        let unsure = recorded.unsure.or(is_forced.then_some(1));
        let left = items_left_by_rollback(&state, recorded.failures, unsure);
        check_purge(&state, kind, accepts, left).map_err(|refused| self.refused(refused))?;
        Ok(left)
    }

    fn confirm_purge(&self, question: &str) -> Result<(), MigrationError> {
        if !self.observer.can_confirm() {
            return Err(MigrationError::Refused {
                why:
                    "this command deletes the values in the journal, and there is no terminal to ask for confirmation. \
                      Nothing was done; run it again with --yes"
                        .to_owned(),
                next: self.commands.render("journal purge --yes"),
                not_before: None,
            });
        }
        match self.observer.confirm(&Question { text: question }) {
            Answer::Yes => Ok(()),
            Answer::No => Err(MigrationError::NotConfirmed),
        }
    }

    fn refused(&self, refused: StepRefusal) -> MigrationError {
        MigrationError::Refused {
            why: format!("{}. Nothing was done", refused.why),
            next: refused.next.render(&self.commands),
            not_before: refused.not_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::Timestamp;

    use super::*;
    use crate::dynamodb::TableDescription;
    use crate::migration::{Observer, Options};
    use crate::playbook::{Event, Phase, PlanKind};
    use crate::state::Identity;

    const PLAN: &str = "[migration]\nname = \"m\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\n\
                        [[change]]\nmove = \"a\"\nto = \"b\"\n";

    /// Another terminal that changes the migration while the operator reads the question.
    struct OtherTerminal {
        state: PathBuf,
        identity: Identity,
        events: Vec<EventBody>,
    }

    impl Observer for OtherTerminal {
        fn confirm(&self, _: &Question<'_>) -> Answer {
            std::thread::scope(|scope| {
                let works = || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(append(&self.state, &self.identity, &self.events));
                };
                scope.spawn(works).join().unwrap();
            });
            Answer::Yes
        }
    }

    async fn append(path: &std::path::Path, identity: &Identity, events: &[EventBody]) {
        let store = state::open(path, identity, now).unwrap();
        for body in events {
            let event = Event { at: Timestamp::UNIX_EPOCH, actor: "test".to_owned(), flag: None, body: body.clone() };
            store.append_event(serde_json::to_string(&event).unwrap()).await.unwrap();
        }
        store.close().await.unwrap();
    }

    /// The purge deletes the last copies of values, so it must not use records that it read before it acquired the
    /// lock.
    #[tokio::test]
    async fn a_purge_sees_what_another_command_did_meanwhile() {
        let plan = crate::plan::load("m", PLAN).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let identity = Identity::from_plan(&plan, &TableDescription::for_tests());
        let ran = [
            EventBody::PreflightAccepted { kind: PlanKind::InPlace, accepted: Vec::new() },
            EventBody::PhaseBegun { phase: Phase::Expand },
            EventBody::PhaseComplete { phase: Phase::Expand, scanned: None },
        ];
        for (meanwhile, why) in [
            (vec![EventBody::RollbackBegun { forced: None }], "the rollback is not complete, and it needs the journal"),
            (vec![EventBody::PhaseBegun { phase: Phase::Expand }], "the run is not complete"),
            (ran[1..].to_vec(), "another command changed the migration"),
            (Vec::new(), ""),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("state.db");
            append(&state, &identity, &ran).await;
            let other = OtherTerminal { state: state.clone(), identity: identity.clone(), events: meanwhile };
            let options = Options { state: Some(state.clone()), observer: Arc::new(other), ..Options::default() };
            let migration = Migration::from_text("m", PLAN, options).unwrap();
            let purged = migration.purge_journal(true).await.map_err(|error| error.to_string());
            let fact = state::read(&state).unwrap().fact(StoredFact::JournalPurged).await.unwrap();
            assert_eq!((purged.is_ok(), fact.is_some()), (why.is_empty(), why.is_empty()), "{why}: {purged:?}");
            if let Err(refused) = purged {
                assert!(refused.contains(why) && refused.contains("Nothing was done"), "{refused}");
            }
        }
    }

    /// After a forced rollback, the journal may contain the only copies of some values.
    #[tokio::test]
    async fn a_purge_after_a_forced_rollback_needs_an_acceptance() {
        let plan = crate::plan::load("m", PLAN).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let identity = Identity::from_plan(&plan, &TableDescription::for_tests());
        for (reason, accepts, is_purged) in
            [(None, false, true), (Some("because"), false, false), (Some("because"), true, true)]
        {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("state.db");
            let rolled_back = [
                EventBody::PreflightAccepted { kind: PlanKind::InPlace, accepted: Vec::new() },
                EventBody::PhaseBegun { phase: Phase::Expand },
                EventBody::PhaseComplete { phase: Phase::Expand, scanned: None },
                EventBody::RollbackBegun { forced: reason.map(str::to_owned) },
                EventBody::PhaseBegun { phase: Phase::Undo },
                EventBody::PhaseComplete { phase: Phase::Undo, scanned: None },
            ];
            append(&state, &identity, &rolled_back).await;
            let other = OtherTerminal { state: state.clone(), identity: identity.clone(), events: Vec::new() };
            let options = Options { state: Some(state.clone()), observer: Arc::new(other), ..Options::default() };
            let migration = Migration::from_text("m", PLAN, options).unwrap();
            let purged = migration.purge_journal(accepts).await.map_err(|error| error.to_string());
            assert_eq!(purged.is_ok(), is_purged, "{reason:?}, {accepts}: {purged:?}");
            if let Err(refused) = purged {
                assert!(refused.contains("1 item") && refused.contains("--accept no-way-back"), "{refused}");
            }
        }
    }
}
