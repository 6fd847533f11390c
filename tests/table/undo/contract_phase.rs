//! Tests that a contract removes the old attribute from exactly the items where this is safe.

use std::collections::BTreeSet;

use backfill::internals::change::Outcome;
use backfill::internals::state::{BeginMode, Cursor, ListQuery, phase};

use super::scene::{MOVE, Scene, item, s};
use crate::harness::key_of;

/// RUNBOOK: "an old value without a new one stays, and is reported"
#[tokio::test(flavor = "multi_thread")]
async fn contract_removes_the_old_attribute_exactly_where_this_is_safe() {
    let plan = format!("{MOVE}[[change]]\ncopy = \"kept\"\nto = \"copied\"\n[[change]]\nremove = \"legacy\"\n");
    let items: Vec<_> = (0..400)
        .map(|i| match i % 4 {
            0 => item(i, &[("old", s("x")), ("kept", s("k"))]),
            1 => item(i, &[("old", s("x")), ("legacy", s("fax"))]),
            2 => item(i, &[("kept", s("k"))]),
            _ => item(i, &[("old", s("x"))]),
        })
        .collect();
    let scene = Scene::new(items, "", &plan).await;
    scene.complete(phase::EXPAND, BeginMode::ResumeOrNew).await;
    // After the cutover, applications write some items only under the new name. An outdated application, which knows
    // only the old name, writes a few items.
    let later = (3..400).step_by(8).map(|i| item(i, &[("old", s("x")), ("new", s("later"))]));
    let old_alone = (400..420).map(|i| item(i, &[("old", s("late")), ("legacy", s("fax"))]));
    scene.harness.load(&scene.table, later.chain(old_alone)).await;

    let (ended, writes) = scene.complete(phase::CONTRACT, BeginMode::ResumeOrNew).await;
    assert_eq!((writes, ended.totals.counts.of(Outcome::Applied)), (300, 300));
    let counts = [Outcome::NothingToDo, Outcome::Diverged, Outcome::Conflict, Outcome::Rejected];
    assert_eq!(counts.map(|outcome| ended.totals.counts.of(outcome)), [100, 20, 0, 0]);
    let after = scene.harness.dump(&scene.table).await;
    for i in 0..420 {
        let expected = match i {
            400.. => item(i, &[("old", s("late")), ("legacy", s("fax"))]),
            _ if i % 8 == 3 => item(i, &[("new", s("later"))]),
            _ if i % 4 == 0 => item(i, &[("new", s("x")), ("kept", s("k")), ("copied", s("k"))]),
            _ if i % 4 == 2 => item(i, &[("kept", s("k")), ("copied", s("k"))]),
            _ => item(i, &[("new", s("x"))]),
        };
        assert_eq!(after[&key_of(&expected).to_text()], expected, "{i}");
    }
    // The contract reports items with only an old value. It journals old values that differ from the new ones, and the
    // values that the plan removes.
    let reported =
        scene.state().diverged(ListQuery { run: None, open_only: true, after: Cursor::START, limit: 100 }).unwrap();
    let reported: BTreeSet<String> = reported.iter().map(|d| d.key.to_text()).collect();
    assert_eq!(reported, (400..420).map(|i| key_of(&item(i, &[])).to_text()).collect());
    assert_eq!(scene.state().summary().unwrap().pre_images, 50 + 100);
    let store = scene.store().await;
    let kept = store.pre_images(key_of(&item(3, &[])), None).await.unwrap();
    assert_eq!(
        kept.iter().map(|pre| (pre.path.to_string(), &pre.value)).collect::<Vec<_>>(),
        [("old".to_owned(), &Some(s("x")))]
    );
    store.close().await.unwrap();

    assert_eq!(scene.complete(phase::CONTRACT, BeginMode::Again).await.1, 0, "items that need no write get none");
}
