//! The interface to the stored flag, and its errors.

use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::{Flag, FlagMeta, SchemaError};
use crate::clock::Clock;
use crate::dynamodb::TableError;
use crate::dynamodb::control::ControlError;
use crate::outside::UntrustedText;
use crate::plan::Fingerprint;

/// Access to the flag, independent of where the flag is stored.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// Returns the current flag and its metadata; `None` if the flag does not exist.
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError>;

    /// Changes the flag to `next` if the flag is still `expected`. If `expected` is `None`, the flag must not exist
    /// yet. When this function returns, the change is durable and in effect. Returns the flag as it is stored. The
    /// times in the stored flag are times of this host's clock. They are never earlier than the moment when the change
    /// took effect, so they can be slightly in the future.
    ///
    /// After an error, the flag is unchanged unless the error says otherwise. To get the current flag after an error,
    /// call [`FlagStore::read`].
    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError>;

    /// Once any reader has seen another process's change, every reader sees it within this time.
    fn propagation_delay(&self) -> Duration;

    /// Returns a description, for people, of where the flag is stored.
    fn location(&self) -> String;
}

/// The reason why the flag could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FlagStoreError {
    /// The flag is no longer in the state that the change assumed.
    #[error(
        "the flag was changed by somebody else{}: it was {}, and now it is {}. This command did not change it: see \
         `backfill status` and decide again",
        actor_suffix(.actor), flag_text(.expected), flag_text(.found)
    )]
    Changed {
        /// The flag that the change expected to find.
        expected: Option<Box<Flag>>,
        /// The flag that was found.
        found: Option<Box<Flag>>,
        /// The actor who made the last change, according to the flag.
        actor: Option<UntrustedText>,
    },
    /// The flag belongs to another plan.
    #[error(
        "{location} is the flag of another plan (fingerprint {found}; this one has {expected}). Nothing was changed. Name \
         another `key` in [cutover], or use the original plan"
    )]
    Foreign {
        /// The description of where the flag is stored.
        location: String,
        /// The fingerprint of the flag's plan.
        found: UntrustedText,
        /// The fingerprint of this plan.
        expected: String,
    },
    /// The stored content is not a flag in this version's format.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The flag's table cannot be read or written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The flag's table cannot be reached.
    #[error("the flag's table cannot be reached: {error}. {}", .error.remedy())]
    Unreachable {
        /// The cause.
        error: TableError,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// The error of a hook.
#[derive(Debug, thiserror::Error)]
#[error("the hook {program:?} of [cutover.exec] {problem}. {state}")]
pub struct HookError {
    /// The hook's program.
    pub(super) program: String,
    /// A description of the failure. It completes the sentence "the hook PROGRAM …".
    pub(super) problem: String,
    /// What is known about the flag's state, and advice for the operator.
    pub(super) state: &'static str,
}

/// Checks that the flag belongs to this plan.
pub fn check_flag_plan(location: &str, meta: &FlagMeta, plan: &Fingerprint) -> Result<(), FlagStoreError> {
    if meta.plan.as_raw() == plan.as_str() {
        return Ok(());
    }
    Err(FlagStoreError::Foreign {
        location: location.to_owned(),
        found: meta.plan.as_raw().chars().take(12).collect::<String>().into(),
        expected: plan.short().to_owned(),
    })
}

/// Returns the current time plus `ahead`.
pub(super) fn time_after(clock: &Clock, ahead: Duration) -> jiff::Timestamp {
    let now = clock();
    let ahead = SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    now.checked_add(ahead).unwrap_or(now)
}

fn actor_suffix(actor: &Option<UntrustedText>) -> String {
    actor.as_ref().map(|actor| format!(" ({actor})")).unwrap_or_default()
}

fn flag_text(flag: &Option<Box<Flag>>) -> String {
    flag.as_ref().map_or_else(|| "not there".to_owned(), |flag| format!("[{flag}]"))
}
