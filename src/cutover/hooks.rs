//! A flag that two of the operator's programs read and store (`[cutover.exec]`). The program `get` prints the flag, and
//! the program `set` stores it. Hooks work with AppConfig, SSM, LaunchDarkly and any other service that can store a
//! JSON document.
//!
//! No shell is involved: a hook is a program and its arguments. `get` prints the flag as a JSON document
//! (docs/flag.schema.json). If the flag does not exist, `get` prints nothing. `set` receives the new flag on stdin. The
//! environment variable `BACKFILL_EXPECTED_VERSION` contains the version that the new flag replaces (0 if the flag does
//! not exist). `set` must not report success before the new flag is in effect, which means that every later reader gets
//! this flag. Running `set` twice must give the same result. If `get` and `set` disagree, the output of `get` is the
//! truth about the flag.
//!
//! This module cannot prevent two hosts from running `set` at the same time. If the service supports compare-and-set,
//! `set` must check the expected version.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use super::schema::{from_json, to_json};
use super::store::{FlagStore, FlagStoreError, HookError, time_after};
use super::{Flag, FlagMeta};
use crate::clock::Clock;
use crate::plan::FlagHooks;
use crate::program::Program;

const UNREAD: &str = "The flag could not be read, and nothing was changed: fix the hook and run the same command again";
const UNCHANGED: &str = "The flag is unchanged (`get` shows this): fix the hook and run the same command again";
const UNKNOWN: &str = "The current flag is unknown: check what `get` prints, fix the hook and run the same command again. \
     It reads the flag first";

/// The maximum number of `set` calls for one change. A failed call can still take effect, at an unknown time. If a
/// later call succeeds, the flag was in effect at the latest when that call ended.
const MAX_SET_CALLS: u32 = 3;

/// The pause between two `get` calls until `get` prints the new flag.
const GET_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A flag that hooks read and store.
pub struct HookStore {
    hooks: FlagHooks,
    clock: Clock,
}

impl HookStore {
    /// Creates the store for the flag that these hooks read and set.
    pub fn new(hooks: FlagHooks, clock: Clock) -> HookStore {
        HookStore { hooks, clock }
    }

    async fn get(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        let argv = &self.hooks.get;
        let failed = |problem| HookError { program: program(argv), problem, state: UNREAD };
        let output = run(argv, None, 0, self.hooks.timeout).await.map_err(failed)?;
        if output.trim().is_empty() {
            return Ok(None);
        }
        let json: Json = serde_json::from_str(&output).map_err(|error| {
            failed(format!("printed something that is not JSON (line {}, column {})", error.line(), error.column()))
        })?;
        if json.is_null() { Ok(None) } else { Ok(Some(from_json(&json)?)) }
    }

    async fn set(&self, flag: &Flag, meta: &FlagMeta, expected: u64) -> Result<(), String> {
        let document = to_json(flag, meta).to_string();
        run(&self.hooks.set, Some(document), expected, self.hooks.timeout).await.map(drop)
    }

    /// Reads the flag with `get` after a `set`. If the `set` succeeded, waits until `get` prints the new flag.
    async fn read_after_set(&self, wanted: &Flag, succeeded: bool) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        let until = Instant::now() + self.hooks.timeout;
        loop {
            let found = self.get().await?;
            let shows = found.as_ref().is_some_and(|(flag, _)| flag == wanted);
            if shows || !succeeded || Instant::now() >= until {
                return Ok(found);
            }
            sleep(GET_RETRY_PAUSE).await;
        }
    }

    fn set_failed(&self, problem: String, state: &'static str) -> FlagStoreError {
        HookError { program: program(&self.hooks.set), problem, state }.into()
    }
}

#[async_trait]
impl FlagStore for HookStore {
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        self.get().await
    }

    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError> {
        let mut before = expected.cloned();
        let found = self.get().await?;
        if found.as_ref().map(|(flag, _)| flag) != before.as_ref() {
            return Err(changed(before, found));
        }
        let mut problem = String::new();
        for _ in 0..MAX_SET_CALLS {
            // If a `set` succeeds, it takes effect within its time limit.
            let stored = next.clone().with_changed_at(time_after(&self.clock, self.hooks.timeout));
            let set = self.set(&stored, meta, before.as_ref().map_or(0, |flag| flag.version)).await;
            let found = match self.read_after_set(&stored, set.is_ok()).await {
                Ok(found) => found,
                Err(FlagStoreError::Hook(error)) => return Err(HookError { state: UNKNOWN, ..error }.into()),
                Err(other) => return Err(other),
            };
            let shows = found.as_ref().map(|(flag, _)| flag);
            match set {
                Ok(()) if shows == Some(&stored) => return Ok(stored),
                // The change took effect at an unknown time. Call `set` again, with a later time in the flag.
                Err(why) if shows == Some(&stored) => {
                    before = Some(stored);
                    problem = why;
                }
                Ok(()) if shows == before.as_ref() => {
                    let problem = "succeeded, but the flag is unchanged".to_owned();
                    return Err(self.set_failed(
                        problem,
                        "Make `set` end only after `get` prints the new flag, or raise `timeout`",
                    ));
                }
                Err(why) if shows == before.as_ref() => {
                    return Err(self.set_failed(why, if before.as_ref() == expected { UNCHANGED } else { UNKNOWN }));
                }
                _ => return Err(changed(before, found)),
            }
        }
        Err(self.set_failed(problem, UNKNOWN))
    }

    /// Another process's `set` can still be running. It ends within its time limit. From then on, the flag that `get`
    /// prints is in effect everywhere.
    fn propagation_delay(&self) -> Duration {
        self.hooks.timeout
    }

    fn location(&self) -> String {
        format!("the flag that {:?} prints", program(&self.hooks.get))
    }
}

fn changed(expected: Option<Flag>, found: Option<(Flag, FlagMeta)>) -> FlagStoreError {
    let (found, actor) = found.map(|(flag, meta)| (Box::new(flag), meta.actor)).unzip();
    FlagStoreError::Changed { expected: expected.map(Box::new), found, actor }
}

fn program(argv: &[String]) -> String {
    Program::name(argv).to_owned()
}

/// Runs a hook. For `set`, an environment variable contains the version that the new flag replaces.
async fn run(argv: &[String], input: Option<String>, expected: u64, limit: Duration) -> Result<String, String> {
    let environment = input.iter().map(|_| ("BACKFILL_EXPECTED_VERSION", expected.to_string())).collect();
    let program = Program { argv, input, environment, limit };
    program.run().await.map_err(|error| error.to_string())
}

#[cfg(all(test, unix))]
mod tests;
