//! Tests that a dry run and a run agree about items of which a killed process wrote only a part (`split = true`).

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::change::PreImage;
use crate::dynamodb::memory::{FaultPlan, MemoryTable};
use crate::dynamodb::{TableDescription, Tables};
use crate::engine::write::writer::Writer;
use crate::item::{Path, Value};
use crate::ratelimit::{Budget, Budgets};
use crate::state::{BeginMode, NewRun, PreImageRow, RunStatus, State, StoreError, phase};

const CHANGES: &str = "[[change]]\nset = \"new\"\nvalue = \"x\"\n[[change]]\nset = \"new2\"\nvalue = \"y\"\n";

/// The records of a state, for a dry run.
struct Records(State);

#[async_trait]
impl HistoryReader for Records {
    async fn read_history(&self, keys: Vec<ItemKey>, lookup: HistoryLookup) -> Result<Vec<ItemHistory>, StoreError> {
        self.0.history_of(keys, lookup).await
    }
}

/// Decides about this item in a dry run and in a run, after a process wrote `new` and was killed. Returns the counts of
/// both, and the reasons of the failures. With `is_recorded` false, no record shows that the process wrote the item.
async fn outcomes(select: &str, item: Item, is_recorded: bool) -> [(Counts, Vec<String>); 2] {
    let text =
        format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n{select}{CHANGES}");
    let plan = crate::plan::load("plan", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let description = TableDescription::for_tests();
    let changes = Changes::for_expand(&plan.changes, plan.strategy, description.key.clone(), Vec::new());
    let changes = changes.with_rules(plan.item_rules()).with_split(&plan.changes, plan.strategy);
    let wide = Budget { write: 1_000.0, read: 1_000.0 };
    let budgets = Budgets { table: wide, per_key_range: wide, per_partition_key: wide, indexes: Vec::new() };
    let latency = (Duration::from_millis(1), Duration::from_millis(2));
    let faults = FaultPlan { share: 0.0, late: Duration::ZERO, stale: Duration::ZERO, preferred: None };
    let table = MemoryTable::new(description.clone(), latency, faults, 1);
    let job = Job::new(plan, Arc::new(changes), Tables::one(Arc::new(table.connect(0))), description, &budgets);

    let store = crate::state::in_memory();
    let new =
        NewRun { phase: phase::EXPAND.into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
    let killed = store.begin(BeginMode::ResumeOrNew, new.clone()).await.unwrap().run.session();
    if is_recorded {
        let key = job.changes.key().key_of(&item).unwrap();
        let rows = vec![PreImageRow { key, pre: PreImage::without_value(&Path::attribute("new")) }];
        store.append_pre_images(killed, rows).await.unwrap();
    }
    store.end_session(killed, RunStatus::Stopped, None, 0).await.unwrap();

    let dry_run = DryRun::new(&job, Some(Arc::new(Records(store.clone()))));
    let page = PageItems { segment: 0, number: 1, items: vec![item.clone()] };
    let PagePrediction { counts, prediction } = dry_run.process(page, &job.requests()).await.unwrap().outcome;
    let predicted = prediction.reasons.into_values().flat_map(|reasons| reasons.into_keys()).collect();

    let session = store.begin(BeginMode::ResumeOrNew, new).await.unwrap().run.session();
    let writer = Writer::new(job.decisions(), store.history(), session);
    let ran = writer.process_all(vec![item], &job.requests()).await.unwrap();
    let failed = ran.failures.into_iter().map(|failure| failure.reason).collect();
    [(counts, predicted), (ran.counts, failed)]
}

fn item(attributes: &[(&str, &str)]) -> Item {
    let key = [("pk", "k"), ("sk", "1"), ("new", "x")];
    key.iter().chain(attributes).map(|(name, text)| ((*name).to_owned(), Value::S((*text).to_owned()))).collect()
}

/// RUNBOOK: "A dry run counts such an item as rejected"
#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_a_partly_written_item_as_a_failure_like_the_run() {
    let select = "[select]\nwhere = 'type(item.kind) == \"S\" && item.kind == \"a\"'\n";
    for (select, item, why) in [
        ("", item(&[("new2", "theirs")]), "`new2` does not have the value"),
        (select, item(&[("kind", "b")]), "the item left the selection"),
    ] {
        let [(predicted, predicted_why), (counts, failed)] = outcomes(select, item.clone(), true).await;
        assert_eq!(predicted_why, failed);
        assert!(failed.len() == 1 && failed[0].contains(why) && failed[0].contains("`new`. That part"), "{failed:?}");
        // A prediction has no class for conflicts, so it counts the item as rejected.
        assert_eq!((predicted.failures(), counts.failures(), predicted.of(Outcome::Diverged)), (1, 1, 0));
        // Without a record, nothing shows that the killed process wrote a part.
        let [(predicted, _), (counts, failed)] = outcomes(select, item, false).await;
        assert_eq!((predicted.failures(), counts.failures(), failed.len()), (0, 0, 0));
        assert_eq!(predicted.of(Outcome::Diverged), counts.of(Outcome::Diverged));
    }
}
