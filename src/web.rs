//! Sends one HTTP request to an address that the operator chose: a health check, a webhook or a collector of metrics.
//! HTTPS checks the server's certificate against the system's certificates or, if `SSL_CERT_FILE` is set, against the
//! certificates in that file.
//!
//! Follows no redirects, uses no proxies and keeps no connections, so that each request shows the current answer of the
//! address itself.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// The maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// An address that answers HTTP requests.
///
/// Its `Debug` form and its errors do not contain the address, because the address of a webhook is a secret.
pub struct Address {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What the address answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// Why a text is not an address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The text is not an HTTP address.
    #[error("it must begin with http:// or https:// and name a host, like \"https://example.com/health\"")]
    NotHttp,
    /// The address contains a user name or password, which HTTP requests of this program do not send.
    #[error("it must not contain a user name or password")]
    HasCredentials,
    /// The system's certificates, which HTTPS needs, cannot be loaded.
    #[error("the certificates of this system cannot be loaded ({0})")]
    Certificates(std::io::Error),
}

/// Why there is no answer. The text completes a sentence such as "the health check …".
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The request could not be sent, or the connection failed.
    #[error("could not be reached ({0})")]
    Unreachable(String),
    /// The answer did not arrive in time.
    #[error("did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The answer is too large, or the connection failed before its end.
    #[error("sent an answer that could not be read ({0})")]
    Unreadable(String),
}

/// Checks that a text is an address for [`Address::new`].
///
/// # Errors
///
/// Fails if it is not an HTTP or HTTPS address, or if it contains credentials.
pub fn parse(text: &str) -> Result<Uri, AddressError> {
    let uri: Uri = text.parse().map_err(|_| AddressError::NotHttp)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    match (uri.scheme_str(), authority) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(AddressError::HasCredentials)
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(AddressError::NotHttp),
    }
}

impl Address {
    /// Prepares requests to this address. Nothing is sent.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be used: see [`AddressError`].
    pub fn new(text: &str) -> Result<Address, AddressError> {
        let uri = parse(text)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider;
        let builder = HttpsConnectorBuilder::new();
        let builder = if uri.scheme_str() == Some("https") {
            builder.with_provider_and_native_roots(provider()).map_err(AddressError::Certificates)?
        } else {
            // Plain HTTP must work on a system without certificates.
            let none = rustls::RootCertStore::empty();
            let config = rustls::ClientConfig::builder_with_provider(provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|error| AddressError::Certificates(std::io::Error::other(error)))?
                .with_root_certificates(none)
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let connector = builder.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Address { uri, client })
    }

    /// Sends a GET request. Returns the status as soon as it arrives. The body is not read, so its size and its speed
    /// do not matter. `limit` is the time limit for the status and the headers.
    ///
    /// # Errors
    ///
    /// Fails if no status arrives. Any HTTP status counts as success, even 500.
    pub async fn status(&self, limit: Duration) -> Result<StatusCode, WebError> {
        let request = Request::builder().method(Method::GET);
        within(limit, async { Ok(self.begin(request, Bytes::new()).await?.status()) }).await
    }

    /// Sends a JSON document as a POST request. `limit` is the time limit for the complete answer.
    ///
    /// # Errors
    ///
    /// Fails if there is no complete answer. Even then, the address might have received the document.
    pub async fn post_json(&self, document: &serde_json::Value, limit: Duration) -> Result<Answer, WebError> {
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json");
        self.send(request, document.to_string().into(), limit).await
    }

    /// Sends a body as a POST request with these headers. `limit` is the time limit for the complete answer.
    ///
    /// # Errors
    ///
    /// Fails if there is no complete answer. Even then, the address might have received the body.
    pub async fn post(
        &self,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, WebError> {
        let request = Request::builder().method(Method::POST);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.send(request, body, limit).await
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, WebError> {
        let answer = async {
            let (head, body) = self.begin(request, body).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| WebError::Unreadable(cause_text(&*error, self.host())))?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        within(limit, answer).await
    }

    /// Sends a request. Returns when the status and the headers of the answer have arrived.
    async fn begin(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<hyper::Response<hyper::body::Incoming>, WebError> {
        let request = request
            .uri(self.uri.clone())
            .header(USER_AGENT, concat!("backfill/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| WebError::Unreachable(cause_text(&error, self.host())))?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| WebError::Unreachable(cause_text(&error, self.host())))
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, WebError>>) -> Result<T, WebError> {
    timeout(limit, answer).await.unwrap_or(Err(WebError::TimedOut(limit)))
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("scheme", &self.uri.scheme_str()).finish_non_exhaustive()
    }
}

/// Returns the text of an error's root cause. The text of the error itself, such as "client error (Connect)", says too
/// little. The result does not contain the host of the address, because an address is a secret.
fn cause_text(error: &(dyn std::error::Error + 'static), host: &str) -> String {
    let mut cause = error;
    loop {
        // `source` of an `io::Error` skips the error that it contains, and returns that error's source.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match (inner, cause.source()) {
            (Some(inner), _) => inner,
            (None, Some(source)) => source,
            (None, None) => break,
        };
    }
    if let Some(rustls::Error::InvalidCertificate(error)) = cause.downcast_ref() {
        return certificate_text(error).to_owned();
    }
    let text = cause.to_string();
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    if !host.is_empty() && text.to_ascii_lowercase().contains(&host) {
        return "the connection failed".to_owned();
    }
    // The text of a cause can quote what the server sent.
    crate::outside::escaped(&text).to_string()
}

/// Returns why a certificate was refused. The texts of `rustls` name the host and the names in the certificate.
fn certificate_text(error: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Error;
    match error {
        Error::Expired | Error::ExpiredContext { .. } => "its certificate has expired",
        Error::NotValidYet | Error::NotValidYetContext { .. } => "its certificate is not valid yet",
        Error::NotValidForName | Error::NotValidForNameContext { .. } => "its certificate is for another name",
        Error::UnknownIssuer => "its certificate was issued by an authority that this system does not trust",
        Error::Revoked => "its certificate was revoked",
        _ => "its certificate is not valid",
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn each_status_is_an_answer_and_redirects_are_not_followed() {
        let echo = |headers: HeaderMap, body: String| async move {
            format!("{} {body}", headers.get(CONTENT_TYPE).map_or("none", |value| value.to_str().unwrap()))
        };
        let gone = (StatusCode::TEMPORARY_REDIRECT, [("location", "/echo")]);
        let router = Router::new().route("/echo", get(echo).post(echo)).route("/away", get(async move || gone));
        let base = serve(router).await;
        let address = |path: &str| Address::new(&format!("{base}{path}")).unwrap();
        assert_eq!(address("/echo").status(LONG).await.unwrap(), StatusCode::OK);
        let answer = address("/echo").post_json(&serde_json::json!({"a": 1}), LONG).await.unwrap();
        assert_eq!(answer.body, "application/json {\"a\":1}");
        let answer = address("/away").post_json(&serde_json::json!({}), LONG).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (StatusCode::METHOD_NOT_ALLOWED, &b""[..]));
        assert_eq!(address("/away").status(LONG).await.unwrap(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(address("/none").status(LONG).await.unwrap(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_status_arrives_before_its_body() {
        let bytes = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
        let endless = move || axum::body::Body::from_stream(futures::stream::repeat_with(bytes));
        let silent = || axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let router = Router::new()
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/endless", get(async move || endless()))
            .route("/silent", get(async move || silent()));
        let base = serve(router).await;
        for path in ["/large", "/endless", "/silent"] {
            let address = Address::new(&format!("{base}{path}")).unwrap();
            assert_eq!(address.status(LONG).await.unwrap(), StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn without_an_answer_the_error_names_the_cause_and_not_the_address() {
        let hangs = get(async || tokio::time::sleep(Duration::from_secs(1000)).await);
        let large = axum::routing::post(async || "x".repeat(MAX_ANSWER + 1));
        let base = serve(Router::new().route("/hangs", hangs).route("/large", large)).await;
        let short = Duration::from_millis(100);
        let error = Address::new(&format!("{base}/hangs")).unwrap().status(short).await.unwrap_err();
        assert_eq!(error.to_string(), "did not answer within 0.1 s");
        let large = Address::new(&format!("{base}/large")).unwrap();
        let error = large.post([], Bytes::new(), LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "sent an answer that could not be read (length limit exceeded)");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = Address::new(&format!("http://{free}/secret")).unwrap();
        let error = refused.status(LONG).await.unwrap_err().to_string();
        assert!(error.contains("onnection refused") && !error.contains("secret"), "{error}");
        assert!(!format!("{refused:?}").contains("secret"));
    }

    #[test]
    fn the_cause_never_contains_the_host() {
        use rustls::CertificateError;
        let name = rustls::pki_types::ServerName::try_from("hooks.example.com").unwrap();
        let presented = vec!["DnsName(\"inner.example.com\")".to_owned()];
        let other_name = CertificateError::NotValidForNameContext { expected: name, presented };
        for (error, text) in [
            (rustls::Error::InvalidCertificate(other_name), "its certificate is for another name"),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), "its certificate has expired"),
            (rustls::Error::InvalidCertificate(CertificateError::BadSignature), "its certificate is not valid"),
            (rustls::Error::General("no hooks.Example.com\u{1b}".to_owned()), "the connection failed"),
            (rustls::Error::General("no\u{1b}".to_owned()), "unexpected error: no\\u{1b}"),
        ] {
            assert_eq!(cause_text(&error, "hooks.example.com"), text);
            // A connection returns TLS errors in this form, because tokio-rustls and hyper-rustls each wrap them.
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            let error = std::io::Error::other(error);
            assert_eq!(cause_text(&error, "hooks.example.com"), text);
        }
        assert_eq!(cause_text(&std::io::Error::other("no route to ::1"), "[::1]"), "the connection failed");
    }

    #[test]
    fn only_http_addresses_without_credentials_are_accepted() {
        assert!(parse("https://example.com/health?a=b").is_ok() && parse("http://[::1]:80").is_ok());
        for text in ["", "example.com", "ftp://example.com", "/health", "https://", "https:///path", "http:// x"] {
            assert!(matches!(parse(text), Err(AddressError::NotHttp)), "{text}");
        }
        assert!(matches!(parse("https://a:b@example.com"), Err(AddressError::HasCredentials)));
    }
}
