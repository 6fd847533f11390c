//! Tests verifications and repairs while live writers work.

use super::*;

/// If the second read of a suspect finds equal values or no item, the first read happened between two writes of a live
/// writer. This is not a mismatch.
/// RUNBOOK: "the tool reads the item again, because a race is not a mismatch"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_is_not_a_mismatch() {
    for parameters in [
        ALL,
        VerificationParameters { sample_clusters: Some(u32::MAX), ..ALL },
        VerificationParameters { repair: true, ..ALL },
    ] {
        let scene = Scene::new(2_000, "segments = 4").await;
        let missing = scene.keys(PlantedDefect::Missing);
        let stale = scene.keys(PlantedDefect::Stale);
        let to_fix = missing.clone();
        let to_delete = stale.clone();
        let writer = start_writer(&scene);
        // Just before the second read of an item, the item's writer changes the item. This change bypasses the proxy,
        // and completes before the proxy forwards the read.
        let rule = move |request: &RequestInfo| {
            if request.operation == "GetItem" {
                let key = ItemKey::from_text(&request.body()["Key"].to_string()).unwrap();
                let fix = to_fix.contains(&key.to_text());
                let delete = to_delete.contains(&key.to_text());
                if fix || delete {
                    let (done, is_done) = std::sync::mpsc::channel();
                    writer.send((key, delete, done)).unwrap();
                    is_done.recv().unwrap();
                }
            }
            Fault::Pass
        };
        scene.harness.proxy().set_faults(Some(Arc::new(rule)));
        let (_, verified) = scene.verify(parameters, 1).await;
        scene.harness.proxy().set_faults(None);
        let found = report(&verified);
        assert_eq!((found.raced, found.missing, found.stale), (2 * PLANTED as u64, 0, 0), "{found:?}");
        assert_eq!((found.compared, found.unexpected), (2_000, PLANTED as u64));
        assert_eq!(scene.recorded(&verified, Verdict::Unexpected), scene.keys(PlantedDefect::Unexpected));
        assert_stored(&scene, &verified);
    }
}

/// Starts a writer that bypasses the proxy. For each received key, the writer deletes the item if the flag is true, and
/// otherwise writes both attributes. Then it confirms the change.
fn start_writer(scene: &Scene) -> mpsc::UnboundedSender<(ItemKey, bool, std::sync::mpsc::Sender<()>)> {
    let (sender, mut requests) = mpsc::unbounded_channel::<(ItemKey, bool, std::sync::mpsc::Sender<()>)>();
    let endpoint = scene.harness.local().unwrap().engine().endpoint();
    let table = scene.table.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let client = crate::harness::client(&endpoint);
            while let Some((key, deletes, done)) = requests.recv().await {
                // This number selects the change in `write_live`: 0 deletes the item, 4 writes both attributes.
                write_live(&client, &table, &key, if deletes { 0 } else { 4 }).await;
                done.send(()).unwrap();
            }
        });
    });
    sender
}

/// The last change that a live writer made to an item.
#[derive(Debug, Clone, PartialEq)]
enum LastWrite {
    /// Both attributes were written, in one write.
    Both(String),
    /// Only the old attribute was written.
    Old(String),
    /// Both attributes were removed.
    Removed,
    /// The item was deleted.
    Deleted,
}

/// Makes the next change to an item. Most changes simulate a writer that obeys `write = both`. Some simulate a writer
/// that does not know the new attribute.
async fn write_live(client: &Client, table: &str, key: &ItemKey, n: u64) -> LastWrite {
    let key: HashMap<String, AttributeValue> = crate::harness::to_sdk(key.attributes());
    let update = || client.update_item().table_name(table).set_key(Some(key.clone()));
    let text = format!("{SECRET}-written-{n}");
    let value = AttributeValue::S(text.clone());
    match n % 8 {
        0 => {
            client.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
            LastWrite::Deleted
        }
        1 => {
            update()
                .update_expression("REMOVE #o, #n")
                .expression_attribute_names("#o", "old")
                .expression_attribute_names("#n", "new")
                .send()
                .await
                .unwrap();
            LastWrite::Removed
        }
        2 | 3 => {
            update()
                .update_expression("SET #o = :v")
                .expression_attribute_names("#o", "old")
                .expression_attribute_values(":v", value)
                .send()
                .await
                .unwrap();
            LastWrite::Old(text)
        }
        _ => {
            update()
                .update_expression("SET #o = :v, #n = :v")
                .expression_attribute_names("#o", "old")
                .expression_attribute_names("#n", "new")
                .expression_attribute_values(":v", value)
                .send()
                .await
                .unwrap();
            LastWrite::Both(text)
        }
    }
}

/// The proxy delays half of the tool's writes, so that a writer changes their items first. This forces races instead of
/// relying on chance.
/// RUNBOOK: "is safe with live writers and loses none of their updates"
/// RUNBOOK: "The journal keeps every value that it overwrites"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_does_not_lose_updates_of_live_writers() {
    let scene = Scene::new(4_000, "segments = 4\npage_limit = 100").await;
    let (hint, mut hints) = mpsc::unbounded_channel::<ItemKey>();
    let written = Arc::new(AtomicU64::new(0));
    let seen = Mutex::new(BTreeSet::new());
    let done = Arc::clone(&written);
    let hold = move |request: &RequestInfo| {
        // Only the tool's writes have conditions. At most one write of each item is delayed.
        if request.operation != "UpdateItem" || request.body().get("ConditionExpression").is_none() {
            return Fault::Pass;
        }
        let key = ItemKey::from_text(&request.body()["Key"].to_string()).unwrap();
        let mut seen = seen.lock().unwrap();
        if !request.operation_sequence.is_multiple_of(2) || !seen.insert(key.to_text()) {
            return Fault::Pass;
        }
        let queued = seen.len() as u64 - done.load(Ordering::Relaxed);
        let _ = hint.send(key);
        Fault::Delay(Duration::from_millis(100 + 40 * queued))
    };
    scene.harness.proxy().set_faults(Some(Arc::new(hold)));
    let writer = {
        let client = scene.harness.client().clone();
        let table = scene.table.clone();
        let done = Arc::clone(&written);
        let others: Vec<String> = scene.items.keys().cloned().collect();
        tokio::spawn(async move {
            let mut log = BTreeMap::new();
            let mut random = fastrand::Rng::with_seed(5);
            let mut n = 0;
            loop {
                // Items with a delayed write come first. Without a delayed write, the writer picks any item, until the
                // tool is done.
                let (key, hinted) = match tokio::time::timeout(Duration::from_millis(3), hints.recv()).await {
                    Ok(Some(key)) => (key, true),
                    Ok(None) => return log,
                    Err(_) => (ItemKey::from_text(&others[random.usize(..others.len())]).unwrap(), false),
                };
                if log.get(&key.to_text()) != Some(&LastWrite::Deleted) {
                    let last = write_live(&client, &table, &key, n).await;
                    log.insert(key.to_text(), last);
                    n += 1;
                }
                done.fetch_add(u64::from(hinted), Ordering::Relaxed);
            }
        })
    };
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 2).await;
    let tally = scene.harness.proxy().tally();
    // The fault rule owns the sender, so the writer ends when the rule is removed.
    scene.harness.proxy().set_faults(None);
    let log: BTreeMap<String, LastWrite> = writer.await.unwrap();
    let failed =
        tally.operation("UpdateItem").errors.get(&(400, "ConditionalCheckFailedException".to_owned())).copied();
    let found = report(&verified);
    println!(
        "{} items written live, {} writes of the tool found a changed item; {} repaired of {}, {} raced",
        log.len(),
        failed.unwrap_or(0),
        found.repaired,
        found.missing + found.stale + found.unexpected,
        found.raced
    );
    assert!(failed.unwrap_or(0) > 100, "too few races");
    // Each mismatch was repaired, or a live writer made the two values equal. Only preexisting new values remain.
    let left = unrepaired_keys(&scene, &verified);
    assert!(left.is_subset(&scene.keys(PlantedDefect::Preexisting)), "{left:?}");
    assert_eq!(found.mismatches, left.len() as u64);

    let check = |now: &BTreeMap<String, Item>, finished: bool| {
        for (key, (before, what)) in &scene.items {
            let text = |name: &str| now.get(key).and_then(|item| item.get(name));
            let value = |text: &str| Value::S(text.to_owned());
            match log.get(key) {
                Some(LastWrite::Deleted) => {
                    assert!(!now.contains_key(key), "{key} was deleted by its writer, but exists again")
                }
                Some(LastWrite::Removed) => {
                    assert_eq!(
                        (text("old"), text("new")),
                        (None, None),
                        "the writer of {key} removed both values, but one exists again"
                    )
                }
                Some(LastWrite::Both(last)) => {
                    assert_eq!((text("old"), text("new")), (Some(&value(last)), Some(&value(last))), "{key}");
                }
                Some(LastWrite::Old(last)) => {
                    assert_eq!(text("old"), Some(&value(last)), "{key}");
                    let was_preexisting = *what == PlantedDefect::Preexisting;
                    assert!(!finished || was_preexisting || text("new") == Some(&value(last)), "{key}");
                }
                None => {
                    let new = match what {
                        PlantedDefect::Unexpected | PlantedDefect::Neither => None,
                        PlantedDefect::Preexisting => before.get("new"),
                        _ => before.get("old"),
                    };
                    assert_eq!((text("old"), text("new")), (before.get("old"), new), "{key}");
                }
            }
        }
    };
    check(&scene.harness.dump(&scene.table).await, false);
    // Sometimes the writer sets only the old attribute. If the item is behind the scan position, the next repair
    // corrects the item.
    let (_, verified) = scene.verify(VerificationParameters { repair: true, ..ALL }, 3).await;
    let left = unrepaired_keys(&scene, &verified).len() as u64;
    check(&scene.harness.dump(&scene.table).await, true);
    let (_, verified) = scene.verify(ALL, 4).await;
    assert_eq!(report(&verified).mismatches, left, "the repair must leave only preexisting values unchanged");
}

/// Returns the keys of the items that a repair left unchanged. Checks that a reason is recorded for each of these
/// items.
fn unrepaired_keys(scene: &Scene, verified: &VerificationResult) -> BTreeSet<String> {
    let file = StateFile::open(&scene.state).unwrap();
    let found =
        Verdict::MISMATCHES.map(|verdict| file.mismatches(verified.run.id, verdict, u32::MAX).unwrap()).concat();
    assert!(found.iter().all(|found| found.repaired == found.why.is_none()));
    found.iter().filter(|found| !found.repaired).map(|found| found.key.to_text()).collect()
}
