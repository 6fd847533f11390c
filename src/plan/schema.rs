//! The JSON Schema of a plan file.

/// The JSON Schema (draft 2020-12) of a plan file. Editors use it to complete fields, show their descriptions and mark
/// mistakes. [`load`](super::load) finds more errors than a schema can express.
///
/// The schema is a separate file. `tests/source/plan_schema/` compares it with the parser, so a new field of a plan
/// needs an entry in that file.
pub const PLAN_SCHEMA: &str = include_str!("../../docs/plan.schema.json");
