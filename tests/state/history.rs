//! Tests the promises of the trait `History`.

use std::collections::HashSet;

use backfill::internals::change::{HistoryLookup, ItemHistory, ItemMark, Leftover, PriorValue, Undone, ValueDigests};
use backfill::internals::state::{BaselinePage, DeletedItemsQuery, FilledTargets, PreImageId, phase};

use super::*;

/// Returns a page of the first pass. `may_write` contains the items that the pass can write. `existed` contains the
/// items whose targets existed before the migration.
fn page(run: RunId, number: u64, may_write: &[&str], existed: &[&str]) -> BaselinePage {
    let mut page = BaselinePage::empty(session_of(run, 1), 0, number);
    page.may_write = may_write.iter().map(|name| digest(name)).collect();
    page.preexisting =
        existed.iter().map(|name| (key(name), vec![(path("postcode"), Digest::from_value(&text("before")))])).collect();
    page
}

fn digests(names: &[&str]) -> HashSet<Digest> {
    names.iter().map(|name| digest(name)).collect()
}

/// Returns whether this item's target existed before the migration.
async fn existed(store: &State, name: &str) -> bool {
    store.preexisting(vec![key(name)]).await.unwrap()[0].is_preexisting(&path("postcode"))
}

pub(super) async fn pre_images_are_durable_when_the_call_returns(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let rows = vec![pre_image("a", "1"), pre_image("b", "2")];
    let ids = store.append_pre_images(session_of(run, 1), rows).await.unwrap();
    assert!(ids.len() == 2 && ids[0] < ids[1], "{ids:?}");
    let store = fixture.crash(store);
    let found = store.pre_images(key("b"), None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].run, &found[0].path), (ids[1], run, &path("zip")));
    assert_eq!(found[0].value, Some(text("2")));
    assert_eq!(store.pre_image_count(run).await.unwrap(), 2);
    let records = store.history_of(vec![key("none"), key("a")], HistoryLookup::ForDecision).await.unwrap();
    assert!(records.len() == 2 && records[0] != records[1], "the records must be in the order of the keys");
    store.append_pre_images(session_of(RunId::from_number(99), 1), vec![pre_image("a", "1")]).await.unwrap_err();
}

pub(super) async fn pre_images_of_an_item_come_newest_first(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    for value in ["1", "2"] {
        store.append_pre_images(session_of(run, 1), vec![pre_image("a", value)]).await.unwrap();
    }
    let city = PreImageRow { pre: PreImage::with_value(&path("city"), &text("c")), ..pre_image("a", "") };
    let nothing =
        PreImageRow { pre: PreImage { prior: PriorValue::Nothing, ..pre_image("a", "").pre }, ..pre_image("a", "") };
    store.append_pre_images(session_of(run, 1), vec![city, nothing]).await.unwrap();
    let values = |found: Vec<backfill::internals::state::PreImageRecord>| {
        found.into_iter().filter_map(|record| record.value).collect::<Vec<_>>()
    };
    assert_eq!(values(store.pre_images(key("a"), None).await.unwrap()), [text("c"), text("2"), text("1")]);
    assert_eq!(values(store.pre_images(key("a"), Some(path("zip"))).await.unwrap()), [text("2"), text("1")]);
    assert_eq!(store.pre_image_count(run).await.unwrap(), 3, "only destroyed values must count");
}

pub(super) async fn a_refused_pre_image_is_not_restored(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let rows = ["a", "b", "c"].map(|name| pre_image(name, "1")).to_vec();
    let ids = store.append_pre_images(session_of(run, 1), rows).await.unwrap();
    store.mark_refused(session_of(run, 1), vec![ids[0]]).await.unwrap();
    let event = pages(1, None, &[Outcome::AlreadyApplied]);
    store.commit(Commit { refused: vec![ids[1]], ..commit(run, 0, event) }).await.unwrap();
    let store = fixture.crash(store);
    assert_eq!(store.pre_image_count(run).await.unwrap(), 1);
    for (name, expected) in [("a", 0), ("b", 0), ("c", 1)] {
        assert_eq!(store.pre_images(key(name), None).await.unwrap().len(), expected, "{name}");
    }
}

/// Returns whether the stable attribute `kind` has a recorded value, for this item, that differs from `now`.
async fn is_stable_changed(store: &State, name: &str, now: &str) -> bool {
    let record = store.history_of(vec![key(name)], HistoryLookup::ForDecision).await.unwrap().remove(0);
    record.changed_stable(&[path("kind")], &[("kind".to_owned(), text(now))].into()).is_some()
}

pub(super) async fn stable_attributes_keep_their_first_record(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let stable = |name: &str, kind: &str| (key(name), vec![(path("kind"), Digest::by_number(&text(kind)))]);
    let page = |kind: &str| BaselinePage {
        stable: vec![stable("read", kind)],
        ..BaselinePage::empty(session_of(run, 1), 0, 1)
    };
    store.record_baseline(page("order")).await.unwrap();
    let row = |name: &str, kind: &str| PreImageRow {
        key: key(name),
        pre: PreImage::of_stable(&path("kind"), Some(&text(kind))),
    };
    let ids = store
        .append_pre_images(session_of(run, 1), vec![row("written", "order"), row("refused", "order")])
        .await
        .unwrap();
    store.mark_refused(session_of(run, 1), vec![ids[1]]).await.unwrap();
    // Reread the page, and record a later write.
    store.record_baseline(page("invoice")).await.unwrap();
    store.append_pre_images(session_of(run, 1), vec![row("written", "invoice")]).await.unwrap();
    let store = fixture.crash(store);
    for name in ["read", "written"] {
        assert!(!is_stable_changed(&store, name, "order").await, "{name}");
        assert!(is_stable_changed(&store, name, "invoice").await, "{name}");
    }
    for name in ["refused", "unknown"] {
        assert!(!is_stable_changed(&store, name, "invoice").await, "{name}: nothing is recorded");
    }
    assert_eq!(store.pre_image_count(run).await.unwrap(), 0, "a record of a stable attribute contains no value");
    assert_eq!(store.preexisting_count().await.unwrap(), 0);
}

/// Returns the journal row of an item that is about to be deleted.
fn deleted(name: &str, value: &str) -> PreImageRow {
    let mut item = key(name).attributes().clone();
    item.insert("zip".to_owned(), text(value));
    PreImageRow { key: key(name), pre: PreImage::of_item("pk", &item) }
}

fn confirmed(name: &str) -> PreImageRow {
    PreImageRow { key: key(name), pre: PreImage::confirmed_delete("pk") }
}

pub(super) async fn a_delete_is_unconfirmed_until_its_confirmation_is_recorded(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let session = session_of(run, 1);
    let rows = vec![deleted("a", "1"), deleted("b", "1"), deleted("c", "1")];
    let ids = store.append_pre_images(session, rows).await.unwrap();
    store.append_pre_images(session, vec![confirmed("a"), deleted("b", "2"), confirmed("b")]).await.unwrap();
    store.mark_refused(session, vec![ids[2]]).await.unwrap();
    store.append_pre_images(session, vec![deleted("d", "1"), confirmed("d"), deleted("d", "2")]).await.unwrap();
    let store = fixture.crash(store);
    let counts = store.delete_counts(run).await.unwrap();
    assert_eq!((counts.confirmed, counts.unconfirmed), (2, 1), "a and b, and the second delete of d");
    let keys = ["a", "b", "c", "d"].map(key).to_vec();
    let found = store.history_of(keys, HistoryLookup::ForDecision).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|record| record.deletion().map(|deletion| (deletion.image["zip"].clone(), deletion.is_confirmed)))
        .collect();
    assert_eq!(found, [Some((text("1"), true)), Some((text("2"), true)), None, Some((text("2"), false))]);
    let listed = store.pre_images(key("b"), None).await.unwrap();
    assert_eq!(listed.len(), 2, "a confirmation has no value");
    assert!(matches!(&listed[0].value, Some(Value::M(item)) if item["zip"] == text("2")), "{listed:?}");
}

pub(super) async fn deleted_items_are_listed_once_with_every_page_size(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let session = session_of(run, 1);
    let names: Vec<String> = (0..23).map(|n| format!("item {n}")).collect();
    for name in &names {
        let ids = store.append_pre_images(session, vec![deleted(name, "refused"), pre_image(name, "x")]).await.unwrap();
        store.mark_refused(session, vec![ids[0]]).await.unwrap();
        let rows = vec![deleted(name, "1"), confirmed(name)];
        store.append_pre_images(session, rows).await.unwrap();
    }
    // An item that was deleted twice is listed once, at the position of its last delete.
    store.append_pre_images(session, vec![deleted(&names[3], "2"), confirmed(&names[3])]).await.unwrap();
    let ids = store.append_pre_images(session, vec![deleted("never", "1")]).await.unwrap();
    store.mark_refused(session, ids).await.unwrap();
    for (parts, limit) in [(1, 100), (1, 1), (4, 2), (64, 5)] {
        let mut found = Vec::new();
        for part in 0..parts {
            let mut after = None;
            loop {
                let before = RunId::from_number(run.number() + 1);
                let query = DeletedItemsQuery { before, part, parts, after, limit };
                let page = store.deleted_items(query).await.unwrap();
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                found.extend(page.iter().map(|item| item.key.as_ref().unwrap().to_text()));
            }
        }
        assert_eq!(found.last(), Some(&key(&names[3]).to_text()), "in the order of the last deletes");
        found.sort();
        let mut all: Vec<String> = names.iter().map(|name| key(name).to_text()).collect();
        all.sort();
        assert_eq!(found, all, "{parts} parts");
    }
    // A rollback restores one item. Later runs do not list it, unless it is deleted once more.
    let rollback = store.begin(BeginMode::ResumeOrNew, NewRun { phase: phase::ROLLBACK.into(), ..new_run(1) }).await;
    let rollback = rollback.unwrap().run;
    let mark = |name: &str, mark| PreImageRow { key: key(name), pre: PreImage::mark("pk", mark) };
    let rows = vec![mark(&names[5], ItemMark::PuttingBack), mark(&names[5], ItemMark::PutBack)];
    store.append_pre_images(rollback.session(), rows).await.unwrap();
    store.append_pre_images(rollback.session(), vec![mark(&names[6], ItemMark::PuttingBack)]).await.unwrap();
    let is_listed = async |before: i64| {
        let before = RunId::from_number(before);
        let query = DeletedItemsQuery { before, part: 0, parts: 1, after: None, limit: 100 };
        let listed = store.deleted_items(query).await.unwrap();
        [5, 6].map(|n: usize| listed.iter().any(|item| item.key == Some(key(&names[n]))))
    };
    assert_eq!(is_listed(rollback.id.number()).await, [true, true], "the list of a rollback stays the same");
    assert_eq!(is_listed(rollback.id.number() + 1).await, [false, true]);
    let keys = vec![key(&names[5]), key(&names[6]), key(&names[7])];
    let found = store.history_of(keys, HistoryLookup::ForDecision).await.unwrap();
    let undone: Vec<_> = found.iter().map(|record| record.deletion().unwrap().undone).collect();
    assert_eq!(undone, [Undone::Yes, Undone::Unknown, Undone::No]);
    let left = store.leftovers(rollback.id, Leftover::Unknown, 10).await.unwrap();
    assert_eq!(left.count, 0, "a mark is not a leftover");
    store.append_pre_images(session, vec![deleted(&names[5], "2"), confirmed(&names[5])]).await.unwrap();
    assert_eq!(is_listed(rollback.id.number() + 1).await, [true, true]);
    let query = DeletedItemsQuery { before: run, part: 0, parts: 1, after: None, limit: 100 };
    assert_eq!(store.deleted_items(query).await.unwrap(), [], "only earlier runs");
}

pub(super) async fn a_purge_leaves_no_pre_image(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let session = session_of(run, 1);
    let rows = vec![deleted("a", "1"), confirmed("a"), pre_image("b", "2")];
    let before = store.append_pre_images(session, rows).await.unwrap();
    assert_eq!(store.purge_journal().await.unwrap(), 2);
    let store = fixture.crash(store);
    assert_eq!(store.pre_image_count(run).await.unwrap(), 0);
    let found = store.history_of(vec![key("a"), key("b")], HistoryLookup::ForDecision).await.unwrap();
    assert!(found.iter().all(ItemHistory::is_empty), "{found:?}");
    let after = store.append_pre_images(session, vec![pre_image("c", "3")]).await;
    // The session ended with the crash. Even so, this call can succeed, because a retry of failures also writes after
    // its run has ended.
    if let Ok(after) = after {
        assert!(after[0] > before[2], "an id is never used again");
    }
}

pub(super) async fn either_all_marks_of_refusal_are_stored_or_none(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let ids = store.append_pre_images(session_of(run, 1), vec![pre_image("a", "1")]).await.unwrap();
    let answer = store.mark_refused(session_of(run, 1), vec![ids[0], PreImageId::from_number(99)]).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    assert_eq!(store.pre_image_count(run).await.unwrap(), 1);
}

pub(super) async fn an_earlier_session_records_no_history(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let first = session_of(run, 1);
    let second = session_of(run, 2);
    let ids = store.append_pre_images(first, vec![pre_image("a", "1")]).await.unwrap();
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert_fenced(store.append_pre_images(first, vec![pre_image("b", "2")]).await);
    assert_fenced(store.append_pre_images(first, vec![]).await);
    assert_fenced(store.mark_refused(first, ids.clone()).await);
    assert_fenced(store.record_baseline(page(run, 1, &["new"], &["old"])).await);
    assert_refused(store.append_pre_images(session_of(run, 3), vec![pre_image("b", "2")]).await);
    assert_eq!(store.pre_image_count(run).await.unwrap(), 1);
    assert!(!existed(&store, "old").await && store.items_under_way(run, 0).await.unwrap().is_empty());
    store.append_pre_images(second, vec![pre_image("b", "2")]).await.unwrap();
    store.record_baseline(BaselinePage { session: second, ..page(run, 1, &["new"], &["old"]) }).await.unwrap();
    store.mark_refused(second, ids).await.unwrap();
    assert_eq!(
        store.pre_image_count(run).await.unwrap(),
        1,
        "the newest session may mark pre-images of an earlier session"
    );
    store.end_session(second, RunStatus::Stopped, None, 0).await.unwrap();
    assert_fenced(store.append_pre_images(first, vec![pre_image("c", "3")]).await);
    store.append_pre_images(second, vec![pre_image("c", "3")]).await.unwrap();
}

pub(super) async fn a_baseline_needs_an_open_session(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(RunId::from_number(99), 1, &["new"], &["old"])).await.unwrap_err();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    assert_refused(store.record_baseline(page(run, 1, &["new"], &["old"])).await);
    assert!(!existed(&store, "old").await && store.items_under_way(run, 0).await.unwrap().is_empty());
}

pub(super) async fn the_baseline_is_durable_when_the_call_returns(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(run, 1, &["new"], &["old"])).await.unwrap();
    let store = fixture.crash(store);
    assert!(existed(&store, "old").await && !existed(&store, "new").await);
    assert_eq!(store.preexisting_count().await.unwrap(), 1);
    assert_eq!(store.items_under_way(run, 0).await.unwrap(), digests(&["new"]));
    assert!(store.items_under_way(run, 1).await.unwrap().is_empty());
    let records = store.preexisting(vec![key("old")]).await.unwrap();
    assert!(records[0].is_preexisting_value(&path("postcode"), &text("before")));
    assert!(
        !records[0].is_preexisting_value(&path("postcode"), &text("after")),
        "a different value must not count as the preexisting value"
    );
}

pub(super) async fn the_first_record_of_an_item_stays(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(run, 1, &[], &["a"])).await.unwrap();
    let mut later = BaselinePage::empty(session_of(run, 1), 0, 2);
    later.preexisting = vec![(key("a"), vec![(path("postcode"), Digest::from_value(&text("after")))])];
    store.record_baseline(later).await.unwrap();
    let records = store.preexisting(vec![key("a")]).await.unwrap();
    assert!(records[0].is_preexisting_value(&path("postcode"), &text("before")));
    assert_eq!(store.preexisting_count().await.unwrap(), 1);
}

/// For a computed value, the journal contains a digest of the numeric values. For a copied value, it contains a digest
/// of the exact text. A target with such a value does not count as preexisting, whichever digest the journal contains.
pub(super) async fn a_filled_target_is_recognised_by_either_digest(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let value = |json: serde_json::Value| Value::from_json(&json).unwrap();
    let ours = [
        value(serde_json::json!({ "N": "1.50" })),
        value(serde_json::json!({ "NS": ["10", "2E1"] })),
        value(serde_json::json!({ "L": [{ "N": "5.0" }, { "S": "x" }] })),
        value(serde_json::json!({ "M": { "deep": { "L": [{ "NS": ["7.0"] }] } } })),
        text("x"),
    ];
    let theirs = value(serde_json::json!({ "N": "7777" }));
    let kinds: [fn(PreImage, &Value) -> PreImage; 2] = [PreImage::with_computed_value, PreImage::with_written_value];
    let (mut rows, mut filled) = (Vec::new(), Vec::new());
    let mut add = |name: String, there: &Value, written: Option<PreImage>| {
        rows.extend(written.map(|pre| PreImageRow { key: key(&name), pre }));
        let targets = vec![(path("postcode"), ValueDigests::from_value(there))];
        filled.push(FilledTargets { key: key(&name), targets, refused: Vec::new() });
        name
    };
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for (at, there) in ours.iter().enumerate() {
        for (kind, with_digest) in kinds.iter().enumerate() {
            let pre = with_digest(PreImage::without_value(&path("postcode")), there);
            own.push(add(format!("own {at} {kind}"), there, Some(pre.clone())));
            foreign.push(add(format!("other {at} {kind}"), &theirs, Some(pre)));
        }
        foreign.push(add(format!("unwritten {at}"), there, None));
    }
    store.append_pre_images(session_of(run, 1), rows).await.unwrap();
    let page = BaselinePage::empty(session_of(run, 1), 0, 1);
    store.record_baseline(BaselinePage { filled, ..page }).await.unwrap();
    for name in own {
        assert!(!existed(&store, &name).await, "{name} comes from the migration");
    }
    for name in foreign {
        assert!(existed(&store, &name).await, "{name} comes from a live writer");
    }
}

pub(super) async fn committing_a_page_forgets_its_items_under_way(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(run, 1, &["a"], &[])).await.unwrap();
    store.record_baseline(page(run, 2, &["b"], &[])).await.unwrap();
    store.commit(commit(run, 0, pages(1, Some("x"), &[Outcome::Applied]))).await.unwrap();
    assert_eq!(store.items_under_way(run, 0).await.unwrap(), digests(&["b"]));
    store.commit(commit(run, 0, pages(2, None, &[Outcome::Applied]))).await.unwrap();
    assert!(store.items_under_way(run, 0).await.unwrap().is_empty());
}

pub(super) async fn items_under_way_of_a_killed_session_stay_until_their_segment_ends(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(run, 1, &["a"], &[])).await.unwrap();
    let store = fixture.crash(store);
    begin(&store, BeginMode::ResumeOrNew, 1).await;
    let second = session_of(run, 2);
    store.record_baseline(BaselinePage { session: second, ..page(run, 1, &["b"], &[]) }).await.unwrap();
    store.commit(commit_in(session_of(run, 2), 0, pages(1, Some("x"), &[Outcome::Applied]))).await.unwrap();
    assert_eq!(
        store.items_under_way(run, 0).await.unwrap(),
        digests(&["a"]),
        "the next session may split the segment into different pages"
    );
    store.commit(commit_in(session_of(run, 2), 0, pages(2, None, &[Outcome::Applied]))).await.unwrap();
    assert!(store.items_under_way(run, 0).await.unwrap().is_empty());
}

pub(super) async fn the_first_pass_is_the_first_to_read_every_item(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = begin(&store, BeginMode::ResumeOrNew, 1).await;
    assert!(store.is_first_pass(first).await.unwrap() && !store.baseline_complete().await.unwrap());
    store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let next_run = begin(&store, BeginMode::Restart, 1).await;
    assert!(store.is_first_pass(next_run).await.unwrap(), "the earlier run has not read every item");
    store.commit(commit(next_run, 0, pages(1, None, &[]))).await.unwrap();
    assert!(store.baseline_complete().await.unwrap(), "all segments are done");
    store.end_session(session_of(next_run, 1), RunStatus::Complete, None, 0).await.unwrap();
    let again = begin(&store, BeginMode::Again, 1).await;
    assert!(!store.is_first_pass(again).await.unwrap() && store.baseline_complete().await.unwrap());
}

pub(super) async fn a_complete_rollback_ends_the_recorded_history(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await;
    store.record_baseline(page(run, 1, &[], &["a"])).await.unwrap();
    store.append_pre_images(session_of(run, 1), vec![pre_image("b", "1")]).await.unwrap();
    store.commit(commit(run, 0, pages(1, None, &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();
    complete(&store, BeginMode::ResumeOrNew, phase::ROLLBACK, &[Outcome::Applied]).await;
    assert!(existed(&store, "a").await, "a second pass of the rollback needs the same records");
    let expansion = begin(&store, BeginMode::Restart, 1).await;
    assert!(!existed(&store, "a").await && store.is_first_pass(expansion).await.unwrap());
    assert_eq!(store.preexisting_count().await.unwrap(), 0);
    let records = store.history_of(vec![key("b"), key("none")], HistoryLookup::ForDecision).await.unwrap();
    assert_eq!(records[0], records[1], "the new expansion must begin without records");
    store.record_baseline(page(expansion, 1, &[], &["a"])).await.unwrap();
    assert!(existed(&store, "a").await, "the new expansion must record the item again");
}

/// For each of these items, returns whether the store finds unfinished writes.
async fn have_unfinished_writes(store: &State, names: &[&str]) -> Vec<bool> {
    let keys = names.iter().map(key).collect();
    let found = store.history_of(keys, HistoryLookup::ForUnfinishedWrites).await.unwrap();
    found.iter().map(|record| !record.is_empty()).collect()
}

pub(super) async fn a_complete_run_leaves_no_unfinished_writes(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let names = ["done", "f", "new"];
    let first = begin(&store, BeginMode::ResumeOrNew, 1).await;
    let session = session_of(first, 1);
    store.record_baseline(page(first, 1, &[], &["new"])).await.unwrap();
    store.append_pre_images(session, vec![pre_image("done", "1"), pre_image("f", "1")]).await.unwrap();
    assert_eq!(have_unfinished_writes(&store, &names).await, [true, true, false]);
    store.commit(page_with_work(first, 0, "f", "d")).await.unwrap();
    store.end_session(session, RunStatus::Complete, None, 0).await.unwrap();
    // A run in which an item failed can have written a part of the item.
    assert_eq!(have_unfinished_writes(&store, &names).await, [false, true, false]);
    // A repair does not count as a write by `run`.
    let repair = complete(&store, BeginMode::ResumeOrNew, phase::VERIFY, &[Outcome::Applied]).await;
    let _ = store.append_pre_images(session_of(repair, 1), vec![pre_image("done", "2")]).await.unwrap();
    assert_eq!(have_unfinished_writes(&store, &names).await, [false, true, false]);
    // In the next run, the item fails a second time, and the failure of the first run is resolved.
    let again = begin(&store, BeginMode::Again, 1).await;
    store.append_pre_images(session_of(again, 1), vec![pre_image("new", "1")]).await.unwrap();
    assert_eq!(have_unfinished_writes(&store, &names).await, [false, true, true]);
    store.commit(page_with_work(again, 0, "f", "d")).await.unwrap();
    store.end_session(session_of(again, 1), RunStatus::Complete, None, 0).await.unwrap();
    let store = fixture.crash(store);
    assert_eq!(have_unfinished_writes(&store, &names).await, [false, true, false]);
    // A retry completes the item.
    assert!(store.resolve_failure(session_of(again, 1), again, key("f"), Outcome::Applied, None).await.unwrap());
    assert_eq!(have_unfinished_writes(&store, &names).await, [false, false, false]);
    // A superseded run completes nothing.
    let stopped = begin(&store, BeginMode::Again, 1).await;
    store.append_pre_images(session_of(stopped, 1), vec![pre_image("done", "3")]).await.unwrap();
    store.end_session(session_of(stopped, 1), RunStatus::Stopped, None, 0).await.unwrap();
    begin(&store, BeginMode::Restart, 1).await;
    assert_eq!(have_unfinished_writes(&store, &names).await, [true, false, false]);
}

pub(super) async fn restarting_the_first_pass_makes_a_rollback_uncertain(fixture: &mut dyn StoreFixture) {
    let store = fixture.open();
    let first = begin(&store, BeginMode::ResumeOrNew, 2).await;
    store.commit(commit(first, 0, pages(1, None, &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
    assert_eq!(store.unrestorable_targets().await.unwrap(), None);
    let next_run = begin(&store, BeginMode::Restart, 1).await;
    store.record_baseline(page(next_run, 1, &[], &["a", "b"])).await.unwrap();
    assert_eq!(store.unrestorable_targets().await.unwrap(), Some(2), "the first run may have written these targets");
}
