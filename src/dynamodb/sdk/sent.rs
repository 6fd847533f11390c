//! Whether a failed request can have reached DynamoDB at all.

use std::error::Error;

use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use hyper_util::client::legacy;

/// An attempt ended before its request was sent, because fetching the credentials used up its time.
#[derive(Debug, thiserror::Error)]
#[error("the credentials did not arrive in time")]
pub(super) struct NotSent;

/// Distinguishes attempts that timed out before sending anything from those that timed out in flight.
#[derive(Debug)]
pub(super) struct SentCheck;

impl Intercept for SentCheck {
    fn name(&self) -> &'static str {
        "SentCheck"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The SDK takes the request out of the context when it passes it to the connector.
        let not_sent = context.request().is_some();
        match context.output_or_error() {
            Some(Err(error)) if not_sent && error.is_timeout_error() => Err(NotSent.into()),
            _ => Ok(()),
        }
    }
}

/// Whether the request certainly never left this host: no connection was opened (refused, unknown name, no answer to
/// the handshake, no file descriptor left), or nothing was sent yet.
pub(super) fn never_left(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NotSent>() || error.downcast_ref().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}
