//! Decides about items. If a decision needs answers of programs, asks the programs and decides again.

use std::sync::Arc;

use crate::change::{Changes, Decision, ItemHistory, ProgramAnswers, ProgramQuestion};
use crate::engine::client::Requests;
use crate::engine::stop::{StopReason, Stopped};
use crate::exec::Programs;
use crate::item::Item;
use crate::state::reject_if_unreadable;

/// Makes the decisions of a pass.
#[derive(Debug, Clone)]
pub struct Decisions {
    changes: Arc<Changes>,
    /// The programs of the plan. `None` if the plan has none, or if this pass does not ask them.
    programs: Option<Arc<dyn Programs>>,
}

impl Decisions {
    /// Decides by these changes, with the answers of these programs.
    pub fn new(changes: Arc<Changes>, programs: Option<Arc<dyn Programs>>) -> Decisions {
        Decisions { changes, programs }
    }

    /// Returns the changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Decides what each item needs, based on its history. Returns the decisions in the same order. The programs see
    /// only items that need a write. No request is in flight meanwhile, so a stop ends the programs at once.
    ///
    /// # Errors
    ///
    /// An `Err` means that the run is stopping, for example because a program does not work.
    pub async fn of(&self, items: &[(&Item, &ItemHistory)], requests: &Requests) -> Result<Vec<Decision>, Stopped> {
        let mut decisions: Vec<Decision> =
            items.iter().map(|(item, record)| self.changes.decide_with(item, record)).collect();
        if let Some(programs) = &self.programs {
            let mut open: Vec<(usize, ProgramQuestion)> = Vec::new();
            for (place, decision) in decisions.iter_mut().enumerate() {
                if let Decision::NeedsAnswers(questions, _) = decision {
                    open.extend(std::mem::take(questions).into_iter().map(|question| (place, question)));
                }
            }
            let answers = ask(programs.as_ref(), open, requests).await?;
            for (place, answers) in answers {
                let (item, record) = items[place];
                decisions[place] = self.changes.decide_answered(item, record, &answers);
            }
        }
        Ok(decisions.into_iter().map(reject_if_unreadable).collect())
    }
}

/// Asks these questions. Each has the position of its item. Returns the answers for each item.
async fn ask(
    programs: &dyn Programs,
    open: Vec<(usize, ProgramQuestion)>,
    requests: &Requests,
) -> Result<Vec<(usize, ProgramAnswers)>, Stopped> {
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let (places, questions): (Vec<usize>, Vec<ProgramQuestion>) = open.into_iter().unzip();
    let stop = requests.stop();
    let progress = || requests.progress().answered();
    let answers = stop.unless_stopping(programs.ask(&questions, &progress)).await?.map_err(|error| {
        stop.stop(StopReason::Exec(error));
        Stopped
    })?;
    if answers.len() != questions.len() {
        stop.stop(StopReason::Internal(format!("{} answers to {} questions", answers.len(), questions.len())));
        return Err(Stopped);
    }
    let mut by_item: Vec<(usize, ProgramAnswers)> = Vec::new();
    for ((place, question), answer) in places.into_iter().zip(questions).zip(answers) {
        match by_item.last_mut() {
            Some((last, answers)) if *last == place => answers.add(question, answer),
            Some(_) | None => {
                let mut answers = ProgramAnswers::default();
                answers.add(question, answer);
                by_item.push((place, answers));
            }
        }
    }
    Ok(by_item)
}
