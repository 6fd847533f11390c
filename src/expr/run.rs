//! The state of an evaluation: the item, the constants, the macros' variables, and the remaining steps.

use jiff::Timestamp;

use super::value::{Const, Val};
use crate::item::{Item, NotComputable};

/// The number of steps of one evaluation. A step handles one element or 64 bytes. The largest item has 200,000
/// elements. One macro with 40 parts can visit all of them, but a macro inside such a macro cannot. All steps take a
/// few seconds.
pub(super) const MAX_STEPS: u64 = 10_000_000;

/// The maximum number of steps to compute all constant parts of an expression when a plan is loaded.
const MAX_CONSTANT_STEPS: u64 = 1_000_000;

/// The maximum size of an intermediate text, list or binary value: four times the largest item.
pub(super) const MAX_BYTES: usize = 1_600_000;

/// The remaining step budget that several evaluations for one item share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepBudget(pub(super) u64);

impl Default for StepBudget {
    /// Returns the budget of one evaluation.
    fn default() -> StepBudget {
        StepBudget(MAX_STEPS)
    }
}

impl StepBudget {
    /// Why a constant part has no result when no steps are left.
    pub(super) const CONSTANTS_TAKE_TOO_LONG: &str = "all constant parts together take more than 1,000,000 steps";

    /// Returns the budget for all constant parts of an expression.
    pub(super) fn of_constants() -> StepBudget {
        StepBudget(MAX_CONSTANT_STEPS)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0 == 0
    }
}

/// Why a part has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fail {
    pub(super) text: String,
    /// Whether the value is too large or the evaluation too long. No guard can prevent this.
    pub(super) limit: bool,
}

pub(super) type Res<T> = Result<T, Box<Fail>>;

impl Fail {
    pub(super) fn new(text: impl Into<String>) -> Box<Fail> {
        Box::new(Fail { text: text.into(), limit: false })
    }

    pub(super) fn limit(text: impl Into<String>) -> Box<Fail> {
        Box::new(Fail { text: text.into(), limit: true })
    }
}

impl From<Box<Fail>> for NotComputable {
    fn from(fail: Box<Fail>) -> NotComputable {
        NotComputable::new(fail.text)
    }
}

/// One evaluation.
pub(super) struct Run<'a> {
    pub(super) item: &'a Item,
    pub(super) started_at: Timestamp,
    pub(super) constants: &'a [Const],
    /// The values of the macros' variables.
    pub(super) variables: Vec<Val<'a>>,
    pub(super) steps: u64,
}

/// A compiled part.
pub(super) type Code = Box<dyn for<'a> Fn(&mut Run<'a>) -> Res<Val<'a>> + Send + Sync>;

impl<'a> Run<'a> {
    pub(super) fn new(item: &'a Item, started_at: Timestamp, constants: &'a [Const], variables: usize) -> Run<'a> {
        Run { item, started_at, constants, variables: vec![Val::Bool(false); variables], steps: MAX_STEPS }
    }

    /// Counts steps. Call it before the work.
    pub(super) fn spend(&mut self, steps: u64) -> Res<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(Fail::limit("the evaluation takes more than 10,000,000 steps"))
            }
        }
    }

    /// Counts the steps of reading or making this number of bytes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Res<()> {
        if bytes > MAX_BYTES {
            return Err(Fail::limit("a text, list or binary value has more than 1,600,000 bytes"));
        }
        self.spend(1 + bytes as u64 / 64)
    }
}
