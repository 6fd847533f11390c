//! Tests permits and retries in virtual time. The table records when each request arrives.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::read::MAX_LISTED_BYTES;
use super::*;
use crate::change::Action;
use crate::cost::UnitPrices;
use crate::dynamodb::{FatalKind, FilteredPage, GetReply, PageRequest, ThrottlingReason};
use crate::item::Value;
use crate::item::{Item, ItemKey, Position};
use crate::machine::Random;
use crate::plan::{PlanLimits, Prices, Window};
use crate::ratelimit::{Budget, Budgets, Feedback};
use tokio::time::Instant;

/// The window closes ten seconds after the start and opens again twenty minutes later. Meanwhile, every bucket fills
/// up.
const CLOSES: Duration = Duration::from_secs(10);
const OPENS: Duration = Duration::from_secs(10 + 1_200);

/// The units per second of the scope that limits the requests.
const RATE: Units = 10.0;

/// A rate that is too high to limit anything.
const WIDE: Units = 1_000.0;

/// A table that records when each request arrived.
struct RecordingTable {
    began: Instant,
    request_times: std::sync::Mutex<Vec<Duration>>,
}

impl RecordingTable {
    async fn record(&self) {
        self.request_times.lock().unwrap().push(self.began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn between(&self, from: Duration, to: Duration) -> usize {
        self.request_times.lock().unwrap().iter().filter(|at| (from..to).contains(*at)).count()
    }
}

#[async_trait]
impl Source for RecordingTable {
    async fn read_page(&self, _: &PageRequest) -> Result<Page, TableError> {
        self.record().await;
        Ok(Page { items: Vec::new(), next: None, units: Some(1.0) })
    }

    async fn read_filtered_page(&self, _: &PageRequest, _: &Filter) -> Result<FilteredPage, TableError> {
        self.record().await;
        Err(TableError::Fatal { kind: FatalKind::Request, message: "ValidationException: bad filter".to_owned() })
    }
}

#[async_trait]
impl Sink for RecordingTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        self.record().await;
        let consumed =
            |write: &&GuardedWrite| Some(WriteConsumption { table: write.cost.table, ..WriteConsumption::default() });
        chunk.iter().map(|write| Ok(WriteReply::Applied { consumed: consumed(write), removed: None })).collect()
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("the test has no failed conditions")
    }
}

/// A source of 60 keys, and the items with these keys. Every fifth key has no item.
struct ListedTable {
    item_bytes: usize,
}

#[async_trait]
impl Source for ListedTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let start = match request.start {
            None => 0,
            Some(Position::Offset(offset)) => offset,
            Some(Position::Key(_)) => return Err(TableError::foreign_position()),
        };
        let end = (start + u64::from(request.limit.unwrap_or(60))).min(60);
        let key = |n: u64| Item::from([("pk".to_owned(), Value::S(n.to_string()))]);
        let next = (end < 60).then_some(Position::Offset(end));
        Ok(Page { items: (start..end).map(key).collect(), next, units: Some(0.0) })
    }

    fn yields_keys(&self) -> bool {
        true
    }
}

#[async_trait]
impl Sink for ListedTable {
    async fn write(&self, _: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        unreachable!("the test writes nothing")
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        let mut item = key.attributes().clone();
        let Some(Value::S(n)) = item.get("pk") else { panic!("{key}") };
        let n: u64 = n.parse().unwrap();
        // The replies arrive in a different order from the requests.
        tokio::time::sleep(Duration::from_millis(10 - n % 7)).await;
        if n.is_multiple_of(5) {
            return Ok(GetReply { item: None, units: Some(1.0) });
        }
        item.insert("x".to_owned(), Value::S("x".repeat(self.item_bytes)));
        Ok(GetReply { item: Some(item), units: Some(2.0) })
    }
}

/// If DynamoDB rejects the filter, the run reads without it. Only the first request has the filter.
#[tokio::test(start_paused = true)]
async fn a_rejected_filter_is_dropped() {
    let began = Instant::now();
    let table = Arc::new(RecordingTable { began, request_times: std::sync::Mutex::default() });
    let condition = crate::expr::Expr::compile("has(item.a)", crate::expr::Expected::Bool).unwrap();
    let filter = condition.filter(&crate::expr::KnownTypes::default());
    assert!(filter.is_some());
    let requests = requests_to(&table, [1e6; 3], began).with_filter(filter);
    let request =
        PageRequest { segment: 0, total_segments: 1, start: None, limit: Some(10), consistent: true, keys_only: false };
    for sent in [2, 3] {
        let read = requests.clone().read_page(&request, 1.0).await.unwrap();
        assert_eq!((read.left_out, read.page.units), (0, Some(1.0)));
        assert_eq!(table.request_times.lock().unwrap().len(), sent);
    }
}

/// Every key is read exactly once and in order, even if large items end a page early. The units of the pages add up to
/// the units of all reads.
#[tokio::test(start_paused = true)]
async fn listed_items_are_read_by_their_keys_and_in_order() {
    for (item_bytes, limit, fewest_pages) in [(10, 60, 1), (10, 7, 9), (300 * 1024, 60, 12), (2 << 20, 60, 48)] {
        let table = Arc::new(ListedTable { item_bytes });
        let requests = requests_to(&table, [1e6; 3], Instant::now());
        let (mut found, mut missing, mut units, mut pages) = (Vec::new(), 0, 0.0, 0);
        let mut start = None;
        loop {
            let request = PageRequest {
                segment: 0,
                total_segments: 1,
                start,
                limit: Some(limit),
                consistent: true,
                keys_only: false,
            };
            let read = requests.read_page(&request, 1.0).await.unwrap();
            assert!(read.page.items.iter().map(item_bytes_of).sum::<usize>() < MAX_LISTED_BYTES + item_bytes + 100);
            found.extend(read.page.items.iter().map(|item| match &item["pk"] {
                Value::S(n) => n.parse::<u64>().unwrap(),
                other => panic!("{other:?}"),
            }));
            missing += read.missing;
            units += read.page.units.unwrap();
            pages += 1;
            start = read.page.next;
            if start.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..60).filter(|n| n % 5 != 0).collect::<Vec<u64>>());
        assert_eq!((missing, units), (12, 12.0 + 48.0 * 2.0));
        assert!(pages >= fewest_pages, "{pages} pages");
    }
}

fn item_bytes_of(item: &Item) -> usize {
    crate::item::item_bytes(item)
}

/// Creates requests within these budgets. The window is closed from 06:00 to 06:20. The clock starts ten seconds before
/// 06:00.
fn with_closing_window(budgets: [Units; 3]) -> (Requests, Arc<RecordingTable>) {
    let began = Instant::now();
    let table = Arc::new(RecordingTable { began, request_times: std::sync::Mutex::default() });
    (requests_to(&table, budgets, began), table)
}

fn requests_to<T: Source + Sink + 'static>(
    target: &Arc<T>,
    [table, range, key]: [Units; 3],
    began: Instant,
) -> Requests {
    let now = "2026-01-10T05:59:50Z".parse::<Timestamp>().unwrap();
    let clock = move || now + SignedDuration::try_from(began.elapsed()).unwrap();
    let opens = "06:20".parse().unwrap();
    let closes = "06:00".parse().unwrap();
    let window = Some(Window { opens, closes, zone: jiff::tz::TimeZone::UTC });
    let limits =
        PlanLimits { max_failures: 0, max_wcu: None, max_cost_usd: None, max_items: None, deadline: None, window };
    let both = |units| Budget { write: units, read: units };
    let budgets =
        Budgets { table: both(table), per_key_range: both(range), per_partition_key: both(key), indexes: Vec::new() };
    let description = TableDescription::for_tests();
    let prices = UnitPrices::for_table(&description, &Prices::default());
    let request_limits = RequestLimits {
        pause: crate::engine::PauseSwitch::default(),
        scopes: Scopes::new(&budgets, &[], Feedback::default()),
        allowance: Allowance::new(&limits, budgets.table, prices),
        work_window: WorkWindow::new(&limits, Arc::new(clock)),
        retry: Retry {
            base: Duration::from_millis(10),
            cap: Duration::from_secs(1),
            give_up_after: Duration::from_secs(60),
        },
        connections: usize::MAX,
        random: Random::with_seed(1),
    };
    Requests::new(target.clone(), target.clone(), &description, request_limits, Stopper::default(), Arc::default())
}

fn write() -> GuardedWrite {
    GuardedWrite::for_test("p")
}

/// The units of a transaction are taken from two partition keys. Each key gets back the units that the request did not
/// consume.
#[test]
fn each_key_of_a_transaction_gets_its_own_units_back() {
    let (requests, _) = with_closing_window([WIDE; 3]);
    let derived = GuardedWrite::for_test("d").key;
    let action = Action::PutDerived { table: None, item: derived.attributes().clone(), key: derived };
    let cost = WriteCost { table: 6.0, indexes: Vec::new() };
    let write = GuardedWrite { actions: vec![action], cost, ..write() };
    let hash = requests.derived_hash(&write).unwrap();
    let source = requests.hash_of(&write);
    let of = |consumed| requests.consumed_by_keys(&write, consumed);
    // The put costs two units, and the check costs four.
    assert_eq!(of(0.0), [(source, 4.0, 0.0), (hash, 2.0, 0.0)]);
    assert_eq!(of(6.0), [(source, 4.0, 4.0), (hash, 2.0, 2.0)]);
    assert_eq!(of(4.0), [(source, 4.0, 2.0), (hash, 2.0, 2.0)]);
    assert_eq!(of(10.0), [(source, 4.0, 8.0), (hash, 2.0, 2.0)]);
}

/// If a transaction touches two tables, a throttle slows only the table that it names. A throttle without a reason slows
/// both, and so does a reason that names neither table.
#[tokio::test(start_paused = true)]
async fn a_throttle_slows_only_the_table_that_it_names() {
    for (reasons, slows) in [
        (vec!["table/lookup"], [false, true]),
        (vec!["arn:aws:dynamodb:eu-west-1:123456789012:table/shop"], [true, false]),
        (vec!["table/shop", "table/lookup"], [true, true]),
        (vec![], [true, true]),
        (vec![""], [true, true]),
        (vec!["table/another"], [true, true]),
        (vec!["table/lookup/index/by-user"], [false, true]),
    ] {
        let (other, _) = with_closing_window([WIDE; 3]);
        let (requests, _) = with_closing_window([WIDE; 3]);
        let other = OtherClient { name: "lookup".into(), sources: "shop".into(), requests: Box::new(other) };
        let requests = requests.with_other(Some(other));
        let derived = GuardedWrite::for_test("d").key;
        let action =
            Action::PutDerived { table: Some("lookup".into()), item: derived.attributes().clone(), key: derived };
        let cost = WriteCost { table: 2.0, indexes: Vec::new() };
        let write = GuardedWrite { actions: vec![action], cost_elsewhere: Some(cost.clone()), cost, ..write() };
        let reason =
            |resource: &&str| ThrottlingReason { reason: "ThrottlingError".into(), resource: (*resource).into() };
        let error = TableError::Throttled { reasons: reasons.iter().map(reason).collect(), message: String::new() };
        assert!(requests.try_acquire_key(&write));
        requests.handle_write_failure(&write, &error);
        let rates = [&requests, requests.of_derived()].map(|client| client.scopes.table(Access::Write).rate());
        assert_eq!(rates.map(|rate| rate < WIDE), slows, "{reasons:?}: {rates:?}");
    }
}

/// A transaction over two tables waits for both. Units of the other table are taken from its own buckets.
#[tokio::test(start_paused = true)]
async fn the_slower_of_two_tables_decides_the_rate() {
    let (other, _) = with_closing_window([RATE, WIDE, WIDE]);
    let (requests, _) = with_closing_window([WIDE; 3]);
    let other = OtherClient { name: "lookup".into(), sources: "shop".into(), requests: Box::new(other) };
    let requests = requests.with_other(Some(other));
    let derived = GuardedWrite::for_test("d").key;
    let action = Action::PutDerived { table: Some("lookup".into()), item: derived.attributes().clone(), key: derived };
    let cost = WriteCost { table: 1.0, indexes: Vec::new() };
    let write = GuardedWrite { actions: vec![action], cost_elsewhere: Some(cost.clone()), cost, ..write() };
    let began = Instant::now();
    let writes = 5 * RATE as u32;
    for _ in 0..writes {
        drop(requests.admit(&[&write], false).await.unwrap());
    }
    let took = began.elapsed();
    assert!((Duration::from_secs(3)..=Duration::from_secs(6)).contains(&took), "{took:?}");
    assert_eq!(requests.table_rate(Access::Write), RATE);
}

/// Asserts that no request arrived while the window was closed. Also asserts that requests arrived at their rate before
/// the window closed and after it opened.
fn assert_steady_rate(table: &RecordingTable, all: usize) {
    let second = Duration::from_secs(1);
    let rate = RATE as usize;
    let before = table.between(Duration::ZERO, CLOSES);
    assert!((9 * rate..=11 * rate).contains(&before), "{before} requests before the window closed");
    assert_eq!(table.between(CLOSES + second / 10, OPENS), 0);
    // A burst contains the units of a tenth of a second.
    for seconds in 1..=4 {
        let since = table.between(OPENS, OPENS + second * seconds as u32);
        assert!((seconds * rate - 1..=seconds * rate + 2).contains(&since), "{since} requests in {seconds} s");
    }
    assert_eq!(table.request_times.lock().unwrap().len(), all);
    // All requests are done in time, so no capacity was wasted.
    assert!(table.began.elapsed() < OPENS + second * (all / rate) as u32, "{:?}", table.began.elapsed());
}

/// Tests both lanes with writes that wait for the table, the key range or the partition key.
#[tokio::test(start_paused = true)]
async fn writes_that_waited_for_the_window_do_not_burst_when_it_opens() {
    for (budgets, lane) in [
        ([RATE, WIDE, WIDE], Lane::Shared),
        ([RATE, WIDE, WIDE], Lane::Large),
        ([WIDE, RATE, WIDE], Lane::Shared),
        ([WIDE, RATE, WIDE], Lane::Large),
        ([WIDE, WIDE, RATE], Lane::Shared),
        ([WIDE, WIDE, RATE], Lane::Large),
    ] {
        let (requests, table) = with_closing_window(budgets);
        requests.move_to(lane);
        let writes = (0..300).map(|number| {
            let requests = requests.clone();
            tokio::spawn(async move {
                let write = write();
                // Like set-aside items, half of the writes have their partition key's units before they are admitted.
                let has_key_units = number % 2 == 0;
                if has_key_units {
                    requests.admit_keys(&[&write]).await.unwrap();
                }
                let admission = requests.admit(&[&write], has_key_units).await.unwrap();
                requests.write(admission, &[&write]).await;
            })
        });
        futures::future::join_all(writes).await.into_iter().for_each(Result::unwrap);
        assert_steady_rate(&table, 300);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_that_waited_for_the_window_do_not_burst_when_it_opens() {
    let (requests, table) = with_closing_window([RATE, WIDE, WIDE]);
    let reads = (0..300).map(|_| {
        let requests = requests.clone();
        tokio::spawn(async move {
            let request = PageRequest {
                segment: 0,
                total_segments: 1,
                start: None,
                limit: None,
                consistent: false,
                keys_only: false,
            };
            requests.read_page(&request, 1.0).await.unwrap();
        })
    });
    futures::future::join_all(reads).await.into_iter().for_each(Result::unwrap);
    assert_steady_rate(&table, 300);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_our_own_permits_does_not_count_as_failing() {
    let mut attempts = Attempts::default();
    attempts.waited(Duration::from_secs(3600));
    assert_eq!(attempts.failing_time(), Duration::ZERO);
    attempts.since = Some(Instant::now());
    tokio::time::advance(Duration::from_secs(100)).await;
    attempts.waited(Duration::from_secs(90));
    assert_eq!(attempts.failing_time(), Duration::from_secs(10));
}

/// Nothing is sent if the last confirmation of the lease or the flag is too old. After a new confirmation, requests
/// that already had permits are sent at their rate. Some of the tested writes already had their partition key's units
/// before `admit` was called.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_lease_or_the_flag_is_not_confirmed() {
    for (budgets, has_key_units) in
        [([RATE, WIDE, WIDE], false), ([WIDE, WIDE, RATE], false), ([WIDE, WIDE, RATE], true)]
    {
        let (requests, table) = with_closing_window(budgets);
        let wall = Timestamp::UNIX_EPOCH;
        let moments: crate::clock::MomentClock =
            Arc::new(move || crate::clock::Moment { monotonic: Instant::now(), wall });
        let validity = Validity::new(Duration::from_secs(2), moments(), moments);
        let requests = requests.with_validities(std::slice::from_ref(&validity));
        let writes = (0..60).map(|_| {
            let requests = requests.clone();
            tokio::spawn(async move {
                let write = write();
                if has_key_units {
                    requests.admit_keys(&[&write]).await.unwrap();
                }
                let admission = requests.admit(&[&write], has_key_units).await.unwrap();
                requests.write(admission, &[&write]).await;
            })
        });
        let writes: Vec<_> = writes.collect();
        let second = Duration::from_secs(1);
        tokio::time::sleep(4 * second).await;
        assert!(requests.progress().snapshot().confirming > 0);
        assert_eq!(table.between(2 * second + second / 10, 4 * second), 0, "nothing is confirmed");
        let confirming = tokio::spawn(async move {
            loop {
                validity.confirm(validity.now());
                tokio::time::sleep(second / 10).await;
            }
        });
        futures::future::join_all(writes).await.into_iter().for_each(Result::unwrap);
        confirming.abort();
        for seconds in 1..=3 {
            let since = table.between(4 * second, (4 + seconds) * second);
            let rate = RATE as usize * seconds as usize;
            // Partition key units that were taken before the wait are lost.
            let least = if budgets[0] == RATE { rate - 1 } else { 0 };
            assert!((least..=rate + 3).contains(&since), "{since} requests in {seconds} s, held: {has_key_units}");
        }
    }
}
