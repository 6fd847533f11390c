//! Code that the commands share: exit codes, output, signals, and the terminal that answers a migration's questions.

pub(crate) mod ending;
pub(crate) mod exit;
pub(crate) mod logging;
pub(crate) mod output;
pub(crate) mod signals;
pub(crate) mod terminal;
pub(crate) mod usage;
