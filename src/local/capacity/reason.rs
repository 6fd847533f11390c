//! DynamoDB's throttling errors: the exception, one or more of the sixteen reasons, and the ARN of the resource.
//!
//! Sources: developer guide, "Diagnosing throttling" and "Throttling of global secondary indexes". The reasons are the
//! values of the SDK's `ThrottlingReason`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::dynamodb::ThrottlingReason;

/// Whether a request reads or writes. Reads and writes have separate capacities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// Read capacity.
    Read,
    /// Write capacity.
    Write,
}

/// A pair of values: one for reads and one for writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadWrite<T> {
    /// The value for reads.
    pub read: T,
    /// The value for writes.
    pub write: T,
}

impl<T> ReadWrite<T> {
    /// Returns the value for this kind.
    pub fn get(&self, kind: RequestKind) -> &T {
        match kind {
            RequestKind::Read => &self.read,
            RequestKind::Write => &self.write,
        }
    }

    /// Returns the value for this kind as a mutable reference.
    pub fn get_mut(&mut self, kind: RequestKind) -> &mut T {
        match kind {
            RequestKind::Read => &mut self.read,
            RequestKind::Write => &mut self.write,
        }
    }
}

/// The kind of resource that has a limit. Every throttling reason names the kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// The table.
    Table,
    /// A global index.
    Index,
}

/// The kind of limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Provisioned capacity, including burst credit.
    Provisioned,
    /// The limit of the account.
    Account,
    /// The limit of one partition, which is a range of the key hash.
    KeyRange,
    /// The configured maximum of an on-demand table.
    MaxOnDemand,
}

/// One of the sixteen throttling reasons. Its text is DynamoDB's own, for example
/// `TableWriteKeyRangeThroughputExceeded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Reason {
    /// The resource that has the limit.
    pub resource: Resource,
    /// Whether the limit is for reads or writes.
    pub kind: RequestKind,
    /// The limit that was reached.
    pub limit: Limit,
}

const RESOURCES: [(Resource, &str); 2] = [(Resource::Table, "Table"), (Resource::Index, "Index")];
const CHANGE_CASES: [(RequestKind, &str); 2] = [(RequestKind::Read, "Read"), (RequestKind::Write, "Write")];
const LIMITS: [(Limit, &str); 4] = [
    (Limit::Provisioned, "ProvisionedThroughputExceeded"),
    (Limit::Account, "AccountLimitExceeded"),
    (Limit::KeyRange, "KeyRangeThroughputExceeded"),
    (Limit::MaxOnDemand, "MaxOnDemandThroughputExceeded"),
];

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&RESOURCES, self.resource))?;
        f.write_str(text_of(&CHANGE_CASES, self.kind))?;
        f.write_str(text_of(&LIMITS, self.limit))
    }
}

fn text_of<T: PartialEq + Copy>(texts: &[(T, &'static str)], value: T) -> &'static str {
    texts.iter().find(|(known, _)| *known == value).map_or("", |(_, text)| text)
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Reason, String> {
        let parts = strip(&RESOURCES, text).and_then(|(resource, rest)| {
            let (kind, rest) = strip(&CHANGE_CASES, rest)?;
            let (limit, rest) = strip(&LIMITS, rest)?;
            rest.is_empty().then_some(Reason { resource, kind, limit })
        });
        parts.ok_or_else(|| {
            let limits: Vec<&str> = LIMITS.iter().map(|(_, text)| *text).collect();
            format!(
                "{text:?} is not a throttling reason: a reason consists of Table or Index, Read or Write, and {}",
                limits.join(" or ")
            )
        })
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Reason, String> {
        text.parse()
    }
}

fn strip<'a, T: Copy>(texts: &[(T, &str)], text: &'a str) -> Option<(T, &'a str)> {
    texts.iter().find_map(|(value, prefix)| Some((*value, text.strip_prefix(prefix)?)))
}

/// The error for a throttled request. DynamoDB sends it with HTTP status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// The exception's short name.
    pub error: &'static str,
    /// The exception's message.
    pub message: &'static str,
    /// The limits that were reached, each with its resource. The limits of key ranges and indexes come first, then the
    /// table's limit, then the account's limit. The list is empty if the spec turns reasons off.
    pub reasons: Vec<ThrottlingReason>,
}

/// The exception for provisioned limits.
const PROVISIONED_EXCEPTION: &str = "ProvisionedThroughputExceededException";

/// The exception for every limit except provisioned limits.
const THROTTLING_EXCEPTION: &str = "ThrottlingException";

impl Throttle {
    /// Returns the name of the JSON member that contains the reasons. The two exceptions spell this name differently.
    pub fn reasons_member(&self) -> &'static str {
        if self.error == THROTTLING_EXCEPTION { "throttlingReasons" } else { "ThrottlingReasons" }
    }
}

/// Returns the exception's name and message. Both depend on the first limit that the request reached.
///
/// For a key range of a provisioned table, DynamoDB uses the exception for provisioned limits. For a key range of an
/// index or of an on-demand table, DynamoDB uses the other exception.
pub(super) fn exception(reason: Reason, provisioned_table: bool) -> (&'static str, &'static str) {
    match (reason.limit, reason.resource) {
        (Limit::Provisioned, Resource::Table) => (
            PROVISIONED_EXCEPTION,
            "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
             provisioning level with the UpdateTable API.",
        ),
        (Limit::Provisioned, Resource::Index) => (
            PROVISIONED_EXCEPTION,
            "The level of configured provisioned throughput for one or more global secondary indexes of the table was \
             exceeded. Consider increasing your provisioning level for the under-provisioned global secondary indexes \
             with the UpdateTable API.",
        ),
        (Limit::KeyRange, Resource::Table) if provisioned_table => {
            (PROVISIONED_EXCEPTION, "The throughput of a key range of the table was exceeded.")
        }
        (Limit::KeyRange, _) => {
            (THROTTLING_EXCEPTION, "The throughput of a key range of the table or index was exceeded.")
        }
        (Limit::Account, _) => {
            (THROTTLING_EXCEPTION, "Throughput exceeds the current throughput limit for your account.")
        }
        (Limit::MaxOnDemand, _) => (
            THROTTLING_EXCEPTION,
            "Throughput exceeds the maximum OnDemandThroughput configured on the table or index.",
        ),
    }
}
