//! The model, which admits requests, charges the units that they consumed, and counts requests and units.

use std::time::Duration;

use super::balance::Balance;
use super::partitions::Partitions;
use super::reason::{Limit, ReadWrite, Reason, RequestKind, Resource, Throttle, exception};
use super::spec::{Maximum, ModelSpec, Throughput};
use super::stats::{ModelStats, PartitionStats};
use super::{ConsumedUnits, Demand, LimitScope};
use crate::dynamodb::ThrottlingReason;
use crate::item::Units;
use crate::machine::Rng;

/// The model of one table's capacity. See the module documentation.
#[derive(Debug)]
pub struct Model {
    spec: ModelSpec,
    arn: String,
    account: ReadWrite<Option<Balance>>,
    table: ReadWrite<Option<Balance>>,
    partitions: Partitions,
    indexes: Vec<Index>,
    random: Rng,
    stats: ModelStats,
}

#[derive(Debug)]
struct Index {
    limit: ReadWrite<Option<Balance>>,
    partitions: Option<Partitions>,
}

/// A limit that a request reached. If the limit belongs to an index, the second value is the index's position in the
/// spec.
type ReachedLimit = (Reason, Option<usize>);

impl Model {
    /// Creates the model of the table in the spec, at time zero.
    pub fn new(spec: ModelSpec) -> Model {
        let scale = spec.scale;
        let scaled = |units: Units| units * scale;
        let each = ReadWrite { read: scaled(spec.partitions.read), write: scaled(spec.partitions.write) };
        let split_after = Duration::try_from_secs_f64(spec.partitions.split_after_seconds).ok();
        let burst = match spec.provisioned {
            Some(_) => (spec.burst.seconds * spec.burst.available).max(1.0),
            None => 1.0,
        };
        // At the start, the balance contains at least one second of capacity, even if the table was busy before.
        let initial = if burst > 1.0 { (burst * spec.burst.initial).max(1.0) } else { 1.0 };
        let balance = |rate: Units| Balance::new(scaled(rate), scaled(rate) * burst, scaled(rate) * initial);
        let limit = |read: Option<Units>, write: Option<Units>| ReadWrite {
            read: read.map(balance),
            write: write.map(balance),
        };
        let table = match (spec.provisioned, spec.on_demand) {
            (Some(Throughput { read, write }), _) => limit(Some(read), Some(write)),
            (None, Some(Maximum { read, write })) => limit(read, write),
            (None, None) => limit(None, None),
        };
        let one_second_balance = |rate: Units| Balance::new(scaled(rate), scaled(rate), scaled(rate));
        let account = ReadWrite {
            read: spec.account.read.map(one_second_balance),
            write: spec.account.write.map(one_second_balance),
        };
        let indexes = spec.indexes.iter().map(|index| Index {
            limit: limit(index.read, index.write),
            partitions: index.partitions.map(|count| Partitions::new(count, each, split_after)),
        });
        Model {
            arn: format!("arn:aws:dynamodb:local:000000000000:table/{}", spec.table),
            account,
            table,
            partitions: Partitions::new(spec.partition_count(), each, split_after),
            indexes: indexes.collect(),
            random: Rng::with_seed(spec.seed),
            stats: ModelStats { indexes: vec![ReadWrite::default(); spec.indexes.len()], ..ModelStats::default() },
            spec,
        }
    }

    /// Sets the ARN that errors contain. If this method is not called, errors contain an invented ARN.
    pub fn set_arn(&mut self, arn: &str) {
        arn.clone_into(&mut self.arn);
    }

    /// Decides whether DynamoDB would execute this request. DynamoDB executes a request if every scope that limits the
    /// request has capacity left, and no storm throttles the request. This method consumes no capacity.
    pub fn admit(&mut self, now: Duration, demand: &Demand) -> Result<(), Throttle> {
        self.admit_all(now, std::slice::from_ref(demand))
    }

    /// Decides whether DynamoDB would execute a request for several items. The request either reads all of these items
    /// or writes all of them. The model decides for the request as a whole, and counts it as one request. DynamoDB
    /// itself can serve only a part of a batch.
    pub fn admit_all(&mut self, now: Duration, demands: &[Demand]) -> Result<(), Throttle> {
        let Some(first) = demands.first() else { return Ok(()) };
        let mut reached_limits = Vec::new();
        if let Some(storm) = self.storm(now, first) {
            self.stats.storms += 1;
            reached_limits.push(storm);
        } else {
            for demand in demands {
                self.reached_limits(now, demand, &mut reached_limits);
            }
        }
        if reached_limits.is_empty() {
            *self.stats.admitted.get_mut(first.kind) += 1;
            return Ok(());
        }
        *self.stats.throttled.get_mut(first.kind) += 1;
        for (reason, _) in &reached_limits {
            *self.stats.reasons.entry(*reason).or_default() += 1;
        }
        Err(self.throttled(&reached_limits))
    }

    /// Subtracts the capacity that an admitted request consumed. If a request touches several positions, call this
    /// method once for each position.
    pub fn charge(&mut self, now: Duration, demand: &Demand, consumed: &ConsumedUnits) {
        let kind = demand.kind;
        if consumed.table > 0.0 {
            self.partitions.charge(now, kind, demand.position, consumed.table);
            self.charge_table(now, kind, consumed.table);
        }
        for &(at, units) in &consumed.indexes {
            self.charge_index(now, demand, at, units);
        }
    }

    /// Subtracts the capacity that a page consumed. The units are spread evenly over the key hash, from the demand's
    /// position to `to`.
    pub fn charge_range(&mut self, now: Duration, demand: &Demand, to: f64, units: Units) {
        self.partitions.charge_range(now, demand.kind, demand.position, to, units);
        self.charge_table(now, demand.kind, units);
    }

    /// Returns the rate, in capacity units per second, that the scope would sustain if no other scope had a limit. The
    /// rate is infinite if the scope has no limit.
    pub fn allowed_rate(&self, scope: LimitScope, kind: RequestKind) -> Units {
        let rate = |balance: &ReadWrite<Option<Balance>>| balance.get(kind).as_ref().map(Balance::rate);
        let limit = match scope {
            LimitScope::Account => rate(&self.account),
            LimitScope::Table => rate(&self.table),
            LimitScope::Partition => Some(*self.partitions.limit().get(kind)),
            LimitScope::Index(at) => self.indexes.get(at).and_then(|index| rate(&index.limit)),
            LimitScope::IndexPartition(at) => {
                let partitions = self.indexes.get(at).and_then(|index| index.partitions.as_ref());
                partitions.map(|partitions| *partitions.limit().get(kind))
            }
        };
        limit.unwrap_or(Units::INFINITY)
    }

    /// Returns the current balance of the account, the table or an index, in capacity units. The balance includes burst
    /// credit. It is infinite if the scope has no limit.
    pub fn balance(&mut self, now: Duration, scope: LimitScope, kind: RequestKind) -> Units {
        let balance = match scope {
            LimitScope::Account => self.account.get_mut(kind).as_mut(),
            LimitScope::Table => self.table.get_mut(kind).as_mut(),
            LimitScope::Index(at) => self.indexes.get_mut(at).and_then(|index| index.limit.get_mut(kind).as_mut()),
            LimitScope::Partition | LimitScope::IndexPartition(_) => None,
        };
        balance.map_or(Units::INFINITY, |balance| balance.level(now))
    }

    /// Returns the spec of this model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Returns an index's position in the spec. Returns `None` if the spec does not list the index.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.spec.indexes.iter().position(|index| index.name == name)
    }

    /// Returns the counts since the start.
    pub fn stats(&self) -> &ModelStats {
        &self.stats
    }

    /// Returns the table's current partitions, in the order of their ranges.
    pub fn partitions(&self) -> Vec<PartitionStats> {
        self.partitions.stats()
    }

    /// Returns the partitions that no longer exist because they were split.
    pub fn split_partitions(&self) -> &[PartitionStats] {
        self.partitions.ended()
    }

    /// Returns the current partitions of an index. The list is empty if the spec gives the index no partitions.
    pub fn index_partitions(&self, at: usize) -> Vec<PartitionStats> {
        let partitions = self.indexes.get(at).and_then(|index| index.partitions.as_ref());
        partitions.map(Partitions::stats).unwrap_or_default()
    }

    /// Adds every limit that blocks the demand to `reached_limits`: first the limits of key ranges and indexes, then
    /// the table's limit, then the account's limit. Adds each limit only once.
    fn reached_limits(&mut self, now: Duration, demand: &Demand, reached_limits: &mut Vec<ReachedLimit>) {
        let kind = demand.kind;
        let own = self.spec.own_limit();
        let mut add = |resource, limit, index| {
            let limit = (Reason { resource, kind, limit }, index);
            if !reached_limits.contains(&limit) {
                reached_limits.push(limit);
            }
        };
        if demand.index.is_none() && !self.partitions.admit(now, kind, demand.position, demand.key) {
            add(Resource::Table, Limit::KeyRange, None);
        }
        for (at, index) in self.indexes.iter_mut().enumerate() {
            if kind == RequestKind::Read && demand.index != Some(at) {
                continue;
            }
            let position = index_position(demand, at);
            if index.partitions.as_mut().is_some_and(|parts| !parts.admit(now, kind, position, demand.key)) {
                add(Resource::Index, Limit::KeyRange, Some(at));
            }
            if is_empty(&mut index.limit, now, kind) {
                add(Resource::Index, own, Some(at));
            }
        }
        if demand.index.is_none() && is_empty(&mut self.table, now, kind) {
            add(Resource::Table, own, None);
        }
        if is_empty(&mut self.account, now, kind) {
            let resource = if demand.index.is_some() { Resource::Index } else { Resource::Table };
            add(resource, Limit::Account, demand.index);
        }
    }

    fn storm(&mut self, now: Duration, demand: &Demand) -> Option<ReachedLimit> {
        let now = now.as_secs_f64();
        let on = |storm: &&super::Storm| storm.reason.kind == demand.kind && (storm.from..storm.to).contains(&now);
        let storm = self.spec.storms.iter().find(on)?;
        let at = storm.index.as_ref().and_then(|name| self.spec.indexes.iter().position(|index| index.name == *name));
        (self.random.f64() < storm.fraction).then_some((storm.reason, at))
    }

    fn throttled(&self, reached_limits: &[ReachedLimit]) -> Throttle {
        let provisioned = self.spec.provisioned.is_some();
        let (error, message) = reached_limits.first().map_or(("", ""), |(reason, _)| exception(*reason, provisioned));
        let named = |(reason, index): &ReachedLimit| ThrottlingReason {
            reason: reason.to_string(),
            resource: match index.and_then(|at| self.spec.indexes.get(at)) {
                Some(index) => format!("{}/index/{}", self.arn, index.name),
                None => self.arn.clone(),
            },
        };
        let reasons = if self.spec.reasons { reached_limits.iter().map(named).collect() } else { Vec::new() };
        Throttle { error, message, reasons }
    }

    fn charge_table(&mut self, now: Duration, kind: RequestKind, units: Units) {
        take(&mut self.table, now, kind, units);
        take(&mut self.account, now, kind, units);
        *self.stats.table.get_mut(kind) += units;
    }

    fn charge_index(&mut self, now: Duration, demand: &Demand, at: usize, units: Units) {
        let Some(index) = self.indexes.get_mut(at) else { return };
        take(&mut index.limit, now, demand.kind, units);
        if let Some(partitions) = &mut index.partitions {
            partitions.charge(now, demand.kind, index_position(demand, at), units);
        }
        take(&mut self.account, now, demand.kind, units);
        *self.stats.indexes[at].get_mut(demand.kind) += units;
    }
}

/// Returns the position of the request's entries in the index. If the request reads the index, the request already
/// contains this position. For other requests, the position is arbitrary, but it is always the same for the same
/// partition key.
fn index_position(demand: &Demand, index: usize) -> f64 {
    if demand.index == Some(index) {
        return demand.position;
    }
    // This is the finaliser of SplitMix64: every bit of the key affects every bit of the position.
    let mut mixed = demand.key.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) as f64 / 2_f64.powi(64)
}

fn is_empty(balances: &mut ReadWrite<Option<Balance>>, now: Duration, kind: RequestKind) -> bool {
    balances.get_mut(kind).as_mut().is_some_and(|balance| balance.level(now) <= 0.0)
}

fn take(balances: &mut ReadWrite<Option<Balance>>, now: Duration, kind: RequestKind, units: Units) {
    if let Some(balance) = balances.get_mut(kind) {
        balance.take(now, units);
    }
}
