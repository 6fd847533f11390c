//! Finds out how the SDK sends requests. The lean client can then use the same endpoint, connections, credentials, time
//! limits and signatures.
//!
//! The SDK itself resolves the endpoint (FIPS, dual stack, account ID, VPC endpoint, endpoint URL), the region of the
//! signature, the proxy and the TLS roots. This module does not repeat these steps. It takes their results from the
//! first request of an SDK client.

use std::sync::{Arc, OnceLock};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

/// How an SDK client sends its requests.
#[derive(Debug)]
pub(in crate::dynamodb) struct Route {
    /// The SDK's runtime components, which include the client's HTTP connections, credentials and clock.
    pub(in crate::dynamodb) components: RuntimeComponents,
    /// The endpoint's URL, with the path `/`.
    pub(in crate::dynamodb) url: String,
    /// The region in the signatures.
    pub(in crate::dynamodb) region: String,
    /// The name of the service in the signatures.
    pub(in crate::dynamodb) service: String,
    /// The client's time limits.
    pub(in crate::dynamodb) timeouts: TimeoutConfig,
}

impl Route {
    /// Returns the route of a request. Returns `None` if the request is not a plain signed request to the root of the
    /// endpoint. In this case, only the SDK can send requests.
    fn of(request: &HttpRequest, components: &RuntimeComponents, config: &ConfigBag) -> Option<Route> {
        let is_plain = request.method() == "POST" && is_root(request.uri());
        let (region, service) = signing_scope(request.headers().get("authorization")?)?;
        // The components contain this capture, and the capture will contain the components. Remove the capture to break
        // this reference cycle.
        let mut parts = components.to_builder();
        parts.set_interceptors(std::iter::empty());
        let route = Route {
            components: parts.build().ok()?,
            url: request.uri().to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            timeouts: config.load::<TimeoutConfig>()?.clone(),
        };
        is_plain.then_some(route)
    }
}

/// Returns whether a URL has the path `/` and no query.
fn is_root(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find(['/', '?', '#']).is_some_and(|at| &rest[at..] == "/")
}

/// Returns the region and the service in an `Authorization` header of Signature Version 4.
fn signing_scope(authorization: &str) -> Option<(&str, &str)> {
    let credential = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?.split(',').next()?;
    let mut parts = credential.rsplit('/');
    let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    (end == "aws4_request").then_some((region, service))
}

/// Captures the route of an SDK client from the client's first request.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteCapture(Arc<OnceLock<Option<Arc<Route>>>>);

impl RouteCapture {
    pub(super) fn get(&self) -> Option<&Arc<Route>> {
        self.0.get()?.as_ref()
    }
}

impl Intercept for RouteCapture {
    fn name(&self) -> &'static str {
        "RouteCapture"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.get_or_init(|| Route::of(context.request(), components, config).map(Arc::new));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_an_endpoint_is_plain() {
        assert!(is_root("https://dynamodb.eu-west-1.amazonaws.com/") && is_root("http://127.0.0.1:8000/"));
        for other in ["http://127.0.0.1:8000/tables/", "http://127.0.0.1/?x=/", "http://127.0.0.1//", "127.0.0.1/", ""]
        {
            assert!(!is_root(other), "{other}");
        }
    }

    #[test]
    fn the_scope_of_a_signature_is_read() {
        let header = "AWS4-HMAC-SHA256 Credential=AKID/20261130/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, \
                      Signature=00";
        assert_eq!(signing_scope(header), Some(("eu-west-1", "dynamodb")));
        for other in ["Bearer token", "AWS4-ECDSA-P256-SHA256 Credential=AKID/20261130/dynamodb/aws4_request", ""] {
            assert_eq!(signing_scope(other), None, "{other}");
        }
    }
}
