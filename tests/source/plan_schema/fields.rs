//! Compares the fields in the schema with the fields that the parser knows. The parser's fields come from its error
//! about an unknown field, which lists the valid ones.

use std::collections::BTreeSet;

use backfill::internals::plan::load;
use serde_json::Value as Json;
use toml::Value;

use super::schema;

/// An unknown field name. It resembles no valid name.
const UNKNOWN: &str = "zzz";

/// A step of the path from the plan to one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The field with this name.
    Field(String),
    /// The first element of an array of tables.
    First,
}

/// The tables and the fields of the schema.
#[derive(Debug, Default)]
pub(super) struct SchemaFields {
    /// Each table with the names of its fields.
    pub(super) tables: Vec<(Vec<Step>, BTreeSet<String>)>,
    /// Each field with its schema, except tables of fields.
    pub(super) leaves: Vec<(Vec<Step>, Json)>,
}

impl SchemaFields {
    /// Reads the schema.
    pub(super) fn read() -> SchemaFields {
        let schema = schema();
        let mut fields = SchemaFields::default();
        fields.visit(&schema, &schema, Vec::new());
        fields.leaves.sort_by(|a, b| a.0.cmp(&b.0));
        fields.leaves.dedup_by(|a, b| a.0 == b.0);
        fields
    }

    fn visit(&mut self, root: &Json, written: &Json, at: Vec<Step>) {
        let node = resolved(root, written);
        let below = |step: Step| [&at[..], &[step]].concat();
        if let Some(fields) = closed_fields(root, node) {
            self.tables.push((at.clone(), fields.iter().map(|(name, _)| (*name).clone()).collect()));
            fields.into_iter().for_each(|(name, field)| self.visit(root, field, below(Step::Field(name.clone()))));
        } else if node["items"].is_object() && closed_fields(root, resolved(root, &node["items"])).is_some() {
            self.visit(root, &node["items"], below(Step::First));
        } else {
            let mut leaf = node.clone();
            // Members next to a `$ref`, such as a default, belong to the field.
            leaf.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
            self.leaves.push((at, leaf));
        }
    }
}

/// Resolves a reference, and returns its node.
fn resolved<'j>(root: &'j Json, node: &'j Json) -> &'j Json {
    match node["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}")),
        None => node,
    }
}

/// Returns the fields of a table with a fixed set of fields. If the table has several kinds, returns the fields of all
/// kinds. A value in DynamoDB JSON does not count as such a table, because the parser reads it differently.
fn closed_fields<'j>(root: &'j Json, node: &'j Json) -> Option<Vec<(&'j String, &'j Json)>> {
    if node == &root["$defs"]["typed_value"] {
        return None;
    }
    if let (Some(properties), Some(false)) = (node["properties"].as_object(), node["additionalProperties"].as_bool()) {
        return Some(properties.iter().collect());
    }
    let kinds = node["oneOf"].as_array()?.iter().map(|kind| closed_fields(root, resolved(root, kind)));
    kinds.collect::<Option<Vec<_>>>().map(|kinds| kinds.concat())
}

/// Sets a value in a plan. Creates the tables on its path.
pub(super) fn put(plan: &mut toml::Table, at: &[Step], value: Value) {
    let (Step::Field(name), rest) = at.split_first().unwrap() else { panic!("{at:?}") };
    match rest {
        [] => drop(plan.insert(name.clone(), value)),
        [Step::First, rest @ ..] => {
            let list = plan.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut().unwrap();
            if list.is_empty() {
                list.push(Value::Table(toml::Table::new()));
            }
            put(list[0].as_table_mut().unwrap(), rest, value);
        }
        rest => {
            let table = plan.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
            // Replace a field that is not a table.
            if !table.is_table() {
                *table = Value::Table(toml::Table::new());
            }
            put(table.as_table_mut().unwrap(), rest, value);
        }
    }
}

/// Returns the fields that the parser knows in the table at this path, or `None` if there is no table of fields.
fn parser_fields(at: &[Step]) -> Option<BTreeSet<String>> {
    let mut plan: toml::Table =
        "migration = { name = \"m\" }\ntable = { name = \"shop\" }\n[[change]]\nmove = \"a\"\nto = \"b\""
            .parse()
            .unwrap();
    let unknown = Step::Field(UNKNOWN.to_owned());
    put(&mut plan, &[at, &[unknown]].concat(), Value::Integer(1));
    // If a table can contain names that the operator chooses, the parser reports no unknown field in it.
    let errors = load("plan", &toml::to_string(&plan).unwrap()).err()?.to_string();
    let (_, after) = errors.split_once(&format!("unknown field `{UNKNOWN}` in "))?;
    let valid = after.lines().find_map(|line| line.trim_start().strip_prefix("= help: valid here: ")).unwrap();
    Some(valid.split(", ").map(str::to_owned).collect())
}

#[test]
fn the_schema_and_the_parser_know_the_same_fields() {
    let SchemaFields { tables, leaves } = SchemaFields::read();
    assert!(tables.len() >= 15 && leaves.len() >= 75, "{} tables, {} fields", tables.len(), leaves.len());
    for (at, fields) in &tables {
        let known = parser_fields(at).unwrap_or_else(|| panic!("the parser reads no table at {at:?}"));
        assert_eq!(*fields, known, "the schema (left) and the parser (right) at {at:?}");
    }
    for (at, _) in &leaves {
        assert_eq!(parser_fields(at), None, "the parser reads a table at {at:?}, but the schema describes none");
    }
}
