//! The code that several commands use: exit codes, output, signals, and the questions to the operator on the terminal.

pub(crate) mod command_result;
pub(crate) mod exit;
pub(crate) mod exports;
pub(crate) mod logging;
pub(crate) mod next_step;
pub(crate) mod output;
pub(crate) mod panics;
pub(crate) mod signals;
pub(crate) mod template_table;
pub(crate) mod terminal;
pub(crate) mod usage;
mod wrap;
