//! Tests runs while an application writes. The tool loses no live writer's update, does not recreate deleted items,
//! makes only the plan's changes, and reports every diverged item.
//!
//! The rules for each kind of writer are in `live/oracle.rs`.

use crate::harness::Harness;
use crate::live::{self, LiveFigures, OperationKind, Scenario, Shape};

/// Plays a plan with three seeds. With one of the seeds, the target is inside a document that many items do not have.
async fn campaign(strategy: &'static str, on_existing: &'static str) {
    let mut figures = LiveFigures::default();
    for (seed, shape) in [(1, Shape::Top), (2, Shape::Nested), (3, Shape::Top)] {
        let harness = Harness::start();
        let scenario =
            Scenario { strategy, on_existing, shape, documents: true, seed, items: 1200, writers: 6, write_rate: 250 };
        figures.add(live::play(&harness, scenario).await);
    }
    figures.print(&format!("{strategy}, {on_existing}"));
    // Without races between the tool and the writers, the test would prove nothing.
    assert!(figures.operations.values().sum::<u64>() > 2_000, "too few live operations");
    assert!(figures.races > 100, "too few races: {}", figures.races);
    let keep = on_existing == "keep";
    for kind in OperationKind::ALL {
        assert!(figures.operations.get(&kind).is_some_and(|n| *n > 10), "too few of {kind:?}");
        // After some kinds of operation, the tool rarely writes the item. The tool cannot change a deleted item. If the
        // plan keeps existing values, most items are diverged after an operation that sets a target. The tool does not
        // write diverged items.
        let rare = kind == OperationKind::Delete
            || keep && matches!(kind, OperationKind::UpdateNew | OperationKind::PutNew | OperationKind::UpdateMarker);
        let followed = figures.transitions.get(&kind).copied().unwrap_or(0);
        assert!(followed > 0 || rare, "no write of the tool followed {kind:?}");
    }
    assert_eq!(figures.transitions.get(&OperationKind::Delete), None);
    assert_eq!(figures.diverged > 50, keep);
    assert_eq!(figures.pre_images > 50, !keep);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expand_and_keep() {
    campaign("expand-contract", "keep").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expand_and_overwrite() {
    campaign("expand-contract", "overwrite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_place_and_keep() {
    campaign("in-place", "keep").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_place_and_overwrite() {
    campaign("in-place", "overwrite").await;
}
