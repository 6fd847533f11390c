//! Steers the process that works on a migration. If there is no such process, stores the settings for the next process.

use std::sync::Arc;

use crate::clock::{now, wall_clock};
use crate::migration::{Migration, MigrationError, Steerer};
use crate::plan::Capacity;
use crate::state::{self, StateReader, StoredFact};
use crate::steering::socket::{SendError, send};
use crate::steering::{Command, Reply, Request, Settings};

/// The error of [`Migration::steer`].
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The tool could not reach the running process.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The state file could not be used, or the command was refused.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

/// The result of a command that steers a migration.
#[derive(Debug)]
pub struct SteerOutcome {
    /// The answer.
    pub reply: Reply,
    /// Whether a running process carried out the command. If false, a changed setting is stored for the next step
    /// forward.
    pub is_live: bool,
}

impl Migration {
    /// Carries out an operator's command in the process that works on this migration. If there is no such process,
    /// changes the state file instead. When this function returns, the effect is durable.
    ///
    /// # Errors
    ///
    /// Fails if the running process cannot be reached or refuses, if the state file cannot be used, or if the command
    /// is `drain` and no process is running.
    pub async fn steer(&self, command: Command) -> Result<SteerOutcome, SteerError> {
        let request = Request::new(self.plan().fingerprint().as_str(), &self.actor, command);
        let sent = match send(&self.state, &request).await {
            Ok(reply) => Some(reply),
            Err(SendError::NoProcess(_)) => None,
            Err(error @ (SendError::Denied(_) | SendError::NoAnswer { .. })) => return Err(error.into()),
        };
        let is_live = sent.is_some();
        let reply = match sent {
            Some(reply) => reply,
            None => self.steer_without_process(&request).await?,
        };
        match &reply.refused {
            Some(why) => Err(self.refuse(why).into()),
            None => Ok(SteerOutcome { reply, is_live }),
        }
    }

    async fn steer_without_process(&self, request: &Request) -> Result<Reply, MigrationError> {
        let file = state::read(&self.state)?;
        let identity = file.identity().await?;
        if identity.fingerprint != self.plan().fingerprint().as_str() {
            return Err(self.refuse("the state file belongs to another plan. Nothing was done"));
        }
        match &request.command {
            Command::Status => return stored_settings(file, &self.plan().capacity).await,
            Command::Drain => {
                return Err(self.refuse("no process is working on this migration, so there is nothing to drain"));
            }
            Command::Pause { .. } | Command::Resume | Command::Rate { .. } | Command::PlanRate => drop(file),
        }
        let store = state::open(&self.state, &identity, now)?;
        let steerer = Steerer::new(store.clone(), self.plan(), wall_clock());
        let remembered = steerer.restore().await?;
        let reply = steerer.carry_out(request).await?;
        // If the command was refused, the reply does not mention the rate, so do not remove the rate.
        if reply.refused.is_none() {
            steerer.keep().await?;
        }
        drop(steerer);
        store.close().await?;
        let text =
            "stored: no process works on this migration now. The next `run`, `verify` or other step forward uses \
                    this setting"
                .to_owned();
        let outdated = remembered.outdated_text().map_or_else(String::new, |outdated| format!(". {outdated}"));
        Ok(Reply { text: text + &outdated, ..reply })
    }

    fn refuse(&self, why: &str) -> MigrationError {
        MigrationError::Refused { why: why.to_owned(), next: self.commands.render("status"), not_before: None }
    }
}

async fn stored_settings(file: Arc<dyn StateReader>, capacity: &Capacity) -> Result<Reply, MigrationError> {
    let text = file.fact(StoredFact::Steering).await?;
    let mut settings = text.and_then(|text| Settings::from_text(&text)).unwrap_or_default();
    settings.take_outdated_rate(capacity);
    let Settings { paused, rate, record } = settings;
    let state = serde_json::json!({ "paused": paused, "rate": rate, "record": record, "activity": null, "pass": null });
    Ok(Reply { refused: None, text: "no process works on this migration".to_owned(), state })
}
