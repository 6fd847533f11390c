//! Tests that read only the project's own files: sources, documents, examples and plans. They need neither a server nor
//! a state file.

mod api;
mod architecture;
mod docs;
mod flag_examples;
mod plans;
mod runbook;
