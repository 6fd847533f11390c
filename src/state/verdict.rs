//! What verification finds, for one item and for many.

/// How far the migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From `run` on: what `contract` will remove is still there.
    Expanded,
    /// `contract` has removed it.
    Contracted,
}

impl Stage {
    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Expanded => "expanded",
            Stage::Contracted => "contracted",
        }
    }

    /// Reads [`Stage::name`] back.
    pub fn from_name(name: &str) -> Option<Stage> {
        [Stage::Expanded, Stage::Contracted].into_iter().find(|stage| stage.name() == name)
    }
}

/// What a shadow read establishes of an item: the last one is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as the plan and the side that is the truth imply, or they imply nothing of it.
    Matching,
    /// A target has another value than the truth implies, and `on_existing = "skip"` counts that value as done.
    Skipped,
    /// The truth has a value and the side that is derived from it has none.
    Missing,
    /// There is a value that nothing implies.
    Unexpected,
    /// Both sides have values, and they differ; or a constant is another one.
    Stale,
}

impl Verdict {
    /// Those that are mismatches, in the order that reports list them.
    pub const MISMATCHES: [Verdict; 3] = [Verdict::Missing, Verdict::Stale, Verdict::Unexpected];

    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Matching => "matching",
            Verdict::Skipped => "skipped",
            Verdict::Missing => "missing",
            Verdict::Stale => "stale",
            Verdict::Unexpected => "unexpected",
        }
    }

    /// Reads [`Verdict::name`] back.
    pub fn from_name(name: &str) -> Option<Verdict> {
        [Verdict::Matching, Verdict::Skipped]
            .into_iter()
            .chain(Verdict::MISMATCHES)
            .find(|verdict| verdict.name() == name)
    }

    /// Whether the item is not as it should be.
    pub fn is_mismatch(self) -> bool {
        match self {
            Verdict::Matching | Verdict::Skipped => false,
            Verdict::Missing | Verdict::Unexpected | Verdict::Stale => true,
        }
    }
}

/// The number of compared items, by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Items that are as they should be.
    pub matching: u64,
    /// Items with a target whose other value counts as done, and that are as they should be otherwise.
    pub skipped: u64,
    /// Items whose worst change is [`Verdict::Missing`].
    pub missing: u64,
    /// Items whose worst change is [`Verdict::Stale`].
    pub stale: u64,
    /// Items whose worst change is [`Verdict::Unexpected`].
    pub unexpected: u64,
    /// Items that did not match when they were read, and did, or were gone, when they were read again: a live writer was
    /// in between.
    pub raced: u64,
    /// Mismatching items that are equal, or gone, after a repair. They are counted above as they were found.
    pub repaired: u64,
}

impl VerdictCounts {
    /// Counts an item as it was found.
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Matching => self.matching += 1,
            Verdict::Skipped => self.skipped += 1,
            Verdict::Missing => self.missing += 1,
            Verdict::Stale => self.stale += 1,
            Verdict::Unexpected => self.unexpected += 1,
        }
    }

    /// Items with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Matching => self.matching,
            Verdict::Skipped => self.skipped,
            Verdict::Missing => self.missing,
            Verdict::Stale => self.stale,
            Verdict::Unexpected => self.unexpected,
        }
    }

    /// Items that were held against the plan.
    pub fn compared(&self) -> u64 {
        self.matching + self.skipped + self.mismatching() + self.raced
    }

    /// Items that were found not to be as they should.
    pub fn mismatching(&self) -> u64 {
        self.missing + self.stale + self.unexpected
    }

    /// Those of them that still are not.
    pub fn left(&self) -> u64 {
        self.mismatching().saturating_sub(self.repaired)
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &VerdictCounts) {
        self.matching += other.matching;
        self.skipped += other.skipped;
        self.missing += other.missing;
        self.stale += other.stale;
        self.unexpected += other.unexpected;
        self.raced += other.raced;
        self.repaired += other.repaired;
    }
}
