//! Generates the schedule of the application's requests. The schedule is a pure function of the spec.

use std::time::Duration;

use super::TrafficSpec;
use crate::machine::Rng;

/// The DynamoDB operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// `GetItem`.
    Get,
    /// `PutItem`, which writes a whole item.
    Put,
    /// `UpdateItem` of one attribute. The operation creates the item if the item does not exist.
    Update,
}

impl OperationKind {
    /// Returns whether the operation consumes write capacity.
    pub fn writes(self) -> bool {
        self != OperationKind::Get
    }
}

/// One request of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The operation.
    pub kind: OperationKind,
    /// The key's number. The application's keys are numbered from 0.
    pub key: u64,
    /// Approximate size in bytes of the item after a put or an update.
    pub item_bytes: usize,
}

impl Operation {
    /// Returns the partition key's value. The value starts with a prefix that no other program uses.
    pub fn partition_key(&self) -> String {
        format!("app#{}", self.key)
    }
}

/// A request and its time since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRequest {
    /// The time at which the request is sent, counted from the start.
    pub at: Duration,
    /// The request.
    pub operation: Operation,
}

/// An iterator over all requests of the application, in the order of their times. The iterator never ends, unless both
/// rates are 0. Writes are evenly spaced, and so are reads. Half of the writes are updates.
#[derive(Debug, Clone)]
pub struct Schedule {
    writes: RequestTimes,
    reads: RequestTimes,
    keys: KeyDistribution,
    item_bytes: usize,
    random: Rng,
}

impl Schedule {
    /// Creates the schedule for a spec. Equal specs produce equal schedules.
    pub fn new(spec: &TrafficSpec) -> Schedule {
        Schedule {
            writes: RequestTimes { per_second: spec.writes_per_second, next: 0 },
            reads: RequestTimes { per_second: spec.reads_per_second, next: 0 },
            keys: KeyDistribution::new(spec.keys, spec.skew),
            item_bytes: spec.item_bytes,
            random: Rng::with_seed(spec.seed),
        }
    }
}

impl Iterator for Schedule {
    type Item = ScheduledRequest;

    fn next(&mut self) -> Option<ScheduledRequest> {
        let write_first = match (self.writes.at(), self.reads.at()) {
            (Some(write), Some(read)) => write <= read,
            (write, None) => write.is_some(),
            (None, Some(_)) => false,
        };
        let times = if write_first { &mut self.writes } else { &mut self.reads };
        let at = times.at()?;
        times.next += 1;
        let kind = match write_first {
            false => OperationKind::Get,
            true if self.random.bool() => OperationKind::Put,
            true => OperationKind::Update,
        };
        let key = self.keys.pick(&mut self.random);
        Some(ScheduledRequest { at, operation: Operation { kind, key, item_bytes: self.item_bytes } })
    }
}

/// The evenly spaced times of one stream of requests. Each time is computed from the number of earlier requests, so
/// rounding errors do not accumulate over days.
#[derive(Debug, Clone, Copy)]
struct RequestTimes {
    per_second: f64,
    next: u64,
}

impl RequestTimes {
    /// Returns the time of the next request, which is in the middle of the request's interval. If it were at the start
    /// of the interval, every stream would start with a request at time 0.
    fn at(&self) -> Option<Duration> {
        if self.per_second <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64((self.next as f64 + 0.5) / self.per_second).ok()
    }
}

/// Chooses the key of a request.
#[derive(Debug, Clone)]
struct KeyDistribution {
    count: u64,
    /// Cumulative weights of a Zipf distribution; empty if all keys are equally likely.
    cumulated: Vec<f64>,
}

impl KeyDistribution {
    fn new(count: u64, skew: f64) -> KeyDistribution {
        let count = count.max(1);
        if skew <= 0.0 {
            return KeyDistribution { count, cumulated: Vec::new() };
        }
        let mut sum = 0.0;
        let weight = |rank: u64| (rank as f64).powf(-skew);
        let cumulated = (1..=count).map(|rank| {
            sum += weight(rank);
            sum
        });
        KeyDistribution { count, cumulated: cumulated.collect() }
    }

    fn pick(&self, random: &mut Rng) -> u64 {
        match self.cumulated.last() {
            None => random.u64(0..self.count),
            Some(sum) => {
                let drawn = random.f64() * sum;
                self.cumulated.partition_point(|upper_bound| *upper_bound <= drawn).min(self.cumulated.len() - 1) as u64
            }
        }
    }
}
