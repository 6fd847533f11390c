//! Python.

use super::comment::comment;
use super::literal::literal;
use super::model::{ModelFlag, MoveModel, ShimModel, plain_path};
use super::names::words;
use super::template::{Slot, between, fill};
use super::{Language, Shim};
use crate::item::PathStep;

const EXAMPLE: &str = include_str!("../../../docs/examples/flag/python/flag.py");
const SHIM: &str = include_str!("shim.py");
const MOVE: &str = include_str!("move.py");
/// Needed only if a member of a map moves.
const INSIDE: &str = include_str!("inside.py");
const DOCUMENT: &str = include_str!("document.py");

/// The marks that delimit those parts of the example that the shim copies. The rest of the example reads and writes
/// attributes whose names come from the caller.
pub(super) const MARKS: [(&str, &str); 4] = [
    (EXAMPLE, "import base64\n"),
    (EXAMPLE, "from dataclasses import dataclass\n"),
    (EXAMPLE, "\ndef read("),
    (EXAMPLE, "class CachedFlag:"),
];

fn quoted(text: &str) -> String {
    literal(Language::Python, text)
}

/// Renders the file.
pub(super) fn render(model: &ShimModel<'_>) -> Shim {
    let imports = between(EXAMPLE, MARKS[0].1, Some("\nSCHEMA_VERSION")).replace(
        "from decimal import Context, Decimal",
        "from decimal import Context, Decimal\nfrom typing import NamedTuple",
    );
    let rules = between(EXAMPLE, "SCHEMA_VERSION", Some(MARKS[2].1));
    let flag = format!("{imports}\n\n{rules}");
    let inside =
        if model.moves.iter().any(|one| !one.map.is_empty()) { format!("\n\n{INSIDE}") } else { String::new() };
    let code = fill(
        SHIM,
        &[
            (Slot::Migration, &comment(model.migration)),
            (Slot::Table, &comment(model.table)),
            (Slot::PartitionKey, &comment(model.partition_key)),
            (Slot::Notes, &model.notes("")),
            (Slot::FlagKey, fetch(&model.flag)),
            (Slot::Example, &model.moves[0].stem),
            (Slot::Flag, &flag),
            (Slot::Cache, between(EXAMPLE, MARKS[3].1, None)),
            (Slot::Constants, &constants(model)),
            (Slot::Moves, &model.moves.iter().map(one_move).fold(inside, |all, one| all + &one)),
        ],
    );
    Shim { code: format!("{}\n", code.trim_end()), file_name: format!("{}_shim.py", words(model.migration).join("_")) }
}

/// How an application reads the flag's item.
fn fetch(flag: &ModelFlag<'_>) -> &'static str {
    match flag {
        ModelFlag::Value { .. } => {
            "# \"id\" is the name of the partition key of the flag's table.\n    \
             flags = CachedFlag(lambda: dynamodb.get_item(\n        \
             TableName=FLAG_TABLE, Key={\"id\": {\"S\": FLAG_ID}}, ConsistentRead=True).get(\"Item\"))"
        }
        ModelFlag::Key { .. } => {
            "flags = CachedFlag(lambda: dynamodb.get_item(\n        \
             TableName=FLAG_TABLE, Key=FLAG_KEY, ConsistentRead=True).get(\"Item\"))"
        }
        ModelFlag::Service => {
            "# `document` is your function. It returns the flag of your flag service, or None.\n    \
             flags = CachedFlag(lambda: item_of_document(document()))"
        }
    }
}

fn constants(model: &ShimModel<'_>) -> String {
    let key = format!("PARTITION_KEY = {}", quoted(model.partition_key));
    match &model.flag {
        ModelFlag::Value { table, value } => {
            format!("{key}\nFLAG_TABLE = {}\nFLAG_ID = {}", quoted(table), quoted(value))
        }
        ModelFlag::Key { table, key: flag_key } => {
            let parts: Vec<String> = flag_key
                .iter()
                .map(|(name, value)| format!("{}: {{\"S\": {}}}", quoted(name), quoted(value)))
                .collect();
            format!("{key}\nFLAG_TABLE = {}\nFLAG_KEY = {{{}}}", quoted(table), parts.join(", "))
        }
        ModelFlag::Service => format!("{key}\n\n\n{}", DOCUMENT.trim_end()),
    }
}

fn one_move(one: &MoveModel<'_>) -> String {
    let mut arguments = vec![format!("old={}, new={}", quoted(one.old), quoted(one.new))];
    if !one.number.is_empty() {
        arguments.push(format!("number={}", quoted(&one.number)));
    }
    if !one.prefix.is_empty() {
        let names: Vec<String> = one
            .prefix_names
            .iter()
            .map(|(placeholder, name)| format!("{}: {}", quoted(placeholder), quoted(name)))
            .collect();
        arguments.push(format!("prefix={}, prefix_names={{{}}}", quoted(&one.prefix), names.join(", ")));
    }
    let container = match one.map {
        [] => "item".to_owned(),
        steps => format!("_inside(item, [{}])", steps.iter().map(step).collect::<Vec<_>>().join(", ")),
    };
    fill(
        MOVE,
        &[
            (Slot::Constant, &one.stem.to_uppercase()),
            (Slot::Stem, &one.stem),
            (Slot::Old, &plain_path(one.map, one.old)),
            (Slot::New, &plain_path(one.map, one.new)),
            (Slot::Move, &arguments.join(", ")),
            (Slot::Container, &container),
        ],
    )
}

fn step(step: &PathStep) -> String {
    match step {
        PathStep::Name(name) => quoted(name),
        PathStep::Index(index) => index.to_string(),
    }
}
