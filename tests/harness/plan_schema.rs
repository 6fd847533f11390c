//! Validates plans with the JSON Schema in `docs/plan.schema.json`, as an editor does.

use std::sync::OnceLock;

use backfill::internals::plan::PLAN_SCHEMA;
use jsonschema::Validator;
use serde_json::Value as Json;
use toml::Value;

/// Returns the schema's errors in a plan. The result is empty if the schema accepts the plan.
pub(crate) fn schema_errors(plan: &toml::Table) -> Vec<String> {
    schema().iter_errors(&table_json(plan)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Returns whether the schema accepts a plan. This is much faster than collecting all errors.
pub(crate) fn schema_accepts(plan: &toml::Table) -> bool {
    schema().is_valid(&table_json(plan))
}

fn schema() -> &'static Validator {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| jsonschema::validator_for(&serde_json::from_str(PLAN_SCHEMA).unwrap()).unwrap())
}

fn table_json(table: &toml::Table) -> Json {
    Json::Object(table.iter().map(|(name, value)| (name.clone(), json(value))).collect())
}

/// Converts TOML to JSON as editors do. A date becomes text. JSON has no infinite numbers, so they become null.
fn json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(list) => list.iter().map(json).collect(),
        Value::Table(table) => table_json(table),
    }
}
