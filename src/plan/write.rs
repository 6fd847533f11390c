//! Reads `[write]`: how guarded writes travel to the table.

use super::changes::WrittenChange;
use super::diagnostic::{Diagnostic, Problems};
use super::fields::Fields;
use super::section::section;

/// `[write]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// How writes are sent.
    pub transport: Transport,
}

/// How guarded writes are sent to the table. The guards and the outcomes are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// Each write is a request.
    #[default]
    Update,
    /// Like `Batch`, but if the endpoint cannot be trusted with batches, each write is a request.
    Auto,
    /// Up to 25 writes are one request, as PartiQL statements. If the endpoint cannot be trusted with batches, the run
    /// stops.
    Batch,
}

/// Reads `[write]`.
pub(super) fn read(root: &Fields<'_, '_>, changes: &[WrittenChange], problems: &mut Problems) -> WriteOptions {
    let transports = [("auto", Transport::Auto), ("update", Transport::Update), ("batch", Transport::Batch)];
    let Some(fields) = section(root, "write", "[write]", &["transport"], None, problems) else {
        return WriteOptions::default();
    };
    let transport = fields.choice("transport", &transports, problems).unwrap_or_default();
    let whole = changes.iter().find(|written| written.change.deletes_items() || written.change.derived().is_some());
    if let (Transport::Batch, Some(change), Some((_, at))) = (transport, whole, fields.get("transport")) {
        problems.add(
            Diagnostic::new(
                "this plan writes whole items, which cannot go in batches",
                at.span(),
                "changes attributes",
            )
            .also(change.first.clone(), "deletes or puts items")
            .help("write transport = \"update\", or remove the line"),
        );
    }
    WriteOptions { transport }
}
