//! `exec`: values that a program of the operator computes.
//!
//! The decision stays pure. If an item needs an answer of a program, the decision contains the [`ProgramQuestion`]. The
//! caller asks the program and decides again with the [`ProgramAnswers`]. An answer is valid only for the inputs from
//! which it was computed. If the inputs differ, the decision asks again. The write is conditional on every input, so a
//! stale answer is never written.
//!
//! The marker is the SHA-256 of the inputs, and each write sets it together with the outputs. It shows from which
//! inputs the outputs were computed, so no pass has to compute them again. A program that always computes the same
//! outputs from the same inputs needs no marker (`recomputed.rs`).

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ItemHistory;
use super::digest::with_canonical_numbers;
use crate::item::{Item, Path, Value, item_to_json};

/// What an `exec` change runs, reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Exec {
    /// The program and its arguments. There is no shell.
    pub argv: Vec<String>,
    /// The attributes that the program receives. A write is conditional on each of them.
    pub inputs: Vec<Path>,
    /// The attributes that the program computes. It cannot write any other attribute.
    pub outputs: Vec<Path>,
    /// The attribute that gets the SHA-256 of the inputs, in the same write as the outputs. `None` if the program is
    /// deterministic. In that case, the tool asks the program again instead.
    pub marker: Option<Path>,
    /// Additional files that determine what the program computes. Their content is part of the plan's fingerprint.
    pub files: Vec<String>,
    /// The names of the environment variables that the program receives. It receives no others.
    pub env: Vec<String>,
    /// Maximum number of processes.
    pub workers: usize,
    /// The maximum number of items in one batch for a process.
    pub batch: usize,
    /// The time within which a process must answer a batch.
    pub timeout: Duration,
    /// The additional time for the first batch of a process.
    pub start_timeout: Duration,
    /// The program as found on this machine. It is not part of the plan's text. `None` until the program's files have
    /// been looked up.
    pub program: Option<ProgramFiles>,
}

/// The program of an `exec` change as it was found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct ProgramFiles {
    /// The folder of the plan, which is the working directory of the program.
    pub folder: PathBuf,
    /// The file that is started, or the reason why the program cannot be started.
    pub executable: Result<PathBuf, String>,
    /// Whether the program was found through `PATH`. If so, its content is not part of the fingerprint.
    pub from_path: bool,
    /// The SHA-256 of the names and the content of the files that belong to the program, in hexadecimal digits.
    pub digest: String,
}

/// What an item still needs from a program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramQuestion {
    /// The position of the `exec` change in the plan.
    pub position: usize,
    /// The inputs that the item has.
    pub inputs: Item,
    /// The SHA-256 of the inputs.
    pub digest: String,
    /// Whether the item already has a value for each output. Such an item needs a write only if the answer differs from
    /// these values.
    pub compares: bool,
}

/// A program's answer to a question: a value for each output, or the reason why there is no valid answer. The reason
/// contains no values, and completes the sentence "the program …".
pub type ProgramAnswer = Result<Item, String>;

/// The answers to the questions about one item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgramAnswers(Vec<(ProgramQuestion, ProgramAnswer)>);

impl ProgramAnswers {
    /// No answers.
    pub(super) const NONE: &'static ProgramAnswers = &ProgramAnswers(Vec::new());

    /// Adds the answer to a question.
    pub fn add(&mut self, question: ProgramQuestion, answer: ProgramAnswer) {
        self.0.push((question, answer));
    }

    /// Returns the answer to a question of this change about inputs with this SHA-256.
    pub(super) fn to(&self, position: usize, digest: &str) -> Option<&ProgramAnswer> {
        self.all_to(position, digest).next()
    }

    /// Returns every answer to a question of this change about inputs with this SHA-256.
    pub(super) fn all_to<'a, 'd>(
        &'a self,
        position: usize,
        digest: &'d str,
    ) -> impl Iterator<Item = &'a ProgramAnswer> + use<'a, 'd> {
        let is_same = move |question: &ProgramQuestion| question.position == position && question.digest == digest;
        self.0.iter().filter(move |(question, _)| is_same(question)).map(|(_, answer)| answer)
    }
}

/// The state of an item with respect to an `exec` change.
pub(super) enum ExecState {
    /// The item has no input, so there is nothing to compute.
    NoInputs,
    /// The marker shows that the outputs were computed from the current inputs.
    Applied,
    /// These targets have values, but an output or the marker of the current inputs is missing.
    Occupied(Vec<Path>),
    /// The marker and all outputs are missing.
    Free,
}

/// How an item differs from what an `exec` change implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecFault {
    /// A value is missing.
    Missing,
    /// The outputs do not belong to the current inputs, or somebody has changed an output since.
    Stale,
    /// The inputs are gone, but the migration's marker is still there.
    Unexpected,
    /// A different value existed before, and the plan counts it as done.
    Skipped,
}

impl Exec {
    /// Returns the inputs that an item has.
    pub fn inputs_of(&self, item: &Item) -> Item {
        let present = self.inputs.iter().filter_map(|input| Some((input.root().to_owned(), input.get(item)?.clone())));
        present.collect()
    }

    /// Returns the paths that the change writes: the outputs, then the marker.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        self.outputs.iter().chain(&self.marker)
    }

    /// Returns the path whose value shows that the migration wrote the outputs: the marker, or the first output if the
    /// change has no marker. A plan's `exec` has at least one output.
    pub fn main_target(&self) -> &Path {
        self.marker.as_ref().unwrap_or(&self.outputs[0])
    }

    /// Returns a short name of the program for messages: the outputs that it computes.
    pub fn names_of_outputs(&self) -> String {
        self.outputs.iter().map(|output| format!("`{output}`")).collect::<Vec<_>>().join(", ")
    }

    /// Returns the state of an item whose inputs have this SHA-256.
    pub(super) fn state(&self, marker: &Path, item: &Item, digest: &str) -> ExecState {
        if self.inputs.iter().all(|input| input.get(item).is_none()) {
            return ExecState::NoInputs;
        }
        let marker = marker.get(item);
        if marker == Some(&Value::S(digest.to_owned())) && self.outputs.iter().all(|output| output.get(item).is_some())
        {
            return ExecState::Applied;
        }
        let occupied: Vec<Path> = self.targets().filter(|target| target.get(item).is_some()).cloned().collect();
        if occupied.is_empty() { ExecState::Free } else { ExecState::Occupied(occupied) }
    }

    /// Compares an item with this change. `position` is the position of the change in the plan. Returns the path and
    /// the kind of the fault, or `None` if the item matches. `record` shows which values the migration wrote. `answers`
    /// are the answers to the question of [`Exec::comparison`]. A change with a marker needs no answers.
    pub fn compare(
        &self,
        position: usize,
        item: &Item,
        record: &ItemHistory,
        skips_existing: bool,
        answers: &ProgramAnswers,
    ) -> Option<(&Path, ExecFault)> {
        match &self.marker {
            Some(marker) => self.fault(marker, item, record, skips_existing),
            None => self.fault_by_answer(position, item, record, skips_existing, answers),
        }
    }

    /// Compares an item with this change by its marker.
    ///
    /// The comparison also trusts a marker that somebody else wrote, because applications may compute the outputs
    /// themselves.
    fn fault<'a>(
        &'a self,
        marker: &'a Path,
        item: &Item,
        record: &ItemHistory,
        skips_existing: bool,
    ) -> Option<(&'a Path, ExecFault)> {
        let is_own = |path: &Path| path.get(item).is_some_and(|now| record.has_written(path, now));
        let digest = input_digest(&self.inputs_of(item));
        match self.state(marker, item, &digest) {
            ExecState::NoInputs => is_own(marker).then_some((marker, ExecFault::Unexpected)),
            ExecState::Applied if is_own(marker) => {
                let changed = self.outputs.iter().find(|output| !is_own(output));
                changed.map(|output| (output, ExecFault::Stale))
            }
            ExecState::Applied => None,
            ExecState::Free => Some((marker, ExecFault::Missing)),
            ExecState::Occupied(_) if skips_existing && !self.targets().any(is_own) => {
                Some((marker, ExecFault::Skipped))
            }
            ExecState::Occupied(_) => {
                let missing = self.outputs.iter().find(|output| output.get(item).is_none());
                let is_current = marker.get(item) == Some(&Value::S(digest));
                Some(match missing.filter(|_| is_current) {
                    Some(output) => (output, ExecFault::Missing),
                    None => (marker, ExecFault::Stale),
                })
            }
        }
    }
}

/// Returns the SHA-256 of these inputs, in hexadecimal digits. The hashed text is one object in DynamoDB JSON that
/// contains the inputs. Its names and the members of its sets are sorted. Numbers are written as digits and a power of
/// ten (`15E-1`). The text contains no spaces.
pub fn input_digest(inputs: &Item) -> String {
    let canonical = inputs.iter().map(|(name, value)| (name.clone(), with_canonical_numbers(value))).collect();
    let digest = Sha256::digest(item_to_json(&canonical).to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
