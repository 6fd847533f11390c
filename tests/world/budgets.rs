//! Checks that the tool acquires permits before it sends requests. The tests replay the tool's requests through their
//! own token buckets, which have the plan's budgets.
//!
//! At the start of each pass, a bucket is full. A full bucket contains the units of a tenth of a second, but at least
//! one unit. A permit can be some time old when its request is sent ([`World::permit_age`]). So in every window of a
//! pass, the tool sends at most rate × (window + permit_age) + burst units, for the table, each index and each
//! partition key. The tool slows down throttled scopes, and the bound also allows slower rates.

use std::collections::BTreeMap;
use std::time::Duration;

use backfill::internals::dynamodb::memory::{Author, Charge, ChargedUnits};

use super::plan::Rates;
use super::scene::World;

/// The allowance for rounding errors in the tool and in the tests, in units.
const ROUNDING: f64 = 0.01;

/// A scope with its own budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Table,
    Index(String),
    PartitionKey(String),
}

/// The maximum time between a write's last permit and its request. The table's permit is the last one. After this
/// permit, the tool records the pre-images.
const RECORDING_TIME: Duration = Duration::from_millis(5);

/// The index of a pass in the list of all passes.
type PassIndex = usize;

struct Bucket {
    rate: f64,
    burst: f64,
    /// The number of units that were missing from a full bucket after the last request. 0 means that the bucket was
    /// full.
    missing: f64,
    at: Duration,
}

impl Bucket {
    /// Creates a full bucket. `permit_age` is the maximum age of a permit when its request is sent.
    fn new(rate: f64, permit_age: Duration) -> Bucket {
        let burst = (rate * 0.1).max(1.0) + rate * permit_age.as_secs_f64();
        Bucket { rate, burst, missing: 0.0, at: Duration::ZERO }
    }

    /// Takes the units of a request. Returns false if the bucket has too few units. A request that needs more units
    /// than a full bucket contains is allowed only if the bucket is full.
    fn take(&mut self, at: Duration, units: f64) -> bool {
        let refilled = at.saturating_sub(self.at).as_secs_f64() * self.rate;
        let before = (self.missing - refilled).max(0.0);
        (self.missing, self.at) = (before + units, at);
        self.missing <= self.burst + ROUNDING || before <= ROUNDING
    }
}

impl World {
    /// Checks that every write since the last check was within every budget when it was sent. Call this method only
    /// after the passes that sent these writes have ended.
    pub(crate) fn check_budgets(&self, during: &str) {
        let (changes, checked) = self.checked.get();
        let mut charges = self.table.history(|history| history.charges()[checked..].to_vec());
        self.checked.set((changes, checked + charges.len()));
        charges.sort_by_key(|charge| charge.sent);
        let mut buckets: BTreeMap<(PassIndex, Scope), Bucket> = BTreeMap::new();
        for charge in &charges {
            let Some(pass) = self.pass_of(charge) else {
                self.violation(format!("{during}: a request outside every pass, at {:?}", charge.sent));
                continue;
            };
            for (scope, units) in units_of(charge) {
                let rate = rate_of(&self.rates, &scope);
                let permit_age = self.permit_age(&scope);
                let bucket = buckets.entry((pass, scope.clone())).or_insert_with(|| Bucket::new(rate, permit_age));
                if !bucket.take(charge.sent, units) {
                    let at = charge.sent;
                    self.violation(format!("{during}: {units} units beyond the budget of {scope:?}, at {at:?}"));
                }
            }
        }
    }

    /// Returns the maximum age of a permit when its request is sent. The tool acquires permits from the narrowest scope
    /// to the widest. So a request can hold its permits for the key or the index while it waits for the table's permit.
    /// In the meantime, the tool sends at most one write to each other item.
    fn permit_age(&self, scope: &Scope) -> Duration {
        match scope {
            Scope::Table => RECORDING_TIME,
            Scope::Index(_) | Scope::PartitionKey(_) => {
                RECORDING_TIME + Duration::from_secs_f64(self.seed_items.len() as f64 / self.rates.table)
            }
        }
    }

    /// Returns the pass to which a request belongs. This is the last pass that the request's process had begun when it
    /// sent the request.
    fn pass_of(&self, charge: &Charge) -> Option<PassIndex> {
        self.passes
            .iter()
            .rposition(|(process, began)| Author::Tool(*process) == charge.author && *began <= charge.sent)
    }
}

/// Returns the units of a write, by scope. For a read, the result is empty. The cost of a page is known only after the
/// page has arrived, so reads have no exact bound.
fn units_of(charge: &Charge) -> Vec<(Scope, f64)> {
    let ChargedUnits::Write(key, consumed) = &charge.consumed else { return Vec::new() };
    let partition = Scope::PartitionKey(format!("{:?}", key.attributes().get("pk")));
    let indexes = consumed.indexes.iter().map(|(name, units)| (Scope::Index(name.clone()), *units));
    [(Scope::Table, consumed.table), (partition, consumed.table)].into_iter().chain(indexes).collect()
}

fn rate_of(rates: &Rates, scope: &Scope) -> f64 {
    match scope {
        Scope::Table => rates.table,
        Scope::Index(_) => rates.index,
        Scope::PartitionKey(_) => rates.partition_key,
    }
}

/// Tests that a bucket allows exactly its burst and its rate.
#[test]
fn a_bucket_allows_its_burst_and_its_rate() {
    let at = Duration::from_millis;
    let none = Duration::ZERO;
    let drained = || Bucket { missing: 2.0, ..Bucket::new(20.0, none) };
    let mut bucket = Bucket::new(20.0, none);
    assert!(bucket.take(at(0), 1.0) && bucket.take(at(0), 1.0), "a burst of two");
    assert!(!drained().take(at(49), 1.0), "one unit takes 50 ms");
    assert!(drained().take(at(50), 1.0));
    assert!(Bucket::new(20.0, none).take(at(0), 7.0), "a full bucket must allow a large request");
    assert!(!drained().take(at(50), 7.0));
    assert!(
        Bucket { missing: 2.0, ..Bucket::new(20.0, at(50)) }.take(at(0), 1.0),
        "the permit of a request may be older than the request"
    );
}
