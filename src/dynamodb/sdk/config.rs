//! Chooses the credentials, the region and the endpoint for a client of an AWS service. The rules are the same for all
//! services.

use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;

use crate::plan::{AssumedRole, TableRef, is_loopback};

/// The error if no region is configured.
pub(crate) const NO_REGION: &str =
    "no AWS region is configured in the plan's [table], --region, AWS_REGION or the profile";

/// The AWS services that the tool uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The tables.
    DynamoDb,
    /// The service that health checks query for alarms and metrics.
    CloudWatch,
    /// The service that issues credentials for a role.
    Sts,
}

/// The settings for the client of a service. A client must use all of these settings, because `on_loopback` and the
/// credentials depend on the endpoint.
pub(crate) struct ServiceConfig {
    /// The shared configuration, with the normally configured credentials.
    pub(crate) shared: SdkConfig,
    /// The service's endpoint. `None` means AWS's own endpoint.
    pub(crate) endpoint: Option<String>,
    /// The region. `None` if no region is configured.
    pub(crate) region: Option<Region>,
    /// The credentials that replace the normally configured credentials. Present if the plan names a role, or if the
    /// endpoint is a local engine that needs dummy credentials.
    pub(crate) credentials: Option<SharedCredentialsProvider>,
    /// Whether the endpoint is a loopback address.
    pub(crate) on_loopback: bool,
}

impl Service {
    fn id(self) -> &'static str {
        match self {
            Service::DynamoDb => "DynamoDB",
            Service::CloudWatch => "CloudWatch",
            Service::Sts => "STS",
        }
    }

    /// Returns the name of the environment variable for this service's own endpoint.
    fn endpoint_variable(self) -> &'static str {
        match self {
            Service::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Service::CloudWatch => "AWS_ENDPOINT_URL_CLOUDWATCH",
            Service::Sts => "AWS_ENDPOINT_URL_STS",
        }
    }
}

impl ServiceConfig {
    /// Loads the configuration of a service. `table` contains the region, the profile, the role and the service's
    /// endpoint, if the plan states them. Sends no request. The client assumes the role when it sends its first
    /// request.
    pub(crate) async fn load(table: &TableRef, service: Service) -> ServiceConfig {
        let shared = load(table).await;
        let endpoint = endpoint(&shared, service);
        let on_loopback = endpoint.as_deref().is_some_and(is_loopback);
        let mut region = shared.region().cloned();
        let mut credentials = None;
        if on_loopback && table.profile.is_none() {
            credentials = local_credentials(table, service, endpoint.as_deref());
            region = region.or(Some(LOCAL_REGION));
        }
        if let (Some(role), Some(region)) = (&table.role, &region) {
            let base = credentials.clone();
            credentials = assume(role, table, region.clone(), base, on_loopback).await.or(credentials);
        }
        ServiceConfig { shared, endpoint, region, credentials, on_loopback }
    }
}

/// Returns credentials of a role. The SDK obtains them from STS and renews them before they expire. `base` replaces the
/// normally configured credentials in the requests to STS. A command against a local engine must not call AWS. So if
/// the service is on loopback, returns `None`, unless the configuration also names a loopback endpoint for STS.
async fn assume(
    role: &AssumedRole,
    table: &TableRef,
    region: Region,
    base: Option<SharedCredentialsProvider>,
    on_loopback: bool,
) -> Option<SharedCredentialsProvider> {
    // The endpoint in [table] belongs to a different service, so this configuration omits it.
    let shared = loader(table).region(region).load().await;
    if on_loopback && !own_endpoint(&shared, Service::Sts).as_deref().is_some_and(is_loopback) {
        tracing::info!("the role {} is not assumed, because the endpoint is on loopback", role.arn);
        return None;
    }
    let mut builder = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(&shared);
    if let Some(external_id) = &role.external_id {
        builder = builder.external_id(external_id);
    }
    let provider = match base {
        Some(base) => builder.build_from_provider(base).await,
        None => builder.build().await,
    };
    Some(SharedCredentialsProvider::new(provider))
}

/// The region for a local engine if no region is configured.
const LOCAL_REGION: Region = Region::from_static("us-east-1");

/// Prepares the configuration without the endpoint. Settings in `[table]` take precedence over the environment, and the
/// environment takes precedence over the profile.
fn loader(table: &TableRef) -> ConfigLoader {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(region) = &table.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &table.profile {
        loader = loader.profile_name(profile);
    }
    loader
}

/// Loads the configuration, with the endpoint in `[table]`.
async fn load(table: &TableRef) -> SdkConfig {
    let mut loader = loader(table);
    if let Some(url) = &table.endpoint_url {
        loader = loader.endpoint_url(url);
        let stated = table.region.is_some() || std::env::var_os("AWS_REGION").is_some();
        if is_loopback(url) && table.profile.is_none() && !stated {
            // Without a region, the SDK would query the instance metadata. Such a query takes seconds on a machine that
            // has no metadata service.
            loader = loader.region(LOCAL_REGION);
        }
    }
    loader.load().await
}

/// Returns the endpoint that is configured for a service, or `None` if no endpoint is configured. The endpoint can come
/// from the plan, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL`, the profile's `services` section or the profile's
/// `endpoint_url`. The SDK chooses among these settings, in the same way as when it builds a client.
fn endpoint(shared: &SdkConfig, service: Service) -> Option<String> {
    let general_endpoint = shared.endpoint_url().map(str::to_owned);
    if shared.get_origin("endpoint_url").is_client_config() {
        return general_endpoint;
    }
    own_endpoint(shared, service).or(general_endpoint)
}

/// Returns the endpoint that `AWS_ENDPOINT_URL_<SERVICE>` or the profile's `services` section sets for this service.
fn own_endpoint(shared: &SdkConfig, service: Service) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id(service.id()).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    key.ok().and_then(|key| shared.service_config()?.load_config(key))
}

/// Returns the credentials for a local engine, which are either dummy credentials or credentials from a profile.
/// Returns `None` if the client should use the normally configured credentials. Call this function only if the plan
/// names no profile.
///
/// Credentials from the environment are always used. Credentials from a profile are used only if the profile's endpoint
/// is the local engine, because the credentials of other profiles are for AWS.
fn local_credentials(table: &TableRef, service: Service, endpoint: Option<&str>) -> Option<SharedCredentialsProvider> {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    let dummy_credentials = Credentials::new("local", "local", None, None, "loopback endpoint");
    let is_set_by_environment = || {
        let named = |name| std::env::var(name).is_ok_and(|url| Some(url.as_str()) == endpoint);
        named(service.endpoint_variable()) || named("AWS_ENDPOINT_URL")
    };
    if table.endpoint_url.is_some() || is_set_by_environment() {
        return Some(SharedCredentialsProvider::new(dummy_credentials));
    }
    let profile = ProfileFileCredentialsProvider::builder().build();
    let chain = CredentialsProviderChain::first_try("profile", profile).or_else("made up", dummy_credentials);
    Some(SharedCredentialsProvider::new(chain))
}
