//! Purges the journal of a migration.

use std::sync::Arc;

use crate::clock::now;
use crate::figure::count;
use crate::migration::history::{migration_kind, parse_event};
use crate::migration::{Answer, Migration, MigrationError, Question};
use crate::playbook::{MigrationState, StepRefusal, check_purge};
use crate::state::{self, StateReader, StoredFact};

/// The result of [`Migration::purge_journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// The number of values that the journal contained.
    pub values: u64,
}

impl Migration {
    /// Deletes every value that the journal keeps, from the state file and from its log. From then on, a rollback is
    /// refused. Copies of the file that somebody made stay as they are. `accepts_no_way_back` is whether the operator
    /// accepts that there is no way back, which is necessary if the migration could still be rolled back.
    ///
    /// # Errors
    ///
    /// Fails if a pass may still need the journal, if the operator does not confirm, or if the state file cannot be
    /// used. If the purge itself fails, the way back is already gone, and the command can be repeated.
    pub async fn purge_journal(&self, accepts_no_way_back: bool) -> Result<PurgeOutcome, MigrationError> {
        let file = state::read(&self.state)?;
        let identity = file.identity().await?;
        if identity.fingerprint != self.plan().fingerprint().as_str() {
            return Err(MigrationError::Refused {
                why: "the state file belongs to another plan. Nothing was done".to_owned(),
                next: self.commands.render("status"),
            });
        }
        self.check_purge(&file, accepts_no_way_back).await?;
        let values = count(file.summary().await?.pre_images, "value", "values");
        drop(file);
        let question = format!(
            "Delete the {values} that the journal in {} keeps? A rollback is not possible afterwards. Copies of this file \
             keep the values.",
            self.state.display()
        );
        self.confirm_purge(&question)?;
        let store = state::open(&self.state, &identity, now)?;
        // The fact first: a purge that dies half-way must not leave a rollback that restores only a part.
        let purged = async {
            store.set_fact(StoredFact::JournalPurged, now()).await?;
            store.history().purge_journal().await
        };
        let purged = purged.await;
        store.close().await?;
        Ok(PurgeOutcome { values: purged? })
    }

    async fn check_purge(&self, file: &Arc<dyn StateReader>, accepts: bool) -> Result<(), MigrationError> {
        let mut state = MigrationState::default();
        for record in file.events().await? {
            state = state.next(&parse_event(&record.event)?).map_err(|refused| self.refused(refused))?;
        }
        let kind = migration_kind(self.plan(), &state);
        check_purge(&state, kind, accepts).map_err(|refused| self.refused(refused))
    }

    fn confirm_purge(&self, question: &str) -> Result<(), MigrationError> {
        if !self.observer.can_confirm() {
            return Err(MigrationError::Refused {
                why:
                    "this command deletes the values in the journal, and there is no terminal to ask for confirmation. \
                      Nothing was done; run it again with --yes"
                        .to_owned(),
                next: self.commands.render("journal purge --yes"),
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
        }
    }
}
