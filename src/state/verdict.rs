//! The verdicts of a verification, for one item and for many items.

/// The stage of the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableStage {
    /// `run` is complete, and `contract` has not yet removed attributes.
    Expanded,
    /// `contract` has removed attributes.
    Contracted,
}

impl TableStage {
    /// Returns the name that is used in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            TableStage::Expanded => "expanded",
            TableStage::Contracted => "contracted",
        }
    }

    /// Parses [`TableStage::name`].
    pub fn from_name(name: &str) -> Option<TableStage> {
        [TableStage::Expanded, TableStage::Contracted].into_iter().find(|stage| stage.name() == name)
    }
}

/// The verdict on an item after a shadow read. The variants are ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// No change of the plan currently applies to the item, because a `where` is false. No value that the migration
    /// wrote is wrong. The item was not compared.
    NotSelected,
    /// The item has the values that the plan and the true side imply, or no value is implied for this item.
    Matching,
    /// A target's value differs from the value that the true side implies, but counts as done because of `on_existing =
    /// "skip"`.
    Skipped,
    /// The true side has a value, but the derived side has no value.
    Missing,
    /// The item has a value that neither the plan nor the true side implies.
    Unexpected,
    /// The two sides have different values, or a constant's value in the item differs from its value in the plan.
    Stale,
}

impl Verdict {
    /// All verdicts that are mismatches, in the order in which reports list them.
    pub const MISMATCHES: [Verdict; 3] = [Verdict::Missing, Verdict::Stale, Verdict::Unexpected];

    /// Returns the name that is used in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::NotSelected => "not_selected",
            Verdict::Matching => "matching",
            Verdict::Skipped => "skipped",
            Verdict::Missing => "missing",
            Verdict::Stale => "stale",
            Verdict::Unexpected => "unexpected",
        }
    }

    /// Parses [`Verdict::name`].
    pub fn from_name(name: &str) -> Option<Verdict> {
        [Verdict::NotSelected, Verdict::Matching, Verdict::Skipped]
            .into_iter()
            .chain(Verdict::MISMATCHES)
            .find(|verdict| verdict.name() == name)
    }

    /// Returns whether the verdict is a mismatch.
    pub fn is_mismatch(self) -> bool {
        match self {
            Verdict::NotSelected | Verdict::Matching | Verdict::Skipped => false,
            Verdict::Missing | Verdict::Unexpected | Verdict::Stale => true,
        }
    }
}

/// The number of items for each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Items that were read but not compared, because no change of the plan applies to them.
    pub not_selected: u64,
    /// Matching items.
    pub matching: u64,
    /// Items that match, except for a target whose different value counts as done.
    pub skipped: u64,
    /// Items whose worst verdict is [`Verdict::Missing`].
    pub missing: u64,
    /// Items whose worst verdict is [`Verdict::Stale`].
    pub stale: u64,
    /// Items whose worst verdict is [`Verdict::Unexpected`].
    pub unexpected: u64,
    /// Items that did not match at first. When they were read again, they matched or were gone, because a live writer
    /// had changed them.
    pub raced: u64,
    /// Mismatching items that matched or were gone after a repair. Repaired items are also counted under their original
    /// verdict.
    pub repaired: u64,
}

impl VerdictCounts {
    /// Counts an item by its original verdict.
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::NotSelected => self.not_selected += 1,
            Verdict::Matching => self.matching += 1,
            Verdict::Skipped => self.skipped += 1,
            Verdict::Missing => self.missing += 1,
            Verdict::Stale => self.stale += 1,
            Verdict::Unexpected => self.unexpected += 1,
        }
    }

    /// Returns the number of items with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::NotSelected => self.not_selected,
            Verdict::Matching => self.matching,
            Verdict::Skipped => self.skipped,
            Verdict::Missing => self.missing,
            Verdict::Stale => self.stale,
            Verdict::Unexpected => self.unexpected,
        }
    }

    /// Returns the number of compared items.
    pub fn compared(&self) -> u64 {
        self.matching + self.skipped + self.mismatching() + self.raced
    }

    /// Returns the number of items that were read, whether they were compared or not.
    pub fn read(&self) -> u64 {
        self.compared() + self.not_selected
    }

    /// Returns the number of mismatching items.
    pub fn mismatching(&self) -> u64 {
        self.missing + self.stale + self.unexpected
    }

    /// Returns the number of mismatching items that were not repaired.
    pub fn unrepaired(&self) -> u64 {
        self.mismatching().saturating_sub(self.repaired)
    }

    /// Adds the counts of other items.
    pub fn add(&mut self, other: &VerdictCounts) {
        self.not_selected += other.not_selected;
        self.matching += other.matching;
        self.skipped += other.skipped;
        self.missing += other.missing;
        self.stale += other.stale;
        self.unexpected += other.unexpected;
        self.raced += other.raced;
        self.repaired += other.repaired;
    }
}
