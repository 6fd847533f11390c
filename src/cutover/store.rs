//! The port to the flag, and its errors.

use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::{Flag, FlagMeta, SchemaError};
use crate::clock::Clock;
use crate::dynamodb::TableError;
use crate::dynamodb::control::ControlError;
use crate::outside::OutsideText;
use crate::plan::Fingerprint;

/// The flag, wherever it is kept.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// The flag as it is now, and on what ground; none where there is none yet.
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError>;

    /// Makes the flag `next` where it is `expected` (none: where there is none). When this returns, the change is durable
    /// and in effect. It returns the flag as it is kept: its times are by when the change was in effect for certain, by this
    /// host's clock, so they may lie a little ahead.
    ///
    /// On an error that does not say otherwise the flag is what it was; [`FlagStore::read`] tells.
    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError>;

    /// For how long a change that somebody else makes may show before everybody who reads the flag reads it.
    fn lead(&self) -> Duration;

    /// Where it is, for people.
    fn place(&self) -> String;
}

/// Why the flag could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FlagStoreError {
    /// It is not what it was when the change was decided on.
    #[error(
        "the flag was changed by somebody else{}: it was {}, and now it is {}. Nothing was changed on top of that: see \
         `backfill status`, and decide again",
        by_whom(.by), shown(.expected), shown(.found)
    )]
    Changed {
        /// What the change was for.
        expected: Option<Box<Flag>>,
        /// What there is.
        found: Option<Box<Flag>>,
        /// Who made the last change, as far as it says so.
        by: Option<OutsideText>,
    },
    /// It belongs to another plan.
    #[error(
        "{place} is the flag of another plan (fingerprint {found}; this one has {expected}). Nothing was changed. Name \
         another `key` in [cutover], or use the plan as it was"
    )]
    Foreign {
        /// Where it is.
        place: String,
        /// Its plan's fingerprint.
        found: OutsideText,
        /// This plan's.
        expected: String,
    },
    /// What is there is no flag of this version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The table does not work.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no way to the table.
    #[error("the flag's table cannot be reached: {error}. {}", .error.way_out())]
    Unreachable {
        /// Why.
        error: TableError,
    },
    /// A hook does not work.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// Why a hook did not do what it is for.
#[derive(Debug, thiserror::Error)]
#[error("the hook {program:?} of [cutover.exec] {problem}. {state}")]
pub struct HookError {
    /// The program.
    pub(super) program: String,
    /// How it failed, as the end of the sentence "the hook PROGRAM …".
    pub(super) problem: String,
    /// What the flag is now, as far as it is known, and what to do.
    pub(super) state: &'static str,
}

/// Whether the flag belongs to this plan.
pub fn check_plan(place: &str, meta: &FlagMeta, plan: &Fingerprint) -> Result<(), FlagStoreError> {
    if meta.plan.as_it_is() == plan.as_str() {
        return Ok(());
    }
    Err(FlagStoreError::Foreign {
        place: place.to_owned(),
        found: meta.plan.as_it_is().chars().take(12).collect::<String>().into(),
        expected: plan.short().to_owned(),
    })
}

/// So far ahead of now.
pub(super) fn by_then(clock: &Clock, ahead: Duration) -> jiff::Timestamp {
    let now = clock();
    let ahead = SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    now.checked_add(ahead).unwrap_or(now)
}

fn by_whom(actor: &Option<OutsideText>) -> String {
    actor.as_ref().map(|actor| format!(" ({actor})")).unwrap_or_default()
}

fn shown(flag: &Option<Box<Flag>>) -> String {
    flag.as_ref().map_or_else(|| "not there".to_owned(), |flag| format!("[{flag}]"))
}
