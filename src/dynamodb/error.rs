//! What can go wrong with a request, and what follows: one match, from the kind of error to the directive.

/// An error of one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum TableError {
    /// DynamoDB throttled the request; it was not applied.
    #[error("DynamoDB throttled the request: {message}")]
    Throttled {
        /// Which limits, as far as the answer names them.
        reasons: Vec<ThrottlingReason>,
        /// DynamoDB's words.
        message: String,
    },
    /// A 5xx, a timeout, a reset, a transaction in the way.
    #[error("{message}")]
    Transient {
        /// What happened.
        message: String,
        /// Whether a write may have been applied all the same.
        ambiguous: bool,
    },
    /// A reply came, and it is not the whole reply of DynamoDB: it proves nothing.
    #[error("the reply to {operation} could not be used: {flaw}")]
    UnusableReply {
        /// The operation, for example `Scan`.
        operation: &'static str,
        /// What is wrong with the reply.
        flaw: &'static str,
    },
    /// DynamoDB does not allow this change of this item.
    #[error("{message}")]
    Rejected {
        /// Why, without attribute values.
        message: String,
    },
    /// No request of this run can succeed until somebody mends something.
    #[error("{message}")]
    Fatal {
        /// What has to be mended.
        kind: FatalKind,
        /// DynamoDB's words.
        message: String,
    },
}

/// One entry of `ThrottlingReasons`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottlingReason {
    /// For example `TableWriteKeyRangeThroughputExceeded`.
    pub reason: String,
    /// ARN of the table or index.
    pub resource: String,
}

/// What an error of the whole run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum FatalKind {
    /// No credentials, or expired or unknown ones.
    Credentials,
    /// The clock of this host differs too much from DynamoDB's for signatures to be valid.
    Clock,
    /// The credentials may not do this.
    Permission,
    /// There is no such table (any more).
    TableMissing,
    /// DynamoDB rejects the request itself, so it would reject every one.
    Request,
    /// The endpoint cannot be reached or spoken to at all.
    Endpoint,
    /// The endpoint does not know this call: no DynamoDB, but an engine that stands in for it.
    Unsupported,
}

impl FatalKind {
    /// What the operator should do before resuming.
    pub fn way_out(self) -> &'static str {
        match self {
            FatalKind::Credentials => {
                "Renew the credentials (for example `aws sso login`), or name another `profile` in the plan's [table]"
            }
            FatalKind::Clock => {
                "Set the clock of this host, by NTP for example, and run the same command again; the credentials may be good"
            }
            FatalKind::Permission => "Grant the permission that the message names on this table",
            FatalKind::TableMissing => {
                "Check `name`, `region` and `endpoint_url` in the plan's [table]; a table in another region is not found"
            }
            FatalKind::Request => {
                "DynamoDB would reject this request for every item, so check the plan's changes against the message"
            }
            FatalKind::Endpoint => "Check `region`, `endpoint_url` and the network path to DynamoDB",
            FatalKind::Unsupported => "Check `endpoint_url`: what answers there does not know this call",
        }
    }
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Directive {
    /// Wait with backoff and send it again.
    Retry,
    /// Record the item as a failure and go on.
    FailItem,
    /// Stop the run, resumably; commit nothing past this point.
    StopRun,
}

impl TableError {
    /// What an engine answers to a call that it does not know.
    pub fn unsupported(call: &str) -> TableError {
        TableError::Fatal { kind: FatalKind::Unsupported, message: format!("{call} is not known here") }
    }

    /// The one place that decides what an error leads to.
    pub fn directive(&self) -> Directive {
        match self {
            TableError::Throttled { .. } | TableError::Transient { .. } | TableError::UnusableReply { .. } => {
                Directive::Retry
            }
            TableError::Rejected { .. } => Directive::FailItem,
            TableError::Fatal { .. } => Directive::StopRun,
        }
    }

    /// What the operator should do about it.
    pub fn way_out(&self) -> &'static str {
        match self {
            TableError::Throttled { .. } | TableError::Transient { .. } | TableError::UnusableReply { .. } => {
                "Run the same command again"
            }
            TableError::Rejected { .. } => FatalKind::Request.way_out(),
            TableError::Fatal { kind, .. } => kind.way_out(),
        }
    }

    /// Whether a write that ended so may have been applied all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, TableError::Transient { ambiguous: true, .. } | TableError::UnusableReply { .. })
    }
}
