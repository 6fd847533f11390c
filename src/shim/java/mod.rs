//! Java.

use super::comment::comment;
use super::literal::literal;
use super::model::{ModelFlag, MoveModel, ShimModel, plain_path};
use super::names::camel;
use super::template::{Slot, between, fill};
use super::{Language, Shim};

const EXAMPLE: &str = include_str!("../../../docs/examples/flag/java/Flag.java");
const SHIM: &str = include_str!("Shim.java");
const MOVE: &str = include_str!("Move.java");

/// The marks that delimit those parts of the example that the shim copies.
pub(super) const MARKS: [(&str, &str); 3] = [
    (EXAMPLE, "public record Flag("),
    (EXAMPLE, "  /** Returns the item's old or new value"),
    (EXAMPLE, "  /**\n   * Caches the flag"),
];

fn quoted(text: &str) -> String {
    literal(Language::Java, text)
}

/// Renders the file.
pub(super) fn render(model: &ShimModel<'_>) -> Shim {
    let name = camel(model.migration);
    let unit = format!("{}{name}Shim", if name.starts_with(|c: char| c.is_ascii_digit()) { "M" } else { "" });
    let code = fill(
        SHIM,
        &[
            (Slot::Unit, &unit),
            (Slot::Migration, &comment(model.migration)),
            (Slot::Table, &comment(model.table)),
            (Slot::PartitionKey, &comment(model.partition_key)),
            (Slot::Notes, &notes(model)),
            (Slot::FlagKey, fetch(&model.flag)),
            (Slot::Example, &camel(&model.moves[0].stem)),
            (Slot::Flag, &indented(between(EXAMPLE, MARKS[0].1, Some(MARKS[1].1)))),
            (Slot::Cache, &format!("  {}", indented(between(EXAMPLE, MARKS[2].1, None)).trim_start())),
            (Slot::Constants, &constants(model)),
            (Slot::Moves, model.moves.iter().map(one_move).collect::<String>().trim_end()),
        ],
    );
    Shim { code: format!("{}\n", code.trim_end()), file_name: format!("{unit}.java") }
}

/// Indents the example by one level, because it is inside a class here.
fn indented(code: &str) -> String {
    let lines = code.lines().map(|line| if line.is_empty() { String::new() } else { format!("  {line}") });
    lines.collect::<Vec<_>>().join("\n")
}

fn notes(model: &ShimModel<'_>) -> String {
    // A paragraph of a documentation comment begins with <p>.
    model.notes(" * ").replace(" *\n * ", " *\n * <p>")
}

/// How an application reads the flag's item.
fn fetch(flag: &ModelFlag<'_>) -> &'static str {
    match flag {
        ModelFlag::Value { .. } => {
            "// id is the name of the partition key of the flag's table.\n \
             * var flags = new Flag.Cached(() -> {\n \
             *   var key = Map.of(\"id\", fromS(FLAG_ID));\n \
             *   var item = dynamodb.getItem(r -> r.tableName(FLAG_TABLE).key(key).consistentRead(true)).item();\n \
             *   return item.isEmpty() ? Flag.absent() : Flag.parse(item.get(\"schema_version\").n(), …);\n \
             * });"
        }
        ModelFlag::Key { .. } => {
            "// key contains the values of FLAG_KEY as strings.\n \
             * var flags = new Flag.Cached(() -> {\n \
             *   var item = dynamodb.getItem(r -> r.tableName(FLAG_TABLE).key(key).consistentRead(true)).item();\n \
             *   return item.isEmpty() ? Flag.absent() : Flag.parse(item.get(\"schema_version\").n(), …);\n \
             * });"
        }
        ModelFlag::Service => {
            "var flags = new Flag.Cached(() -> …); // read your flag service; Flag.absent() if there is no flag"
        }
    }
}

fn constants(model: &ShimModel<'_>) -> String {
    let text = |name: &str, about: &str, value: &str| {
        format!("  /** {about} */\n  public static final String {name} = {};\n", quoted(value))
    };
    let mut parts = vec![text("PARTITION_KEY", "The name of the table's partition key.", model.partition_key)];
    let about_table = "The table of the flag.";
    match &model.flag {
        ModelFlag::Value { table, value } => {
            parts.push(text("FLAG_TABLE", about_table, table));
            parts.push(text("FLAG_ID", "The value of the partition key of the flag's table.", value));
        }
        ModelFlag::Key { table, key } => {
            parts.push(text("FLAG_TABLE", about_table, table));
            let key: Vec<String> =
                key.iter().map(|(name, value)| format!("{}, {}", quoted(name), quoted(value))).collect();
            parts.push(format!(
                "  /** The key of the flag's item. Its values are strings. */\n  \
                 public static final Map<String, String> FLAG_KEY = Map.of({});\n",
                key.join(", ")
            ));
        }
        ModelFlag::Service => {}
    }
    parts.join("\n").trim_end().to_owned()
}

fn one_move(one: &MoveModel<'_>) -> String {
    let names: Vec<String> = one
        .prefix_names
        .iter()
        .map(|(placeholder, name)| format!("Map.entry({}, {})", quoted(placeholder), quoted(name)))
        .collect();
    let names = if names.is_empty() { "Map.of()".to_owned() } else { format!("Map.ofEntries({})", names.join(", ")) };
    let parts = [one.old, one.new, &one.number, &one.prefix].map(quoted).join(", ");
    let container = one.container();
    fill(
        MOVE,
        &[
            (Slot::Constant, &one.stem.to_uppercase()),
            (Slot::Stem, &camel(&one.stem)),
            (Slot::Old, &plain_path(one.map, one.old)),
            (Slot::New, &plain_path(one.map, one.new)),
            (Slot::Move, &format!("new Move({parts}, {names})")),
            (Slot::Container, container),
            (Slot::ContainerName, &one.about_container()),
        ],
    )
}
