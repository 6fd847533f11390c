//! Probes the server's capabilities, and compares them with the table of capabilities. The test fails if a cell of the
//! table is wrong.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, BillingMode, ConditionCheck, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TimeToLiveSpecification, TransactWriteItem,
};
use backfill::internals::item::{Item, Projection};
use serde_json::{Value as Json, json};

use super::item;
use super::probe::lost_race;
use crate::harness::capabilities::{Capability, Engine, markdown};
use crate::harness::{Harness, index, to_sdk};

/// A table with an index on the string `ik`, and a client without a proxy.
struct Probe {
    harness: Harness,
    client: Client,
    table: String,
}

const INDEX: &str = "by-ik";

impl Probe {
    async fn new() -> Probe {
        let harness = Harness::start();
        let table = harness.create_indexed_table(&[index(INDEX, &[("ik", "S")], Projection::All, false)]).await;
        let client = crate::harness::client(&harness.server_endpoint());
        Probe { harness, client, table }
    }

    async fn put(&self, pk: &str, attributes: &Json) -> bool {
        let item = Some(to_sdk(&item(pk, attributes)));
        self.client.put_item().table_name(&self.table).set_item(item).send().await.is_ok()
    }

    fn update(&self, pk: &str) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(pk)))
    }

    /// Returns whether the server has this capability.
    async fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::AtomicConditions => lost_race(&self.harness).await.is_none(),
            Capability::ImageOnFailure => self.returns_the_image().await,
            Capability::DocumentComparison => self.compares_documents().await,
            Capability::ParallelScan => self.scans_in_parallel().await,
            Capability::IndexScan => self.scans_the_index().await,
            Capability::OnDemand => self.describes_on_demand().await,
            Capability::TableCapacity => self.capacity().await.is_some_and(|(table, _)| table > 0.0),
            Capability::IndexCapacity => self.capacity().await.is_some_and(|(_, index)| index > 0.0),
            Capability::ItemSize => !self.put("large", &json!({ "a": { "S": "x".repeat(400 * 1024) } })).await,
            Capability::IndexKeys => !self.put("bad key", &json!({ "ik": { "N": "1" } })).await,
            Capability::TimeToLive => self.has_time_to_live().await,
            Capability::PointInTimeRecovery => {
                let described = self.client.describe_continuous_backups().table_name(&self.table).send().await;
                described.is_ok_and(|reply| reply.continuous_backups_description.is_some())
            }
            Capability::Backups => {
                let made = self.client.create_backup().table_name(&self.table).backup_name("probe").send().await;
                made.is_ok_and(|reply| reply.backup_details.is_some())
            }
            Capability::PartiQl => self.has_partiql().await,
            Capability::Transactions => self.has_transactions().await,
        }
    }

    async fn returns_the_image(&self) -> bool {
        self.put("image", &json!({ "n": { "N": "7" } })).await;
        let update = self.update("image").update_expression("SET n = :n").condition_expression("n = :n");
        let update = update.expression_attribute_values(":n", AttributeValue::N("8".to_owned()));
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let failed = update.return_values_on_condition_check_failure(all_old).send().await;
        let Err(error) = failed else { panic!("a false condition was accepted") };
        let error = error.into_service_error();
        let aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(failed) = error
        else {
            panic!("{error:?}")
        };
        failed.item.is_some_and(|item| item.get("n") == Some(&AttributeValue::N("7".to_owned())))
    }

    async fn compares_documents(&self) -> bool {
        let document = json!({ "M": { "l": { "L": [{ "N": "1" }, { "M": { "x": { "S": "y" } } }] } } });
        self.put("document", &json!({ "d": document })).await;
        let same = to_sdk(&item("document", &json!({ "d": document }))).remove("d").unwrap();
        let update = self.update("document").update_expression("SET seen = :d").condition_expression("d = :d");
        update.expression_attribute_values(":d", same).send().await.is_ok()
    }

    async fn scans_in_parallel(&self) -> bool {
        for n in 0..40 {
            self.put(&format!("scan {n}"), &json!({})).await;
        }
        let mut sizes = Vec::new();
        let mut seen = BTreeSet::new();
        for segment in 0..4 {
            let page = self.client.scan().table_name(&self.table).segment(segment).total_segments(4).send().await;
            let Ok(page) = page else { return false };
            let keys = page.items.unwrap_or_default().into_iter().map(|mut item| format!("{:?}", item.remove("pk")));
            let keys: Vec<String> = keys.collect();
            sizes.push(keys.len());
            seen.extend(keys);
        }
        // Each item is in exactly one segment, and no segment contains all items.
        let all: usize = sizes.iter().sum();
        seen.len() == all && all >= 40 && sizes.iter().all(|size| *size < all)
    }

    async fn scans_the_index(&self) -> bool {
        self.put("in the index", &json!({ "ik": { "S": "x" } })).await;
        self.put("not in the index", &json!({})).await;
        let page = self.client.scan().table_name(&self.table).index_name(INDEX).send().await;
        let Ok(page) = page else { return false };
        let items = page.items.unwrap_or_default();
        !items.is_empty() && items.iter().all(|item| item.contains_key("ik"))
    }

    async fn describes_on_demand(&self) -> bool {
        let described = self.client.describe_table().table_name(&self.table).send().await.unwrap();
        let mode = described.table.and_then(|table| table.billing_mode_summary?.billing_mode);
        mode == Some(BillingMode::PayPerRequest)
    }

    /// Writes an item with an index entry. Returns the consumed units of the table and of the index.
    async fn capacity(&self) -> Option<(f64, f64)> {
        let put = self.client.put_item().table_name(&self.table);
        let put =
            put.set_item(Some(to_sdk(&item("capacity", &json!({ "ik": { "S": fastrand::u64(..).to_string() } })))));
        let reply = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.ok()?;
        let consumed = reply.consumed_capacity?;
        let index = consumed.global_secondary_indexes.as_ref().and_then(|indexes| indexes.get(INDEX));
        let index = index.and_then(|index| index.capacity_units);
        let table = consumed.table.and_then(|table| table.capacity_units).or(consumed.capacity_units);
        Some((table?, index.unwrap_or(0.0)))
    }

    async fn has_time_to_live(&self) -> bool {
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().unwrap();
        let update = self.client.update_time_to_live().table_name(&self.table);
        if update.time_to_live_specification(specification).send().await.is_err() {
            return false;
        }
        let described = self.client.describe_time_to_live().table_name(&self.table).send().await;
        let description = described.ok().and_then(|reply| reply.time_to_live_description);
        description.is_some_and(|description| description.attribute_name.as_deref() == Some("ttl"))
    }

    async fn has_partiql(&self) -> bool {
        self.put("partiql", &json!({ "n": { "N": "1" } })).await;
        let statement = format!("UPDATE \"{}\" SET n = 2 WHERE pk = 'partiql' AND sk = 'x' AND n = 1", self.table);
        if self.client.execute_statement().statement(&statement).send().await.is_err() {
            return false;
        }
        // Now the condition is false.
        let refused = self.client.execute_statement().statement(statement.replace("n = 2", "n = 3")).send().await;
        refused.is_err() && self.get("partiql").await.get("n") == Some(&AttributeValue::N("2".to_owned()))
    }

    async fn has_transactions(&self) -> bool {
        self.put("source", &json!({ "n": { "N": "1" } })).await;
        let check = |value: &str| {
            let check = ConditionCheck::builder().table_name(&self.table).set_key(Some(key("source")));
            let check = check.condition_expression("n = :n");
            let check = check.expression_attribute_values(":n", AttributeValue::N(value.to_owned())).build().unwrap();
            TransactWriteItem::builder().condition_check(check).build()
        };
        let put = |pk: &str| {
            let put = Put::builder().table_name(&self.table).set_item(Some(to_sdk(&item(pk, &json!({})))));
            TransactWriteItem::builder().put(put.build().unwrap()).build()
        };
        let send = |items| self.client.transact_write_items().set_transact_items(Some(items)).send();
        let applied = send(vec![check("1"), put("derived")]).await.is_ok();
        let refused = send(vec![check("2"), put("never")]).await.is_err();
        applied && refused && !self.get("derived").await.is_empty() && self.get("never").await.is_empty()
    }

    async fn get(&self, pk: &str) -> HashMap<String, AttributeValue> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key(pk))).consistent_read(true);
        read.send().await.unwrap().item.unwrap_or_default()
    }
}

fn key(pk: &str) -> HashMap<String, AttributeValue> {
    to_sdk(&item(pk, &json!({})).into_iter().filter(|(name, _)| matches!(name.as_str(), "pk" | "sk")).collect::<Item>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_capabilities_is_exact() {
    let probe = Probe::new().await;
    let engine = Engine::current();
    let mut wrong = Vec::new();
    for capability in Capability::ALL {
        let has = probe.has(capability).await;
        if has != engine.has(capability) {
            wrong.push(format!("{capability:?}: the engine {} it", if has { "has" } else { "does not have" }));
        }
    }
    assert!(wrong.is_empty(), "the table is wrong about {}: {wrong:#?}", engine.title);
}

#[test]
fn the_documentation_has_the_table_of_capabilities() {
    let page = include_str!("../../../docs/engines.md");
    assert!(page.contains(&markdown()), "docs/engines.md must contain this table:\n{}", markdown());
}

/// Checks that DynamoDB and the embedded engine have all capabilities that the examples need. So no example is skipped
/// on them.
#[test]
fn every_example_runs_on_dynamodb_and_on_the_embedded_engine() {
    for engine in crate::harness::capabilities::ENGINES.iter().take(2) {
        for example in super::examples::examples() {
            assert!(engine.has_all(example.needs), "{} does not run on {}", example.name, engine.title);
        }
    }
}
