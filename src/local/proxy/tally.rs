//! The proxy's counts: requests, replies, capacity units and scanned pages.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::wire::{Reply, ReplyUnits};
use crate::item::{ItemKey, item_from_json};

/// The maximum number of logged scan pages. Later pages are counted but not logged. This limit bounds the memory of a
/// server that runs for days. A million pages correspond to a terabyte of data.
const LOGGED_PAGES: usize = 1_000_000;

/// The counts of all operations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyTally {
    /// The counts for each operation, for example `UpdateItem`.
    pub operations: BTreeMap<String, OperationTally>,
    /// Every scanned page, in the order of the replies.
    pub scans: Vec<ScanPage>,
    /// Number of scanned pages that were not logged because `scans` was full.
    pub scans_not_logged: u64,
}

/// The counts of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperationTally {
    /// Number of requests that arrived completely.
    pub requests: u64,
    /// Number of replies with status 200.
    pub ok: u64,
    /// Number of replies with any other status, by status and the exception's short name. Injected replies are
    /// included.
    pub errors: BTreeMap<(u16, String), u64>,
    /// Number of requests that a fault answered. The proxy did not forward these requests.
    pub injected: u64,
    /// Number of requests that the capacity model throttled. The proxy did not forward these requests.
    pub throttled: u64,
    /// Number of replies that the client did not receive because of a fault. Each of these replies is also counted in
    /// `ok` or in `errors`.
    pub dropped: u64,
    /// Number of replies that a fault made unusable. Each original reply is also counted in `ok` or in `errors`.
    pub corrupted: u64,
    /// Number of connections that a fault reset before the request was forwarded.
    pub reset: u64,
    /// Consumed write capacity units, as reported in the replies. Error replies report no units.
    pub write_units: f64,
    /// Consumed read capacity units, as reported in the replies.
    pub read_units: f64,
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanPage {
    /// The scanned table.
    pub table: String,
    /// The scanned index; `None` for the table itself.
    pub index: Option<String>,
    /// `Segment` of the request; `None` if the scan is not parallel.
    pub segment: Option<u32>,
    /// `TotalSegments` of the request; `None` if the scan is not parallel.
    pub total_segments: Option<u32>,
    /// `ExclusiveStartKey` in the form of [`ItemKey::to_text`]; `None` for the first page of a segment.
    pub start_key: Option<String>,
    /// Whether the scan requested only a part of each item (`ProjectionExpression`), for example only its key.
    pub keys_only: bool,
    /// Whether a usable reply was sent; false if a fault withheld the reply or made it unusable.
    pub sent: bool,
}

impl ProxyTally {
    /// Returns the counts of one operation. They are all zero if the operation was never requested.
    pub fn operation(&self, name: &str) -> OperationTally {
        self.operations.get(name).cloned().unwrap_or_default()
    }

    /// Returns the number of requests for all operations together.
    pub fn requests(&self) -> u64 {
        self.operations.values().map(|o| o.requests).sum()
    }

    /// Returns the write capacity units that all operations consumed.
    pub fn write_units(&self) -> f64 {
        self.operations.values().map(|o| o.write_units).sum()
    }

    /// Returns the read capacity units that all operations consumed.
    pub fn read_units(&self) -> f64 {
        self.operations.values().map(|o| o.read_units).sum()
    }

    /// Returns the number of times that each page was sent.
    pub fn times_sent(&self) -> BTreeMap<&ScanPage, u64> {
        let mut times = BTreeMap::new();
        for page in self.scans.iter().filter(|page| page.sent) {
            *times.entry(page).or_default() += 1;
        }
        times
    }

    pub(super) fn operation_mut(&mut self, operation: &str) -> &mut OperationTally {
        self.operations.entry(operation.to_owned()).or_default()
    }

    pub(super) fn count_reply(&mut self, operation: &str, reply: &Reply, page: Option<ScanPage>) {
        let tally = self.operation_mut(operation);
        match &reply.error {
            None => tally.ok += 1,
            Some(error) => *tally.errors.entry((reply.status, error.clone())).or_default() += 1,
        }
        let ReplyUnits { write, read } = reply.consumed;
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

/// The members of a `Scan` request that identify the requested page.
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
