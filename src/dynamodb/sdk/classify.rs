//! Converts an SDK error to a [`TableError`], with one match over DynamoDB's error codes.
//!
//! Sources: developer guide, "Error handling with DynamoDB" (codes, status); rustdoc of aws-sdk-dynamodb
//! (`ThrottlingReasons`). The JSON member that contains the reasons is spelled differently in different exceptions.

use std::time::SystemTime;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::reply::Flaw;
use super::sent::was_never_sent;
use super::skew::{Skew, skew};
use crate::dynamodb::{FatalKind, TableError, ThrottlingReason};
use crate::outside;

/// The call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dynamodb) enum Call {
    DescribeTable,
    DescribeContinuousBackups,
    DescribeTimeToLive,
    CreateBackup,
    DescribeBackup,
    Scan,
    GetItem,
    PutItem,
    UpdateItem,
    DeleteItem,
    /// A `PutItem` that restores an item of the migrated table. The variant `PutItem` is for the flag and its lease.
    RestoreItem,
    TransactWriteItems,
    BatchExecuteStatement,
}

impl Call {
    /// Returns the operation's name in DynamoDB's API.
    pub(in crate::dynamodb) fn name(self) -> &'static str {
        match self {
            Call::DescribeTable => "DescribeTable",
            Call::DescribeContinuousBackups => "DescribeContinuousBackups",
            Call::DescribeTimeToLive => "DescribeTimeToLive",
            Call::CreateBackup => "CreateBackup",
            Call::DescribeBackup => "DescribeBackup",
            Call::Scan => "Scan",
            Call::GetItem => "GetItem",
            Call::PutItem | Call::RestoreItem => "PutItem",
            Call::UpdateItem => "UpdateItem",
            Call::DeleteItem => "DeleteItem",
            Call::TransactWriteItems => "TransactWriteItems",
            Call::BatchExecuteStatement => "BatchExecuteStatement",
        }
    }

    /// Returns whether a validation error of this call can be specific to a single item. Returns false for reads and
    /// for control items, because the same error would occur for every item.
    fn may_concern_one_item(self) -> bool {
        matches!(
            self,
            Call::UpdateItem
                | Call::DeleteItem
                | Call::RestoreItem
                | Call::TransactWriteItems
                | Call::BatchExecuteStatement
        )
    }

    fn unusable(self, flaw: &'static str) -> TableError {
        TableError::UnusableReply { operation: self.name(), flaw }
    }
}

/// Converts the error of a call.
pub(in crate::dynamodb) fn classify<E>(error: &SdkError<E, HttpResponse>, call: Call) -> TableError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("");
            let message = service.err().message().unwrap_or("");
            by_code(code, message, service.raw(), call)
        }
        SdkError::ResponseError(_) => {
            call.unusable(find::<Flaw>(error).map_or("it did not arrive completely", |Flaw(what)| *what))
        }
        SdkError::TimeoutError(_) => transient("the request timed out", true),
        SdkError::DispatchFailure(_) if was_never_sent(error) => {
            transient(&format!("the connection could not be opened ({})", root_cause(error)), false)
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => transient("the request timed out", true),
        // If a connection closes before the reply arrives, the SDK reports an `other` error. The error's kind marks it
        // as transient.
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.as_other().is_some() => {
            transient(&format!("the connection failed ({})", root_cause(error)), true)
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            let text = causes(error);
            if text.to_ascii_lowercase().contains("credential") {
                fatal(FatalKind::Credentials, "no credentials could be obtained", &without_chain(&text))
            } else {
                fatal(FatalKind::Endpoint, "the request could not be sent", &text)
            }
        }
        _ => transient("the request failed in an unknown way", true),
    }
}

/// Returns one line of text that explains why a request to any service failed. The text is safe to print.
pub(crate) fn failure_text<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = format!("HTTP {}", service.raw().status().as_u16());
            let code = service.err().code().unwrap_or(&status);
            // Some services append the signed request to the message of a signature error.
            let message = service.err().message().and_then(|text| text.split("The Canonical String").next());
            escaped(&message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}")))
        }
        SdkError::TimeoutError(_) => "the request timed out".to_owned(),
        SdkError::ResponseError(_) => "the reply could not be read".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_io() || was_never_sent(error) => escaped(&root_cause(error)),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => escaped(&without_chain(&causes(error))),
        _ => "the request failed in an unknown way".to_owned(),
    }
}

/// Returns whether the request failed because of its credentials, so that new credentials could make it succeed. Either
/// the service refused the current credentials, or no credentials were found.
pub(crate) fn is_credentials_error<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    // The call passed here is arbitrary, because errors about credentials are classified in the same way for every
    // call.
    matches!(classify(error, Call::GetItem), TableError::Fatal { kind: FatalKind::Credentials, .. })
}

/// Creates the error for a reply that DynamoDB never sends in response to the tool's requests.
pub(in crate::dynamodb) fn unusable_reply(what: &str) -> TableError {
    TableError::Fatal { kind: FatalKind::Request, message: what.to_owned() }
}

/// Converts an error reply with this code and message. `code` is empty if the reply has no code.
pub(in crate::dynamodb) fn by_code(code: &str, message: &str, raw: &HttpResponse, call: Call) -> TableError {
    match skew(code, message, raw.headers().get("date"), SystemTime::now()) {
        Some(Skew::Differs(text)) => return fatal(FatalKind::Clock, &text, code),
        Some(Skew::Late) => return transient("the request was sent too long after it was signed", false),
        None => {}
    }
    match code {
        // If the SDK cannot parse a reply, it reports a service error.
        "" if raw.status().is_success() => call.unusable("it is not a valid JSON reply"),
        "" if raw.status().as_u16() < 500 && is_json(raw) => call.unusable("it is an error in an unknown format"),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "ThrottlingError"
        | "Throttling"
        | "RequestLimitExceeded" => TableError::Throttled { reasons: reasons(raw), message: clean(message) },
        "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException"
        | "BackupInUseException"
        | "LimitExceededException" => transient(&format!("{code}: {}", clean(message)), false),
        "RequestTimeout" | "RequestTimeoutException" => transient(&format!("{code}: {}", clean(message)), true),
        "UnknownOperationException" => fatal(FatalKind::Unsupported, code, message),
        "ResourceNotFoundException" | "TableNotFoundException" => fatal(FatalKind::TableMissing, code, message),
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => fatal(FatalKind::Permission, code, message),
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationTokenError" => fatal(FatalKind::Credentials, code, message),
        "ItemCollectionSizeLimitExceededException" => {
            TableError::Rejected { message: format!("{code}: {}", clean(message)) }
        }
        "ValidationException" if call.may_concern_one_item() && !concerns_every_item(message) => {
            TableError::Rejected { message: clean(message) }
        }
        // The status means "Not Implemented", so a retry would return the same reply.
        _ if raw.status().as_u16() == 501 => fatal(FatalKind::Unsupported, "the endpoint answered 501", message),
        _ if raw.status().as_u16() >= 500 => {
            transient(&format!("DynamoDB answered {} {code}", raw.status().as_u16()), true)
        }
        "" => fatal(
            FatalKind::Endpoint,
            &format!("the endpoint answered {} without a DynamoDB error", raw.status().as_u16()),
            message,
        ),
        // An unknown error stops the run, because it could occur for every item. The operator should see the error
        // before the run continues.
        _ => fatal(FatalKind::Request, code, message),
    }
}

/// Returns whether the reply's content type is JSON, as it is in DynamoDB's replies. A web page from a proxy or from
/// the wrong server has a different type.
fn is_json(raw: &HttpResponse) -> bool {
    raw.headers().get("content-type").is_some_and(|kind| kind.contains("json"))
}

/// Searches an error and its causes for an error of type `T`.
fn find<'e, T: std::error::Error + 'static>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Returns whether a validation error is about the expression, the key or the placeholders. Such an error would occur
/// for every item. An unknown validation error is treated as specific to one item. The run still stops if every item
/// fails with that error.
fn concerns_every_item(message: &str) -> bool {
    [
        "Invalid UpdateExpression",
        "Invalid ConditionExpression",
        "ExpressionAttributeNames",
        "Value provided in ExpressionAttributeValues unused",
        "Cannot update attribute",
        "provided key element does not match the schema",
        "Expression size has exceeded",
    ]
    .iter()
    .any(|known| message.contains(known))
}

fn reasons(raw: &HttpResponse) -> Vec<ThrottlingReason> {
    let body = raw.body().bytes().and_then(|b| serde_json::from_slice::<serde_json::Value>(b).ok());
    let list = body.as_ref().and_then(|b| b.get("throttlingReasons").or_else(|| b.get("ThrottlingReasons")));
    let text = |entry: &serde_json::Value, key: &str| entry.get(key).and_then(|v| v.as_str()).unwrap_or("").to_owned();
    list.and_then(|l| l.as_array())
        .map(|l| {
            l.iter().map(|e| ThrottlingReason { reason: text(e, "reason"), resource: text(e, "resource") }).collect()
        })
        .unwrap_or_default()
}

/// Removes possible personal data from DynamoDB's message, because some validation errors quote the request.
pub(in crate::dynamodb) fn clean(message: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars().take(600) {
        if c == '\'' || c == '"' {
            if !quoted {
                out.push_str("'…'");
            }
            quoted = !quoted;
        } else if !quoted {
            out.push(c);
        }
    }
    // Remove the final period, because the caller adds more text.
    outside::escaped(out.trim_end_matches('.')).to_string()
}

/// Makes a message safe to print. Shortens the message and escapes control characters.
fn escaped(message: &str) -> String {
    let short: String = message.chars().take(600).collect();
    outside::escaped(short.trim_end_matches(['.', ' '])).to_string()
}

fn transient(message: &str, ambiguous: bool) -> TableError {
    TableError::Transient { message: outside::escaped(message).to_string(), ambiguous }
}

fn fatal(kind: FatalKind, code: &str, message: &str) -> TableError {
    // Some services append the signed request to the message of a signature error. Remove that part.
    let message = message.split("The Canonical String").next().unwrap_or_default();
    let message = if kind == FatalKind::Request { clean(message) } else { escaped(message) };
    let code = outside::escaped(code);
    TableError::Fatal {
        kind,
        message: if message.is_empty() { code.to_string() } else { format!("{code}: {message}") },
    }
}

/// Returns an error's causes on one line, without duplicates. Omits the outermost error ("dispatch failure") and any
/// cause with the text "other", because they explain nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ").replace(":; ", ": ");
        if message != "other" && !text.contains(&message) {
            text = if text.is_empty() { message } else { format!("{text}: {message}") };
        }
        cause = error.source();
    }
    text
}

/// Shortens the SDK's message about missing credentials to one sentence. The full message lists every provider that the
/// SDK tried, together with the provider's result.
fn without_chain(text: &str) -> String {
    const LONGEST: usize = 300;
    if let Some((_, attempts)) = text.split_once("no credentials found in chain") {
        let profile = attempts.split_once("profile `").and_then(|(_, rest)| rest.split_once("` was not defined"));
        return match profile {
            Some((name, _)) if name != "default" => {
                format!("there is no profile `{name}`, and the environment has no credentials")
            }
            _ => "none in the environment or the profile, and none from a container or an instance".to_owned(),
        };
    }
    let mut text = text.to_owned();
    for noise in ["an error occurred while loading credentials: ", "the credential provider was not enabled: "] {
        text = text.replace(noise, "");
    }
    text.chars().take(LONGEST).collect()
}

/// Returns the message of an error's innermost cause.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error.source();
    let mut text = "no detail".to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_parts_never_get_through() {
        assert_eq!(
            clean("1 validation error detected: Value 'jo@example.com' at 'x' failed\u{1b}"),
            "1 validation error detected: Value '…' at '…' failed\\u{1b}"
        );
        assert_eq!(clean("never closed: 'secret"), "never closed: '…'");
    }

    #[test]
    fn expression_errors_concern_every_item() {
        assert!(concerns_every_item("Invalid UpdateExpression: Syntax error"));
        assert!(concerns_every_item("Cannot update attribute pk. This attribute is part of the key"));
        assert!(!concerns_every_item("Item size to update has exceeded the maximum allowed size"));
        assert!(!concerns_every_item("The document path provided in the update expression is invalid for update"));
    }
}
