//! The flag behind two programs of the operator's: `get` prints it, `set` takes it (`[cutover.exec]`). For AppConfig, SSM,
//! LaunchDarkly and whatever else can keep a JSON document.
//!
//! There is no shell: a program and its arguments. `get` prints the flag as a JSON document (docs/flag.schema.json), or
//! nothing where there is none. `set` is given it on stdin, and in `BACKFILL_EXPECTED_VERSION` the version that it
//! replaces (0: none). It succeeds once the flag is in effect: whoever reads it from then on reads this one. Doing it twice
//! is as good as once. Whatever became of a `set`, `get` decides what is so.
//!
//! Two hosts that set at once are not kept apart by anything here: that takes a `set` which looks at the expected version
//! where its service can compare and set.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::schema::{from_json, to_json};
use super::store::{FlagStore, FlagStoreError, HookError, by_then};
use super::{Flag, FlagMeta};
use crate::clock::Clock;
use crate::outside::escaped;
use crate::plan::FlagHooks;

const UNREAD: &str =
    "The flag could not be read, and nothing was changed: mend the hook, and run the same command again";
const UNCHANGED: &str = "The flag is what it was (`get` says so): mend the hook, and run the same command again";
const UNKNOWN: &str = "What the flag is now is not known: see what `get` prints, mend the hook, and run the same command again, which looks \
     first";

/// A flag takes less than a kilobyte; what is longer is something else.
const MAX_OUTPUT: u64 = 64 * 1024;

/// So often `set` is tried where it failed and took effect all the same, to know by when it did.
const TRIES: u32 = 3;

/// Between two looks at a flag that was set and does not show yet.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The flag behind hooks.
pub struct HookStore {
    hooks: FlagHooks,
    clock: Clock,
}

impl HookStore {
    /// The flag that these hooks read and set.
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

    /// What `get` says after a `set`; one that succeeded is given some time to show.
    async fn look(&self, wanted: &Flag, succeeded: bool) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        let until = Instant::now() + self.hooks.timeout;
        loop {
            let found = self.get().await?;
            let shows = found.as_ref().is_some_and(|(flag, _)| flag == wanted);
            if shows || !succeeded || Instant::now() >= until {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
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
        for _ in 0..TRIES {
            // A `set` that succeeds takes effect within its time limit.
            let kept = next.clone().made_at(by_then(&self.clock, self.hooks.timeout));
            let set = self.set(&kept, meta, before.as_ref().map_or(0, |flag| flag.version)).await;
            let found = match self.look(&kept, set.is_ok()).await {
                Ok(found) => found,
                Err(FlagStoreError::Hook(error)) => return Err(HookError { state: UNKNOWN, ..error }.into()),
                Err(other) => return Err(other),
            };
            let shows = found.as_ref().map(|(flag, _)| flag);
            match set {
                Ok(()) if shows == Some(&kept) => return Ok(kept),
                // It took effect, and nobody knows when: once more, with a time after that.
                Err(why) if shows == Some(&kept) => (before, problem) = (Some(kept), why),
                Ok(()) if shows == before.as_ref() => {
                    let problem = "succeeded, and the flag is what it was".to_owned();
                    return Err(self.set_failed(
                        problem,
                        "Let `set` end only once `get` prints what it was given, or raise `timeout`",
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

    /// A `set` of somebody else's may still be under way: what `get` shows is in effect everywhere when it ends.
    fn lead(&self) -> Duration {
        self.hooks.timeout
    }

    fn place(&self) -> String {
        format!("the flag that {:?} prints", program(&self.hooks.get))
    }
}

fn changed(expected: Option<Flag>, found: Option<(Flag, FlagMeta)>) -> FlagStoreError {
    let (found, by) = found.map(|(flag, meta)| (Box::new(flag), meta.actor)).unzip();
    FlagStoreError::Changed { expected: expected.map(Box::new), found, by }
}

fn program(argv: &[String]) -> String {
    argv.first().cloned().unwrap_or_default()
}

/// Runs a program to its end and returns what it printed; or what became of it.
async fn run(argv: &[String], input: Option<String>, expected: u64, limit: Duration) -> Result<String, String> {
    let mut command = Command::new(program(argv));
    command.args(argv.iter().skip(1)).kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    if input.is_some() {
        command.env("BACKFILL_EXPECTED_VERSION", expected.to_string());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("could not be started ({error})"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let (Some(mut stdin), Some(text)) = (stdin, input) {
            // A program that does not read its input to the end may have its reasons; its exit code counts.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let all = async { tokio::join!(give, take(stdout), take(stderr), child.wait()) };
    // The program is killed when `child` goes out of scope.
    let Ok((_, output, errors, status)) = timeout(limit, all).await else {
        return Err(format!("did not end within its `timeout` ({} s)", limit.as_secs()));
    };
    if output.len() as u64 > MAX_OUTPUT {
        return Err(format!("printed more than {MAX_OUTPUT} bytes"));
    }
    let status = status.map_err(|error| format!("could not be waited for ({error})"))?;
    if !status.success() {
        let said: String = String::from_utf8_lossy(&errors).trim().chars().take(400).collect();
        let saying = if said.is_empty() { "" } else { ", saying: " };
        return Err(format!("failed ({status}){saying}{}", escaped(&said)));
    }
    String::from_utf8(output).map_err(|_| "printed something that is not UTF-8 text".to_owned())
}

/// What comes out, up to a little more than may: a program that prints without end is left to its time limit.
async fn take(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What could not be read is missing, and then it is no flag.
        let _ = from.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await;
    }
    bytes
}

#[cfg(all(test, unix))]
mod tests;
