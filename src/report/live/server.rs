//! The HTTP server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::current::Current;
use super::events::events;
use super::look::{FirstPage, LiveSource, Looker};
use crate::http_server::{ConnectionLimits, LimitedListener, names_address};
use crate::migration::DriverError;
use crate::plan::Plan;
use crate::report::html::STYLE;

/// Enough connections for [`MAX_STREAMS`] open pages that load their figures. If other clients open more connections,
/// the server closes old connections. A page whose stream was closed then connects again. Every stream ends after five
/// minutes, and its page opens a new one. So a client cannot hold streams without end.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 2 * MAX_STREAMS,
    idle: Duration::from_secs(15),
    lifetime: Duration::from_secs(300),
};

/// The maximum number of streams. Each open page has one stream.
const MAX_STREAMS: usize = 16;

/// The script of the page.
const SCRIPT: &str = include_str!("../../../templates/live.js");

/// The page can load only its own script and style, and can connect only to this server. No other page can show it in a
/// frame. The script cannot turn text into markup or code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors \
                      'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types \
                      'none'";

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 9] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    // An idle connection would count towards the limit on connections.
    (CONNECTION, "close"),
];

/// A bound address whose server does not run yet. Connections wait.
#[derive(Debug)]
pub struct LiveListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A running server. It accepts no further connection when this value is dropped.
pub struct LiveServer {
    address: SocketAddr,
    first: FirstPage,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Clone)]
struct Shared {
    current: Current,
    streams: Arc<Semaphore>,
}

impl LiveListener {
    /// Binds an address. With port 0, the system chooses a free port.
    ///
    /// # Errors
    ///
    /// Fails if the address is not on loopback, or if it cannot be bound, for example because another process uses it.
    pub async fn bind(address: SocketAddr) -> io::Result<LiveListener> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an address of this machine's loopback"));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(LiveListener { listener, address })
    }

    /// Reads the files, makes the first page, and starts the server. `plan` is the current plan.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be read. Changes nothing.
    pub async fn serve(self, source: LiveSource, plan: Plan) -> Result<LiveServer, DriverError> {
        let LiveListener { listener, address } = self;
        let (mut looker, first) = Looker::begin(source, plan).await?;
        let runtime = Handle::current();
        let (current, keep_current) = Current::begin(looker.last(), move || runtime.block_on(looker.look()));
        let shared = Shared { current, streams: Arc::new(Semaphore::new(MAX_STREAMS)) };
        let router = Router::new()
            .route("/", get(page))
            .route("/events", get(stream))
            .route("/live.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
            .route("/report.css", get(async || asset("text/css; charset=utf-8", STYLE)))
            .layer(from_fn_with_state(address, check_and_close))
            .with_state(shared);
        let serve = tokio::spawn(async move {
            // `axum::serve` never ends by itself.
            let _ = axum::serve(LimitedListener::new(listener, LIMITS), router).await;
        });
        let keep_current = tokio::spawn(keep_current);
        let tasks = [serve, keep_current].map(AbortOnDropHandle::new);
        Ok(LiveServer { address, first, _tasks: tasks })
    }
}

impl LiveServer {
    /// Returns the address of the server, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what the first page shows.
    pub fn first_page(&self) -> FirstPage {
        self.first
    }
}

async fn page(State(mut shared): State<Shared>) -> Response {
    let look = shared.current.fresh().await;
    let parts = look.page.parts(look.at).map(Ok::<_, Infallible>);
    let body = Body::from_stream(futures::stream::iter(parts));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

async fn stream(State(shared): State<Shared>) -> Response {
    match shared.streams.try_acquire_owned() {
        Ok(permit) => Sse::new(events(shared.current, permit)).into_response(),
        Err(_) => {
            let text = "too many open pages. Close one of them, or reload the page by hand\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], text).into_response()
        }
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// Refuses a request that another web page might have sent, and adds the headers to every answer.
async fn check_and_close(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.uri(), request.headers(), address) {
        Some((status, text)) => (status, text).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns why a request is refused.
fn refusal(method: &Method, uri: &Uri, headers: &HeaderMap, address: SocketAddr) -> Option<(StatusCode, &'static str)> {
    if !is_for(uri, headers, address) {
        return Some((StatusCode::MISDIRECTED_REQUEST, "use the address itself with its port, or localhost\n"));
    }
    if is_foreign(headers, address) {
        return Some((StatusCode::FORBIDDEN, "another web page sent this request\n"));
    }
    if method != Method::GET && method != Method::HEAD {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "this server only reads: use GET or HEAD\n"));
    }
    None
}

/// Returns whether a request names this server, exactly once.
fn is_for(uri: &Uri, headers: &HeaderMap, address: SocketAddr) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let is_own_host = host.to_str().is_ok_and(|host| names_address(host, address));
    is_own_host && uri.authority().is_none_or(|authority| names_address(authority.as_str(), address))
}

/// Returns whether a page of another origin sent a request. A request that follows a link to this page does not count,
/// because the other page cannot read the answer.
fn is_foreign(headers: &HeaderMap, address: SocketAddr) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let is_own_origin = |origin: &str| origin.strip_prefix("http://").is_some_and(|host| names_address(host, address));
    if !headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_own_origin)) {
        return true;
    }
    let is_own_site = text("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let is_link = text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
    !is_own_site && !is_link
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: Method, uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let refused = refusal(&method, &uri.parse().unwrap(), &map, "127.0.0.1:9000".parse().unwrap());
        refused.map(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_requests_for_this_server_are_answered() {
        let own = ("host", "127.0.0.1:9000");
        assert_eq!(answer(Method::GET, "/", &[own]), None);
        assert_eq!(answer(Method::HEAD, "/", &[("host", "localhost:9000")]), None);
        assert_eq!(answer(Method::GET, "http://127.0.0.1:9000/", &[own]), None);
        assert_eq!(answer(Method::GET, "/", &[]), Some(421));
        assert_eq!(answer(Method::GET, "/", &[own, own]), Some(421));
        assert_eq!(answer(Method::GET, "/", &[("host", "evil.example:9000")]), Some(421));
        assert_eq!(answer(Method::GET, "/", &[("host", "127.0.0.1:9001")]), Some(421));
        assert_eq!(answer(Method::GET, "http://evil.example/", &[own]), Some(421));
        assert_eq!(answer(Method::POST, "/", &[own]), Some(405));
        assert_eq!(answer(Method::OPTIONS, "/", &[own]), Some(405));
    }

    #[test]
    fn requests_of_other_pages_are_refused() {
        let own = ("host", "127.0.0.1:9000");
        for origin in ["http://127.0.0.1:9000", "http://localhost:9000"] {
            assert_eq!(answer(Method::GET, "/", &[own, ("origin", origin)]), None, "{origin}");
        }
        for origin in ["http://evil.example", "https://127.0.0.1:9000", "http://127.0.0.1:9001", "null", ""] {
            assert_eq!(answer(Method::GET, "/", &[own, ("origin", origin)]), Some(403), "{origin}");
        }
        let both = [own, ("origin", "http://127.0.0.1:9000"), ("origin", "http://evil.example")];
        assert_eq!(answer(Method::GET, "/", &both), Some(403));
        let fetch = |site, mode, dest| {
            let headers = [own, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            answer(Method::GET, "/live.js", &headers)
        };
        assert_eq!(fetch("same-origin", "no-cors", "script"), None);
        assert_eq!(fetch("none", "navigate", "document"), None);
        assert_eq!(fetch("cross-site", "navigate", "document"), None, "a link");
        assert_eq!(fetch("cross-site", "no-cors", "script"), Some(403));
        assert_eq!(fetch("same-site", "no-cors", "image"), Some(403));
        assert_eq!(fetch("cross-site", "navigate", "iframe"), Some(403));
    }
}
