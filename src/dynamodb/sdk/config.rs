//! Chooses the credentials, the region and the endpoint of an AWS service, in the same way for each service.

use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;

use crate::plan::{TableRef, is_loopback};

/// The error if no region is configured.
pub(crate) const NO_REGION: &str =
    "no AWS region is configured in the plan's [table], --region, AWS_REGION or the profile";

/// The AWS services that the tool uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The tables.
    DynamoDb,
    /// Health checks of alarms and metrics.
    CloudWatch,
}

/// Everything that the client of a service needs. A client must use each of these values: the endpoint is the one from
/// which `on_loopback` and the credentials follow.
pub(crate) struct ServiceConfig {
    /// The shared configuration, with the normally configured credentials.
    pub(crate) shared: SdkConfig,
    /// The service's endpoint; `None` means AWS's own.
    pub(crate) endpoint: Option<String>,
    /// The region; `None` if none is configured.
    pub(crate) region: Option<Region>,
    /// The credentials to use instead of the normally configured ones, because the endpoint is a local engine.
    pub(crate) local_credentials: Option<SharedCredentialsProvider>,
    /// Whether the endpoint is a loopback address.
    pub(crate) on_loopback: bool,
}

impl Service {
    fn id(self) -> &'static str {
        match self {
            Service::DynamoDb => "DynamoDB",
            Service::CloudWatch => "CloudWatch",
        }
    }

    /// Returns the environment variable with this service's own endpoint.
    fn endpoint_variable(self) -> &'static str {
        match self {
            Service::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Service::CloudWatch => "AWS_ENDPOINT_URL_CLOUDWATCH",
        }
    }
}

impl ServiceConfig {
    /// Loads the configuration of a service. `table` has the region, the profile and the service's endpoint, if the plan
    /// states them. Sends no request to the service.
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
        ServiceConfig { shared, endpoint, region, local_credentials: credentials, on_loopback }
    }
}

/// The region for a local engine if no region is configured.
const LOCAL_REGION: Region = Region::from_static("us-east-1");

/// Loads the configuration. Settings in `[table]` take precedence over the environment. The environment takes
/// precedence over the profile.
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
            // Without a region, the SDK would query the instance metadata. Such a query takes seconds on a machine that
            // has no metadata service.
            loader = loader.region(LOCAL_REGION);
        }
    }
    loader.load().await
}

/// Returns the endpoint that is configured for a service, or `None` if none is configured. The endpoint may come from the
/// plan, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL`, the profile's `services` section or the profile's
/// `endpoint_url`. The SDK itself chooses among these settings or ignores them, exactly as it does when it builds a
/// client.
fn endpoint(shared: &SdkConfig, service: Service) -> Option<String> {
    let general_endpoint = shared.endpoint_url().map(str::to_owned);
    if shared.get_origin("endpoint_url").is_client_config() {
        return general_endpoint;
    }
    let key =
        ServiceConfigKey::builder().service_id(service.id()).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let own_endpoint = key.ok().and_then(|key| shared.service_config()?.load_config(key));
    own_endpoint.or(general_endpoint)
}

/// Returns the credentials for a local engine: made-up ones, or those from a profile. Returns `None` if the client
/// should use the normally configured credentials. Call this function only if the plan names no profile.
///
/// Credentials from the environment are always used. Credentials from a profile are used only if the profile's endpoint
/// is the local engine, because other profiles' credentials are for AWS.
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
