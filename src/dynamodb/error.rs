//! The errors of requests. [`TableError::directive`] decides how to continue after each error.

/// The error of one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum TableError {
    /// DynamoDB throttled the request and did not apply it.
    #[error("DynamoDB throttled the request: {message}")]
    Throttled {
        /// The limits that the request exceeded. Empty if the reply does not name them.
        reasons: Vec<ThrottlingReason>,
        /// DynamoDB's message.
        message: String,
    },
    /// A temporary error: a 5xx status, a timeout, a connection reset or a transaction conflict.
    #[error("{message}")]
    Transient {
        /// A description of the error.
        message: String,
        /// Whether it is possible that a write was applied despite the error.
        ambiguous: bool,
    },
    /// A reply arrived, but it is not a complete DynamoDB reply. So it is unknown whether DynamoDB carried out the
    /// request.
    #[error("the reply to {operation} could not be used: {flaw}")]
    UnusableReply {
        /// The operation, for example `Scan`.
        operation: &'static str,
        /// A description of what is wrong with the reply.
        flaw: &'static str,
    },
    /// DynamoDB rejects the write to this item.
    #[error("{message}")]
    Rejected {
        /// The reason why DynamoDB rejects the write. The text contains no attribute values.
        message: String,
    },
    /// Every request in this run will fail until somebody fixes the cause.
    #[error("{message}")]
    Fatal {
        /// The kind of problem that the operator has to fix.
        kind: FatalKind,
        /// DynamoDB's message.
        message: String,
    },
}

/// One entry of `ThrottlingReasons`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottlingReason {
    /// The reason, for example `TableWriteKeyRangeThroughputExceeded`.
    pub reason: String,
    /// ARN of the table or index to which the limit applies.
    pub resource: String,
}

/// The cause of an error that affects the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum FatalKind {
    /// No credentials were found, or DynamoDB refused the credentials as expired or unknown.
    Credentials,
    /// Signatures are invalid because this host's clock differs too much from DynamoDB's clock.
    Clock,
    /// The credentials do not permit this request.
    Permission,
    /// The table does not exist, or no longer exists.
    TableMissing,
    /// DynamoDB rejects the request for a reason that is not specific to the item, so it would reject the request for
    /// every item.
    Request,
    /// The endpoint cannot be reached, or its replies are not in DynamoDB's format.
    Endpoint,
    /// The endpoint does not support this call. Only local engines return this error.
    Unsupported,
    /// The plan's file of keys cannot be read, or it has changed during the run.
    KeysFile,
}

impl FatalKind {
    /// Tells the operator what to do before resuming.
    pub fn remedy(self) -> &'static str {
        match self {
            FatalKind::Credentials => {
                "Renew the credentials (for example `aws sso login`), or check `profile` and `role_arn` in the plan's [table]"
            }
            FatalKind::Clock => {
                "Set this host's clock, for example with NTP, and run the same command again. The credentials may be valid"
            }
            FatalKind::Permission => "Grant the permission in the message for this table",
            FatalKind::TableMissing => {
                "Check `name`, `region` and `endpoint_url` in the plan's [table]; a table in another region is not found"
            }
            FatalKind::Request => {
                "DynamoDB would reject this request for every item, so check the plan's changes against the message"
            }
            FatalKind::Endpoint => "Check `region`, `endpoint_url` and the network path to DynamoDB",
            FatalKind::Unsupported => "Check `endpoint_url`: the service at this address does not support this call",
            FatalKind::KeysFile => "Restore the plan's file of keys, and run the same command again",
        }
    }
}

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Directive {
    /// Wait with backoff, then send the request again.
    Retry,
    /// Record the item as a failure and continue.
    FailItem,
    /// Stop the run so that it can be resumed. Commit nothing more.
    StopRun,
}

impl TableError {
    /// Creates the error for a call that a local engine does not support.
    pub fn unsupported(call: &str) -> TableError {
        TableError::Fatal { kind: FatalKind::Unsupported, message: format!("the endpoint does not support {call}") }
    }

    /// Creates the error for a position that comes from a different kind of source.
    pub fn foreign_position() -> TableError {
        let message = "the position belongs to a different kind of source. This is a bug in backfill".to_owned();
        TableError::Fatal { kind: FatalKind::Request, message }
    }

    /// Decides how to continue after this error. No other code makes this decision.
    pub fn directive(&self) -> Directive {
        match self {
            TableError::Throttled { .. } | TableError::Transient { .. } | TableError::UnusableReply { .. } => {
                Directive::Retry
            }
            TableError::Rejected { .. } => Directive::FailItem,
            TableError::Fatal { .. } => Directive::StopRun,
        }
    }

    /// Tells the operator what to do about this error.
    pub fn remedy(&self) -> &'static str {
        match self {
            TableError::Throttled { .. } | TableError::Transient { .. } | TableError::UnusableReply { .. } => {
                "Run the same command again"
            }
            TableError::Rejected { .. } => FatalKind::Request.remedy(),
            TableError::Fatal { kind, .. } => kind.remedy(),
        }
    }

    /// Returns whether a write may have been applied although it failed with this error.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, TableError::Transient { ambiguous: true, .. } | TableError::UnusableReply { .. })
    }
}
