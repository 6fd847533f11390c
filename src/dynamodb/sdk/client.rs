//! Builds the SDK client, and renews its credentials.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use super::classify::{Call, classify, is_credentials_error};
use super::config::{NO_REGION, Service, ServiceConfig};
use super::describe::describe;
use super::reply::{ReplyCheck, ReplyInterceptor};
use super::route::{Route, RouteCapture};
use super::sent::SendCheck;
use crate::dynamodb::retry::retry_request;
use crate::dynamodb::{TableDescription, TableError};
use crate::machine::Random;
use crate::plan::TableRef;

/// Access to DynamoDB through one connection pool.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: TableRef,
    on_loopback: bool,
    /// Checks replies. All clients share this check, so its information about the endpoint survives a renewal of the
    /// credentials.
    replies: Arc<ReplyCheck>,
    current: RwLock<Generation>,
    renewal: tokio::sync::Mutex<Option<FailedRenewal>>,
    /// Whether DynamoDB has accepted a request. If so, the credentials were valid at that time.
    has_succeeded: AtomicBool,
    /// The first table that was described. Renewed credentials must reach this same table.
    described: OnceLock<TableIdentity>,
}

/// A table's name, ARN and ID, from the table's description.
#[derive(Debug)]
struct TableIdentity {
    name: String,
    arn: String,
    id: Option<String>,
}

/// A failed attempt to renew the credentials.
#[derive(Debug, Clone, Copy)]
struct FailedRenewal {
    /// The generation number of the client whose credentials were refused.
    generation: u64,
    ended: Instant,
}

/// A client and its generation number. Each renewal of the credentials increases the number.
#[derive(Debug, Clone)]
pub(in crate::dynamodb) struct Generation {
    number: u64,
    client: Client,
    route: RouteCapture,
}

impl Generation {
    /// Returns how the client sends requests. Returns `None` if the client has not sent a request yet, or if only the
    /// SDK can send requests in this way.
    pub(in crate::dynamodb) fn route(&self) -> Option<&Arc<Route>> {
        self.route.get()
    }

    /// Returns whether the client corrects the time in signatures. If so, it signs with DynamoDB's time, which it
    /// learns from replies.
    pub(in crate::dynamodb) fn corrects_clock(&self) -> bool {
        self.client.config().disable_clock_skew_correction() != Some(true)
    }
}

impl Connection {
    /// Returns whether requests go to a loopback address, that is, to a local engine. The result depends only on the
    /// client's endpoint, and not on the place where the endpoint was configured.
    pub fn is_on_loopback(&self) -> bool {
        self.0.on_loopback
    }

    /// Sends a request. If DynamoDB refuses credentials that it accepted before, this method reloads the credentials
    /// and sends the request once more, because somebody may have renewed the credentials. This is safe, because a
    /// refused request is not applied and consumes nothing.
    pub(super) async fn send<T, E, F>(&self, request: impl Fn(Client) -> F) -> Result<T, SdkError<E>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        self.send_by(|generation| request(generation.client), is_credentials_error).await
    }

    /// Like `send`, but `request` can send its request without the SDK. `is_refused` returns whether DynamoDB refused
    /// the credentials of the request.
    pub(in crate::dynamodb) async fn send_by<T, E, F>(
        &self,
        request: impl Fn(Generation) -> F,
        is_refused: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let generation = self.current();
        let number = generation.number;
        let sent = request(generation).await;
        match &sent {
            Ok(_) => self.0.has_succeeded.store(true, Ordering::Relaxed),
            Err(error) if is_refused(error) && self.renew(number).await => {
                // This future is boxed, because an unboxed future would enlarge every caller's future although this
                // branch is rare.
                return Box::pin(request(self.current())).await;
            }
            Err(_) => {}
        }
        sent
    }

    /// Returns the reply check, which all clients of this connection share.
    pub(in crate::dynamodb) fn replies(&self) -> &ReplyCheck {
        &self.0.replies
    }

    fn current(&self) -> Generation {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads the credentials in the same way as at the start. Does nothing if a concurrent request has already
    /// replaced the generation `refused`. Returns whether a newer generation than `refused` exists. If several requests
    /// are refused at the same time, only one of them reloads the credentials. If the reload fails, all of these
    /// requests fail.
    async fn renew(&self, refused: u64) -> bool {
        if !self.0.has_succeeded.load(Ordering::Relaxed) {
            return false;
        }
        let mut unrenewed = self.0.renewal.lock().await;
        if self.current().number > refused {
            return true;
        }
        if unrenewed.is_some_and(|last| last.generation == refused && last.ended.elapsed() < RENEWAL_COOLDOWN) {
            return false;
        }
        let renewed = self.reload_credentials().await;
        *unrenewed = (!renewed).then(|| FailedRenewal { generation: refused, ended: Instant::now() });
        renewed
    }

    /// Reloads the credentials. If the new credentials reach the same table, uses them from now on and returns true.
    async fn reload_credentials(&self) -> bool {
        let built = Box::pin(build(&self.0.table, Arc::clone(&self.0.replies))).await;
        let Ok(Built { client, route, .. }) = built else { return false };
        if !Box::pin(self.reaches_the_same_table(&client)).await {
            return false;
        }
        tracing::info!("DynamoDB refused the credentials; they were reloaded, and the request is sent once more");
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Generation { number: current.number + 1, client, route };
        true
    }

    /// Stores the identity of the table that was described first. [`Connection::send`] accepts renewed credentials only
    /// if they reach this same table. The description can come from a different connection with the same `[table]`.
    pub fn remember_table(&self, name: &str, table: &TableDescription) {
        let described = || TableIdentity { name: name.to_owned(), arn: table.arn.clone(), id: table.id.clone() };
        self.0.described.get_or_init(described);
    }

    /// Returns whether this client reaches the table that was described first. New credentials can lead to a different
    /// account or region, where a table with the same name is a different table. Returns false if no table has been
    /// described yet.
    async fn reaches_the_same_table(&self, client: &Client) -> bool {
        let Some(TableIdentity { name, arn, id }) = self.0.described.get() else {
            tracing::error!(
                "the renewed credentials are not used: it is unknown whether they belong to the same account"
            );
            return false;
        };
        let random = Random::from_entropy();
        let described = retry_request(RENEWAL_PATIENCE, &random, || async {
            let reply = client.describe_table().table_name(name).send().await;
            reply.map_err(|error| classify(&error, Call::DescribeTable))
        });
        match described.await.map(|reply| reply.table.as_ref().and_then(describe)) {
            Ok(Some(now)) if now.arn == *arn && (id.is_none() || now.id.is_none() || now.id == *id) => true,
            Ok(Some(now)) if now.arn == *arn => {
                tracing::error!(
                    "the renewed credentials are not used: table {arn} was replaced by a table of the same name"
                );
                false
            }
            Ok(Some(now)) => {
                tracing::error!("the renewed credentials are not used: they lead to table {}, not to {arn}", now.arn);
                false
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(
                    "the renewed credentials are not used: the table could not be described with them: {error}"
                );
                false
            }
        }
    }
}

/// For this time after a failed renewal, the credentials are not reloaded. By the end of this time, DynamoDB has
/// refused every request that was in flight during the renewal.
const RENEWAL_COOLDOWN: Duration = Duration::from_secs(5);

/// The timeout for the `DescribeTable` call with renewed credentials, including retries. If the call does not succeed
/// in time, the renewed credentials are not used.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(5);

/// The time limit of one attempt of a request. If a write takes longer, it is unknown whether it was applied. The
/// write's condition makes it safe to resend.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Builds a client from the settings in `[table]`. Sends no request yet.
///
/// An endpoint on a loopback address is a local engine. Requests to a local engine use dummy credentials, unless
/// credentials are configured for the engine (`local_credentials`). So users can try the tool without an AWS account,
/// and the tool does not accidentally send real credentials to a local engine.
pub async fn connect(table: &TableRef) -> Result<Connection, TableError> {
    let replies = Arc::new(ReplyCheck::default());
    let Built { client, route, on_loopback } = Box::pin(build(table, Arc::clone(&replies))).await?;
    Ok(Connection(Arc::new(Inner {
        table: table.clone(),
        on_loopback,
        replies,
        current: RwLock::new(Generation { number: 0, client, route }),
        renewal: tokio::sync::Mutex::default(),
        has_succeeded: AtomicBool::default(),
        described: OnceLock::new(),
    })))
}

/// A new client.
struct Built {
    client: Client,
    route: RouteCapture,
    /// Whether the client's endpoint is a loopback address.
    on_loopback: bool,
}

/// Creates a client with the currently configured credentials.
async fn build(table: &TableRef, replies: Arc<ReplyCheck>) -> Result<Built, TableError> {
    let ServiceConfig { shared, endpoint, region, credentials, on_loopback } =
        ServiceConfig::load(table, Service::DynamoDb).await;
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    // Only the tool's own engine retries. The SDK's retries would hide throttles, and would consume capacity that the
    // tool does not count.
    let mut config = aws_sdk_dynamodb::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .interceptor(SendCheck);
    let route = RouteCapture::default();
    config = config.interceptor(ReplyInterceptor(replies)).interceptor(route.clone());
    // The client must use the same endpoint that determined `on_loopback`.
    config.set_endpoint_url(endpoint);
    if let Some(credentials) = credentials {
        config = config.credentials_provider(credentials);
    }
    let Some(region) = region else {
        return Err(TableError::Fatal { kind: super::super::FatalKind::Endpoint, message: NO_REGION.into() });
    };
    config.set_region(Some(region));
    Ok(Built { client: Client::from_conf(config.build()), route, on_loopback })
}
