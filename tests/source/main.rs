//! Tests that read the project's own files: sources, documents, examples and plans. These tests need no server and no
//! state.

mod api;
mod architecture;
mod docs;
mod flag_examples;
mod plans;
mod runbook;
