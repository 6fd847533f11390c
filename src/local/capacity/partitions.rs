//! Partitions: ranges of the key-hash space, each with its own limits, split in two when one stays hot.

use std::time::Duration;

use super::figures::PartitionFigures;
use super::reason::{Kind, PerKind};
use super::tank::Tank;
use crate::item::Units;

/// Throttles that are further apart than this are not of one heat. An assumption, like the delay itself: DynamoDB
/// publishes neither.
const HEAT_LASTS: Duration = Duration::from_secs(60);

/// The narrowest partition: a range that no split can make cooler, and the bound of how many there can be.
const NARROWEST: f64 = 1.0 / 65_536.0;

/// The partitions of a table or an index, in the order of their ranges, without gaps.
#[derive(Debug)]
pub(super) struct Partitions {
    now: Vec<Partition>,
    ended: Vec<PartitionFigures>,
    limit: PerKind<Units>,
    split_after: Option<Duration>,
}

#[derive(Debug)]
struct Partition {
    tanks: PerKind<Tank>,
    heat: Option<Heat>,
    figures: PartitionFigures,
}

/// A partition that throttles, and since when.
#[derive(Debug, Clone, Copy)]
struct Heat {
    since: Duration,
    last: Duration,
    /// The one key that was throttled; none once there were several. One hot key gains nothing by a split.
    key: Option<u64>,
}

impl Partitions {
    /// Equal ranges, each with these limits in units per second, holding one second of them.
    pub(super) fn new(count: u32, limit: PerKind<Units>, split_after: Option<Duration>) -> Partitions {
        let count = count.max(1);
        let edge = |i: u32| f64::from(i) / f64::from(count);
        let full = |rate| Tank::new(rate, rate, rate);
        let tanks = PerKind { read: full(limit.read), write: full(limit.write) };
        let make =
            |i| Partition { tanks, heat: None, figures: PartitionFigures::new(edge(i), edge(i + 1), Duration::ZERO) };
        Partitions { now: (0..count).map(make).collect(), ended: Vec::new(), limit, split_after }
    }

    /// What each partition serves, in units per second.
    pub(super) fn limit(&self) -> PerKind<Units> {
        self.limit
    }

    /// Whether the partition at this position has anything left. If it has not, that counts, and may split it.
    pub(super) fn admit(&mut self, now: Duration, kind: Kind, position: f64, key: u64) -> bool {
        let at = self.find(position);
        let partition = &mut self.now[at];
        if partition.tanks.of_mut(kind).level(now) > 0.0 {
            return true;
        }
        *partition.figures.throttled.of_mut(kind) += 1;
        if self.split_after.is_some_and(|after| partition.is_hot(now, key, after)) {
            self.split(at, now);
        }
        false
    }

    /// Takes units from the partition at this position.
    pub(super) fn charge(&mut self, now: Duration, kind: Kind, position: f64, units: Units) {
        let at = self.find(position);
        let partition = &mut self.now[at];
        partition.tanks.of_mut(kind).take(now, units);
        *partition.figures.served.of_mut(kind) += units;
    }

    /// Takes units from the partitions of a range, from each as much as it has part in the range.
    pub(super) fn charge_range(&mut self, now: Duration, kind: Kind, from: f64, to: f64, units: Units) {
        let width = to - from;
        if width <= 0.0 {
            return self.charge(now, kind, from, units);
        }
        for at in self.find(from)..self.now.len() {
            let PartitionFigures { from: begins, to: ends, .. } = self.now[at].figures;
            let part = ends.min(to) - begins.max(from);
            if part <= 0.0 {
                break;
            }
            self.charge(now, kind, begins.max(from), units * part / width);
        }
    }

    /// The partitions as they are.
    pub(super) fn figures(&self) -> Vec<PartitionFigures> {
        self.now.iter().map(|partition| partition.figures.clone()).collect()
    }

    /// Those that were split.
    pub(super) fn ended(&self) -> &[PartitionFigures] {
        &self.ended
    }

    /// There is always one: the first begins at 0. Positions outside 0..1 belong to the nearest.
    fn find(&self, position: f64) -> usize {
        self.now.partition_point(|partition| partition.figures.from <= position).saturating_sub(1)
    }

    fn split(&mut self, at: usize, now: Duration) {
        let hot = &mut self.now[at];
        let (from, to) = (hot.figures.from, hot.figures.to);
        let middle = f64::midpoint(from, to);
        let tanks = PerKind { read: hot.tanks.read.half(now), write: hot.tanks.write.half(now) };
        let half = |from, to| Partition { tanks, heat: None, figures: PartitionFigures::new(from, to, now) };
        let mut ended = hot.figures.clone();
        ended.until = Some(now);
        self.ended.push(ended);
        self.now.splice(at..=at, [half(from, middle), half(middle, to)]);
    }
}

impl Partition {
    /// Notes a throttle; true if it has been throttling for so long that DynamoDB splits it.
    fn is_hot(&mut self, now: Duration, key: u64, after: Duration) -> bool {
        let heat = match self.heat {
            Some(heat) if now.saturating_sub(heat.last) <= HEAT_LASTS => {
                Heat { last: now, key: heat.key.filter(|known| *known == key), ..heat }
            }
            _ => Heat { since: now, last: now, key: Some(key) },
        };
        self.heat = Some(heat);
        let wide = self.figures.to - self.figures.from > NARROWEST;
        wide && heat.key.is_none() && now.saturating_sub(heat.since) >= after
    }
}
