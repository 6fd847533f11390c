//! Tests lost replies: the server applies a write, but the reply does not arrive. The tests cover every kind of change.

use super::*;

/// A test case for one kind of change: an item before and after the change, and the paths that need a pre-image.
struct ChangeCase {
    name: &'static str,
    migration: &'static str,
    changes: &'static str,
    before: fn(usize) -> Attributes,
    after: fn(usize) -> Attributes,
    pre_images: &'static [&'static str],
}

type Attributes = Vec<(&'static str, Value)>;

const EXPAND: &str = "strategy = \"expand-contract\"\non_existing = \"keep\"";
const EXPAND_OVER: &str = "strategy = \"expand-contract\"\non_existing = \"overwrite\"";
const IN_PLACE: &str = "strategy = \"in-place\"\non_existing = \"keep\"";
const IN_PLACE_OVER: &str = "strategy = \"in-place\"\non_existing = \"overwrite\"";

const CHANGE_CASES: &[ChangeCase] = &[
    ChangeCase {
        name: "move-expand",
        migration: EXPAND,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret(n))],
        after: |n| vec![("old", secret(n)), ("new", secret(n))],
        pre_images: &[],
    },
    ChangeCase {
        name: "move-expand-overwrite",
        migration: EXPAND_OVER,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret(n)), ("new", secret("other"))],
        after: |n| vec![("old", secret(n)), ("new", secret(n))],
        pre_images: &["new"],
    },
    ChangeCase {
        name: "move-in-place",
        migration: IN_PLACE,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret_number(n))],
        after: |n| vec![("new", secret_number(n))],
        pre_images: &[],
    },
    ChangeCase {
        name: "move-in-place-both-equal",
        migration: IN_PLACE,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret(n)), ("new", secret(n))],
        after: |n| vec![("new", secret(n))],
        pre_images: &[],
    },
    ChangeCase {
        name: "move-in-place-overwrite",
        migration: IN_PLACE_OVER,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret(n)), ("new", secret_number(n))],
        after: |n| vec![("new", secret(n))],
        pre_images: &["new"],
    },
    ChangeCase {
        name: "move-into-missing-parent-expand",
        migration: EXPAND,
        changes: "[[change]]\nmove = \"old\"\nto = \"doc.inner.new\"",
        before: |n| vec![("old", secret(n))],
        after: |n| vec![("old", secret(n)), ("doc", map([("inner", map([("new", secret(n))]))]))],
        pre_images: &[],
    },
    ChangeCase {
        name: "move-into-missing-parent-in-place",
        migration: IN_PLACE,
        changes: "[[change]]\nmove = \"zip\"\nto = \"address.zip\"\n[[change]]\nmove = \"city\"\nto = \"address.city\"",
        before: |n| vec![("zip", secret(n)), ("city", secret("city"))],
        after: |n| vec![("address", map([("zip", secret(n)), ("city", secret("city"))]))],
        pre_images: &[],
    },
    ChangeCase {
        name: "move-into-present-parent-in-place",
        migration: IN_PLACE,
        changes: "[[change]]\nmove = \"zip\"\nto = \"address.zip\"",
        before: |n| vec![("zip", secret(n)), ("address", map([("city", secret("city"))]))],
        after: |n| vec![("address", map([("zip", secret(n)), ("city", secret("city"))]))],
        pre_images: &[],
    },
    ChangeCase {
        name: "copy-expand",
        migration: EXPAND,
        changes: "[[change]]\ncopy = \"address.zip\"\nto = \"zip\"",
        before: |n| vec![("address", map([("zip", secret(n))]))],
        after: |n| vec![("address", map([("zip", secret(n))])), ("zip", secret(n))],
        pre_images: &[],
    },
    ChangeCase {
        name: "copy-in-place-overwrite",
        migration: IN_PLACE_OVER,
        changes: "[[change]]\ncopy = \"old\"\nto = \"new\"",
        before: |n| vec![("old", secret(n)), ("new", Value::Null)],
        after: |n| vec![("old", secret(n)), ("new", secret(n))],
        pre_images: &["new"],
    },
    ChangeCase {
        name: "set-expand",
        migration: EXPAND,
        changes: "[[change]]\nset = \"version\"\nvalue = 2",
        before: |n| vec![("other", secret(n))],
        after: |n| vec![("other", secret(n)), ("version", number(2))],
        pre_images: &[],
    },
    ChangeCase {
        name: "set-expand-overwrite",
        migration: EXPAND_OVER,
        changes: "[[change]]\nset = \"version\"\nvalue = 2",
        before: |n| vec![("version", secret_number(n))],
        after: |_| vec![("version", number(2))],
        pre_images: &["version"],
    },
    ChangeCase {
        name: "set-in-missing-parent",
        migration: IN_PLACE,
        changes: "[[change]]\nset = \"meta.version\"\nvalue = 2",
        before: |n| vec![("other", secret(n))],
        after: |n| vec![("other", secret(n)), ("meta", map([("version", number(2))]))],
        pre_images: &[],
    },
    ChangeCase {
        name: "remove-in-place",
        migration: IN_PLACE,
        changes: "[[change]]\nremove = \"legacy\"",
        before: |n| vec![("legacy", Value::Ss(vec![format!("{}-{n}", tool::SECRET)])), ("kept", secret(n))],
        after: |n| vec![("kept", secret(n))],
        pre_images: &["legacy"],
    },
    ChangeCase {
        name: "remove-nested-in-place",
        migration: IN_PLACE,
        changes: "[[change]]\nremove = \"profile.fax\"",
        before: |n| vec![("profile", map([("fax", secret(n)), ("tel", secret("tel"))]))],
        after: |_| vec![("profile", map([("tel", secret("tel"))]))],
        pre_images: &["profile.fax"],
    },
    ChangeCase {
        name: "all-at-once-in-place-overwrite",
        migration: IN_PLACE_OVER,
        changes: "[[change]]\nmove = \"old\"\nto = \"new\"\n[[change]]\nset = \"version\"\nvalue = 2\n[[change]]\nremove = \"legacy\"\n\
                  [[change]]\ncopy = \"kept\"\nto = \"twin\"",
        before: |n| vec![("old", secret(n)), ("version", number(1)), ("legacy", secret("legacy")), ("kept", secret(n))],
        after: |n| vec![("new", secret(n)), ("version", number(2)), ("kept", secret(n)), ("twin", secret(n))],
        pre_images: &["version", "legacy"],
    },
];

const ITEMS: usize = 30;

/// Returns the number of consecutive replies that the proxy drops for item `n`, starting with the first reply.
fn lost_replies(n: usize) -> usize {
    match n % 4 {
        0 => 0,
        3 => 3,
        _ => 1,
    }
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::M(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn number(n: u32) -> Value {
    Value::N(backfill::internals::item::Num::parse(&n.to_string()).unwrap())
}

fn with_key(n: usize, attributes: Attributes) -> Item {
    let mut item = item(&format!("P#{}", n / 2), &format!("{n}"), []);
    item.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)));
    item
}

/// If a write was applied but its reply was lost, the outcome is `AlreadyApplied`, for every kind of move.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_ends_as_already_applied_for_moves() {
    for case in CHANGE_CASES.iter().filter(|case| case.name.starts_with("move")) {
        check(case).await;
    }
}

/// If a write was applied but its reply was lost, the outcome is `AlreadyApplied`, for every other kind of change.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_ends_as_already_applied_for_other_changes() {
    for case in CHANGE_CASES.iter().filter(|case| !case.name.starts_with("move")) {
        check(case).await;
    }
}

async fn check(case: &ChangeCase) {
    let rest = format!("{}\n{SMALL_PAGES}{QUICK}", case.changes);
    let scene = Scene::new((0..ITEMS).map(|n| with_key(n, (case.before)(n))), case.migration, &rest).await;
    let lost = Mutex::new(BTreeMap::<String, usize>::new());
    scene.fault(move |request| {
        let sort_key = sort_key(request);
        let mut lost = lost.lock().unwrap();
        let so_far = lost.entry(sort_key.clone()).or_default();
        if request.operation == "UpdateItem" && *so_far < lost_replies(sort_key.parse().unwrap()) {
            *so_far += 1;
            return Fault::DropReply;
        }
        Fault::Pass
    });
    let ran = scene.run().exits(0);
    let json = ran.json();
    let unclear = (0..ITEMS).filter(|n| lost_replies(*n) > 0).count();
    let counted = counts(&json);
    assert_eq!(counted["scanned"], ITEMS, "{}", case.name);
    assert_eq!(counted["already_applied"], unclear, "{}: {counted}", case.name);
    assert_eq!(counted["applied"], ITEMS - unclear, "{}: {counted}", case.name);
    assert_eq!(json["run"]["lower_bound"], true, "{}: some applied writes count as already applied", case.name);
    let tally = scene.harness.proxy().tally().operation("UpdateItem");
    let dropped: usize = (0..ITEMS).map(lost_replies).sum();
    assert_eq!((tally.dropped, tally.requests), (dropped as u64, (ITEMS + dropped) as u64), "{}", case.name);

    let now = scene.harness.dump(&scene.table).await;
    for n in 0..ITEMS {
        let after = with_key(n, (case.after)(n));
        assert_eq!(bytes_of(&now[&key_of(&after).to_text()]), bytes_of(&after), "{}", case.name);
    }
    check_pre_images_of(&scene, case).await;
}

/// Checks that each pre-image is recorded once. All writes were applied, so no pre-image must be marked as refused.
async fn check_pre_images_of(scene: &Scene, case: &ChangeCase) {
    let summary = scene.state().summary().unwrap();
    assert_eq!(summary.pre_images, (ITEMS * case.pre_images.len()) as u64, "{}", case.name);
    let store = backfill::internals::state::open(&scene.state_path(), &summary.identity, || "now".to_owned()).unwrap();
    for n in 0..ITEMS {
        let before = with_key(n, (case.before)(n));
        for text in case.pre_images {
            let path: backfill::internals::item::Path = text.parse().unwrap();
            let kept = store.pre_images(key_of(&before), Some(path.clone())).await.unwrap();
            assert_eq!(kept.len(), 1, "{} {text}", case.name);
            assert_eq!(kept[0].value.as_ref(), path.get(&before), "{} {text}", case.name);
        }
    }
}
