//! Partitions: ranges of the key-hash space. Each partition has its own limits. A partition that stays hot is split in
//! two.

use std::time::Duration;

use super::balance::Balance;
use super::reason::{ReadWrite, RequestKind};
use super::stats::PartitionStats;
use crate::item::Units;

/// The longest time between two throttles that belong to the same hot period. This value is an assumption, like the
/// split delay, because DynamoDB publishes neither value.
const MAX_HEAT_GAP: Duration = Duration::from_secs(60);

/// The minimum width of a partition, as a fraction of the key-hash space. A partition of this width is not split,
/// because a split would not reduce its load enough. The minimum width also limits the number of partitions.
const MIN_WIDTH: f64 = 1.0 / 65_536.0;

/// The partitions of a table or an index, in the order of their ranges, without gaps.
#[derive(Debug)]
pub(super) struct Partitions {
    now: Vec<Partition>,
    ended: Vec<PartitionStats>,
    limit: ReadWrite<Units>,
    split_after: Option<Duration>,
}

#[derive(Debug)]
struct Partition {
    balances: ReadWrite<Balance>,
    heat: Option<Heat>,
    stats: PartitionStats,
}

/// A hot period: a time in which a partition throttles repeatedly.
#[derive(Debug, Clone, Copy)]
struct Heat {
    since: Duration,
    last: Duration,
    /// The throttled key, or `None` if several keys were throttled. If only one key is hot, a split would not help.
    key: Option<u64>,
}

impl Partitions {
    /// Creates `count` partitions with equal ranges. Each partition has these limits in units per second, and starts
    /// with one second of saved capacity.
    pub(super) fn new(count: u32, limit: ReadWrite<Units>, split_after: Option<Duration>) -> Partitions {
        let count = count.max(1);
        let edge = |i: u32| f64::from(i) / f64::from(count);
        let full = |rate| Balance::new(rate, rate, rate);
        let balances = ReadWrite { read: full(limit.read), write: full(limit.write) };
        let make =
            |i| Partition { balances, heat: None, stats: PartitionStats::new(edge(i), edge(i + 1), Duration::ZERO) };
        Partitions { now: (0..count).map(make).collect(), ended: Vec::new(), limit, split_after }
    }

    /// Returns the limit of each partition, in units per second.
    pub(super) fn limit(&self) -> ReadWrite<Units> {
        self.limit
    }

    /// Returns whether the partition at this position has capacity left. If not, records a throttle. If the partition
    /// has throttled for long enough, also splits the partition.
    pub(super) fn admit(&mut self, now: Duration, kind: RequestKind, position: f64, key: u64) -> bool {
        let at = self.find(position);
        let partition = &mut self.now[at];
        if partition.balances.get_mut(kind).level(now) > 0.0 {
            return true;
        }
        *partition.stats.throttled.get_mut(kind) += 1;
        if self.split_after.is_some_and(|after| partition.record_throttle(now, key, after)) {
            self.split(at, now);
        }
        false
    }

    /// Subtracts units from the balance of the partition at this position.
    pub(super) fn charge(&mut self, now: Duration, kind: RequestKind, position: f64, units: Units) {
        let at = self.find(position);
        let partition = &mut self.now[at];
        partition.balances.get_mut(kind).take(now, units);
        *partition.stats.served.get_mut(kind) += units;
    }

    /// Subtracts units from the balances of the partitions in a range. Each partition's charge is proportional to the
    /// part of the range that the partition covers.
    pub(super) fn charge_range(&mut self, now: Duration, kind: RequestKind, from: f64, to: f64, units: Units) {
        let width = to - from;
        if width <= 0.0 {
            return self.charge(now, kind, from, units);
        }
        for at in self.find(from)..self.now.len() {
            let PartitionStats { from: begins, to: ends, .. } = self.now[at].stats;
            let part = ends.min(to) - begins.max(from);
            if part <= 0.0 {
                break;
            }
            self.charge(now, kind, begins.max(from), units * part / width);
        }
    }

    /// Returns the current partitions.
    pub(super) fn stats(&self) -> Vec<PartitionStats> {
        self.now.iter().map(|partition| partition.stats.clone()).collect()
    }

    /// Returns the partitions that were split.
    pub(super) fn ended(&self) -> &[PartitionStats] {
        &self.ended
    }

    /// Finds the partition at a position. Such a partition always exists, because the first partition starts at 0. A
    /// position outside 0..1 belongs to the nearest partition.
    fn find(&self, position: f64) -> usize {
        self.now.partition_point(|partition| partition.stats.from <= position).saturating_sub(1)
    }

    fn split(&mut self, at: usize, now: Duration) {
        let hot = &mut self.now[at];
        let from = hot.stats.from;
        let to = hot.stats.to;
        let middle = f64::midpoint(from, to);
        let balances = ReadWrite { read: hot.balances.read.half(now), write: hot.balances.write.half(now) };
        let half = |from, to| Partition { balances, heat: None, stats: PartitionStats::new(from, to, now) };
        let mut ended = hot.stats.clone();
        ended.until = Some(now);
        self.ended.push(ended);
        self.now.splice(at..=at, [half(from, middle), half(middle, to)]);
    }
}

impl Partition {
    /// Records a throttle. Returns true if the partition has throttled for so long that DynamoDB would split it.
    fn record_throttle(&mut self, now: Duration, key: u64, after: Duration) -> bool {
        let heat = match self.heat {
            Some(heat) if now.saturating_sub(heat.last) <= MAX_HEAT_GAP => {
                Heat { last: now, key: heat.key.filter(|known| *known == key), ..heat }
            }
            _ => Heat { since: now, last: now, key: Some(key) },
        };
        self.heat = Some(heat);
        let wide = self.stats.to - self.stats.from > MIN_WIDTH;
        wide && heat.key.is_none() && now.saturating_sub(heat.since) >= after
    }
}
