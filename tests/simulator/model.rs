//! The capacity model as the simulator asks it: positions of hashes and units in, reasons out.

use std::time::Duration;

use backfill::table::ThrottlingReason;

/// The one index that a simulated table may have.
pub const INDEX: &str = "by-group";

/// The simulated table.
pub const TABLE_ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/simulated";

/// What the service allows, in capacity units per second; writes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Partitions of the table, equal ranges of the hash.
    pub partitions: u32,
    /// Of each partition.
    pub partition: (f64, f64),
    /// Of the table.
    pub table: (f64, f64),
    /// Writes of the index, where the table has one.
    pub index: Option<f64>,
    /// Unused capacity of so many seconds may be used later.
    pub burst_seconds: f64,
}

/// What one request consumes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// Where its partition key's hash is.
    pub position: u64,
    /// Write units.
    pub write: f64,
    /// Write units of the index.
    pub index: f64,
    /// Read units.
    pub read: f64,
}

/// The model.
pub struct Model {
    limits: Limits,
    buckets: Vec<[Tokens; 2]>,
    table: [Tokens; 2],
    index: Tokens,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tokens {
    left: f64,
    at: Duration,
}

impl Tokens {
    fn fill(&mut self, now: Duration, rate: f64, seconds: f64) -> bool {
        self.left = (self.left + rate * (now - self.at).as_secs_f64()).min(rate * seconds);
        self.at = now;
        self.left > 0.0
    }
}

impl Model {
    /// A model with empty burst buckets.
    pub fn new(limits: &Limits) -> Model {
        let buckets = vec![Default::default(); limits.partitions as usize];
        Model { limits: limits.clone(), buckets, table: Default::default(), index: Tokens::default() }
    }

    /// The partition that keeps a hash.
    pub fn partition(&self, position: u64) -> usize {
        ((u128::from(position) * u128::from(self.limits.partitions)) >> 64) as usize
    }

    /// Whether a request is served.
    pub fn ask(&mut self, now: Duration, demand: Demand) -> Result<(), Vec<ThrottlingReason>> {
        let partition = self.partition(demand.position);
        let Limits { table, partition: each, index, burst_seconds, .. } = self.limits.clone();
        let seconds = burst_seconds.max(1.0);
        let kind = usize::from(demand.read > 0.0);
        let (of_table, of_each) = if kind == 0 { (table.0, each.0) } else { (table.1, each.1) };
        let mut reasons = Vec::new();
        let name = if kind == 0 { "Write" } else { "Read" };
        if !self.table[kind].fill(now, of_table, seconds) {
            reasons.extend(self.table_reason(demand));
        }
        if !self.buckets[partition][kind].fill(now, of_each, seconds) {
            let reason = format!("Table{name}KeyRangeThroughputExceeded");
            reasons.push(ThrottlingReason { reason, resource: TABLE_ARN.into() });
        }
        if demand.index > 0.0 && !self.index.fill(now, index.unwrap_or(f64::MAX), seconds) {
            let reason = "IndexWriteProvisionedThroughputExceeded".to_owned();
            reasons.push(ThrottlingReason { reason, resource: format!("{TABLE_ARN}/index/{INDEX}") });
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let units = demand.write + demand.read;
        self.table[kind].left -= units;
        self.buckets[partition][kind].left -= units;
        self.index.left -= demand.index;
        Ok(())
    }

    /// What a throttle by the table's own limit says.
    pub fn table_reason(&self, demand: Demand) -> Vec<ThrottlingReason> {
        let name = if demand.read > 0.0 { "Read" } else { "Write" };
        let reason = format!("Table{name}ProvisionedThroughputExceeded");
        vec![ThrottlingReason { reason, resource: TABLE_ARN.into() }]
    }
}
