//! Builds the client: credentials, region, endpoint, timeouts.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider, SharedInterceptor};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_types::service_config::ServiceConfigKey;
use tokio::time::Instant;

use super::classify::{Call, asks_for_other_credentials, classify};
use super::describe::describe;
use super::reply::ReplyCheck;
use super::sent::SentCheck;
use crate::dynamodb::patience::ask;
use crate::dynamodb::{TableDescription, TableError};
use crate::machine::Random;
use crate::plan::{TableRef, is_loopback};

/// A connection to DynamoDB: one pool of connections that everything in a process shares.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: TableRef,
    on_loopback: bool,
    /// Shared by all clients, so that what it has learnt about the endpoint survives a renewal.
    replies: SharedInterceptor,
    current: RwLock<Generation>,
    renewal: tokio::sync::Mutex<Option<Unrenewed>>,
    /// Whether DynamoDB has answered. If so, the credentials were valid once.
    was_answered: AtomicBool,
    /// The first table that was described. These requests reach it.
    described: OnceLock<Described>,
}

/// A table as its description identified it.
#[derive(Debug)]
struct Described {
    name: String,
    arn: String,
    id: Option<String>,
}

/// A failed attempt to renew the credentials.
#[derive(Debug, Clone, Copy)]
struct Unrenewed {
    /// The generation whose credentials were refused.
    generation: u64,
    ended: Instant,
}

/// A client, and the number of clients before it.
#[derive(Debug, Clone)]
struct Generation {
    number: u64,
    client: Client,
}

impl Connection {
    /// Whether requests go to loopback, that is, to a local engine. The endpoint that the client uses decides, wherever
    /// it was configured.
    pub fn is_on_loopback(&self) -> bool {
        self.0.on_loopback
    }

    /// Sends a request. If its credentials were valid before and are now refused, they are reloaded and the request is
    /// sent once more: somebody may have renewed them while the tool worked. A refused request was not applied and
    /// consumed nothing.
    pub(super) async fn send<T, E, F>(&self, request: impl Fn(Client) -> F) -> Result<T, SdkError<E>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let Generation { number, client } = self.current();
        let sent = request(client).await;
        match &sent {
            Ok(_) => self.0.was_answered.store(true, Ordering::Relaxed),
            Err(error) if asks_for_other_credentials(error) && self.renew(number).await => {
                // Boxed, because this is rare and would enlarge every caller's future.
                return Box::pin(request(self.current().client)).await;
            }
            Err(_) => {}
        }
        sent
    }

    fn current(&self) -> Generation {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads the credentials as at the start, unless another request has done so since this generation. Returns
    /// whether there is a newer one. A failed attempt counts for all requests that were refused at the same time;
    /// otherwise each of them would try, one after the other.
    async fn renew(&self, refused: u64) -> bool {
        if !self.0.was_answered.load(Ordering::Relaxed) {
            return false;
        }
        let mut unrenewed = self.0.renewal.lock().await;
        if self.current().number > refused {
            return true;
        }
        if unrenewed.is_some_and(|last| last.generation == refused && last.ended.elapsed() < UNRENEWED_FOR) {
            return false;
        }
        let renewed = self.load_anew().await;
        *unrenewed = (!renewed).then(|| Unrenewed { generation: refused, ended: Instant::now() });
        renewed
    }

    /// Whether the current credentials reach the same table. If so, they are used from now on.
    async fn load_anew(&self) -> bool {
        let built = Box::pin(build(&self.0.table, self.0.replies.clone())).await;
        let Ok((client, _)) = built else { return false };
        if !Box::pin(self.reaches_the_same_table(&client)).await {
            return false;
        }
        tracing::info!("the credentials were refused: they were reloaded, and the request is sent once more");
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Generation { number: current.number + 1, client };
        true
    }

    /// Remembers the description of the table with this name for [`Connection::send`], because renewed credentials have
    /// to reach the same table. The first description counts; another connection of the same `[table]` may have read
    /// it.
    pub fn was_described(&self, name: &str, table: &TableDescription) {
        let described = || Described { name: name.to_owned(), arn: table.arn.clone(), id: table.id.clone() };
        self.0.described.get_or_init(described);
    }

    /// Whether this client reaches the table that was described. Other credentials may belong to another account or
    /// lead to another region, where a table of the same name is a different one. If no table was described yet, no
    /// other credentials are accepted.
    async fn reaches_the_same_table(&self, client: &Client) -> bool {
        let Some(Described { name, arn, id }) = self.0.described.get() else {
            tracing::error!(
                "the renewed credentials are not used: it is unknown whether they belong to the same account"
            );
            return false;
        };
        let random = Random::of_system();
        let described = ask(RENEWAL_PATIENCE, &random, || async {
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

/// For this long, no other attempt is made to renew the same credentials. This is longer than it takes until all
/// requests in flight are refused.
const UNRENEWED_FOR: Duration = Duration::from_secs(5);

/// Describing the table with renewed credentials is retried for this long. After that they count as refused too.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(5);

/// One attempt of a request may take this long. A longer write is ambiguous, but its condition makes it safe to send
/// again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opening a connection may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Builds the client that `[table]` describes. Nothing is sent yet.
///
/// An endpoint on loopback is a local engine. It gets made-up credentials unless some are configured for it
/// (`local_credentials`). So nobody needs an AWS account to try the tool, and no real credentials are sent to it by
/// accident.
pub async fn connect(table: &TableRef) -> Result<Connection, TableError> {
    let replies = SharedInterceptor::new(ReplyCheck::default());
    let (client, on_loopback) = Box::pin(build(table, replies.clone())).await?;
    Ok(Connection(Arc::new(Inner {
        table: table.clone(),
        on_loopback,
        replies,
        current: RwLock::new(Generation { number: 0, client }),
        renewal: tokio::sync::Mutex::default(),
        was_answered: AtomicBool::default(),
        described: OnceLock::new(),
    })))
}

/// A client with the currently configured credentials, and whether it connects to loopback.
async fn build(table: &TableRef, replies: SharedInterceptor) -> Result<(Client, bool), TableError> {
    let shared = load(table).await;
    let endpoint = endpoint(&shared);
    let on_loopback = endpoint.as_deref().is_some_and(is_loopback);
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    // Only the engine retries: the SDK's own retries would hide throttles and spend capacity unseen.
    let mut config = aws_sdk_dynamodb::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .interceptor(SentCheck);
    config.push_interceptor(replies);
    // The client must use the same endpoint that `on_loopback` was decided by.
    config.set_endpoint_url(endpoint.clone());
    let mut region = shared.region().cloned();
    if on_loopback && table.profile.is_none() {
        if let Some(credentials) = local_credentials(table, endpoint.as_deref()) {
            config = config.credentials_provider(credentials);
        }
        region = region.or(Some(LOCAL_REGION));
    }
    if region.is_none() {
        return Err(TableError::Fatal {
            kind: super::super::FatalKind::Endpoint,
            message:
                "no AWS region is configured: not in the plan's [table], by --region, in AWS_REGION or in the profile"
                    .into(),
        });
    }
    config.set_region(region);
    Ok((Client::from_conf(config.build()), on_loopback))
}

/// The region of a local engine, if none is configured.
const LOCAL_REGION: Region = Region::from_static("us-east-1");

/// The configuration: from `[table]`, otherwise from the environment, otherwise from the profile.
async fn load(table: &TableRef) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(region) = &table.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &table.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &table.endpoint_url {
        loader = loader.endpoint_url(url);
        let stated = table.region.is_some() || std::env::var_os("AWS_REGION").is_some();
        if is_loopback(url) && table.profile.is_none() && !stated {
            // Otherwise the SDK would query the instance's metadata, which takes seconds on a machine without any.
            loader = loader.region(LOCAL_REGION);
        }
    }
    loader.load().await
}

/// The endpoint that is configured for DynamoDB, if any: stated, or from `AWS_ENDPOINT_URL_DYNAMODB`,
/// `AWS_ENDPOINT_URL`, the profile's `services` section or its `endpoint_url`. The SDK decides which one counts, as it
/// does for a client. It also knows when to ignore configured endpoints.
fn endpoint(shared: &SdkConfig) -> Option<String> {
    let for_all = shared.endpoint_url().map(str::to_owned);
    if shared.get_origin("endpoint_url").is_client_config() {
        return for_all;
    }
    let key =
        ServiceConfigKey::builder().service_id("DynamoDB").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let for_dynamodb = key.ok().and_then(|key| shared.service_config()?.load_config(key));
    for_dynamodb.or(for_all)
}

/// Credentials for a local engine. `None` uses the configured ones.
///
/// Credentials from the environment are used unchanged. A profile that names the engine may have credentials for it;
/// those of any other profile are for AWS.
fn local_credentials(table: &TableRef, endpoint: Option<&str>) -> Option<SharedCredentialsProvider> {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    let made_up = Credentials::new("local", "local", None, None, "loopback endpoint");
    let by_environment = || {
        let named = |name| std::env::var(name).is_ok_and(|url| Some(url.as_str()) == endpoint);
        named("AWS_ENDPOINT_URL_DYNAMODB") || named("AWS_ENDPOINT_URL")
    };
    if table.endpoint_url.is_some() || by_environment() {
        return Some(SharedCredentialsProvider::new(made_up));
    }
    let profile = ProfileFileCredentialsProvider::builder().build();
    let chain = CredentialsProviderChain::first_try("profile", profile).or_else("made up", made_up);
    Some(SharedCredentialsProvider::new(chain))
}
