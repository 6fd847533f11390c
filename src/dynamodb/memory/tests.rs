use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::change::{Action, Condition, WriteCost};
use crate::dynamodb::{Sink as _, Source as _};
use crate::item::{Path, Value, item_from_json};

const LATENCY: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(12));

fn table(share: f64, seed: u64) -> MemoryTable {
    let plan = FaultPlan { share, late: Duration::from_secs(5), stale: Duration::from_secs(2), preferred: None };
    let table = MemoryTable::new(TableDescription::for_tests(), LATENCY, plan, seed);
    for n in 0..200 {
        let item = item(n);
        let key = table.description.key.key_of(&item).unwrap();
        table.change(&key, Author::Seed, |_| Some(item));
    }
    table
}

fn item(n: u32) -> Item {
    item_from_json(&json!({"pk": {"S": format!("p{}", n / 3)}, "sk": {"S": n.to_string()}, "old": {"N": "1"}})).unwrap()
}

/// Creates a write that sets `new` if the item exists and has no attribute `new`.
fn write(n: u32) -> GuardedWrite {
    let key = TableDescription::for_tests().key.key_of(&item(n)).unwrap();
    let new = Path::attribute("new");
    GuardedWrite {
        key,
        actions: vec![Action::SetValue { to: new.clone(), value: Value::Null }],
        conditions: vec![Condition::ItemExists("pk".into()), Condition::Missing(new)],
        equal_values: Vec::new(),
        pre_images: Vec::new(),
        bytes_before: 0,
        bytes_after: 0,
        cost: WriteCost::default(),
        cost_elsewhere: None,
        next: None,
    }
}

/// Reads a whole segment. Retries the request for each page until the page arrives.
async fn segment(connection: &MemoryConnection, segment: u32, total_segments: u32) -> Vec<Item> {
    let mut items = Vec::new();
    let mut start = None;
    loop {
        let request = PageRequest {
            segment,
            total_segments,
            start: start.clone(),
            limit: Some(20),
            consistent: true,
            keys_only: false,
        };
        let Ok(page) = connection.read_page(&request).await else { continue };
        items.extend(page.items);
        let Some(next) = page.next else { return items };
        start = Some(next);
    }
}

#[tokio::test(start_paused = true)]
async fn every_item_is_in_one_page_of_one_segment_despite_faults() {
    let table = table(0.5, 1);
    let connection = table.connect(1);
    for total in 1..12 {
        let mut seen = Vec::new();
        for n in 0..total {
            seen.extend(segment(&connection, n, total).await);
        }
        let keys: BTreeSet<String> = seen.iter().map(|item| format!("{:?}", item["sk"])).collect();
        assert_eq!((seen.len(), keys.len()), (200, 200), "{total} segments");
    }
    let fired = table.fired();
    assert!(
        fired.contains_key(&SimulatedFault::ShortPage) && fired.contains_key(&SimulatedFault::EmptyPage),
        "{fired:?}"
    );
}

/// Equal seeds produce equal histories: the same versions, times and faults.
#[test]
fn a_seed_replays() {
    let play = |seed: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let table = table(0.3, seed);
            let connection = table.connect(1);
            let writes = (0..200).map(|n| {
                let connection = connection.clone();
                async move { connection.write(&[&write(n)]).await }
            });
            let replies = futures::future::join_all(writes).await;
            sleep(Duration::from_secs(60)).await;
            (format!("{replies:?} {:?}", table.fired()), table.history(|history| format!("{history:?}")))
        })
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_killed_process_arrive_all_the_same() {
    let table = table(0.0, 1);
    let connection = table.connect(3);
    let killed = tokio::time::timeout(Duration::from_millis(1), async { connection.write(&[&write(5)]).await }).await;
    assert!(killed.is_err());
    assert_eq!(table.history(TableHistory::changes), 200);
    sleep(Duration::from_secs(1)).await;
    let last = table
        .history(|history| history.all().flat_map(|(_, versions)| versions.last().cloned()).max_by_key(|v| v.number));
    assert_eq!(last.unwrap().author, Author::Tool(3));
}

/// After an unambiguous error, the write was certainly not applied. After ambiguous errors, some writes were applied
/// and others were not.
#[tokio::test(start_paused = true)]
async fn replies_say_what_happened() {
    let table = table(0.6, 3);
    let connection = table.connect(1);
    let mut unknown = [0, 0];
    for n in 0..200 {
        let reply = connection.write(&[&write(n)]).await.remove(0);
        sleep(Duration::from_secs(10)).await;
        let got = table.inner().history.current(&table.place(&write(n).key)).unwrap().clone();
        let applied = got.contains_key("new");
        match reply {
            Ok(WriteReply::Applied { consumed, .. }) => assert!(applied && consumed.unwrap().total() == 1.0),
            Ok(WriteReply::DerivedExists { .. }) => panic!("the test puts no derived items"),
            Ok(WriteReply::EndpointChecked { .. }) => panic!("the test sends no batches"),
            Ok(WriteReply::ConditionFailed { .. }) => panic!("the test has no second writer"),
            Err(error) if error.is_ambiguous() => unknown[usize::from(applied)] += 1,
            Err(_) => assert!(!applied),
        }
        let again = rules::effect(&write(n), Some(&got), &table.description.key, &[]);
        assert_eq!(again == WriteEffect::ConditionFailed, applied);
    }
    assert!(unknown[0] > 10 && unknown[1] > 10, "{unknown:?}");
    // The table charges exactly once for each request that it carries out, and charges for no other request.
    let refused = [SimulatedFault::Throttle, SimulatedFault::ServerError, SimulatedFault::LostRequest]
        .map(|fault| table.fired()[&fault]);
    assert_eq!(table.history(|history| history.charges().len() as u64), 200 - refused.iter().sum::<u64>());
    let gone = write(1000);
    assert_eq!(rules::effect(&gone, None, &table.description.key, &[]), WriteEffect::ConditionFailed);
    // An update without the condition that the item exists recreates a deleted item.
    let unguarded = GuardedWrite { conditions: Vec::new(), ..gone };
    assert!(matches!(rules::effect(&unguarded, None, &table.description.key, &[]), WriteEffect::Applied(_)));
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_shows_an_older_state_and_a_strong_one_never_does() {
    let plan = FaultPlan { share: 1.0, late: Duration::ZERO, stale: Duration::from_secs(2), preferred: None };
    let table = MemoryTable::new(TableDescription::for_tests(), LATENCY, plan, 5);
    let key = write(0).key;
    let connection = table.connect(1);
    let request = |consistent| PageRequest {
        segment: 0,
        total_segments: 1,
        start: None,
        limit: None,
        consistent,
        keys_only: false,
    };
    table.change(&key, Author::Seed, |_| Some(item(0)));
    let mut stale = 0;
    for n in 0..200_u32 {
        let now = Value::N(crate::item::Num::parse(&n.to_string()).unwrap());
        table.change(&key, Author::Application, |item| {
            let mut item = item.unwrap().clone();
            item.insert("old".into(), now.clone());
            Some(item)
        });
        if let Ok(page) = connection.read_page(&request(false)).await {
            stale += u32::from(page.items[0]["old"] != now);
        }
        if let Ok(page) = connection.read_page(&request(true)).await {
            assert_eq!(page.items[0]["old"], now);
        }
    }
    assert!(stale > 5, "{stale}");
    assert!(table.fired()[&SimulatedFault::StaleRead] >= u64::from(stale));
}
