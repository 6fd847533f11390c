//! Sends requests through the SDK's own connections, but without the SDK's steps around a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{ConfigBag, Credentials, HttpClient as _, ResolveCachedIdentity as _};
use aws_sdk_dynamodb::error::{BoxError, ConnectorError, ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::runtime_components::GetIdentityResolver as _;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::reply::error_text;
use super::sign::{CONTENT_TYPE, Signer, Unsigned};
use crate::dynamodb::sdk::{Flaw, Route, UnsentRequest, checksum};

/// The `User-Agent` header of this client. The SDK's client sends the SDK's name in this header.
const USER_AGENT: &str = concat!("backfill/", env!("CARGO_PKG_VERSION"));

/// The result of a request. The errors are the same as the SDK's, so the same code classifies them.
pub(super) type Sent<T> = Result<T, Box<SdkError<ErrorReply>>>;

/// An error reply from DynamoDB.
#[derive(Debug, Default, thiserror::Error)]
#[error("DynamoDB answered with an error")]
pub(super) struct ErrorReply(ErrorMetadata);

impl ProvideErrorMetadata for ErrorReply {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// Returns the error for a request that the lean client cannot prepare. Nothing was sent, so the SDK can send the
/// request instead. If the SDK fails as well, its error describes the cause best, for example missing credentials.
pub(super) fn unprepared<T>() -> Sent<T> {
    Err(SdkError::construction_failure("the lean client cannot prepare the request").into())
}

/// Returns whether [`unprepared`] created this error.
pub(super) fn is_unprepared(error: &SdkError<ErrorReply>) -> bool {
    matches!(error, SdkError::ConstructionFailure(_))
}

/// A reply with a success status and a complete body.
pub(super) struct Reply {
    pub(super) body: Bytes,
    /// The reply, with its body.
    pub(super) raw: HttpResponse,
}

impl Reply {
    /// Creates the error for a body that cannot be read. The SDK reports such a body as an error without a code.
    pub(super) fn unreadable<T>(self) -> Sent<T> {
        Err(SdkError::service_error(ErrorReply::default(), self.raw).into())
    }

    /// Creates the error for a reply with a flaw.
    pub(super) fn flawed<T>(self, flaw: Flaw) -> Sent<T> {
        Err(SdkError::response_error(flaw, self.raw).into())
    }
}

/// Sends requests in the same way as an SDK client, as recorded in its route.
#[derive(Debug)]
pub(super) struct Sender {
    route: Arc<Route>,
    connector: SharedHttpConnector,
    host: String,
    signer: Signer,
    /// Whether signatures use DynamoDB's clock instead of this host's clock.
    corrects_clock: bool,
    /// The difference in milliseconds between DynamoDB's clock and this host's clock, according to the newest reply.
    /// Positive if DynamoDB's clock is ahead.
    skew: AtomicI64,
}

impl Sender {
    /// Creates a sender. Returns `None` if the route has no HTTP client or no usable host.
    pub(super) fn new(route: &Arc<Route>, corrects_clock: bool) -> Option<Sender> {
        let mut settings = HttpConnectorSettings::builder();
        // The SDK's HTTP client shares its connections among all requests with the same settings.
        settings.set_connect_timeout(route.timeouts.connect_timeout());
        settings.set_read_timeout(route.timeouts.read_timeout());
        let connector = route.components.http_client()?.http_connector(&settings.build(), &route.components);
        Some(Sender {
            connector,
            host: host_header(&route.url)?,
            signer: Signer::new(&route.region, &route.service),
            corrects_clock,
            skew: AtomicI64::new(0),
            route: Arc::clone(route),
        })
    }

    /// Returns whether this sender uses this route.
    pub(super) fn uses(&self, route: &Arc<Route>) -> bool {
        Arc::ptr_eq(&self.route, route)
    }

    /// Sends one request, and returns the reply if its status is success.
    pub(super) async fn send(&self, target: &'static str, body: Bytes) -> Sent<Reply> {
        let has_left = AtomicBool::new(false);
        let attempt = self.attempt(target, body, &has_left);
        let ended = match self.route.timeouts.operation_attempt_timeout() {
            Some(limit) => tokio::time::timeout(limit, attempt).await,
            None => Ok(attempt.await),
        };
        ended.unwrap_or_else(|elapsed| {
            let error = if has_left.load(Ordering::Relaxed) {
                SdkError::timeout_error(elapsed)
            } else {
                SdkError::dispatch_failure(ConnectorError::other(UnsentRequest.into(), None))
            };
            Err(error.into())
        })
    }

    async fn attempt(&self, target: &'static str, body: Bytes, has_left: &AtomicBool) -> Sent<Reply> {
        let Some(identity) = self.identity().await else { return unprepared() };
        let Some(credentials) = identity.data::<Credentials>().filter(|found| self.reaches_account_of(found)) else {
            return unprepared();
        };
        let connection = CaptureSmithyConnection::new();
        // The SDK removes extra spaces from a session token before it signs.
        let is_plain = |token: &str| token.trim() == token && !token.contains("  ");
        if !credentials.session_token().is_none_or(is_plain) {
            return unprepared();
        }
        let Ok(mut request) = self.request(target, body, credentials) else { return unprepared() };
        request.add_extension(connection.clone());
        let sent_at = self.now();
        has_left.store(true, Ordering::Relaxed);
        let answered = self.connector.call(request).await;
        let mut raw = answered.map_err(|error| Box::new(SdkError::dispatch_failure(error)))?;
        self.measure_skew(&raw, sent_at);
        let status = raw.status();
        if matches!(status.as_u16(), 500 | 502..=504) {
            // Like the SDK, use a new connection for the next request, because a new connection can lead to a different
            // host.
            if let Some(connection) = connection.get() {
                connection.poison();
            }
        }
        let body = match raw.take_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Err(SdkError::response_error(error, raw).into()),
        };
        *raw.body_mut() = SdkBody::from(body.clone());
        if let Err(flaw) = checksum(raw.headers().get("x-amz-crc32"), &body) {
            return Err(SdkError::response_error(flaw, raw).into());
        }
        if status.is_success() {
            return Ok(Reply { body, raw });
        }
        let text = error_text(raw.headers().get("x-amzn-errortype"), &body);
        let mut metadata = ErrorMetadata::builder();
        if let Some(code) = text.code {
            metadata = metadata.code(code);
        }
        if let Some(message) = text.message {
            metadata = metadata.message(message);
        }
        Err(SdkError::service_error(ErrorReply(metadata.build()), raw).into())
    }

    /// Returns the credentials from the cache of the SDK's client.
    async fn identity(&self) -> Option<Identity> {
        let components = &self.route.components;
        let resolver = components.identity_resolver(AuthSchemeId::new("sigv4"))?;
        let none = ConfigBag::base();
        components.identity_cache().resolve_cached_identity(resolver, components, &none).await.ok()
    }

    /// Returns whether the endpoint is valid for these credentials. The host name of an account-based endpoint starts
    /// with the account ID. The SDK resolves this name for each request, but here it is fixed.
    fn reaches_account_of(&self, credentials: &Credentials) -> bool {
        let label = self.host.split('.').next().unwrap_or_default();
        let is_account = label.len() == 12 && label.bytes().all(|byte| byte.is_ascii_digit());
        !is_account || credentials.account_id().is_some_and(|id| id.as_str() == label)
    }

    fn request(&self, target: &'static str, body: Bytes, credentials: &Credentials) -> Result<HttpRequest, BoxError> {
        let skew = if self.corrects_clock { self.skew.load(Ordering::Relaxed) } else { 0 };
        let now = shifted(self.now(), skew);
        let signed = self.signer.sign(&Unsigned { host: &self.host, target, body: &body }, credentials, now);
        let length = body.len().to_string();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(self.route.url.as_str())?;
        let headers = request.headers_mut();
        headers.insert("content-type", CONTENT_TYPE);
        headers.insert("content-length", length);
        headers.insert("x-amz-target", target);
        headers.insert("x-amz-date", signed.date);
        headers.try_insert("authorization", signed.authorization)?;
        if let Some(token) = credentials.session_token() {
            headers.try_insert("x-amz-security-token", token.to_owned())?;
        }
        headers.insert("user-agent", USER_AGENT);
        Ok(request)
    }

    fn now(&self) -> SystemTime {
        self.route.components.time_source().unwrap_or_default().now()
    }

    /// Measures the difference between DynamoDB's clock and this host's clock, in the same way as the SDK. Assumes that
    /// DynamoDB read its clock halfway between the request and the reply. Ignores cached replies and replies to very
    /// slow requests.
    fn measure_skew(&self, reply: &HttpResponse, sent_at: SystemTime) {
        const LONGEST: Duration = Duration::from_secs(15 * 60);
        let elapsed = self.now().duration_since(sent_at).unwrap_or_default();
        if elapsed > LONGEST || reply.headers().contains_key("age") {
            return;
        }
        let date = reply.headers().get("date").and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        let Some(date) = date.and_then(|date| date.to_millis().ok()) else { return };
        let Ok(middle) = DateTime::from(sent_at + elapsed / 2).to_millis() else { return };
        self.skew.store(date - middle, Ordering::Relaxed);
    }
}

/// Adds milliseconds to a time.
fn shifted(time: SystemTime, milliseconds: i64) -> SystemTime {
    let by = Duration::from_millis(milliseconds.unsigned_abs());
    let shifted = if milliseconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

/// Returns the `Host` header for a URL. It contains the port only if the port is not the scheme's default. Returns
/// `None` if the URL contains a user name, because the HTTP client handles such a URL in its own way.
fn host_header(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let host = authority.strip_suffix(default_port).unwrap_or(authority);
    (!host.is_empty() && !host.contains('@')).then(|| host.to_owned())
}

/// Returns whether an error is an error reply with this code.
pub(super) fn has_code(error: &SdkError<ErrorReply>, code: &str) -> bool {
    error.as_service_error().is_some_and(|reply| reply.code() == Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_leaves_out_the_default_port() {
        for (url, host) in [
            ("https://dynamodb.eu-west-1.amazonaws.com/", Some("dynamodb.eu-west-1.amazonaws.com")),
            ("https://dynamodb.eu-west-1.amazonaws.com:443", Some("dynamodb.eu-west-1.amazonaws.com")),
            ("http://127.0.0.1:8000/", Some("127.0.0.1:8000")),
            ("http://[::1]:80/", Some("[::1]")),
            ("https://127.0.0.1:80/", Some("127.0.0.1:80")),
            ("http://user:secret@127.0.0.1:8000/", None),
            ("ftp://127.0.0.1/", None),
            ("", None),
        ] {
            assert_eq!(host_header(url).as_deref(), host, "{url}");
        }
    }
}
