//! Faults: what a hook can have done to a request.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Semaphore;

use super::spoil::Spoil;

/// Decides about each request. It runs on the layer's workers: it may block for a moment, not for long.
pub type FaultRule = Arc<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// What is done to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// It is held for so long, and then forwarded.
    Delay(Duration),
    /// It is held until the gate is opened, and then forwarded.
    Hold(Gate),
    /// It is forwarded and applied; the connection is closed without the reply.
    DropReply,
    /// The connection is reset before the request is forwarded: it is not applied.
    Reset,
    /// It is forwarded and applied; the reply arrives as nobody can use it.
    Spoil(Spoil),
    /// It is never forwarded; this body arrives with status 200, as if it had been.
    Instead(&'static str),
    /// Another fault, whose reply was made by a clock that is so many seconds ahead of this host's, or behind it.
    Dated(i64, Box<Fault>),
    /// It is answered with an error and never forwarded.
    Reply {
        /// HTTP status.
        status: u16,
        /// The exception's short name, for example `ThrottlingException`.
        error: String,
        /// The exception's message.
        message: String,
        /// More members of the body, spelt as on the wire: `throttlingReasons` in a ThrottlingException,
        /// `ThrottlingReasons` in a ProvisionedThroughputExceededException or a RequestLimitExceeded.
        extra: Map<String, Json>,
    },
}

/// Holds requests until it is opened, once for all of them.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Lets through what it holds, and what comes later.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until it is open.
    pub(super) async fn pass(&self) {
        // It never has a permit: it is closed as a semaphore when it is opened as a gate.
        let _ = self.0.acquire().await;
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Gate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A request, as a rule sees it.
#[derive(Debug)]
pub struct RequestInfo {
    /// The operation, for example `UpdateItem`; empty if the request names none.
    pub operation: String,
    /// How many requests came before this one.
    pub sequence: u64,
    /// How many requests of this operation came before this one.
    pub operation_sequence: u64,
    headers: HeaderMap,
    bytes: Bytes,
    body: OnceLock<Json>,
}

impl RequestInfo {
    /// The request's body, parsed when it is first asked for; null if it is not JSON.
    pub fn body(&self) -> &Json {
        self.body.get_or_init(|| serde_json::from_slice(&self.bytes).unwrap_or_default())
    }

    /// The session token that the request was signed with; empty if there was none.
    pub fn session_token(&self) -> &str {
        self.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok()).unwrap_or_default()
    }

    /// The table that the request names at its top level.
    pub fn table(&self) -> Option<&str> {
        self.body().get("TableName")?.as_str()
    }
}

/// The rule in force, and how many requests it has seen.
#[derive(Default)]
pub(super) struct Faults {
    rule: Option<FaultRule>,
    seen: u64,
    seen_by_operation: HashMap<String, u64>,
}

impl Faults {
    pub(super) fn new(rule: Option<FaultRule>) -> Faults {
        Faults { rule, ..Faults::default() }
    }

    /// Numbers a request for the rule; `None` where there is no rule to ask.
    pub(super) fn number(
        &mut self,
        operation: &str,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Option<(FaultRule, RequestInfo)> {
        let rule = self.rule.clone()?;
        let sequence = self.seen;
        self.seen += 1;
        let of_operation = self.seen_by_operation.entry(operation.to_owned()).or_default();
        let operation_sequence = *of_operation;
        *of_operation += 1;
        let (operation, headers, bytes) = (operation.to_owned(), headers.clone(), bytes.clone());
        let body = OnceLock::new();
        Some((rule, RequestInfo { operation, sequence, operation_sequence, headers, bytes, body }))
    }
}

/// DynamoDB's form of an error body.
pub(super) fn error_body(error: &str, message: &str, extra: Map<String, Json>) -> Bytes {
    let mut body = extra;
    body.insert("__type".into(), json!(format!("com.amazonaws.dynamodb.v20120810#{error}")));
    body.insert("message".into(), json!(message));
    Json::Object(body).to_string().into()
}
