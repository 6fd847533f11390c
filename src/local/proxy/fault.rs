//! Faults that a rule can inject into a request.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Semaphore;

use super::corruption::Corruption;

/// Chooses the fault for each request. The rule runs on the worker threads of the proxy, so it must not block for long.
pub type FaultRule = Arc<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// The action of the proxy for one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Forwards the request without a fault.
    Pass,
    /// Waits for this duration, and then forwards the request.
    Delay(Duration),
    /// Waits until the gate opens, and then forwards the request.
    Hold(RequestGate),
    /// Forwards the request, so that it is applied, but closes the connection without a reply.
    DropReply,
    /// Resets the connection and does not forward the request, so that it is not applied.
    Reset,
    /// Forwards the request, so that it is applied, but makes the reply unusable.
    Corruption(Corruption),
    /// Does not forward the request, and replies with status 200 and this body.
    FixedBody(&'static str),
    /// Injects the fault in the second field, and sets the `Date` header of the reply. The header's time is ahead of
    /// this host's clock by this number of seconds, or behind it if the number is negative.
    WithDate(i64, Box<Fault>),
    /// Does not forward the request, and replies with an error.
    Reply {
        /// HTTP status.
        status: u16,
        /// The exception's short name, for example `ThrottlingException`.
        error: String,
        /// The exception's message.
        message: String,
        /// Additional members of the body, with the spelling that DynamoDB uses: `throttlingReasons` in a
        /// ThrottlingException, `ThrottlingReasons` in a ProvisionedThroughputExceededException or a
        /// RequestLimitExceeded.
        extra: Map<String, Json>,
    },
}

/// A gate at which requests wait until the gate opens. An open gate stays open.
#[derive(Debug, Clone)]
pub struct RequestGate(Arc<Semaphore>);

impl RequestGate {
    /// A closed gate.
    pub fn closed() -> RequestGate {
        RequestGate(Arc::new(Semaphore::new(0)))
    }

    /// Opens the gate. Waiting requests and all later requests pass it.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until the gate is open.
    pub(super) async fn pass(&self) {
        // The semaphore never has a permit. The wait ends when the semaphore is closed, so a closed semaphore
        // represents an open gate.
        let _ = self.0.acquire().await;
    }
}

impl PartialEq for RequestGate {
    fn eq(&self, other: &RequestGate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The properties of a request that a rule can use for its decision.
#[derive(Debug)]
pub struct RequestInfo {
    /// The operation, for example `UpdateItem`. The text is empty if the request states no operation.
    pub operation: String,
    /// Number of requests before this one.
    pub sequence: u64,
    /// Number of requests of this operation before this one.
    pub operation_sequence: u64,
    headers: HeaderMap,
    bytes: Bytes,
    body: OnceLock<Json>,
}

impl RequestInfo {
    /// The request's body, parsed on first use; null if it is not JSON.
    pub fn body(&self) -> &Json {
        self.body.get_or_init(|| serde_json::from_slice(&self.bytes).unwrap_or_default())
    }

    /// The session token that signed the request; empty if the request has none.
    pub fn session_token(&self) -> &str {
        self.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok()).unwrap_or_default()
    }

    /// The value of `TableName` at the top level of the request.
    pub fn table(&self) -> Option<&str> {
        self.body().get("TableName")?.as_str()
    }
}

/// The current rule, and the number of requests that it has seen.
#[derive(Default)]
pub(super) struct ProxyFaults {
    rule: Option<FaultRule>,
    request_count: u64,
    operation_counts: HashMap<String, u64>,
}

impl ProxyFaults {
    pub(super) fn new(rule: Option<FaultRule>) -> ProxyFaults {
        ProxyFaults { rule, ..ProxyFaults::default() }
    }

    /// Counts a request, and returns its numbers for the rule; `None` without a rule.
    pub(super) fn next_request(
        &mut self,
        operation: &str,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Option<(FaultRule, RequestInfo)> {
        let rule = self.rule.clone()?;
        let sequence = self.request_count;
        self.request_count += 1;
        let operation_count = self.operation_counts.entry(operation.to_owned()).or_default();
        let operation_sequence = *operation_count;
        *operation_count += 1;
        let info = RequestInfo {
            operation: operation.to_owned(),
            sequence,
            operation_sequence,
            headers: headers.clone(),
            bytes: bytes.clone(),
            body: OnceLock::new(),
        };
        Some((rule, info))
    }
}

/// Builds the body of an error in DynamoDB's format.
pub(super) fn error_body(error: &str, message: &str, extra: Map<String, Json>) -> Bytes {
    let mut body = extra;
    body.insert("__type".into(), json!(format!("com.amazonaws.dynamodb.v20120810#{error}")));
    body.insert("message".into(), json!(message));
    Json::Object(body).to_string().into()
}
