//! The output of `explain` as JSON. `text.rs` writes it for people.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::write::{ExplainedPut, ExplainedValue, ExplainedWrite};
use super::{ExplainedImage, ExplainedPass, Explanation, ItemRecord};
use crate::item::{Path as ItemPath, Value, item_bytes, item_to_json, value_bytes};
use crate::plan::Plan;

/// Where the recorded history of the items comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSource {
    /// This pass makes its decisions without records.
    NotNeeded,
    /// There is no state file, so nothing is recorded.
    NoState,
    /// The state file.
    State,
}

/// The data that `explain` shows.
#[derive(Debug, Clone, Copy)]
pub struct ExplainReport<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The path of the plan's file.
    pub plan_path: &'a Path,
    /// The explained pass.
    pub pass: ExplainedPass,
    /// The ARN of the table; `None` if the table was not contacted.
    pub table_arn: Option<&'a str>,
    /// Where the records come from.
    pub records: RecordSource,
    /// The state file.
    pub state_path: &'a Path,
    /// The explanations, one for each item.
    pub explanations: &'a [Explanation],
    /// Whether the input has more items than are explained.
    pub more: bool,
    /// Whether to show attribute values.
    pub show_values: bool,
}

impl ExplainReport<'_> {
    /// Returns the report as JSON.
    pub fn to_json(&self) -> Json {
        let ExplainReport { plan, plan_path, pass, table_arn, records, state_path, explanations, more, .. } = self;
        json!({
            "type": "explanation", "plan": plan_path, "fingerprint": plan.fingerprint().as_str(), "pass": pass.name(),
            "offline": table_arn.is_none(), "table_arn": table_arn,
            "records": match records {
                RecordSource::NotNeeded => "not_needed",
                RecordSource::NoState => "no_state",
                RecordSource::State => "state",
            },
            "state": state_path,
            "items": explanations.iter().map(|explanation| self.item_json(explanation)).collect::<Vec<_>>(),
            "more": more,
        })
    }

    fn item_json(&self, explanation: &Explanation) -> Json {
        let Explanation { key, verdict, image } = explanation;
        let value = |(path, value): &(ItemPath, Option<Value>)| self.value_json(path, value.as_ref());
        json!({
            "key": key.as_ref().map(|key| item_to_json(key.attributes())),
            "decision": verdict.name(), "summary": verdict.summary, "reason": verdict.reason,
            "paths": verdict.paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "bytes": image.as_ref().map(|image| image.bytes),
            "values": image.iter().flat_map(|image| image.values.iter().map(value)).collect::<Vec<_>>(),
            "recorded": image.as_ref().and_then(|image| self.is_recorded(image)),
            "write": verdict.write.as_ref().map(|write| self.write_json(write)),
            "later_writes": verdict.later.iter().map(|write| self.write_json(write)).collect::<Vec<_>>(),
        })
    }

    /// Returns whether something is recorded about the item; `None` if the records were not read, or if the record of
    /// the item cannot be read.
    fn is_recorded(&self, image: &ExplainedImage) -> Option<bool> {
        match (self.records, &image.record) {
            (RecordSource::NotNeeded, _) | (_, ItemRecord::Unreadable(_)) => None,
            (RecordSource::NoState | RecordSource::State, ItemRecord::Nothing) => Some(false),
            (RecordSource::NoState | RecordSource::State, ItemRecord::Recorded) => Some(true),
        }
    }

    fn value_json(&self, path: &ItemPath, value: Option<&Value>) -> Json {
        let mut json = json!({
            "path": path.to_string(), "type": value.map(Value::type_name), "bytes": value.map(value_bytes),
        });
        insert_value(&mut json, value.filter(|_| self.show_values));
        json
    }

    fn write_json(&self, write: &ExplainedWrite) -> Json {
        let value = |value: &ExplainedValue| {
            let ExplainedValue { placeholder, value: it, is_constant } = value;
            let mut json = json!({
                "placeholder": placeholder, "type": it.type_name(), "bytes": value.bytes(), "constant": is_constant,
            });
            insert_value(&mut json, Some(it).filter(|_| *is_constant || self.show_values));
            json
        };
        // If the table's description is unknown, its indexes are unknown too.
        let is_online = self.table_arn.is_some();
        let indexes = is_online.then(|| {
            let cost = write.indexes.iter().map(|index| json!({ "name": index.name, "wcu": index.units }));
            cost.collect::<Vec<_>>()
        });
        json!({
            "sent": write.is_sent, "request": write.request, "update_expression": write.update, "condition_expression": write.condition,
            "derived": write.derived.as_ref().map(|derived| self.derived_json(derived)),
            "names": write.names, "values": write.values.iter().map(value).collect::<Vec<_>>(),
            "journal": write.journal.iter()
                .map(|(path, prior)| json!({ "path": path.to_string(), "prior": prior })).collect::<Vec<_>>(),
            "bytes_before": write.bytes_before, "bytes_after": write.bytes_after,
            "wcu": is_online.then(|| write.units()), "table_wcu": write.table_units, "indexes": indexes,
        })
    }
}

impl ExplainReport<'_> {
    /// Returns the derived item. All its values, including the key's, come from attributes, so they are shown only on
    /// request.
    fn derived_json(&self, derived: &ExplainedPut) -> Json {
        let attribute =
            |(name, value): (&String, &Value)| self.value_json(&ItemPath::attribute(name.as_str()), Some(value));
        json!({
            "bytes": item_bytes(&derived.item),
            "attributes": derived.item.iter().map(attribute).collect::<Vec<_>>(),
            "condition_expression": derived.condition, "table": derived.table, "wcu": derived.units_elsewhere,
        })
    }
}

/// Adds a value that may be shown.
fn insert_value(json: &mut Json, value: Option<&Value>) {
    if let (Some(value), Json::Object(members)) = (value, json) {
        members.insert("value".into(), value.to_json());
    }
}
