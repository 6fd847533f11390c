//! Computes the capacity that a request demands from the model, and charges the units that the request's reply reports.
//!
//! Positions in the key-hash space come from the embedded engine's own hash of the partition key. So the model's
//! partitions and the segments of a parallel scan are ranges of the same space.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use dynoxide::AttributeValue;
use dynoxide::storage::compute_hash_prefix;
use serde_json::Value as Json;

use super::wire::{Metering, entries};
use crate::item::{Units, item_bytes, item_from_json, write_units};
use crate::local::capacity::{ConsumedUnits, Demand, Model, RequestKind};

/// Number of different hash prefixes in the engine. A hash prefix has six hexadecimal digits.
const PREFIXES: f64 = 16_777_216.0;

/// The key schema, from which the proxy computes the position of an item.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    partition: String,
    /// The partition key of each global index. The map's keys are the index names.
    indexes: BTreeMap<String, String>,
}

impl Schema {
    /// Reads the schema from a table's description.
    pub(super) fn parse(table: &Json) -> Option<Schema> {
        let partition = |described: &Json| {
            let keys = described["KeySchema"].as_array()?;
            let hash = keys.iter().find(|key| key["KeyType"] == "HASH")?;
            Some(hash["AttributeName"].as_str()?.to_owned())
        };
        let named = |index: &Json| Some((index["IndexName"].as_str()?.to_owned(), partition(index)?));
        let indexes = table["GlobalSecondaryIndexes"].as_array();
        Some(Schema {
            partition: partition(table)?,
            indexes: indexes.map(|all| all.iter().filter_map(named).collect()).unwrap_or_default(),
        })
    }
}

/// The demands of a request to the modeled table, and the distribution of the units that the request consumes.
#[derive(Debug)]
pub(super) struct Bill {
    pub(super) demands: Vec<Demand>,
    distribution: Distribution,
}

#[derive(Debug, Clone, Copy)]
enum Distribution {
    /// The units are distributed evenly among the items in the request.
    Items,
    /// The units are distributed over a range that starts at the demand's position and ends at the page's last key. If
    /// the page has no last key, the range ends at `end`.
    Page { end: f64 },
    /// The units are distributed over the whole table, because the proxy does not know which items a statement touches.
    WholeTable,
}

impl Bill {
    /// Returns the demands of a request, or `None` if the request is not for the modeled table.
    pub(super) fn parse(
        operation: &str,
        body: &Json,
        metering: Metering,
        schema: &Schema,
        model: &Model,
    ) -> Option<Bill> {
        let kind = metering.kind()?;
        let table = model.spec().table.as_str();
        let items =
            |demands: Vec<Demand>| (!demands.is_empty()).then_some(Bill { demands, distribution: Distribution::Items });
        let demand = |item: &Json| Some(demand(kind, item.get(&schema.partition)?));
        match operation {
            "BatchGetItem" => {
                let keys = body["RequestItems"].get(table)?["Keys"].as_array()?;
                items(keys.iter().filter_map(demand).collect())
            }
            "BatchWriteItem" => {
                let writes = body["RequestItems"].get(table)?.as_array()?;
                let item =
                    |write: &Json| demand(&write["PutRequest"]["Item"]).or(demand(&write["DeleteRequest"]["Key"]));
                items(writes.iter().filter_map(item).collect())
            }
            "TransactGetItems" | "TransactWriteItems" => {
                let actions = body["TransactItems"].as_array()?.iter().filter_map(Json::as_object);
                let table_actions = actions.flat_map(|action| action.values()).filter(|a| a["TableName"] == table);
                items(table_actions.filter_map(|action| demand(&action["Item"]).or(demand(&action["Key"]))).collect())
            }
            "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
                let text = body.to_string();
                let key = hash(&text);
                let hash_position = Demand { kind, position: key as f64 / 2_f64.powi(64), key, index: None };
                text.contains(table)
                    .then_some(Bill { demands: vec![hash_position], distribution: Distribution::WholeTable })
            }
            _ if body["TableName"] != table => None,
            "Scan" => page(body, schema, model),
            "Query" => items(vec![query(body, schema, model)?]),
            _ => items(demand(&body["Item"]).or(demand(&body["Key"])).into_iter().collect()),
        }
    }

    /// Charges the units that a served request consumed, as its reply reports them.
    pub(super) fn charge(&self, model: &mut Model, now: Duration, capacity: &Json, reply: &[u8], schema: &Schema) {
        let consumed = consumed(capacity, model);
        match (self.distribution, self.demands.as_slice()) {
            (Distribution::Page { end }, [demand]) if demand.index.is_none() => {
                let end = last_position(reply, &schema.partition).unwrap_or(end);
                model.charge_range(now, demand, end, consumed.table);
                model.charge(now, demand, &ConsumedUnits { table: 0.0, ..consumed });
            }
            (Distribution::WholeTable, [demand]) => {
                let all = Demand { position: 0.0, ..*demand };
                model.charge_range(now, &all, 1.0, consumed.table);
                model.charge(now, demand, &ConsumedUnits { table: 0.0, ..consumed });
            }
            (Distribution::Items | Distribution::Page { .. } | Distribution::WholeTable, demands) => {
                let part = 1.0 / demands.len() as f64;
                let indexes = consumed.indexes.iter().map(|(index, units)| (*index, units * part)).collect();
                let each = ConsumedUnits { table: consumed.table * part, indexes };
                demands.iter().for_each(|demand| model.charge(now, demand, &each));
            }
        }
    }

    /// Charges a write whose condition failed. The reply to such a write reports no units. If the reply contains the
    /// item, the item's size determines the charge. Otherwise the charge is one unit (developer guide, "Working with
    /// items").
    pub(super) fn charge_failed_condition(&self, model: &mut Model, now: Duration, reply: &[u8]) {
        let body: Json = serde_json::from_slice(reply).unwrap_or_default();
        let image = body.get("Item").and_then(|item| item_from_json(item).ok());
        let bytes = image.map_or(0, |item| item_bytes(&item));
        let units = write_units(bytes, bytes);
        for demand in &self.demands {
            model.charge(now, demand, &ConsumedUnits::table(units));
        }
    }
}

impl Metering {
    fn kind(self) -> Option<RequestKind> {
        match self {
            Metering::None => None,
            Metering::Reads => Some(RequestKind::Read),
            Metering::Writes => Some(RequestKind::Write),
        }
    }
}

/// Returns the demand of a request for the item with this partition key value.
fn demand(kind: RequestKind, value: &Json) -> Demand {
    Demand { kind, position: hash_position(value), key: hash(&value.to_string()), index: None }
}

/// Returns the position of a partition key value. Returns 0 for an invalid key, because the engine will refuse the
/// request.
fn hash_position(value: &Json) -> f64 {
    let Ok(value) = serde_json::from_value::<AttributeValue>(value.clone()) else { return 0.0 };
    f64::from(u32::from_str_radix(&compute_hash_prefix(&value), 16).unwrap_or(0)) / PREFIXES
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Returns the demand of one scan page. The page starts at the request's start key. Without a start key, the page
/// starts at the start of the segment.
fn page(body: &Json, schema: &Schema, model: &Model) -> Option<Bill> {
    let total = body["TotalSegments"].as_f64().filter(|total| *total >= 1.0).unwrap_or(1.0);
    let segment = body["Segment"].as_f64().unwrap_or(0.0);
    let begin = segment / total;
    let end = (segment + 1.0) / total;
    let (index, partition) = target(body, schema, model)?;
    let start = body["ExclusiveStartKey"].get(partition);
    let first =
        start.map_or(Demand { position: begin, ..Demand::read(begin, hash("")) }, |key| demand(RequestKind::Read, key));
    Some(Bill { demands: vec![Demand { index, ..first }], distribution: Distribution::Page { end } })
}

/// Returns the demand of a query. A query contains exactly one partition key value, either in `KeyConditions` or in
/// `KeyConditionExpression`.
fn query(body: &Json, schema: &Schema, model: &Model) -> Option<Demand> {
    let (index, partition) = target(body, schema, model)?;
    let legacy_condition =
        body["KeyConditions"].get(partition).and_then(|condition| condition["AttributeValueList"].get(0));
    let value = legacy_condition.or_else(|| key_condition_value(body, partition));
    Some(Demand { index, ..demand(RequestKind::Read, value.unwrap_or(&Json::Null)) })
}

/// Returns the value of the partition key in a key condition such as `partition = :value`.
fn key_condition_value<'a>(body: &'a Json, partition: &str) -> Option<&'a Json> {
    let condition = body["KeyConditionExpression"].as_str()?;
    let spaced = condition.replace('=', " = ").replace(['(', ')'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let is_partition = |word: &str| word == partition || body["ExpressionAttributeNames"][word] == partition;
    let value = words.windows(3).find_map(|three| match three {
        [name, "=", value] if is_partition(name) => Some(*value),
        [value, "=", name] if is_partition(name) => Some(*value),
        _ => None,
    })?;
    body["ExpressionAttributeValues"].get(value)
}

/// Returns the global index that the request reads, and the partition key's name. The inner `None` stands for the
/// table. Returns `None` if the spec does not list the index, because an unlisted index has no limit.
fn target<'a>(body: &Json, schema: &'a Schema, model: &Model) -> Option<(Option<usize>, &'a str)> {
    let named = body["IndexName"].as_str().and_then(|name| Some((name, schema.indexes.get(name)?)));
    let Some((name, partition)) = named else { return Some((None, &schema.partition)) };
    Some((Some(model.index(name)?), partition))
}

/// Returns the position of a page's last key.
fn last_position(reply: &[u8], partition: &str) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Page {
        #[serde(rename = "LastEvaluatedKey")]
        last: Option<Json>,
    }
    let page: Page = serde_json::from_slice(reply).ok()?;
    Some(hash_position(page.last?.get(partition)?))
}

/// Returns the units that a reply reports for the modeled table. Ignores the units of indexes that the spec does not
/// list.
fn consumed(capacity: &Json, model: &Model) -> ConsumedUnits {
    let mut sum = ConsumedUnits::default();
    let table_entries = entries(capacity).iter().filter(|entry| entry["TableName"] == model.spec().table.as_str());
    for entry in table_entries {
        let units = |arm: &Json| arm["CapacityUnits"].as_f64().unwrap_or(0.0);
        let indexes = entry["GlobalSecondaryIndexes"].as_object();
        let index_units: Units = indexes.map_or(0.0, |all| all.values().map(units).sum());
        sum.table += units(entry) - index_units;
        let named = |(name, arm): (&String, &Json)| Some((model.index(name)?, units(arm)));
        sum.indexes.extend(indexes.into_iter().flatten().filter_map(named));
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local::capacity::{IndexSpec, ModelSpec};

    fn schema() -> Schema {
        let index = |name: &str, key: &str| json!({"IndexName": name, "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}]});
        Schema::parse(&json!({
            "KeySchema": [{"AttributeName": "sk", "KeyType": "RANGE"}, {"AttributeName": "pk", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [index("named", "g"), index("unnamed", "h")],
        }))
        .unwrap()
    }

    fn model() -> Model {
        let indexes = vec![IndexSpec { name: "named".into(), ..IndexSpec::default() }];
        Model::new(ModelSpec { table: "t".into(), indexes, ..ModelSpec::default() })
    }

    fn bill(operation: &str, body: &Json) -> Option<Bill> {
        let metering = Metering::from_request(operation, body.to_string().as_bytes());
        Bill::parse(operation, body, metering, &schema(), &model())
    }

    fn demands(operation: &str, body: &Json) -> Vec<Demand> {
        bill(operation, body).map(|bill| bill.demands).unwrap_or_default()
    }

    fn key(pk: &str) -> Json {
        json!({"pk": {"S": pk}, "sk": {"S": "x"}})
    }

    #[test]
    fn every_operation_names_its_items() {
        let read = demand(RequestKind::Read, &json!({"S": "a"}));
        let write = demand(RequestKind::Write, &json!({"S": "a"}));
        assert!(read.position > 0.0 && read.position < 1.0);
        for (operation, body, expected) in [
            ("GetItem", json!({"TableName": "t", "Key": key("a")}), vec![read]),
            ("PutItem", json!({"TableName": "t", "Item": key("a")}), vec![write]),
            ("UpdateItem", json!({"TableName": "t", "Key": key("a")}), vec![write]),
            ("DeleteItem", json!({"TableName": "other", "Key": key("a")}), vec![]),
            (
                "BatchGetItem",
                json!({"RequestItems": {"o": {"Keys": [key("b")]}, "t": {"Keys": [key("a"), key("a")]}}}),
                vec![read; 2],
            ),
            (
                "BatchWriteItem",
                json!({"RequestItems": {"t": [{"PutRequest": {"Item": key("a")}}, {"DeleteRequest": {"Key": key("a")}}]}}),
                vec![write; 2],
            ),
            (
                "TransactWriteItems",
                json!({"TransactItems": [{"Put": {"TableName": "t", "Item": key("a")}}, {"Update": {"TableName": "o", "Key": key("b")}}]}),
                vec![write],
            ),
            ("TransactGetItems", json!({"TransactItems": [{"Get": {"TableName": "t", "Key": key("a")}}]}), vec![read]),
            (
                "Query",
                json!({"TableName": "t", "KeyConditionExpression": "#p=:p AND begins_with(sk, :s)", "ExpressionAttributeNames": {"#p": "pk"},
                    "ExpressionAttributeValues": {":p": {"S": "a"}, ":s": {"S": "b"}}}),
                vec![read],
            ),
            (
                "Query",
                json!({"TableName": "t", "KeyConditions": {"pk": {"AttributeValueList": [{"S": "a"}], "ComparisonOperator": "EQ"}}}),
                vec![read],
            ),
            (
                "Query",
                json!({"TableName": "t", "IndexName": "named", "KeyConditionExpression": "(:v = g)", "ExpressionAttributeValues": {":v": {"S": "a"}}}),
                vec![Demand { index: Some(0), ..read }],
            ),
            ("Query", json!({"TableName": "t", "IndexName": "unnamed", "KeyConditionExpression": "h = :v"}), vec![]),
            (
                "Scan",
                json!({"TableName": "t", "Segment": 3, "TotalSegments": 4, "ExclusiveStartKey": key("a")}),
                vec![read],
            ),
            ("DescribeTable", json!({"TableName": "t"}), vec![]),
        ] {
            assert_eq!(demands(operation, &body), expected, "{operation} {body}");
        }
        let first = demands("Scan", &json!({"TableName": "t", "Segment": 3, "TotalSegments": 4}));
        assert_eq!(first[0].position, 0.75);
        let statement = json!({"Statement": "UPDATE \"t\" SET a = 1 WHERE pk = 'a'"});
        assert_eq!(demands("ExecuteStatement", &statement)[0].kind, RequestKind::Write);
    }

    #[test]
    fn units_are_charged_at_the_positions_of_the_items() {
        let now = Duration::ZERO;
        let schema = schema();
        let mut model = model();
        let capacity = json!([
            {"TableName": "t", "CapacityUnits": 7.0, "Table": {"CapacityUnits": 4.0},
                "GlobalSecondaryIndexes": {"named": {"CapacityUnits": 2.0}, "unnamed": {"CapacityUnits": 1.0}}},
            {"TableName": "o", "CapacityUnits": 100.0},
        ]);
        let items =
            json!({"RequestItems": {"t": [{"PutRequest": {"Item": key("a")}}, {"PutRequest": {"Item": key("b")}}]}});
        bill("BatchWriteItem", &items).unwrap().charge(&mut model, now, &capacity, b"{}", &schema);
        assert_eq!((model.stats().table.write, model.stats().indexes[0].write), (4.0, 2.0));
        for item in ["a", "b"] {
            let at = (hash_position(&json!({"S": item})) * 4.0) as usize;
            assert!(model.partitions()[at].served.write >= 2.0, "{item}");
        }

        let half = json!({"TableName": "t", "Segment": 1, "TotalSegments": 2});
        let read = json!({"TableName": "t", "CapacityUnits": 8.0});
        bill("Scan", &half).unwrap().charge(&mut model, now, &read, b"{\"Items\":[]}", &schema);
        let served: Vec<f64> = model.partitions().iter().map(|part| part.served.read).collect();
        assert_eq!(served, [0.0, 0.0, 4.0, 4.0]);

        let before = model.stats().table.write;
        let update = bill("UpdateItem", &json!({"TableName": "t", "Key": key("a")})).unwrap();
        update.charge_failed_condition(&mut model, now, br#"{"message":"no"}"#);
        assert_eq!(model.stats().table.write - before, 1.0);
        let image = json!({"Item": {"v": {"S": "x".repeat(2_500)}}}).to_string();
        update.charge_failed_condition(&mut model, now, image.as_bytes());
        assert_eq!(model.stats().table.write - before, 4.0);
    }
}
