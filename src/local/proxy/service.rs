//! Handles the connections and requests of the proxy. The proxy counts each request, injects the fault that the rule
//! chooses, forwards the request and returns the reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use tokio::net::{TcpListener, TcpStream};

use super::TableHook;
use super::corruption::corrupt;
use super::demand::Bill;
use super::fault::{Fault, FaultRule, ProxyFaults, error_body};
use super::meter::{Meter, MeterDecision, reason_members};
use super::tally::{ProxyTally, ScanRequest};
use super::wire::{
    Metering, Reply, ReplyCapacity, ReplyUnits, error_name, reply_capacity, request_capacity, with_member,
};
use crate::local::capacity::Throttle;

/// The largest body that DynamoDB accepts.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The maximum number of idle connections to the upstream. No test or demo uses this many connections at the same time.
const MAX_IDLE_CONNECTIONS: usize = 512;

/// The reason for closing a connection without a reply.
#[derive(Debug, thiserror::Error)]
enum CloseReason {
    #[error("a fault closed the connection")]
    Close,
    #[error("a fault reset the connection")]
    Reset,
    #[error("the request did not arrive completely, or a rule panicked")]
    Broken,
}

/// The state that all connections share.
pub(super) struct ProxyService {
    upstream: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    on_table_created: Option<TableHook>,
    page_limit: Option<u32>,
    tally: Mutex<ProxyTally>,
    faults: Mutex<ProxyFaults>,
    meter: Meter,
}

/// A request that has arrived completely.
struct ReceivedRequest {
    operation: String,
    parts: hyper::http::request::Parts,
    body: Bytes,
}

/// Accepts connections until this future is dropped.
pub(super) async fn accept(listener: TcpListener, service: Arc<ProxyService>) {
    loop {
        // A failed `accept` affects only one connection, or means that file descriptors are temporarily exhausted. The
        // listener stays usable.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        // Without `nodelay`, small replies would wait for the client's acknowledgement.
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream, Arc::clone(&service)));
    }
}

async fn serve(stream: TcpStream, service: Arc<ProxyService>) {
    let answer = move |request| -> Pin<Box<dyn Future<Output = _> + Send>> {
        let service = Arc::clone(&service);
        Box::pin(service.answer(request))
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if let Err(error) = ended
        && let Some(CloseReason::Reset) = std::error::Error::source(&error).and_then(|e| e.downcast_ref())
    {
        // With a linger time of zero, closing the connection sends a reset. Clients can distinguish a reset from an
        // orderly close.
        stream.set_zero_linger().ok();
    }
}

impl ProxyService {
    pub(super) fn new(upstream: Uri, on_table_created: Option<TableHook>, page_limit: Option<u32>) -> ProxyService {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(MAX_IDLE_CONNECTIONS).build(connector);
        ProxyService {
            upstream,
            client,
            on_table_created,
            page_limit,
            tally: Mutex::default(),
            faults: Mutex::default(),
            meter: Meter::default(),
        }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, ProxyTally> {
        // The counts stay usable even if a thread panics while it holds the lock.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_faults(&self, rule: Option<FaultRule>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = ProxyFaults::new(rule);
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Reads the request and handles it in its own task. So the request is carried out and counted even if the client
    /// disconnects, as on a real server.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, CloseReason> {
        match receive(request).await? {
            Ok(incoming) => tokio::spawn(self.handle(incoming)).await.unwrap_or(Err(CloseReason::Broken)),
            Err(too_large) => Ok(too_large),
        }
    }

    async fn handle(self: Arc<Self>, incoming: ReceivedRequest) -> Result<Response<Full<Bytes>>, CloseReason> {
        self.tally().operation_mut(&incoming.operation).requests += 1;
        let fault = self.fault(&incoming);
        self.apply_fault(incoming, fault).await
    }

    async fn apply_fault(&self, incoming: ReceivedRequest, fault: Fault) -> Result<Response<Full<Bytes>>, CloseReason> {
        match fault {
            Fault::WithDate(seconds, fault) => {
                let mut reply = Box::pin(self.apply_fault(incoming, *fault)).await?;
                let date_time = Timestamp::now().checked_add(SignedDuration::from_secs(seconds));
                let date = date_time.map(|date_time| date_time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
                if let Some(date) = date.ok().and_then(|date| HeaderValue::from_str(&date).ok()) {
                    reply.headers_mut().insert(DATE, date);
                }
                Ok(reply)
            }
            Fault::Pass => self.forward(incoming, true).await,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                self.forward(incoming, true).await
            }
            Fault::Hold(gate) => {
                gate.pass().await;
                self.forward(incoming, true).await
            }
            Fault::DropReply => {
                self.tally().operation_mut(&incoming.operation).dropped += 1;
                self.forward(incoming, false).await?;
                Err(CloseReason::Close)
            }
            Fault::Reset => {
                self.tally().operation_mut(&incoming.operation).reset += 1;
                Err(CloseReason::Reset)
            }
            Fault::Corruption(corruption) => {
                self.tally().operation_mut(&incoming.operation).corrupted += 1;
                Ok(corrupt(self.forward(incoming, false).await?, &corruption).await)
            }
            Fault::FixedBody(body) => {
                self.tally().operation_mut(&incoming.operation).injected += 1;
                Ok(json_response(200, Bytes::from_static(body.as_bytes())))
            }
            Fault::Reply { status, error, message, extra } => {
                let body = error_body(&error, &message, extra);
                let reply = Reply { status, error: Some(error), consumed: ReplyUnits::default() };
                let mut tally = self.tally();
                tally.operation_mut(&incoming.operation).injected += 1;
                tally.count_reply(&incoming.operation, &reply, None);
                Ok(json_response(status, body))
            }
        }
    }

    fn fault(&self, incoming: &ReceivedRequest) -> Fault {
        let numbered = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.next_request(&incoming.operation, &incoming.parts.headers, &incoming.body)
        };
        // The rule runs outside the lock. Otherwise a rule that waits for a second request would deadlock.
        numbered.map_or(Fault::Pass, |(rule, info)| rule(&info))
    }

    /// Forwards the request if the capacity model admits it, and counts its reply. `sent` is false if the client will
    /// get no usable reply.
    async fn forward(&self, incoming: ReceivedRequest, sent: bool) -> Result<Response<Full<Bytes>>, CloseReason> {
        let metering = Metering::from_request(&incoming.operation, &incoming.body);
        let bill = match self.admit(&incoming, metering).await {
            Ok(bill) => bill,
            Err(throttled) => return Ok(self.throttle(&incoming.operation, &throttled)),
        };
        let ReceivedRequest { operation, mut parts, mut body } = incoming;
        let scan = match operation.as_str() {
            "Scan" => serde_json::from_slice::<ScanRequest>(&body).ok(),
            _ => None,
        };
        if let (Some(scan), Some(limit)) = (&scan, self.page_limit)
            && !scan.has_limit()
        {
            body = with_member(&body, &format!("\"Limit\":{limit}")).unwrap_or(body);
        }
        let new_body = (metering != Metering::None).then(|| request_capacity(&body, bill.is_some()));
        let (new_body, strip) = new_body.map_or((None, None), |(new_body, strip)| (new_body, Some(strip)));

        parts.uri = self.upstream_uri(&parts.uri);
        remove_hop_headers(&mut parts.headers);
        let Ok((mut head, reply)) = self.send(Request::from_parts(parts, Full::new(new_body.unwrap_or(body)))).await
        else {
            let message = "The proxy's upstream endpoint does not answer";
            let body = error_body("ServiceUnavailable", message, Map::new());
            let reply =
                Reply { status: 503, error: Some("ServiceUnavailable".into()), consumed: ReplyUnits::default() };
            self.tally().count_reply(&operation, &reply, None);
            return Ok(json_response(503, body));
        };
        let ok = head.status == StatusCode::OK;
        let error = (!ok).then(|| error_name(&reply));
        let reply_capacity =
            strip.filter(|_| ok).map_or_else(ReplyCapacity::default, |strip| reply_capacity(&reply, metering, strip));
        if let Some(bill) = &bill {
            self.meter.charge(bill, error.as_deref(), &reply_capacity.capacity, &reply);
        }
        let counted = Reply { status: head.status.as_u16(), error, consumed: reply_capacity.units };
        self.tally().count_reply(&operation, &counted, scan.map(|scan| scan.page(sent)));

        remove_hop_headers(&mut head.headers);
        let rewritten =
            if ok { self.process_table_reply(&operation, &reply).await.or(reply_capacity.stripped) } else { None };
        if rewritten.is_some() {
            // The `x-amz-crc32` checksum belongs to the original body.
            head.headers.remove("x-amz-crc32");
        }
        Ok(Response::from_parts(head, Full::new(rewritten.unwrap_or(reply))))
    }

    /// Updates the proxy's data after a successful request that creates, changes, deletes or describes a table. Returns
    /// a new reply if the original reply must be replaced.
    async fn process_table_reply(&self, operation: &str, reply: &Bytes) -> Option<Bytes> {
        match operation {
            "CreateTable" => {
                self.meter.clear_schema();
                self.table_created(reply).await;
                None
            }
            "UpdateTable" | "DeleteTable" => {
                self.meter.clear_schema();
                None
            }
            "DescribeTable" => self.meter.advertised(reply),
            _ => None,
        }
    }

    /// Asks the capacity model whether to admit the request. If the table's key schema is unknown, reads the schema
    /// first. If the schema cannot be read because the table does not exist, admits the request, and the endpoint
    /// answers with an error.
    async fn admit(&self, incoming: &ReceivedRequest, metering: Metering) -> Result<Option<Bill>, Throttle> {
        let mut decision = self.meter.decide(&incoming.operation, &incoming.body, metering);
        if let MeterDecision::Describe(table) = &decision {
            let mut describe_request = Request::new(Full::new(Bytes::from(json!({ "TableName": table }).to_string())));
            *describe_request.method_mut() = Method::POST;
            *describe_request.uri_mut() = self.upstream_uri(&incoming.parts.uri);
            // Copy the client's headers, because some servers have separate tables for each access key and region.
            incoming.parts.headers.clone_into(describe_request.headers_mut());
            remove_hop_headers(describe_request.headers_mut());
            describe_request
                .headers_mut()
                .insert("x-amz-target", HeaderValue::from_static("DynamoDB_20120810.DescribeTable"));
            if let Ok((head, described)) = self.send(describe_request).await
                && head.status == StatusCode::OK
                && self.meter.set_description(&described)
            {
                decision = self.meter.decide(&incoming.operation, &incoming.body, metering);
            }
        }
        match decision {
            MeterDecision::Unmetered | MeterDecision::Describe(_) => Ok(None),
            MeterDecision::Admitted(bill) => Ok(Some(bill)),
            MeterDecision::Throttle(throttled) => Err(throttled),
        }
    }

    fn throttle(&self, operation: &str, throttled: &Throttle) -> Response<Full<Bytes>> {
        let Throttle { error, message, .. } = throttled;
        let reply = Reply { status: 400, error: Some((*error).to_owned()), consumed: ReplyUnits::default() };
        let mut tally = self.tally();
        tally.operation_mut(operation).throttled += 1;
        tally.count_reply(operation, &reply, None);
        json_response(400, error_body(error, message, reason_members(throttled)))
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(hyper::http::response::Parts, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = self.client.request(request).await?.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    }

    fn upstream_uri(&self, uri: &Uri) -> Uri {
        let mut parts = self.upstream.clone().into_parts();
        parts.path_and_query = uri.path_and_query().cloned().or(parts.path_and_query);
        // The three parts of the address are valid, because each comes from a valid address.
        Uri::from_parts(parts).unwrap_or_else(|_| self.upstream.clone())
    }

    async fn table_created(&self, reply: &Bytes) {
        let Some(hook) = self.on_table_created.clone() else { return };
        let name = serde_json::from_slice::<serde_json::Value>(reply)
            .ok()
            .and_then(|reply| Some(reply["TableDescription"]["TableName"].as_str()?.to_owned()));
        if let Some(name) = name {
            // The hook can wait for a database lock, so it runs on a thread for blocking calls. If the hook panics,
            // this request still succeeds.
            tokio::task::spawn_blocking(move || hook(&name)).await.ok();
        }
    }
}

/// Reads the complete request. If the request is too large, the inner error is the reply to send.
async fn receive(request: Request<Incoming>) -> Result<Result<ReceivedRequest, Response<Full<Bytes>>>, CloseReason> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => {
            let message = format!("Request size exceeds {MAX_BODY} bytes");
            return Ok(Err(json_response(413, error_body("RequestTooLarge", &message, Map::new()))));
        }
        Err(_) => return Err(CloseReason::Broken),
    };
    let target = parts.headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    Ok(Ok(ReceivedRequest { operation, parts, body }))
}

/// Removes the headers that are valid only for one connection or for the original body.
fn remove_hop_headers(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn json_response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
