//! The HTTP server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::health::{Health, livez, readyz};
use super::prometheus::Format;
use super::source::MetricsSource;
use crate::http_server::{ConnectionLimits, LimitedListener, is_literal};

/// A connection serves one request, because the answer closes it.
const LIFETIME: Duration = Duration::from_secs(15);

/// The maximum number of connections. This number is enough for several scrapers and probes at the same time.
const LIMITS: ConnectionLimits = ConnectionLimits { connections: 32, idle: LIFETIME, lifetime: LIFETIME };

/// A bound address whose server does not run yet. Connections wait.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A running server. It ends when this value is dropped.
pub struct MetricsServer {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl MetricsListener {
    /// Binds an address. With port 0, the system chooses a free port.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound, for example because another process uses it.
    pub async fn bind(address: SocketAddr) -> io::Result<MetricsListener> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(MetricsListener { listener, address })
    }

    /// Starts the server.
    pub fn serve(self, source: Arc<MetricsSource>) -> MetricsServer {
        let MetricsListener { listener, address } = self;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route(
                "/livez",
                get(async |State(source): State<Arc<MetricsSource>>| {
                    answer(livez(source.pass().as_ref(), source.stage(), Instant::now()))
                }),
            )
            .route(
                "/readyz",
                get(async |State(source): State<Arc<MetricsSource>>| {
                    answer(readyz(source.pass().as_ref(), source.stage(), Instant::now()))
                }),
            )
            .layer(from_fn_with_state(address.ip().is_loopback(), check_and_close))
            .with_state(source);
        let task = tokio::spawn(async move {
            // `axum::serve` never ends by itself.
            let _ = axum::serve(LimitedListener::new(listener, LIMITS), router).await;
        });
        MetricsServer { address, _task: AbortOnDropHandle::new(task) }
    }
}

impl MetricsServer {
    /// Returns the address of the server, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn metrics(State(source): State<Arc<MetricsSource>>, headers: HeaderMap) -> Response {
    let format = Format::accepted_by(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    match source.exposition().await.to_text(format) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

fn answer(health: Health) -> Response {
    let status = if health.is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", health.text)).into_response()
}

/// Refuses a request that a web page might have sent through a name that resolves to loopback. Closes the connection
/// after each answer, so that idle clients do not use up the connections.
async fn check_and_close(State(is_loopback): State<bool>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let mut response = if is_loopback && !host.is_none_or(is_literal) {
        (StatusCode::FORBIDDEN, "use the address itself, or localhost\n").into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
