//! Scans a whole in-memory table in virtual time. Checks when each page is read, and the order in which segments begin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::change::{GuardedWrite, Outcome};
use crate::clock;
use crate::cost::UnitPrices;
use crate::dynamodb::{GetReply, Page, PageRequest, Sink, Source, TableDescription, TableError, WriteReply};
use crate::engine::progress::Progress;
use crate::engine::{
    Allowance, CommitPage, ItemOutcomes, LocalScheduler, PageItems, Pages, PartialOutcome, ProcessPage, RequestLimits,
    Stopper, WorkWindow, scan_table,
};
use crate::item::{Item, ItemKey, KeySchema, Position, Value};
use crate::machine::Random;
use crate::plan::{PlanLimits, Prices, Retry};
use crate::ratelimit::{Budget, Budgets, Feedback, Scopes};
use crate::state::{SegmentState, SegmentStatus};

mod failing;

/// The duration of a read.
const LATENCY: Duration = Duration::from_millis(20);

/// The duration of one item's write, whatever other writes are in progress. This is the pace of a partition key with
/// 250 WCU/s.
const WRITE: Duration = Duration::from_millis(4);

/// Number of items in an ordinary segment. Each item has a different partition key.
const ORDINARY: usize = 200;

/// A request for a page.
#[derive(Debug, Clone, PartialEq)]
struct PageRead {
    at: Duration,
    segment: u32,
    first: bool,
    keys_only: bool,
}

/// An in-memory table that stores only the partition keys of the items, by segment. It throttles the survey until the
/// time `throttles` has passed.
struct SegmentTable {
    segments: Vec<Vec<String>>,
    began: Instant,
    page_reads: Mutex<Vec<PageRead>>,
    charged: Mutex<f64>,
    throttles: Duration,
}

impl SegmentTable {
    fn page(&self, request: &PageRequest) -> Page {
        let keys = &self.segments[request.segment as usize];
        let start =
            request.start.as_ref().and_then(Position::key).map_or(0, |key| match key.attributes().get("place") {
                Some(Value::S(place)) => place.parse().unwrap(),
                other => panic!("{other:?}"),
            });
        let end = keys.len().min(start + request.limit.unwrap() as usize);
        let item = |key: &String| Item::from([("pk".to_owned(), Value::S(key.clone()))]);
        let next = || ItemKey::new([("place".to_owned(), Value::S(end.to_string()))].into());
        let full = end - start == request.limit.unwrap() as usize;
        // An eventually consistent read of 1 KB costs an eighth of a unit. A page costs at least half a unit.
        let units = ((end - start) as f64 / 8.0).max(0.5);
        *self.charged.lock().unwrap() += units;
        Page {
            items: keys[start..end].iter().map(item).collect(),
            next: full.then(next).map(Position::Key),
            units: Some(units),
        }
    }
}

#[async_trait]
impl Source for SegmentTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let PageRequest { segment, keys_only, .. } = *request;
        let page_reads = PageRead { at: self.began.elapsed(), segment, first: request.start.is_none(), keys_only };
        self.page_reads.lock().unwrap().push(page_reads);
        tokio::time::sleep(LATENCY).await;
        if keys_only && self.began.elapsed() < self.throttles {
            return Err(TableError::Throttled { message: "slower".into(), reasons: Vec::new() });
        }
        Ok(self.page(request))
    }
}

#[async_trait]
impl Sink for SegmentTable {
    async fn write(&self, _: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        unreachable!("nothing is written")
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("nothing is written")
    }
}

/// A pass that writes nothing, but takes as long as the writes would.
struct SlowPass {
    progress: Arc<Progress>,
    most_active: AtomicU64,
    done: Mutex<BTreeSet<u32>>,
}

#[async_trait]
impl ProcessPage for SlowPass {
    type Outcome = ItemOutcomes;

    async fn process(&self, PageItems { items, .. }: PageItems, _: &Requests) -> Result<PartialOutcome, Stopped> {
        self.most_active.fetch_max(self.progress.snapshot().segments_active, Ordering::Relaxed);
        tokio::time::sleep(WRITE * u32::try_from(items.len()).unwrap()).await;
        let mut outcome = ItemOutcomes::default();
        items.iter().for_each(|_| outcome.counts.count(Outcome::NothingToDo));
        Ok(PartialOutcome { outcome, rest: None })
    }
}

#[async_trait]
impl CommitPage<ItemOutcomes> for SlowPass {
    async fn abandon(&self, _: ItemOutcomes) {}

    async fn commit(&self, pages: Pages) -> Result<(), Stopped> {
        let ends = pages.next.is_none();
        self.progress.record_commit(Some(pages.segment), &pages.outcome.counts, pages.pages, ends);
        assert!(!ends || self.done.lock().unwrap().insert(pages.segment), "a segment ended twice");
        Ok(())
    }
}

/// The table and the settings of a scan.
struct Scene {
    table: SegmentTable,
    read_settings: ReadSettings,
    scheduler: LocalScheduler,
    stop: Stopper,
}

/// The results of a scan.
struct ScanResult {
    took: Duration,
    page_reads: Vec<PageRead>,
    charged: f64,
    read_units: f64,
    most_active: u64,
    done: usize,
}

impl Scene {
    /// Creates a table with ordinary segments, four shared lanes and two large lanes. Each segment of `collections` has
    /// a few ordinary items, followed by an item collection of the given size.
    fn new(segments: u32, collections: &[(u32, usize)]) -> Scene {
        let ordinary = |segment: u32| (0..ORDINARY).map(move |n| format!("{segment}-{n}"));
        let mut keys: Vec<Vec<String>> = (0..segments).map(|segment| ordinary(segment).collect()).collect();
        for (segment, items) in collections {
            let few = ordinary(*segment).take(50);
            keys[*segment as usize] = few.chain(std::iter::repeat_n("large".to_owned(), *items)).collect();
        }
        let read_settings = ReadSettings {
            active: 4,
            large: 2,
            survey: Some(400),
            mean_item_bytes: Some(1024),
            ..ReadSettings::new(segments, "pk")
        };
        let table = SegmentTable {
            segments: keys,
            began: Instant::now(),
            page_reads: Mutex::default(),
            charged: Mutex::default(),
            throttles: Duration::ZERO,
        };
        Scene { table, read_settings, scheduler: LocalScheduler::new(segments), stop: Stopper::default() }
    }

    async fn scan_table(mut self) -> ScanResult {
        let scheduler = std::mem::replace(&mut self.scheduler, LocalScheduler::new(0));
        self.scan_table_with(&scheduler).await
    }

    async fn scan_table_with(self, scheduler: &dyn Scheduler) -> ScanResult {
        let progress = Arc::new(Progress::default());
        let handler = Arc::new(SlowPass {
            progress: Arc::clone(&progress),
            most_active: AtomicU64::default(),
            done: Mutex::default(),
        });
        let table = Arc::new(self.table);
        let retry = Retry {
            base: Duration::from_millis(50),
            cap: Duration::from_secs(20),
            give_up_after: Duration::from_secs(900),
        };
        // These budgets are too large to limit anything. Time passes only in the pass and in the table.
        let all = Budget { write: 1e5, read: 1e5 };
        let budgets = Budgets { table: all, per_key_range: all, per_partition_key: all, indexes: Vec::new() };
        let scopes = Scopes::new(&budgets, &[], Feedback::default());
        let stop = self.stop.clone();
        let progress_handle = Arc::clone(&progress);
        let limits = PlanLimits {
            max_failures: 0,
            max_wcu: None,
            max_cost_usd: None,
            max_items: None,
            deadline: None,
            window: None,
        };
        let prices = UnitPrices::for_table(&TableDescription::for_tests(), &Prices::default());
        let allowance = Allowance::new(&limits, all, prices);
        let work_window = WorkWindow::new(&limits, clock::wall_clock());
        let requests = Requests::new(
            table.clone(),
            table.clone(),
            &TableDescription::for_tests(),
            RequestLimits {
                pause: crate::engine::PauseSwitch::default(),
                scopes,
                allowance,
                work_window,
                retry,
                connections: usize::MAX,
                random: Random::with_seed(1),
            },
            stop,
            progress_handle,
        );
        scan_table(self.read_settings, scheduler, &requests, handler.clone()).await;
        let page_reads = table.page_reads.lock().unwrap().clone();
        let charged = *table.charged.lock().unwrap();
        ScanResult {
            took: table.began.elapsed(),
            page_reads,
            charged,
            read_units: progress.snapshot().counts.read_units,
            most_active: handler.most_active.load(Ordering::Relaxed),
            done: handler.done.lock().unwrap().len(),
        }
    }
}

impl ScanResult {
    /// Returns the time at which the pass began each segment.
    fn began(&self) -> BTreeMap<u32, Duration> {
        let work = self.page_reads.iter().filter(|page_reads| page_reads.first && !page_reads.keys_only);
        work.map(|page_reads| (page_reads.segment, page_reads.at)).collect()
    }

    fn surveyed(&self) -> Vec<&PageRead> {
        self.page_reads.iter().filter(|page_reads| page_reads.keys_only).collect()
    }
}

/// The longest segment is the last one in the order, but it begins during the survey. The duration of the run is hardly
/// longer than the work on that segment.
#[tokio::test(start_paused = true)]
async fn a_giant_collection_at_the_end_of_the_order_begins_early() {
    const GIANT: usize = 10_000;
    let lower_bound = WRITE * GIANT as u32;
    let result = Scene::new(128, &[(127, GIANT)]).scan_table().await;
    // The survey reads 124 pages, four at a time.
    assert!(result.began()[&127] <= LATENCY * 32, "{:?}", result.began()[&127]);
    assert!(result.took <= lower_bound.mul_f64(1.05), "took {:?}, lower bound {lower_bound:?}", result.took);
    assert_eq!(result.done, 128);

    let mut without = Scene::new(128, &[(127, GIANT)]);
    without.read_settings.survey = None;
    let without = without.scan_table().await;
    assert!(without.began()[&127] > Duration::from_secs(20) && without.took > lower_bound.mul_f64(1.4));
    assert!(without.surveyed().is_empty());
}

/// Segments that are known to be large begin before others, in the large lanes and then also in shared lanes. Segments
/// that have only one page are started last.
#[tokio::test(start_paused = true)]
async fn large_segments_begin_first_and_short_ones_last() {
    let large: Vec<(u32, usize)> = [33, 41, 35, 59, 61, 63].map(|segment| (segment, 2_000)).into();
    let mut scene = Scene::new(64, &large);
    // This segment has 450 items with 450 partition keys, so it continues after a surveyed page of 400 items.
    scene.table.segments[31] = (0..450).map(|n| format!("31-{n}")).collect();
    let result = scene.scan_table().await;
    let mut order: Vec<(Duration, u32)> = result.began().into_iter().map(|(segment, at)| (at, segment)).collect();
    order.sort_unstable();
    let order: Vec<u32> = order.into_iter().map(|(_, segment)| segment).collect();
    assert_eq!(order[..4], [0, 16, 32, 48], "work begins before the survey knows anything");
    let place = |segment: u32| order.iter().position(|s| *s == segment).unwrap();
    let last_large = large.iter().map(|(segment, _)| place(*segment)).max().unwrap();
    assert!(last_large < 10 && place(31) < 11, "{order:?}");
    assert_eq!(result.most_active, 6, "there are four shared lanes and two large lanes");
    assert_eq!(result.done, 64);
}

/// If an unknown segment turns out to be large while it is being read, it moves to a large lane.
#[tokio::test(start_paused = true)]
async fn a_segment_that_turns_out_large_makes_room_for_another() {
    let mut scene = Scene::new(64, &[(0, 5_000)]);
    scene.read_settings.survey = None;
    let result = scene.scan_table().await;
    assert_eq!(result.most_active, 5, "the collection has a lane of its own, and four other segments are active");
    assert_eq!(result.done, 64);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_surveyed_if_every_segment_has_a_lane() {
    let result = Scene::new(4, &[(3, 2_000)]).scan_table().await;
    assert_eq!((result.surveyed().len(), result.done), (0, 4));
}

/// The survey reads the first page of each fresh segment once. In a resumed run, only segments without a checkpoint are
/// fresh.
#[tokio::test(start_paused = true)]
async fn a_resumed_run_surveys_only_segments_without_a_checkpoint() {
    let mut scene = Scene::new(64, &[]);
    let done = SegmentState { status: SegmentStatus::Done, pages: 1, ..SegmentState::default() };
    let key = ItemKey::new([("place".to_owned(), Value::S("100".into()))].into());
    let begun =
        SegmentState { status: SegmentStatus::Scanning(Position::Key(key)), pages: 1, ..SegmentState::default() };
    (0..20).for_each(|segment| scene.scheduler.restore(segment, done.clone()));
    (20..30).for_each(|segment| scene.scheduler.restore(segment, begun.clone()));
    let result = scene.scan_table().await;
    let surveyed: Vec<u32> = result.surveyed().iter().map(|page_reads| page_reads.segment).collect();
    assert_eq!(surveyed.iter().copied().collect::<BTreeSet<_>>(), (30..64).collect());
    assert_eq!(surveyed.len(), 34, "the survey reads each segment once");
    assert!(
        result.began().keys().all(|segment| *segment >= 30),
        "partly read segments resume at their stored positions"
    );
    assert_eq!(result.done, 44);
}

/// The counts of the committed pages include the read units that the survey consumed.
#[tokio::test(start_paused = true)]
async fn survey_reads_are_counted() {
    let result = Scene::new(64, &[(63, 2_000)]).scan_table().await;
    let surveyed = result.surveyed().len();
    assert_eq!(surveyed, 60);
    assert!((result.read_units - result.charged).abs() < 1e-6, "{} of {}", result.read_units, result.charged);
    let work = 63.0 * ORDINARY as f64 / 8.0 + 2_050.0 / 8.0;
    assert!(result.read_units > 1.8 * work, "60 of 64 first pages were read twice: {} of {work}", result.read_units);
}

/// A survey that is always throttled backs off, and the pass continues without it.
#[tokio::test(start_paused = true)]
async fn a_throttled_survey_does_not_hold_up_the_work() {
    let mut scene = Scene::new(64, &[]);
    scene.table.throttles = Duration::from_secs(3_600);
    let throttled = scene.scan_table().await;
    let mut without = Scene::new(64, &[]);
    without.read_settings.survey = None;
    let without = without.scan_table().await;
    assert_eq!((throttled.done, throttled.took), (64, without.took));
    let tries = throttled.surveyed().len();
    assert!((4..60).contains(&tries), "{tries} requests in {:?}", throttled.took);
}

#[tokio::test(start_paused = true)]
async fn the_survey_stops_with_the_run() {
    let mut scene = Scene::new(64, &[]);
    scene.table.throttles = Duration::from_secs(3_600);
    let stop = scene.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        stop.stop(StopReason::Interrupted);
    });
    let result = scene.scan_table().await;
    // After the stop, only the pages in progress are finished.
    assert!(result.took < Duration::from_millis(1_500) + WRITE * 250, "{:?}", result.took);
    assert!(result.page_reads.iter().all(|page_reads| page_reads.at <= Duration::from_millis(1_500)));
}

fn page(keys: &[(&str, usize)], continues: bool) -> Page {
    let item = |key: &str| Item::from([("pk".to_owned(), Value::S(key.to_owned()))]);
    let items = keys.iter().flat_map(|(key, items)| std::iter::repeat_n(item(key), *items)).collect();
    Page { items, next: continues.then(|| Position::Key(ItemKey::new(Item::new()))), units: None }
}

#[test]
fn a_first_page_shows_how_its_segment_continues() {
    for (keys, continues, expected) in [
        (&[("a", 100)][..], false, FirstPage::Ends),
        (&[], true, FirstPage::Continues),
        (&[("a", 7)], true, FirstPage::Continues),
        (&[("a", 51), ("b", 49)], true, FirstPage::Continues),
        (&[("a", 50), ("b", 50)], true, FirstPage::InCollection),
        (&[("a", 8)], true, FirstPage::InCollection),
    ] {
        assert_eq!(FirstPage::from_page(&page(keys, continues), "pk"), expected, "{keys:?}");
    }
}

#[test]
fn a_survey_is_made_if_it_can_help() {
    let table =
        TableDescription { item_count: 1_000_000, size_bytes: 1_000_000 << 10, ..TableDescription::for_tests() };
    let scan = ScanOptions { segments: None, active: None, page_limit: None, consistent: false };
    let budget = Budget { write: 1_000.0, read: 2_000.0 };
    assert_eq!(survey_item_limit(&table, &scan, 4_000, budget), Some(500), "the limit is twice an ordinary segment");
    assert_eq!(survey_item_limit(&table, &scan, 16, budget), Some(1_000), "the limit fills a page");
    assert_eq!(survey_item_limit(&table, &scan, 60_000, budget), Some(250));
    let unknown = TableDescription { item_count: 0, size_bytes: 0, ..table.clone() };
    assert_eq!(survey_item_limit(&unknown, &scan, 16, budget), Some(250));
    let few = ScanOptions { page_limit: Some(50), ..scan.clone() };
    assert_eq!(survey_item_limit(&table, &few, 4_000, budget), Some(50));
    let single = ScanOptions { page_limit: Some(1), ..scan.clone() };
    assert_eq!(survey_item_limit(&table, &single, 4_000, budget), None);
    let small = Budget { write: 10.0, read: 20.0 };
    assert_eq!(survey_item_limit(&table, &scan, 4_000, small), Some(160), "the limit is a second of the read budget");
    let short = Budget { write: 1_000.0, read: 200.0 };
    assert_eq!(survey_item_limit(&table, &scan, 4_000, short), None, "the read budget limits the run");
    let hash_only = KeySchema { sort: None, ..table.key.clone() };
    assert_eq!(survey_item_limit(&TableDescription { key: hash_only, ..table }, &scan, 4_000, budget), None);
}
