//! Tests the journal: preexisting targets, items in pages that a dead session did not commit, and the disk space of
//! these records.

use std::collections::HashSet;

use backfill::internals::change::{
    Changes, Decision, Digest, GuardedWrite, HistoryLookup, ItemHistory, PreImage, PreImageOrigin, PriorValue,
    Strategy, ValueDigests,
};
use backfill::internals::item::{Item, KeyAttribute, KeySchema};
use backfill::internals::state::{BaselinePage, FilledTargets, phase};

use super::*;

fn baseline_page(run: RunId, number: u64, items: &[(&str, bool)]) -> BaselinePage {
    let preexisting = items.iter().filter(|(_, preexisting)| *preexisting);
    BaselinePage {
        session: session_of(run, 1),
        segment: 0,
        number,
        preexisting: preexisting
            .map(|(name, _)| (key_named(name), vec![(attribute("new"), digest("its value"))]))
            .collect(),
        stable: Vec::new(),
        pairs: Vec::new(),
        may_write: items.iter().filter(|(_, preexisting)| !preexisting).map(|(name, _)| digest(name)).collect(),
        filled: Vec::new(),
    }
}

fn key_named(name: &str) -> ItemKey {
    ItemKey::new([("pk".to_owned(), Value::S(name.to_owned()))].into())
}

fn digest(name: &str) -> Digest {
    Digest::from_text(&key_named(name).to_text())
}

fn digests(names: &[&str]) -> HashSet<Digest> {
    names.iter().map(|name| digest(name)).collect()
}

async fn are_preexisting(store: &State, names: &[&str]) -> Vec<bool> {
    let keys = names.iter().map(|name| key_named(name)).collect();
    let found = store.preexisting(keys).await.unwrap();
    found.iter().map(|record| record.is_preexisting(&attribute("new"))).collect()
}

/// A value that a live writer stored in a target counts as preexisting. But if a write of this expansion could have
/// stored the value, it does not count as preexisting.
#[tokio::test]
async fn a_filled_target_is_preexisting_unless_a_write_could_have_filled_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let value = |text: &str| Value::S(text.to_owned());
    let row = |name: &str| PreImageRow {
        key: key_named(name),
        pre: PreImage::without_value(&attribute("new")).with_written_value(&value("ours")),
    };
    let names = ["ours", "theirs", "refused", "being refused", "never written", "of another path"];
    let ids =
        store.append_pre_images(session_of(run, 1), names[..4].iter().map(|name| row(name)).collect()).await.unwrap();
    let elsewhere = PreImageRow {
        pre: PreImage::without_value(&attribute("other")).with_written_value(&value("ours")),
        ..row("of another path")
    };
    store.append_pre_images(session_of(run, 1), vec![elsewhere]).await.unwrap();
    store.mark_refused(session_of(run, 1), vec![ids[2]]).await.unwrap();
    let filled = names.map(|name| FilledTargets {
        key: key_named(name),
        targets: vec![(
            attribute("new"),
            ValueDigests::from_value(&value(if name == "theirs" { "theirs" } else { "ours" })),
        )],
        refused: vec![ids[3]],
    });
    store
        .record_baseline(BaselinePage { filled: filled.into(), ..BaselinePage::empty(session_of(run, 1), 0, 0) })
        .await
        .unwrap();
    assert_eq!(are_preexisting(&store, &names).await, [false, true, true, true, true, true]);
}

/// The items that a page can write stay recorded until the page is committed. If the session has died, they stay
/// recorded until their segment ends.
#[tokio::test]
async fn items_under_way_outlive_their_session_until_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    store.record_baseline(baseline_page(run, 1, &[("a", false), ("b", true)])).await.unwrap();
    store.record_baseline(baseline_page(run, 2, &[("c", false)])).await.unwrap();
    store.record_baseline(baseline_page(run, 3, &[("d", false), ("e", true)])).await.unwrap();
    assert_eq!(store.items_under_way(run, 0).await.unwrap(), digests(&["a", "c", "d"]));
    assert!(store.items_under_way(run, 1).await.unwrap().is_empty());
    store.commit(commit(run, 0, pages(1, 1, Some(key(1)), &[Outcome::Applied]))).await.unwrap();
    assert_eq!(store.items_under_way(run, 0).await.unwrap(), digests(&["c", "d"]));
    drop(store);

    // The next session splits the remaining items into different pages. The second page of that session ends in the
    // middle of the dead session's third page.
    let store = open(&path);
    assert_eq!(begin(&store, BeginMode::ResumeOrNew, 1).await.run.id, run);
    let page = BaselinePage { session: session_of(run, 2), ..baseline_page(run, 2, &[("f", false)]) };
    store.record_baseline(page).await.unwrap();
    store.commit(commit_in(session_of(run, 2), 0, pages(2, 1, Some(key(2)), &[Outcome::Applied]))).await.unwrap();
    assert_eq!(
        store.items_under_way(run, 0).await.unwrap(),
        digests(&["c", "d"]),
        "the items of the dead session must stay"
    );
    store.commit(commit_in(session_of(run, 2), 0, pages(3, 1, None, &[Outcome::Applied]))).await.unwrap();
    assert!(store.items_under_way(run, 0).await.unwrap().is_empty());
    assert_eq!(are_preexisting(&store, &["a", "b", "e", "f"]).await, [false, true, true, false]);
    assert_eq!(store.preexisting_count().await.unwrap(), 2);
}

/// Checks which runs belong to the first pass, and which later runs use the records of the first pass.
#[tokio::test]
async fn the_first_pass_ends_when_a_run_completes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let whole = async |mode: BeginMode, phase: &str| {
        let new = NewRun { phase: phase.to_owned(), ..new_run(1) };
        let run = store.begin(mode, new).await.unwrap().run.id;
        let first = store.is_first_pass(run).await.unwrap();
        store.record_baseline(baseline_page(run, 1, &[("a", phase == phase::EXPAND)])).await.unwrap();
        store.commit(commit(run, 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
        store.end_session(session_of(run, 1), RunStatus::Complete, None, 0).await.unwrap();
        first
    };
    assert!(whole(BeginMode::ResumeOrNew, phase::EXPAND).await);
    assert!(!whole(BeginMode::Again, phase::EXPAND).await && !whole(BeginMode::Restart, phase::EXPAND).await);
    // After a rollback, a second pass of the same rollback still uses the records. The next expansion does not.
    whole(BeginMode::ResumeOrNew, phase::ROLLBACK).await;
    assert_eq!(are_preexisting(&store, &["a"]).await, [true]);
    let next_run = store.begin(BeginMode::Again, new_run(1)).await.unwrap().run.id;
    assert_eq!(are_preexisting(&store, &["a"]).await, [false]);
    assert!(store.is_first_pass(next_run).await.unwrap());
}

/// A rollback reads journal rows of every kind, newest first. It reads the rows of the expansion and of repairs, but
/// not its own rows or the rows of refused writes.
#[tokio::test]
async fn a_rollback_reads_what_the_expansion_has_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let s = |text: &str| Value::S(text.to_owned());
    let a = attribute("a");
    let rows = [
        PreImage::with_value(&a, &s("first")).with_written_value(&s("x")),
        PreImage {
            path: attribute("b"),
            prior: PriorValue::SameAsSource,
            written_digest: Some(Digest::from_value(&s("y"))),
        },
        PreImage::without_value(&attribute("c.d")),
        PreImage::with_value(&a, &s("refused")),
        PreImage::with_value(&a, &s(&"long ".repeat(1_000))),
    ];
    let row = |pre: &PreImage| PreImageRow { key: key(1), pre: pre.clone() };
    let ids = store.append_pre_images(session_of(run, 1), rows.iter().map(row).collect()).await.unwrap();
    store.mark_refused(session_of(run, 1), vec![ids[3]]).await.unwrap();
    store
        .record_baseline(BaselinePage {
            preexisting: vec![(key(1), vec![(attribute("b"), digest("y"))])],
            ..baseline_page(run, 1, &[])
        })
        .await
        .unwrap();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let rollback =
        store.begin(BeginMode::ResumeOrNew, NewRun { phase: phase::ROLLBACK.to_owned(), ..new_run(1) }).await;
    let own = vec![row(&PreImage::with_value(&a, &s("of the rollback")))];
    store.append_pre_images(rollback.unwrap().run.session(), own).await.unwrap();

    let repairs = store.begin(BeginMode::ResumeOrNew, NewRun { phase: phase::VERIFY.to_owned(), ..new_run(1) }).await;
    let repair = PreImage::with_value(&a, &s("found by a repair")).with_written_value(&s("z"));
    store.append_pre_images(repairs.unwrap().run.session(), vec![row(&repair)]).await.unwrap();

    let by_run = [4, 2, 1, 0].map(|i: usize| (PreImageOrigin::Run, rows[i].clone()));
    let rows = [(PreImageOrigin::Repair, repair)].into_iter().chain(by_run);
    let expected = ItemHistory::new([(attribute("b"), digest("y"))], rows);
    let keys = vec![key(2), key(1)];
    let without_baseline = [ItemHistory::default().without_baseline(), expected.clone().without_baseline()];
    assert_eq!(
        store.history_of(keys.clone(), HistoryLookup::ForDecision).await.unwrap(),
        without_baseline,
        "the pass has not read every item, so the baseline is incomplete"
    );
    store.begin(BeginMode::ResumeOrNew, new_run(1)).await.unwrap();
    store.commit(commit_in(session_of(run, 2), 0, pages(1, 1, None, &[Outcome::Applied]))).await.unwrap();
    store.end_session(session_of(run, 2), RunStatus::Stopped, None, 0).await.unwrap();
    let expected_histories = [ItemHistory::default(), expected];
    assert_eq!(
        store.history_of(keys.clone(), HistoryLookup::ForDecision).await.unwrap(),
        expected_histories,
        "the pass has read every item, even though it did not end cleanly"
    );
    // A process that only reads the file reads the same records.
    let records = StateFile::open(&dir.path().join("s.db")).unwrap().into_history_reader();
    assert_eq!(records.read_history(keys, HistoryLookup::ForDecision).await.unwrap(), expected_histories);
}

/// A rollback has removed a derived item that differed from the record, and died before it committed the page. After
/// the rollback is resumed, it must find its own record.
#[tokio::test]
async fn a_rollback_reads_the_items_that_it_removed_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let item = |text: &str| Item::from([("pk".to_owned(), Value::S(text.to_owned()))]);
    let row = |pre: PreImage| PreImageRow { key: key(1), pre };
    let rows = vec![row(PreImage::of_item("pk", &item("put"))), row(PreImage::confirmed_delete("pk"))];
    store.append_pre_images(session_of(run, 1), rows).await.unwrap();
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    let rollback = NewRun { phase: phase::ROLLBACK.to_owned(), ..new_run(1) };
    let session = store.begin(BeginMode::ResumeOrNew, rollback).await.unwrap().run.session();
    store.append_pre_images(session, vec![row(PreImage::of_item("pk", &item("removed")))]).await.unwrap();
    let read = store.history_of(vec![key(1)], HistoryLookup::ForDecision).await.unwrap();
    let put = read[0].deletion().unwrap();
    assert_eq!((&put.image, &put.removed, put.is_confirmed), (&item("put"), &Some(item("removed")), true));
}

/// If a run is restarted while some items are still unread, the new run cannot distinguish preexisting targets from
/// targets that the first run wrote.
#[tokio::test]
async fn an_uncertain_rollback_is_reported() {
    for (look, outcome, lost) in
        [(false, Outcome::Applied, true), (false, Outcome::NothingToDo, false), (true, Outcome::Applied, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("s.db"));
        let first = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
        store.record_baseline(baseline_page(first, 1, &[("a", false), ("b", true)])).await.unwrap();
        store.commit(commit(first, 0, pages(1, 1, Some(key(1)), &[outcome]))).await.unwrap();
        if look {
            store.commit(commit(first, 0, pages(2, 1, None, &[Outcome::NothingToDo]))).await.unwrap();
        }
        store.end_session(session_of(first, 1), RunStatus::Stopped, None, 0).await.unwrap();
        assert_eq!(store.unrestorable_targets().await.unwrap(), None, "a rollback itself reads the remaining items");
        let next_run = begin(&store, BeginMode::Restart, 1).await.run.id;
        assert_eq!(store.is_first_pass(next_run).await.unwrap(), !look);
        if !look {
            store.record_baseline(baseline_page(next_run, 1, &[("b", true)])).await.unwrap();
            assert_eq!(store.unrestorable_targets().await.unwrap(), None, "the first run had read this item, too");
            store.record_baseline(baseline_page(next_run, 2, &[("a", true)])).await.unwrap();
        }
        let unsure = store.unrestorable_targets().await.unwrap();
        assert_eq!(unsure, lost.then_some(1));
        assert_eq!(StateFile::open(&dir.path().join("s.db")).unwrap().unrestorable_targets().unwrap(), unsure);
    }
}

/// Compares the estimated size of the journal with its real size, for items of the sample shop.
#[cfg(feature = "local")]
#[tokio::test]
async fn the_estimate_of_the_journals_size_is_a_close_upper_bound() {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let key = KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) };
    let items: Vec<Item> = backfill::internals::local::sample::items(3, 4_000).collect();
    for (name, change) in [
        ("moved in place", "move = \"email\"\nto = \"contact\""),
        ("removed", "remove = \"email\""),
        ("removed documents and prose", "remove = \"about\"\n[[change]]\nremove = \"address\""),
    ] {
        let text = format!(
            "[migration]\nname = \"m\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\n[[change]]\n{change}\n"
        );
        let plan = backfill::internals::plan::load("plan", &text).unwrap().plan;
        let changes = Changes::for_expand(&plan.changes, Strategy::InPlace, key.clone(), Vec::new());
        let writes = items.iter().filter_map(|item| match changes.decide(item) {
            Decision::Write(write) => Some(write),
            _ => None,
        });
        let writes: Vec<_> = writes.collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = open(&path);
        let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
        store.clone().close().await.unwrap();
        let empty = fs::metadata(&path).unwrap().len();
        let store = {
            drop(store);
            open(&path)
        };
        let rows = |write: &GuardedWrite| {
            let rows = write.pre_images.iter().map(|pre| PreImageRow { key: write.key.clone(), pre: pre.clone() });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(begin(&store, BeginMode::ResumeOrNew, 1).await.run.id, run);
        store.append_pre_images(session_of(run, 2), writes.iter().flat_map(rows).collect()).await.unwrap();
        store.close().await.unwrap();
        let taken = fs::metadata(&path).unwrap().len() - empty;
        let estimate = writes.iter().map(|write| write.journal_bytes() as u64).sum::<u64>();
        assert!(writes.len() > 300 && estimate * 105 / 100 > taken, "{name}: {taken} of {estimate}");
        assert!(estimate < 4 * taken, "{name}: {taken} of {estimate}");
    }
}

/// Every created value leaves a record in a plan that works in place. Such a record takes about as much space as the record
/// of a constant, and the records of a page take one transaction.
#[tokio::test]
async fn the_record_of_a_created_value_is_small() {
    const ITEMS: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let row = |n: u64| PreImageRow {
        key: key_named(&format!("ORDER#{n:012}")),
        pre: PreImage::without_value(&attribute("display_name")).with_written_value(&Value::S(format!("name {n}"))),
    };
    for first in (0..ITEMS).step_by(500) {
        store.append_pre_images(session_of(run, 1), (first..first + 500).map(row).collect()).await.unwrap();
    }
    store.end_session(session_of(run, 1), RunStatus::Stopped, None, 0).await.unwrap();
    store.close().await.unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len() / ITEMS;
    assert!((100..300).contains(&bytes), "{bytes} bytes for each record");
}
