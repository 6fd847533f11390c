//! What the layer counts: requests, replies, capacity units and scanned pages.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::wire::{Consumed, Reply};
use crate::item::{ItemKey, item_from_json};

/// Scanned pages that are logged one by one, so that a server that runs for days does not fill its memory; later ones
/// are only counted. A million pages are a terabyte.
const LOGGED_PAGES: usize = 1_000_000;

/// What the server side saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// By operation, for example `UpdateItem`.
    pub operations: BTreeMap<String, OperationTally>,
    /// Every page that a scan was given, in the order of the replies.
    pub scans: Vec<ScanPage>,
    /// Pages that were given after the log above was full.
    pub scans_not_logged: u64,
}

/// What the server side saw of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperationTally {
    /// Requests that arrived whole.
    pub requests: u64,
    /// Replies with status 200.
    pub ok: u64,
    /// Other replies by status and the exception's short name, injected ones among them.
    pub errors: BTreeMap<(u16, String), u64>,
    /// Replies that a fault made up: the request was never forwarded.
    pub injected: u64,
    /// Replies of the capacity model that throttled the request: it was never forwarded.
    pub throttled: u64,
    /// Replies that a fault kept from the client; they are counted in `ok` and `errors` too.
    pub dropped: u64,
    /// Replies that a fault spoiled; they are counted in `ok` and `errors` too, as they were before.
    pub spoiled: u64,
    /// Connections that a fault reset before the request was forwarded.
    pub reset: u64,
    /// Write capacity units consumed, as the replies state them. An error states none.
    pub write_units: f64,
    /// Read capacity units consumed, as the replies state them.
    pub read_units: f64,
}

/// A page that a scan was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanPage {
    /// The scanned table.
    pub table: String,
    /// The scanned index, if it was not the table itself.
    pub index: Option<String>,
    /// `Segment`, in a parallel scan.
    pub segment: Option<u32>,
    /// `TotalSegments`, in a parallel scan.
    pub total_segments: Option<u32>,
    /// `ExclusiveStartKey` in the form of [`ItemKey::to_text`]; none for a segment's first page.
    pub start_key: Option<String>,
    /// Whether the scan asked for a part of each item only (`ProjectionExpression`), as a look at its keys does.
    pub keys_only: bool,
    /// Whether the reply was sent, and not kept back by a fault.
    pub sent: bool,
}

impl Tally {
    /// The counts of one operation; zeros if it was never called.
    pub fn operation(&self, name: &str) -> OperationTally {
        self.operations.get(name).cloned().unwrap_or_default()
    }

    /// Requests of every operation.
    pub fn requests(&self) -> u64 {
        self.operations.values().map(|o| o.requests).sum()
    }

    /// Write capacity units of every operation.
    pub fn write_units(&self) -> f64 {
        self.operations.values().map(|o| o.write_units).sum()
    }

    /// Read capacity units of every operation.
    pub fn read_units(&self) -> f64 {
        self.operations.values().map(|o| o.read_units).sum()
    }

    /// How often each page was sent.
    pub fn times_sent(&self) -> BTreeMap<&ScanPage, u64> {
        let mut times = BTreeMap::new();
        for page in self.scans.iter().filter(|page| page.sent) {
            *times.entry(page).or_default() += 1;
        }
        times
    }

    pub(super) fn of(&mut self, operation: &str) -> &mut OperationTally {
        self.operations.entry(operation.to_owned()).or_default()
    }

    pub(super) fn count_reply(&mut self, operation: &str, reply: &Reply, page: Option<ScanPage>) {
        let tally = self.of(operation);
        match &reply.error {
            None => tally.ok += 1,
            Some(error) => *tally.errors.entry((reply.status, error.clone())).or_default() += 1,
        }
        let Consumed { write, read } = reply.consumed;
        tally.write_units += write;
        tally.read_units += read;
        if let Some(page) = page.filter(|_| reply.error.is_none()) {
            if self.scans.len() < LOGGED_PAGES {
                self.scans.push(page);
            } else {
                self.scans_not_logged += 1;
            }
        }
    }
}

/// The members of a `Scan` request that say which page it asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScanRequest {
    table_name: String,
    index_name: Option<String>,
    segment: Option<u32>,
    total_segments: Option<u32>,
    exclusive_start_key: Option<Json>,
    limit: Option<Json>,
    projection_expression: Option<String>,
}

impl ScanRequest {
    pub(super) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    pub(super) fn page(self, sent: bool) -> ScanPage {
        let start_key = self.exclusive_start_key.map(|json| match item_from_json(&json) {
            Ok(key) => ItemKey::new(key).to_text(),
            Err(_) => json.to_string(),
        });
        ScanPage {
            table: self.table_name,
            index: self.index_name,
            segment: self.segment,
            total_segments: self.total_segments,
            start_key,
            keys_only: self.projection_expression.is_some(),
            sent,
        }
    }
}
