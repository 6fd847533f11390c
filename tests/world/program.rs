//! Defines a replacement for the program of an `exec` change. The replacement computes an item's summary from the
//! item's inputs. It is slow. Sometimes it gives no answer or an answer without outputs for an item, or no valid answer
//! for a whole batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backfill::internals::change::{ProgramAnswer, ProgramQuestion, input_digest};
use backfill::internals::exec::{ExecError, OnAnswered, Programs};
use backfill::internals::item::{Item, Value};
use backfill::internals::state::CrashPoint;
use fastrand::Rng;

use super::kills::Killer;

/// The attributes that the program reads.
const INPUTS: [&str; 2] = ["status", "kind"];

/// The change in a plan.
pub(crate) const CHANGE: &str = "[[change]]\nexec = [\"summarize\"]\ninputs = [\"status\", \"kind\"]\n\
                                 outputs = [\"summary\"]\nmarker = \"summary_of\"\n";

/// The change in a plan whose program is deterministic and needs no marker.
pub(crate) const DETERMINISTIC: &str = "[[change]]\nexec = [\"summarize\"]\ninputs = [\"status\", \"kind\"]\n\
                                        outputs = [\"summary\"]\ndeterministic = true\n";

/// Returns the item's inputs for the program.
pub(crate) fn inputs(item: &Item) -> Item {
    INPUTS.into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}

/// Returns the marker of the item's inputs.
pub(crate) fn marker(item: &Item) -> Value {
    Value::S(input_digest(&inputs(item)))
}

/// Returns the summary of these inputs.
pub(crate) fn summary(inputs: &Item) -> Value {
    Value::S(inputs.iter().map(|(name, value)| format!("{name}={} ", value.to_json())).collect())
}

/// The program that one process of the tool uses.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) rng: Mutex<Rng>,
    /// Whether every answer is valid.
    pub(crate) is_reliable: Arc<AtomicBool>,
    pub(crate) killer: Arc<Killer>,
}

#[async_trait]
impl Programs for StandIn {
    async fn ask(
        &self,
        questions: &[ProgramQuestion],
        progress: OnAnswered<'_>,
    ) -> Result<Vec<ProgramAnswer>, ExecError> {
        let mut answers = Vec::new();
        for question in questions {
            let (wait, luck) = {
                let mut rng = self.rng.lock().unwrap();
                (rng.u64(..40), rng.u8(..40))
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.killer.pass(CrashPoint::ProgramAsked).await;
            let outputs = [("summary".to_owned(), summary(&question.inputs))].into();
            answers.push(match luck {
                _ if self.is_reliable.load(Ordering::Relaxed) => Ok(outputs),
                0 => Err("gave no answer for this item".to_owned()),
                1 => Ok(Item::new()),
                2 => {
                    let (program, why) = ("summarize".to_owned(), "crashed".to_owned());
                    return Err(ExecError::Failing { program, batches: 3, items: 3, why });
                }
                _ => Ok(outputs),
            });
        }
        progress();
        Ok(answers)
    }
}
