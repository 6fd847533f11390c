//! Chooses how many segments a table is divided into, and how many of them are processed at the same time. This module
//! is pure.

use crate::dynamodb::TableDescription;
use crate::figure::{number, units};
use crate::item::Units;
use crate::plan::ScanOptions;
use crate::ratelimit::Budgets;

/// The number of items in an ordinary segment: about one page. The survey reads the first page of each segment early.
/// If segments have this size, this page shows whether the segment contains a large item collection.
const ITEMS_PER_SEGMENT: u64 = 250;

/// The size of an ordinary segment with large items, in bytes: half of the largest page (1 MB).
const BYTES_PER_SEGMENT: u64 = 512 * 1024;

/// The smallest number of segments, so that even a small table is read in parallel.
const MIN_SEGMENTS: u32 = 16;

/// The largest number of segments. Even an empty segment costs a request of at least half a read unit, and a row in the
/// state file. With this number of segments, a run costs at least 32,768 read units. DynamoDB accepts a million
/// segments. With more than 4,096 segments, some local engines, such as dynalite 4, return items twice. These
/// duplicates cost additional reads but do no harm.
const MAX_SEGMENTS: u32 = 65_536;

/// The smallest number of segments that are processed at the same time. This minimum spreads even a small budget over
/// the key space.
const MIN_ACTIVE: u32 = 16;

/// The largest number of segments that are processed at the same time. Each of these segments keeps two pages in
/// memory.
const MAX_ACTIVE: u32 = 256;

/// The number of lanes for each partition of the table. Lanes are spread over the partitions so evenly that two
/// partitions differ by at most one lane. With this number of lanes, such a difference is only a small part of a
/// partition's load.
const LANES_PER_PARTITION: f64 = 4.0;

/// A partition stores about 10 GB and serves 1,000 WCU/s (AWS database blog, "Scaling DynamoDB", part 3; developer
/// guide, "Partition key design").
const PARTITION_BYTES: f64 = 10e9;
const PARTITION_WRITES: Units = 1_000.0;

/// More partitions mean more lanes, until the pages of all lanes together reach this number of bytes. In memory, a page
/// takes several times the size that DynamoDB counts.
const PAGES_BYTES: u64 = 128 << 20;

/// A segment with fewer items than this is not worth a request. So even a large number of lanes never divides the table
/// into such small segments.
const MIN_ITEMS: u64 = 25;

/// The smallest number of lanes for large segments. A table with one large item collection usually has several of them.
const MIN_LARGE: u32 = 4;

/// The largest number of lanes for large segments, for any budget. Each of these segments keeps many requests
/// outstanding.
const MAX_LARGE: u32 = 64;

/// The number of segments and lanes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentChoice {
    /// The number of parallel-scan segments.
    pub segments: u32,
    /// The number of segments that are processed at the same time.
    pub active: u32,
    /// The number of additional lanes that serve only segments that are known to be large.
    pub large: u32,
    /// The reason for the number of segments, for the output of `check`.
    pub reason: String,
    /// The reason for the number of segments that are processed at the same time.
    pub active_reason: String,
}

impl SegmentChoice {
    /// Returns the largest number of segments that are processed at the same time.
    pub fn lanes(&self) -> u32 {
        self.active.saturating_add(self.large).min(self.segments)
    }

    /// Reduces the number of lanes if the process cannot open enough connections. One segment can simultaneously need
    /// connections for its next page and for single items of the current page. Lanes of both kinds need connections.
    pub(crate) fn within(self, connections: usize) -> SegmentChoice {
        let largest = u32::try_from(connections / 8).unwrap_or(u32::MAX).max(1);
        SegmentChoice { active: self.active.min(largest), large: self.large.min(largest), ..self }
    }
}

/// The reason for a number that the plan sets.
const FROM_PLAN: &str = "from the plan";

/// A number of segments or lanes, and the reason for it.
type ReasonedCount = (u32, String);

/// Chooses how to divide a table within these budgets. Numbers in the plan take precedence.
pub fn auto_segments(scan: &ScanOptions, table: &TableDescription, budgets: &Budgets) -> SegmentChoice {
    let lanes = lanes(table, budgets);
    let (segments, reason) = match scan.segments {
        Some(stated) => (stated, FROM_PLAN.to_owned()),
        None => segments(table, scan.active.unwrap_or(lanes.0)),
    };
    let (active, active_reason) = match scan.active {
        Some(stated) => (stated, FROM_PLAN.to_owned()),
        None => (lanes.0.max(MIN_ACTIVE), lanes.1),
    };
    let large = large(budgets);
    SegmentChoice { segments, active: active.min(segments.max(1)), large, reason, active_reason }
}

/// Returns a number of segments that keeps `active` lanes busy on this table.
fn segments(table: &TableDescription, active: u32) -> ReasonedCount {
    let items = table.item_count;
    let bytes = table.size_bytes;
    let by_size = (saturating_u32(bytes.div_ceil(1 << 30)), format!("1 for each GiB of {} bytes", number(bytes)));
    // In a small table, the number of lanes raises the number of segments only up to this bound. Smaller segments would
    // not be worth a request. If the table's size is unknown, this bound does not apply.
    let worth = if items == 0 { u32::MAX } else { saturating_u32(items / MIN_ITEMS) };
    let by_lanes =
        (active.saturating_mul(2).min(worth), format!("twice the {active} segments that the budget keeps busy"));
    let least = (MIN_SEGMENTS, "the minimum".to_owned());
    let mut needs = vec![least, by_size, by_lanes];
    if table.key.sort.is_some() {
        let mean = bytes.checked_div(items).unwrap_or(0).max(1);
        let each = ITEMS_PER_SEGMENT.min(BYTES_PER_SEGMENT / mean).max(1);
        let why = format!(
            "{} items in segments of about {each}, so that a segment's first page shows a large item collection",
            number(items)
        );
        needs.push((saturating_u32(items.div_ceil(each)), why));
    }
    let (segments, why) = largest(needs);
    if segments <= MAX_SEGMENTS {
        return (segments, why);
    }
    let cap = number(MAX_SEGMENTS.into());
    (
        MAX_SEGMENTS,
        format!("no more than {cap}, because each costs at least half a read unit and a row in the state file ({why})"),
    )
}

/// Returns the number of lanes that the budget needs, before the minimum is applied.
fn lanes(table: &TableDescription, budgets: &Budgets) -> ReasonedCount {
    let write = budgets.table.write;
    let range = budgets.per_key_range.write;
    let by_caps = (
        truncated_u32(2.0 * (write / range).ceil()).min(MAX_ACTIVE),
        format!("twice the number needed to use up {} WCU/s at {} WCU/s each", units(write), units(range)),
    );
    let partitions = (table.size_bytes as f64 / PARTITION_BYTES).max(write / PARTITION_WRITES).ceil().max(1.0);
    let page = table.size_bytes.checked_div(table.item_count).map_or(0, |mean| (mean * ITEMS_PER_SEGMENT).min(1 << 20));
    let fit = saturating_u32((PAGES_BYTES / 2).checked_div(page).unwrap_or(u64::from(MAX_ACTIVE)));
    let by_partitions = (
        truncated_u32(LANES_PER_PARTITION * partitions).min(MAX_ACTIVE).min(fit),
        format!("{LANES_PER_PARTITION} for each of about {partitions} partitions"),
    );
    let (lanes, why) = largest(vec![by_caps, by_partitions]);
    let why = if lanes < MIN_ACTIVE { "the minimum".to_owned() } else { why };
    (lanes, why)
}

/// Returns how many large segments together use up the table's budget if each is written at the rate of one partition
/// key.
fn large(budgets: &Budgets) -> u32 {
    let one = budgets.per_partition_key.write.min(budgets.per_key_range.write).min(PARTITION_WRITES);
    truncated_u32((budgets.table.write / one).ceil()).clamp(MIN_LARGE, MAX_LARGE)
}

/// Returns the entry with the largest number. If several entries have this number, returns the first of them.
fn largest(needs: Vec<ReasonedCount>) -> ReasonedCount {
    needs.into_iter().reduce(|largest, need| if need.0 > largest.0 { need } else { largest }).unwrap_or_default()
}

fn saturating_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Converts a number and clamps it to the range of `u32`. NaN becomes 0. If a budget of zero pauses the run, the
/// callers compute 0 ÷ 0, which is NaN.
fn truncated_u32(n: f64) -> u32 {
    n as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratelimit::Budget;

    const OPEN: ScanOptions = ScanOptions { segments: None, active: None, page_limit: None, consistent: false };

    fn table(items: u64, bytes: u64) -> TableDescription {
        TableDescription { item_count: items, size_bytes: bytes, ..TableDescription::for_tests() }
    }

    fn budgets(write: f64) -> Budgets {
        let narrow = Budget { write: write.min(250.0), read: 750.0 };
        Budgets {
            table: Budget { write, read: 2.0 * write },
            per_key_range: narrow,
            per_partition_key: narrow,
            indexes: Vec::new(),
        }
    }

    fn choose(items: u64, bytes: u64, write: f64) -> SegmentChoice {
        auto_segments(&OPEN, &table(items, bytes), &budgets(write))
    }

    #[test]
    fn there_are_no_more_lanes_than_connections_allow() {
        let choice =
            SegmentChoice { segments: 512, active: 64, large: 8, reason: String::new(), active_reason: String::new() };
        let lanes = |connections| {
            let within = choice.clone().within(connections);
            (within.segments, within.active, within.large)
        };
        assert_eq!(lanes(usize::MAX), (512, 64, 8));
        assert_eq!(lanes(192), (512, 24, 8));
        assert_eq!(lanes(40), (512, 5, 5));
        assert_eq!(lanes(0), (512, 1, 1));
    }

    #[test]
    fn segments_grow_with_the_table() {
        const KB: u64 = 1024;
        for (items, bytes, segments) in [
            (0, 0, 16),
            (40, 40 * KB, 16),
            (20_000, 20_000 * KB, 80),
            (1_000_000, 1_000_000 * KB, 4_000),
            // Twelve items of 40 KB fill half a page.
            (100_000, 100_000 * 40 * KB, 8_334),
            (1_000_000_000, 1_000_000_000 * KB, 65_536),
            (u64::MAX, u64::MAX, 65_536),
        ] {
            assert_eq!(choose(items, bytes, 1_000.0).segments, segments, "{items} items");
        }
        let mut hash_only = table(1_000_000, 100 << 30);
        hash_only.key.sort = None;
        assert_eq!(
            auto_segments(&OPEN, &hash_only, &budgets(1_000.0)).segments,
            100,
            "a table without a sort key has no collections"
        );
    }

    #[test]
    fn lanes_are_enough_for_the_budget_and_spread_over_the_partitions() {
        for (gib, write, active) in
            [(0, 0.5, 16), (1, 1_000.0, 16), (1, 4_000.0, 32), (200, 1_000.0, 88), (2_000, 1_000.0, 256), (1, 1e6, 256)]
        {
            let chosen = choose(gib << 20, gib << 30, write);
            assert_eq!(chosen.active.max(16), active, "{gib} GiB, {write} WCU/s: {}", chosen.reason);
            assert!(chosen.segments >= 16);
        }
        // The budgets of the key ranges never limit a run below the table's budget.
        for write in [10.0, 999.0, 1_000.0, 12_345.0, 30_000.0] {
            let chosen = choose(1 << 24, 1 << 34, write);
            let narrow = budgets(write).per_key_range.write;
            assert!(f64::from(chosen.active) * narrow >= 2.0 * write, "{chosen:?}");
            assert!(chosen.segments >= 2 * chosen.active);
        }
        // With large items, the number of partitions determines the number of lanes, up to the limit on page memory.
        assert_eq!(choose(50_000_000, 2_000_000_000_000, 1_000.0).active, 64);
    }

    #[test]
    fn a_small_table_is_not_cut_to_pieces_for_a_large_budget() {
        assert_eq!(choose(2_000, 2_000 << 10, 40_000.0).segments, 80);
        assert_eq!(choose(100, 100 << 10, 40_000.0).segments, 16);
        assert_eq!(choose(0, 0, 40_000.0).segments, 512, "the table may have been filled since DynamoDB counted");
    }

    #[test]
    fn numbers_that_the_plan_states_are_used() {
        let stated = ScanOptions { segments: Some(7), active: Some(3), ..OPEN };
        let chosen = auto_segments(&stated, &table(1 << 20, 1 << 30), &budgets(1_000.0));
        assert_eq!((chosen.segments, chosen.active), (7, 3));
        let lanes = ScanOptions { active: Some(50), ..OPEN };
        assert_eq!(auto_segments(&lanes, &table(0, 0), &budgets(1_000.0)).segments, 100);
    }

    #[test]
    fn large_lanes_use_up_the_budget() {
        for (write, large) in [(0.5, 4), (1_000.0, 4), (4_000.0, 16), (1e6, 64)] {
            assert_eq!(large_of(write), large);
        }
    }

    fn large_of(write: f64) -> u32 {
        choose(1 << 20, 1 << 30, write).large
    }

    #[test]
    fn a_zero_budget_does_not_fail() {
        let chosen = choose(1_000, 1 << 20, 0.0);
        assert_eq!((chosen.active, chosen.large), (16, 4));
    }

    #[test]
    fn the_reason_names_the_deciding_rule() {
        let choice = choose(1_000_000, 1_000_000 << 10, 1_000.0);
        assert_eq!(
            choice.reason,
            "1,000,000 items in segments of about 250, so that a segment's first page shows a large item collection"
        );
        assert_eq!(choice.active_reason, "the minimum");
        let choice = choose(1_000_000_000, 1 << 40, 1_000.0);
        assert!(
            choice.reason.contains("no more than 65,536, because each costs at least half a read unit"),
            "{choice:?}"
        );
        assert_eq!(choice.active_reason, "4 for each of about 110 partitions");
    }
}
