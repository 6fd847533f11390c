//! Finds out whether it is possible that a failed request reached DynamoDB.

use std::error::Error;

use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use hyper_util::client::legacy;

/// The error of an attempt that timed out before it sent the request, because fetching the credentials took too long.
#[derive(Debug, thiserror::Error)]
#[error("the credentials did not arrive in time")]
pub(in crate::dynamodb) struct UnsentRequest;

/// Detects attempts that timed out before they sent the request.
#[derive(Debug)]
pub(super) struct SendCheck;

impl Intercept for SendCheck {
    fn name(&self) -> &'static str {
        "SendCheck"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The SDK takes the request out of the context when it passes the request to the connector.
        let not_sent = context.request().is_some();
        match context.output_or_error() {
            Some(Err(error)) if not_sent && error.is_timeout_error() => Err(UnsentRequest.into()),
            _ => Ok(()),
        }
    }
}

/// Returns true only if the request never left this host. Either no connection was opened (refused, unknown name, no
/// answer to the handshake, no file descriptor left), or the attempt ended before it sent the request.
pub(super) fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<UnsentRequest>() || error.downcast_ref().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}
