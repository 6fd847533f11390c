//! Helpers for the integration tests: a server behind a proxy that counts requests, a client, and the real binary.
//!
//! The server is the embedded engine, or the server whose address is in `BACKFILL_TEST_ENDPOINT`.

pub mod capabilities;
pub(crate) mod plan_schema;
pub mod tool;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection as SdkProjection, ProjectionType, PutRequest, ScalarAttributeType, TableStatus,
    WriteRequest,
};
use backfill::internals::item::{IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Num, Projection, Value};
use backfill::internals::local::{Local, LocalOptions, Proxy, ProxyOptions, RequestInfo};
use backfill::internals::plan::load;
use tempfile::TempDir;

/// The environment variable that contains the endpoint of the server under test. Credentials and region also come from
/// the environment, because some servers keep separate tables for each access key and region.
const ENDPOINT: &str = "BACKFILL_TEST_ENDPOINT";

/// The environment variable that contains the value of `dynamodb` in `[client]`. Every plan of [`Harness::plan`] and every
/// [`Table`] uses this client. `lean` runs a suite on the lean client.
const CLIENT: &str = "BACKFILL_TEST_CLIENT";

/// The environment variable that contains the value of `transport` in `[write]`. Every plan of [`Harness::plan`] that may
/// have this transport uses it. `batch` runs a suite with batches of statements.
const TRANSPORT: &str = "BACKFILL_TEST_TRANSPORT";

/// The operations that a run without writes sends, in alphabetical order.
pub const READ_ONLY_OPERATIONS: [&str; 4] =
    ["DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive", "Scan"];

/// A server, a proxy in front of the server, and a directory for plans and state files. The proxy counts requests and
/// injects faults.
pub struct Harness {
    local: Option<Local>,
    proxy: Option<Proxy>,
    client: Client,
    dir: TempDir,
}

impl Harness {
    /// Starts the embedded engine in memory, or uses the server whose address is in `BACKFILL_TEST_ENDPOINT`.
    pub fn start() -> Harness {
        match std::env::var(ENDPOINT) {
            Ok(upstream) => {
                let proxy = Proxy::start(ProxyOptions { upstream, ..ProxyOptions::default() }).unwrap();
                Harness::new(None, Some(proxy))
            }
            Err(_) => Harness::embedded(),
        }
    }

    /// Starts the embedded engine in memory, regardless of the environment.
    pub fn embedded() -> Harness {
        Harness::new(Some(Local::start(LocalOptions { proxy: true, ..LocalOptions::default() }).unwrap()), None)
    }

    fn new(local: Option<Local>, proxy: Option<Proxy>) -> Harness {
        let layer = proxy.as_ref().or_else(|| local.as_ref().and_then(Local::proxy)).unwrap();
        let client = client(&layer.endpoint());
        Harness { client, local, proxy, dir: tempfile::tempdir().unwrap() }
    }

    /// Returns the proxy in front of the server. The proxy counts requests and injects faults.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().or_else(|| self.local.as_ref().and_then(Local::proxy)).unwrap()
    }

    /// Returns the embedded engine, or `None` if the tests run on another server.
    pub fn local(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// Returns the server's own address. Requests to this address bypass the proxy, so the proxy cannot inject faults
    /// into them.
    pub fn server_endpoint(&self) -> String {
        self.local.as_ref().map_or_else(|| std::env::var(ENDPOINT).unwrap(), |local| local.engine().endpoint())
    }

    /// Returns `embedded` on the embedded engine, and `elsewhere` on any other server. Tests use this method to choose
    /// a number of items, because some servers are a hundred times slower.
    pub fn size_for_server<T>(&self, embedded: T, elsewhere: T) -> T {
        if self.local.is_some() { embedded } else { elsewhere }
    }

    /// Waits until a new table is active. In the embedded engine, tables are active immediately.
    pub async fn wait_until_active(&self, table: &str) {
        if self.local.is_some() {
            return;
        }
        let server = client(&self.server_endpoint());
        for _ in 0..600 {
            let described = server.describe_table().table_name(table).send().await;
            let status = described.ok().and_then(|reply| reply.table?.table_status);
            if status == Some(TableStatus::Active) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{table} does not become active");
    }

    /// Returns the endpoint to which the tool and the tests send their requests.
    pub fn endpoint(&self) -> String {
        self.proxy().endpoint()
    }

    /// Returns a client that sends its requests through the proxy and does not retry them.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the test's own directory for plans and state files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Creates an on-demand table with the string keys `pk` and `sk`, and returns its unique name.
    pub async fn create_table(&self) -> String {
        self.create_indexed_table(&[]).await
    }

    /// Creates a table for a flag. The table's key is a single string `id`.
    pub async fn create_flag_table(&self) -> String {
        self.create_table_with_key("id").await
    }

    /// Creates a table whose key is a single string with this name.
    pub async fn create_table_with_key(&self, key: &str) -> String {
        let name = format!("flags_{}_{}", std::process::id(), fastrand::u32(..));
        let id = KeyAttribute { name: key.into(), kind: "S".into() };
        let element = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
        self.client
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(element.build().unwrap())
            .attribute_definitions(definition(&id))
            .send()
            .await
            .unwrap();
        self.wait_until_active(&name).await;
        name
    }

    /// Creates a table like [`Harness::create_table`], but with these indexes.
    pub async fn create_indexed_table(&self, indexes: &[IndexSchema]) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let key = key_schema();
        let table_key = [Some(key.partition), key.sort].into_iter().flatten().collect::<Vec<_>>();
        let attributes: BTreeMap<&str, &KeyAttribute> =
            table_key.iter().chain(indexes.iter().flat_map(|i| &i.key)).map(|a| (a.name.as_str(), a)).collect();
        let global: Vec<_> = indexes.iter().filter(|i| !i.local).map(global_index).collect();
        let local: Vec<_> = indexes.iter().filter(|i| i.local).map(local_index).collect();
        self.client
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_elements(&table_key)))
            .set_attribute_definitions(Some(attributes.into_values().map(definition).collect()))
            .set_global_secondary_indexes(Some(global).filter(|list| !list.is_empty()))
            .set_local_secondary_indexes(Some(local).filter(|list| !list.is_empty()))
            .send()
            .await
            .unwrap();
        self.wait_until_active(&name).await;
        name
    }

    /// Puts items into a table. Uses the loader of the embedded engine, or batches on any other server.
    pub async fn load(&self, table: &str, items: impl Iterator<Item = Item>) -> u64 {
        if let Some(local) = &self.local {
            let items: Vec<Item> = items.collect();
            return tokio::task::block_in_place(|| local.engine().load(table, items)).unwrap();
        }
        let mut loaded = 0;
        let mut items = items.peekable();
        while items.peek().is_some() {
            let batch: Vec<WriteRequest> = items
                .by_ref()
                .take(25)
                .map(|item| {
                    let put = PutRequest::builder().set_item(Some(to_sdk(&item))).build().unwrap();
                    WriteRequest::builder().put_request(put).build()
                })
                .collect();
            loaded += batch.len() as u64;
            let mut left = Some(HashMap::from([(table.to_owned(), batch)]));
            while let Some(batch) = left.filter(|l| !l.is_empty()) {
                let reply = self.client.batch_write_item().set_request_items(Some(batch)).send().await.unwrap();
                left = reply.unprocessed_items;
            }
        }
        loaded
    }

    /// Returns every item of a table. The map's keys are the texts of the item keys.
    pub async fn dump(&self, table: &str) -> BTreeMap<String, Item> {
        dump(&self.client, table).await
    }

    /// Writes a plan and returns its path. The plan contains a `[migration]` section that starts with `migration`, a
    /// `[table]` section with this table and the proxy's endpoint, and then `rest`. If the plan is valid, the JSON
    /// Schema for plans must accept it.
    pub fn plan(&self, name: &str, table: &str, migration: &str, rest: &str) -> PathBuf {
        let path = self.dir().join(format!("{name}.toml"));
        let text = format!(
            "[migration]\nname = \"{name}\"\n{migration}\n[table]\nname = \"{table}\"\nendpoint_url = \"{}\"\n{rest}{}",
            self.endpoint(),
            std::env::var(CLIENT)
                .map_or_else(|_| String::new(), |client| format!("\n[client]\ndynamodb = \"{client}\"\n"))
        );
        let text = match std::env::var(TRANSPORT) {
            Ok(transport) => with_transport(name, text, &transport),
            Err(_) => text,
        };
        if load(name, &text).is_ok() {
            assert_eq!(plan_schema::schema_errors(&text.parse().unwrap()), [""; 0], "{text}");
        }
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Replaces the endpoint in a plan with an address that does not look like loopback, so that the tool does not
    /// treat the server as a local engine. Adds the region and the credentials that such a plan needs.
    pub fn use_remote_endpoint(&self, plan: &Path) {
        let text = std::fs::read_to_string(plan).unwrap();
        let url = self.endpoint();
        let named = format!("endpoint_url = \"{url}\"");
        assert!(text.contains(&named), "{text}");
        let other = format!("endpoint_url = \"{}\"\nregion = \"us-east-1\"", url.replace("127.0.0.1", "0.0.0.0"));
        std::fs::write(plan, text.replace(&named, &other)).unwrap();
        let keys = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = S3CRET\n";
        std::fs::create_dir_all(self.dir().join(".aws")).unwrap();
        std::fs::write(self.dir().join(".aws/credentials"), keys).unwrap();
    }

    /// Returns a command that runs the real binary in the test's directory, with a clean environment.
    pub fn command(&self) -> Command {
        Harness::binary(self.dir())
    }

    /// Returns a command that runs the real binary in this directory.
    pub fn binary(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
        command.current_dir(dir).env_clear().env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", dir);
        let mut names = vec!["PATH", "LLVM_PROFILE_FILE"];
        if std::env::var_os(ENDPOINT).is_some() {
            names.extend(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]);
        }
        for name in names {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }
}

/// Returns whether the plans of this suite send writes in batches.
pub fn in_batches() -> bool {
    std::env::var(TRANSPORT).is_ok_and(|transport| transport != "update")
}

/// Returns the `pk` of each item that a request of the tool updates: of one item for an `UpdateItem`, and of one item for
/// each statement of a batch.
pub fn updated_items(request: &RequestInfo) -> Vec<String> {
    let body = request.body();
    let text = |value: &serde_json::Value| value["S"].as_str().map(str::to_owned);
    match request.operation.as_str() {
        "UpdateItem" if body.get("ConditionExpression").is_some() => text(&body["Key"]["pk"]).into_iter().collect(),
        "BatchExecuteStatement" => {
            let pk = |statement: &serde_json::Value| {
                let (before, _) = statement["Statement"].as_str()?.split_once(" WHERE \"pk\" = ?")?;
                text(&statement["Parameters"][before.matches('?').count()])
            };
            body["Statements"].as_array().into_iter().flatten().filter_map(pk).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds the transport to a plan. A plan that cannot have this transport stays as it is.
fn with_transport(name: &str, text: String, transport: &str) -> String {
    let with = format!("{text}\n[write]\ntransport = \"{transport}\"\n");
    if load(name, &with).is_ok() { with } else { text }
}

/// Returns every item of a table. The map's keys are the texts of the item keys.
pub async fn dump(client: &Client, table: &str) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    let mut start = None;
    loop {
        let page = client.scan().table_name(table).limit(1000).consistent_read(true).set_exclusive_start_key(start);
        let page = page.send().await.unwrap();
        for item in page.items.unwrap_or_default() {
            let item = from_sdk(item);
            items.insert(key_of(&item).to_text(), item);
        }
        start = page.last_evaluated_key.filter(|k| !k.is_empty());
        if start.is_none() {
            return items;
        }
    }
}

/// Returns a client without retries. The client uses the same credentials and region as the tool in
/// [`Harness::command`].
pub fn client(endpoint: &str) -> Client {
    let external = std::env::var_os(ENDPOINT).is_some();
    let setting = |name: &str, otherwise: &str| {
        std::env::var(name).ok().filter(|_| external).unwrap_or_else(|| otherwise.to_owned())
    };
    let id = setting("AWS_ACCESS_KEY_ID", "local");
    let secret = setting("AWS_SECRET_ACCESS_KEY", "local");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(setting("AWS_REGION", "us-east-1")))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(30)).build())
        .build();
    Client::from_conf(config)
}

/// Returns the key schema of every test table.
pub fn key_schema() -> KeySchema {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) }
}

/// Returns an index with these key attributes (name and type).
pub fn index(name: &str, key: &[(&str, &str)], projection: Projection, local: bool) -> IndexSchema {
    let attribute = |(name, kind): &(&str, &str)| KeyAttribute { name: (*name).into(), kind: (*kind).into() };
    IndexSchema { name: name.into(), key: key.iter().map(attribute).collect(), partition: 1, projection, local }
}

/// Returns a global index for `CreateTable`.
pub fn global_index(index: &IndexSchema) -> GlobalSecondaryIndex {
    let built = GlobalSecondaryIndex::builder().index_name(&index.name);
    built.set_key_schema(Some(key_elements(&index.key))).projection(projection(index)).build().unwrap()
}

fn local_index(index: &IndexSchema) -> LocalSecondaryIndex {
    let built = LocalSecondaryIndex::builder().index_name(&index.name);
    built.set_key_schema(Some(key_elements(&index.key))).projection(projection(index)).build().unwrap()
}

/// Returns the elements of a key: a partition key and, if `key` has a second attribute, a sort key.
pub fn key_elements(key: &[KeyAttribute]) -> Vec<KeySchemaElement> {
    let kinds = [KeyType::Hash, KeyType::Range];
    let element = |(attribute, kind): (&KeyAttribute, _)| {
        KeySchemaElement::builder().attribute_name(&attribute.name).key_type(kind).build().unwrap()
    };
    key.iter().zip(kinds).map(element).collect()
}

/// Returns a key attribute for `CreateTable`.
pub fn definition(attribute: &KeyAttribute) -> AttributeDefinition {
    let kind = ScalarAttributeType::from(attribute.kind.as_str());
    AttributeDefinition::builder().attribute_name(&attribute.name).attribute_type(kind).build().unwrap()
}

/// Returns an index's projection for `CreateTable`.
pub fn projection(index: &IndexSchema) -> SdkProjection {
    let projection = SdkProjection::builder();
    match &index.projection {
        Projection::All => projection.projection_type(ProjectionType::All),
        Projection::KeysOnly => projection.projection_type(ProjectionType::KeysOnly),
        Projection::Include(names) => {
            projection.projection_type(ProjectionType::Include).set_non_key_attributes(Some(names.clone()))
        }
    }
    .build()
}

/// Returns an item's key.
pub fn key_of(item: &Item) -> ItemKey {
    key_schema().key_of(item).unwrap()
}

/// Converts an item to the SDK's type.
pub fn to_sdk(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()
}

/// Converts an item from the SDK's type.
pub fn from_sdk(item: HashMap<String, AttributeValue>) -> Item {
    item.into_iter().map(|(name, value)| (name, value_from_sdk(value))).collect()
}

/// Converts a value to the SDK's type.
pub fn value_to_sdk(value: &Value) -> AttributeValue {
    match value {
        Value::S(s) => AttributeValue::S(s.clone()),
        Value::N(n) => AttributeValue::N(n.as_str().to_owned()),
        Value::B(b) => AttributeValue::B(Blob::new(b.clone())),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Null => AttributeValue::Null(true),
        Value::Ss(set) => AttributeValue::Ss(set.clone()),
        Value::Ns(set) => AttributeValue::Ns(set.iter().map(|n| n.as_str().to_owned()).collect()),
        Value::Bs(set) => AttributeValue::Bs(set.iter().map(|b| Blob::new(b.clone())).collect()),
        Value::L(list) => AttributeValue::L(list.iter().map(value_to_sdk).collect()),
        Value::M(map) => AttributeValue::M(to_sdk(map)),
    }
}

/// Converts a value from the SDK's type.
pub fn value_from_sdk(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(s) => Value::S(s),
        AttributeValue::N(n) => Value::N(Num::from_wire(n)),
        AttributeValue::B(b) => Value::B(b.into_inner()),
        AttributeValue::Bool(b) => Value::Bool(b),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Ss(set) => Value::Ss(set),
        AttributeValue::Ns(set) => Value::Ns(set.into_iter().map(Num::from_wire).collect()),
        AttributeValue::Bs(set) => Value::Bs(set.into_iter().map(Blob::into_inner).collect()),
        AttributeValue::L(list) => Value::L(list.into_iter().map(value_from_sdk).collect()),
        AttributeValue::M(map) => Value::M(from_sdk(map)),
        other => panic!("a type that no test knows: {other:?}"),
    }
}

/// Returns an item as text that shows every byte. Tests compare such texts to distinguish two spellings of the same
/// number.
pub fn bytes_of(item: &Item) -> String {
    backfill::internals::item::item_to_json(item).to_string()
}
