//! Handles the connections and requests of the proxy. The proxy counts each request, may inject a fault, forwards the
//! request and returns the reply.

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
use super::demand::Bill;
use super::fault::{Fault, FaultRule, Faults, error_body};
use super::meter::{Meter, Verdict, reasons_of};
use super::spoil::spoil;
use super::tally::{ScanRequest, Tally};
use super::wire::{Consumed, Metered, Reply, Stated, ask_for_capacity, error_name, stated, with_member};
use crate::local::capacity::Throttled;

/// The largest body that DynamoDB accepts.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The maximum number of idle connections to the upstream. No test or demo uses as many connections at the same time.
const POOL: usize = 512;

/// The reason for closing a connection without a reply.
#[derive(Debug, thiserror::Error)]
enum Hangup {
    #[error("a fault asked for a closed connection")]
    Close,
    #[error("a fault asked for a reset connection")]
    Reset,
    #[error("the request did not arrive completely, or a rule panicked")]
    Broken,
}

/// The state that all connections share.
pub(super) struct Proxy {
    upstream: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    on_table_created: Option<TableHook>,
    page_limit: Option<u32>,
    tally: Mutex<Tally>,
    faults: Mutex<Faults>,
    meter: Meter,
}

/// A request that has arrived completely.
struct Arrived {
    operation: String,
    parts: hyper::http::request::Parts,
    body: Bytes,
}

/// Accepts connections until this future is dropped.
pub(super) async fn accept(listener: TcpListener, proxy: Arc<Proxy>) {
    loop {
        // An error of `accept` affects only one connection, or means that file descriptors are temporarily exhausted.
        // The listener stays usable.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        // Without `nodelay`, small replies wait for the client's acknowledgement.
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream, Arc::clone(&proxy)));
    }
}

async fn serve(stream: TcpStream, proxy: Arc<Proxy>) {
    let answer = move |request| -> Pin<Box<dyn Future<Output = _> + Send>> {
        let proxy = Arc::clone(&proxy);
        Box::pin(proxy.answer(request))
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if let Err(error) = ended
        && let Some(Hangup::Reset) = std::error::Error::source(&error).and_then(|e| e.downcast_ref())
    {
        // With a linger time of zero, closing the connection sends a reset. Clients can distinguish a reset from an
        // orderly close.
        stream.set_zero_linger().ok();
    }
}

impl Proxy {
    pub(super) fn new(upstream: Uri, on_table_created: Option<TableHook>, page_limit: Option<u32>) -> Proxy {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(POOL).build(connector);
        Proxy {
            upstream,
            client,
            on_table_created,
            page_limit,
            tally: Mutex::default(),
            faults: Mutex::default(),
            meter: Meter::default(),
        }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // The counts stay usable after a panic of a thread that had the lock.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_faults(&self, rule: Option<FaultRule>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = Faults::new(rule);
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Reads the request and handles it in its own task. So the request is carried out and counted even if the client
    /// disconnects, as it would be on a real server.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Hangup> {
        match arrive(request).await? {
            Ok(arrived) => tokio::spawn(self.see_through(arrived)).await.unwrap_or(Err(Hangup::Broken)),
            Err(too_large) => Ok(too_large),
        }
    }

    async fn see_through(self: Arc<Self>, arrived: Arrived) -> Result<Response<Full<Bytes>>, Hangup> {
        self.tally().of(&arrived.operation).requests += 1;
        let fault = self.fault(&arrived);
        self.answer_with(arrived, fault).await
    }

    async fn answer_with(&self, arrived: Arrived, fault: Fault) -> Result<Response<Full<Bytes>>, Hangup> {
        match fault {
            Fault::Dated(seconds, fault) => {
                let mut reply = Box::pin(self.answer_with(arrived, *fault)).await?;
                let there = Timestamp::now().checked_add(SignedDuration::from_secs(seconds));
                let date = there.map(|there| there.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
                if let Some(date) = date.ok().and_then(|date| HeaderValue::from_str(&date).ok()) {
                    reply.headers_mut().insert(DATE, date);
                }
                Ok(reply)
            }
            Fault::Pass => self.forward(arrived, true).await,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                self.forward(arrived, true).await
            }
            Fault::Hold(gate) => {
                gate.pass().await;
                self.forward(arrived, true).await
            }
            Fault::DropReply => {
                self.tally().of(&arrived.operation).dropped += 1;
                self.forward(arrived, false).await?;
                Err(Hangup::Close)
            }
            Fault::Reset => {
                self.tally().of(&arrived.operation).reset += 1;
                Err(Hangup::Reset)
            }
            Fault::Spoil(how) => {
                self.tally().of(&arrived.operation).spoiled += 1;
                Ok(spoil(self.forward(arrived, false).await?, &how).await)
            }
            Fault::Instead(body) => {
                self.tally().of(&arrived.operation).injected += 1;
                Ok(made_up(200, Bytes::from_static(body.as_bytes())))
            }
            Fault::Reply { status, error, message, extra } => {
                let body = error_body(&error, &message, extra);
                let reply = Reply { status, error: Some(error), consumed: Consumed::default() };
                let mut tally = self.tally();
                tally.of(&arrived.operation).injected += 1;
                tally.count_reply(&arrived.operation, &reply, None);
                Ok(made_up(status, body))
            }
        }
    }

    fn fault(&self, arrived: &Arrived) -> Fault {
        let numbered = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.number(&arrived.operation, &arrived.parts.headers, &arrived.body)
        };
        // The rule runs outside the lock. Otherwise a rule that waits for a second request would deadlock.
        numbered.map_or(Fault::Pass, |(rule, info)| rule(&info))
    }

    /// Forwards the request if the capacity model admits it, and counts its reply. `sent` is false if the client will
    /// not get the reply.
    async fn forward(&self, arrived: Arrived, sent: bool) -> Result<Response<Full<Bytes>>, Hangup> {
        let metered = Metered::of(&arrived.operation, &arrived.body);
        let bill = match self.admit(&arrived, metered).await {
            Ok(bill) => bill,
            Err(throttled) => return Ok(self.throttle(&arrived.operation, &throttled)),
        };
        let Arrived { operation, mut parts, mut body } = arrived;
        let scan = match operation.as_str() {
            "Scan" => serde_json::from_slice::<ScanRequest>(&body).ok(),
            _ => None,
        };
        if let (Some(scan), Some(limit)) = (&scan, self.page_limit)
            && !scan.has_limit()
        {
            body = with_member(&body, &format!("\"Limit\":{limit}")).unwrap_or(body);
        }
        let asking = (metered != Metered::No).then(|| ask_for_capacity(&body, bill.is_some()));
        let (asking, strip) = asking.map_or((None, None), |(asking, strip)| (asking, Some(strip)));

        parts.uri = self.upstream_uri(&parts.uri);
        hop(&mut parts.headers);
        let Ok((mut head, reply)) = self.send(Request::from_parts(parts, Full::new(asking.unwrap_or(body)))).await
        else {
            let message = "The endpoint behind this one does not answer";
            let body = error_body("ServiceUnavailable", message, Map::new());
            let reply = Reply { status: 503, error: Some("ServiceUnavailable".into()), consumed: Consumed::default() };
            self.tally().count_reply(&operation, &reply, None);
            return Ok(made_up(503, body));
        };
        let ok = head.status == StatusCode::OK;
        let error = (!ok).then(|| error_name(&reply));
        let stated = strip.filter(|_| ok).map_or_else(Stated::default, |strip| stated(&reply, metered, strip));
        if let Some(bill) = &bill {
            self.meter.charge(bill, error.as_deref(), &stated.capacity, &reply);
        }
        let counted = Reply { status: head.status.as_u16(), error, consumed: stated.units };
        self.tally().count_reply(&operation, &counted, scan.map(|scan| scan.page(sent)));

        hop(&mut head.headers);
        let rewritten = if ok { self.after(&operation, &reply).await.or(stated.stripped) } else { None };
        if rewritten.is_some() {
            // The `x-amz-crc32` checksum belongs to the original body.
            head.headers.remove("x-amz-crc32");
        }
        Ok(Response::from_parts(head, Full::new(rewritten.unwrap_or(reply))))
    }

    /// Updates the proxy's data after a served request that creates, changes, deletes or describes a table. Returns a
    /// new reply if the original reply must be replaced.
    async fn after(&self, operation: &str, reply: &Bytes) -> Option<Bytes> {
        match operation {
            "CreateTable" => {
                self.meter.forget_keys();
                self.table_created(reply).await;
                None
            }
            "UpdateTable" | "DeleteTable" => {
                self.meter.forget_keys();
                None
            }
            "DescribeTable" => self.meter.advertised(reply),
            _ => None,
        }
    }

    /// Asks the capacity model whether to admit the request. For this, the proxy may first have to read the table's key
    /// schema. If the keys are unknown because the table does not exist, the request is forwarded, and the endpoint
    /// answers it with an error.
    async fn admit(&self, arrived: &Arrived, metered: Metered) -> Result<Option<Bill>, Throttled> {
        let mut verdict = self.meter.verdict(&arrived.operation, &arrived.body, metered);
        if let Verdict::Describe(table) = &verdict {
            let mut ask = Request::new(Full::new(Bytes::from(json!({ "TableName": table }).to_string())));
            *ask.method_mut() = Method::POST;
            *ask.uri_mut() = self.upstream_uri(&arrived.parts.uri);
            // Send the client's headers, because some servers have separate tables for each access key and region.
            arrived.parts.headers.clone_into(ask.headers_mut());
            hop(ask.headers_mut());
            ask.headers_mut().insert("x-amz-target", HeaderValue::from_static("DynamoDB_20120810.DescribeTable"));
            if let Ok((head, described)) = self.send(ask).await
                && head.status == StatusCode::OK
                && self.meter.learn(&described)
            {
                verdict = self.meter.verdict(&arrived.operation, &arrived.body, metered);
            }
        }
        match verdict {
            Verdict::Unmetered | Verdict::Describe(_) => Ok(None),
            Verdict::Admitted(bill) => Ok(Some(bill)),
            Verdict::Throttled(throttled) => Err(throttled),
        }
    }

    fn throttle(&self, operation: &str, throttled: &Throttled) -> Response<Full<Bytes>> {
        let Throttled { error, message, .. } = throttled;
        let reply = Reply { status: 400, error: Some((*error).to_owned()), consumed: Consumed::default() };
        let mut tally = self.tally();
        tally.of(operation).throttled += 1;
        tally.count_reply(operation, &reply, None);
        made_up(400, error_body(error, message, reasons_of(throttled)))
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
        // The three parts of the address are valid, because they come from valid addresses.
        Uri::from_parts(parts).unwrap_or_else(|_| self.upstream.clone())
    }

    async fn table_created(&self, reply: &Bytes) {
        let Some(hook) = self.on_table_created.clone() else { return };
        let name = serde_json::from_slice::<serde_json::Value>(reply)
            .ok()
            .and_then(|reply| Some(reply["TableDescription"]["TableName"].as_str()?.to_owned()));
        if let Some(name) = name {
            // The hook may wait for a database lock, so it runs on a thread for blocking calls. If the hook panics,
            // this request still succeeds.
            tokio::task::spawn_blocking(move || hook(&name)).await.ok();
        }
    }
}

/// Reads the complete request. If the request is too large, the inner error contains the reply to it.
async fn arrive(request: Request<Incoming>) -> Result<Result<Arrived, Response<Full<Bytes>>>, Hangup> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => {
            let message = format!("Request size exceeds {MAX_BODY} bytes");
            return Ok(Err(made_up(413, error_body("RequestTooLarge", &message, Map::new()))));
        }
        Err(_) => return Err(Hangup::Broken),
    };
    let target = parts.headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    Ok(Ok(Arrived { operation, parts, body }))
}

/// Removes the headers that are only valid for one connection or for the original body.
fn hop(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn made_up(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
