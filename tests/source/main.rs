//! Tests that read only the project's own files: sources, documents, examples and plans. They need neither a server nor
//! a state file.

mod api;
mod architecture;
mod docs;
mod expressions;
mod flag_examples;
#[path = "../harness/plan_schema.rs"]
mod plan_json;
mod plan_schema;
mod plans;
mod runbook;
mod shim;
