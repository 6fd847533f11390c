//! Faults that a rule can inject into a request.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Semaphore;

use super::corruption::Corruption;

/// Chooses the fault for each request. The rule runs on the proxy's worker threads, so it must not block for long.
pub type FaultRule = Arc<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// What the proxy does with one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Forwards the request without a fault.
    Pass,
    /// Waits for this duration, and then forwards the request.
    Delay(Duration),
    /// Waits until the gate opens, and then forwards the request.
    Hold(RequestGate),
    /// Forwards the request, so that it is applied. Then closes the connection without a reply.
    DropReply,
    /// Resets the connection. Does not forward the request, so that it is not applied.
    Reset,
    /// Forwards the request, so that it is applied. Then makes the reply unusable.
    Corruption(Corruption),
    /// Replies with status 200 and this body. Does not forward the request.
    FixedBody(&'static str),
    /// Injects the fault in the second field, and sets the reply's `Date` header. The header's time is ahead of this
    /// host's clock by the number of seconds in the first field, or behind the clock if that number is negative.
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

/// A gate that holds requests until it opens. After it has opened, the gate stays open.
#[derive(Debug, Clone)]
pub struct RequestGate(Arc<Semaphore>);

impl RequestGate {
    /// Creates a closed gate.
    pub fn closed() -> RequestGate {
        RequestGate(Arc::new(Semaphore::new(0)))
    }

    /// Opens the gate. All waiting requests and all later requests then pass.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until the gate is open.
    pub(super) async fn pass(&self) {
        // The semaphore never contains a permit. The wait ends when the semaphore is closed, so a closed semaphore
        // represents an open gate.
        let _ = self.0.acquire().await;
    }
}

impl PartialEq for RequestGate {
    fn eq(&self, other: &RequestGate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The properties of a request, which a rule can use to choose the fault.
#[derive(Debug)]
pub struct RequestInfo {
    /// The operation, for example `UpdateItem`. The text is empty if the request names no operation.
    pub operation: String,
    /// Number of requests that arrived before this one.
    pub sequence: u64,
    /// Number of requests for this operation that arrived before this one.
    pub operation_sequence: u64,
    headers: HeaderMap,
    bytes: Bytes,
    body: OnceLock<Json>,
}

impl RequestInfo {
    /// Returns the request's body as JSON, or null if the body is not JSON. Only the first call parses the body.
    pub fn body(&self) -> &Json {
        self.body.get_or_init(|| serde_json::from_slice(&self.bytes).unwrap_or_default())
    }

    /// Returns the session token of the credentials that signed the request. Returns an empty text if there is no
    /// token.
    pub fn session_token(&self) -> &str {
        self.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok()).unwrap_or_default()
    }

    /// Returns the request's `User-Agent` header, or an empty text if the request has no such header.
    pub fn user_agent(&self) -> &str {
        self.headers.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default()
    }

    /// Returns the value of `TableName` at the top level of the request.
    pub fn table(&self) -> Option<&str> {
        self.body().get("TableName")?.as_str()
    }
}

/// The current rule, and the number of requests since the rule was set.
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

    /// Counts a request. Returns the rule, and the properties of the request that the rule receives. Returns `None` if
    /// no rule is set.
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
