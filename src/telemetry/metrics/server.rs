//! The HTTP server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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

use super::connection::LimitedListener;
use super::health::{Health, livez, readyz};
use super::prometheus::Format;
use super::source::MetricsSource;

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
            let _ = axum::serve(LimitedListener::new(listener), router).await;
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

/// Refuses a request that a web page may have sent through a name that resolves to loopback, and closes the connection
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

/// Returns whether a `Host` header contains an IP address or `localhost`, with or without a port.
fn is_literal(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_or_localhost_is_literal() {
        for literal in ["127.0.0.1", "127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "[::1]"] {
            assert!(is_literal(literal), "{literal}");
        }
        for name in ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", ""] {
            assert!(!is_literal(name), "{name}");
        }
    }
}
