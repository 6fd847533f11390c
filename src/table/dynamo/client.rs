//! The client constructor: credentials, region, endpoint, time limits.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Credentials, Region};

use super::reply::ReplyCheck;
use crate::plan::TableRef;
use crate::table::TableError;

/// A way to DynamoDB: one pool of connections, shared by everything that a process does.
#[derive(Debug, Clone)]
pub struct Connection(Client);

impl Connection {
    pub(super) fn client(&self) -> &Client {
        &self.0
    }
}

/// One attempt of a request may take this long. A write that takes longer is ambiguous; its condition makes sending it
/// again safe.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opening a connection may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Builds the client that `[table]` describes. Nothing is sent yet.
///
/// An endpoint on loopback is a local engine: it gets made-up credentials unless the environment names some, so that
/// nobody needs an AWS account to try the tool, and no real credentials are sent to it by accident.
pub async fn connect(table: &TableRef) -> Result<Connection, TableError> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(region) = &table.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &table.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &table.endpoint_url {
        loader = loader.endpoint_url(url);
        if table.is_on_loopback() && table.profile.is_none() && std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
            loader = loader.credentials_provider(Credentials::new("local", "local", None, None, "loopback endpoint"));
            if table.region.is_none() && std::env::var_os("AWS_REGION").is_none() {
                loader = loader.region(Region::from_static("us-east-1"));
            }
        }
    }
    let shared = loader.load().await;
    if shared.region().is_none() {
        return Err(TableError::Fatal {
            kind: super::super::FatalKind::Endpoint,
            message:
                "no AWS region is configured: not in the plan's [table], by --region, in AWS_REGION or in the profile"
                    .into(),
        });
    }
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    // One place owns retry, and it is the engine: the SDK's own retries would hide throttles and spend capacity unseen.
    let config = aws_sdk_dynamodb::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .interceptor(ReplyCheck::default())
        .build();
    Ok(Connection(Client::from_conf(config)))
}
