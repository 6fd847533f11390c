//! A stand-in for the program of an `exec` change. It computes the summary of an item from its inputs. It is slow, and
//! sometimes gives no answer, an answer that does not fit, or no valid answer for a whole batch.

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

/// The change in a plan whose program is deterministic, so that there is no marker.
pub(crate) const DETERMINISTIC: &str = "[[change]]\nexec = [\"summarize\"]\ninputs = [\"status\", \"kind\"]\n\
                                        outputs = [\"summary\"]\ndeterministic = true\n";

/// Returns the inputs that the item has.
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

/// The stand-in that one process of the tool asks.
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
