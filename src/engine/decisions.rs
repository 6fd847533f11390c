//! Decides what to do with items. If a decision needs results of programs, runs the programs and then decides again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use crate::change::{Changes, Decision, ExistingDerived, ItemHistory, ProgramAnswers, ProgramQuestion, Repeatable};
use crate::engine::client::Requests;
use crate::engine::stop::{StopReason, Stopped};
use crate::exec::Programs;
use crate::item::{Item, Units};
use crate::state::reject_if_unreadable;

/// For this number of items, a pass calls the functions of custom changes twice, to detect functions that are not
/// deterministic.
const MAX_CHECKED: usize = 100;
/// Number of derived items of a page that are read at the same time. A segment reads the same number of listed items at
/// the same time.
const CONCURRENT_LOOKS: usize = 8;

/// Makes the decisions of a pass.
#[derive(Debug, Clone)]
pub struct Decisions {
    changes: Arc<Changes>,
    /// The programs of the plan. `None` if the plan has no programs, or if this pass does not run them.
    programs: Option<Arc<dyn Programs>>,
    /// Number of items for which the functions of custom changes were called twice.
    checked: Arc<AtomicUsize>,
}

impl Decisions {
    /// Creates the decisions for these changes. `programs` compute the values that the decisions need.
    pub fn new(changes: Arc<Changes>, programs: Option<Arc<dyn Programs>>) -> Decisions {
        Decisions { changes, programs, checked: Arc::default() }
    }

    /// Returns the changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Calls the functions of custom changes twice for the first items that they apply to. Call this method before the
    /// first write of a page.
    ///
    /// # Errors
    ///
    /// An `Err` means that the run is stopping, because the results of a function differ.
    pub fn check_repeatable(&self, items: &[Item], requests: &Requests) -> Result<(), Stopped> {
        for item in items {
            if self.checked.load(Ordering::Relaxed) >= MAX_CHECKED {
                break;
            }
            match self.changes.check_repeatable(item) {
                Repeatable::NotCalled => {}
                Repeatable::Yes => drop(self.checked.fetch_add(1, Ordering::Relaxed)),
                Repeatable::No(name) => {
                    requests.stop().stop(StopReason::Unrepeatable { name: name.to_owned() });
                    return Err(Stopped);
                }
            }
        }
        Ok(())
    }

    /// Decides what each item needs, based on its history. Returns the decisions in the order of the items, and the
    /// consumed read units. The programs receive only items that need a write. No request is in flight while the
    /// programs run, so a stop of the run can end the programs immediately.
    ///
    /// If a write puts a derived item, first reads the item with the derived key, strongly consistently. A transaction
    /// costs capacity even if it fails, so it is planned only if the derived item does not exist.
    ///
    /// # Errors
    ///
    /// An `Err` means that the run is stopping, for example because a program failed.
    pub async fn of(
        &self,
        items: &[(&Item, &ItemHistory)],
        requests: &Requests,
    ) -> Result<(Vec<Decision>, Units), Stopped> {
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
        let read = look_for_derived(&mut decisions, requests).await?;
        Ok((decisions.into_iter().map(reject_if_unreadable).collect(), read))
    }
}

/// For each write that puts a derived item, reads the item with the derived key. If that item exists, replaces the
/// decision. Returns the consumed read units.
async fn look_for_derived(decisions: &mut [Decision], requests: &Requests) -> Result<Units, Stopped> {
    let puts: Vec<usize> = (0..decisions.len()).filter(|place| is_put(&decisions[*place])).collect();
    let mut read = 0.0;
    for some in puts.chunks(CONCURRENT_LOOKS) {
        // Wait for all reads, even if one of them ends early because the run is stopping.
        let looks = join_all(some.iter().map(|place| look(&decisions[*place], requests))).await;
        for (place, look) in some.iter().zip(looks) {
            let (existing, units) = look?;
            read += units;
            match existing {
                ExistingDerived::Missing => {}
                ExistingDerived::Equal => decisions[*place] = Decision::AlreadyApplied,
                ExistingDerived::Different(paths) => decisions[*place] = Decision::Diverged(paths),
            }
        }
    }
    Ok(read)
}

async fn look(decision: &Decision, requests: &Requests) -> Result<(ExistingDerived, Units), Stopped> {
    match decision {
        Decision::Write(write) => requests.existing_derived(write).await,
        Decision::NothingToDo
        | Decision::AlreadyApplied
        | Decision::Skipped(_)
        | Decision::Diverged(_)
        | Decision::Rejected(_)
        | Decision::NotComputable(_)
        | Decision::Refused(..)
        | Decision::NeedsAnswers(..) => Ok((ExistingDerived::Missing, 0.0)),
    }
}

fn is_put(decision: &Decision) -> bool {
    matches!(decision, Decision::Write(write) if write.derived_item().is_some())
}

/// Sends these questions to the programs. Each question contains the position of its item. Returns the answers for each
/// item.
///
/// # Errors
///
/// An `Err` means that the run is stopping, for example because a program failed.
pub(crate) async fn ask(
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
