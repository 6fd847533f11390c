//! Sends the application's requests over plain HTTP, without signatures. Such requests work with the embedded engine
//! and with other endpoints that do not check signatures.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};

use super::generate::{Operation, OperationKind};
use super::{Application, RequestFailure, TrafficSpec};

/// The maximum time to wait for a reply. A request that gets no reply in this time is counted as failed.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The attribute that pads an item to its size. Updates also set this attribute.
const PAYLOAD: &str = "app_payload";

/// An application that sends its requests to an endpoint.
pub struct HttpApplication {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    table: String,
    partition: String,
    /// The name and the value of the sort key. All items have the same sort key value.
    sort: Option<(String, Json)>,
}

/// The reason why the application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The table could not be described.
    #[error(
        "Cannot describe the application's table {table:?} ({why}). Create it first, or name another table in [traffic]"
    )]
    Table {
        /// The name of the table.
        table: String,
        /// The error in the endpoint's reply, or the reason why no usable reply arrived.
        why: String,
    },
    /// The partition key is not a string.
    #[error(
        "The application's keys are strings that start with \"app#\", but the partition key of {table:?} is not a string. Name another table in [traffic]"
    )]
    Key {
        /// The table's name.
        table: String,
    },
}

/// The name of DynamoDB's error for a missing table.
const NOT_FOUND: &str = "ResourceNotFoundException";

impl TrafficError {
    /// Returns whether the error means that the table does not exist. In this case, somebody may create the table
    /// later.
    pub(super) fn table_is_missing(&self) -> bool {
        matches!(self, TrafficError::Table { why, .. } if why == NOT_FOUND)
    }
}

impl HttpApplication {
    /// Connects to an endpoint such as `http://127.0.0.1:8000`, and reads the table's key schema.
    pub async fn connect(endpoint: &str, table: &str) -> Result<HttpApplication, TrafficError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let mut http = HttpApplication {
            client,
            endpoint: endpoint.to_owned(),
            table: table.to_owned(),
            partition: String::new(),
            sort: None,
        };
        let described = http.call("DescribeTable", &json!({ "TableName": table })).await;
        let described =
            described.map_err(|why| TrafficError::Table { table: table.to_owned(), why: failure_text(&why) })?;
        http.read_key_schema(&described["Table"]).ok_or_else(|| TrafficError::Key { table: table.to_owned() })?;
        Ok(http)
    }

    /// Reads the key schema. Returns `None` if the partition key is not a string.
    fn read_key_schema(&mut self, table: &Json) -> Option<()> {
        let kind_of = |name: &str| {
            let defined = table["AttributeDefinitions"].as_array()?.iter().find(|d| d["AttributeName"] == name)?;
            defined["AttributeType"].as_str()
        };
        for element in table["KeySchema"].as_array()? {
            let name = element["AttributeName"].as_str()?;
            match (element["KeyType"].as_str()?, kind_of(name)?) {
                ("HASH", "S") => name.clone_into(&mut self.partition),
                ("HASH", _) => return None,
                (_, "N") => self.sort = Some((name.to_owned(), json!({ "N": "0" }))),
                (_, "B") => self.sort = Some((name.to_owned(), json!({ "B": "YXBw" }))),
                _ => self.sort = Some((name.to_owned(), json!({ "S": "app" }))),
            }
        }
        (!self.partition.is_empty()).then_some(())
    }

    fn key(&self, operation: &Operation) -> serde_json::Map<String, Json> {
        let partition = (self.partition.clone(), json!({ "S": operation.partition_key() }));
        std::iter::once(partition).chain(self.sort.clone()).collect()
    }

    async fn call(&self, operation: &str, body: &Json) -> Result<Json, RequestFailure> {
        let failed = |why: &str| RequestFailure::Failed(why.to_owned());
        let request = Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("authorization", DUMMY_SIGNATURE)
            .header("x-amz-date", "20260101T000000Z")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|_| failed("invalid endpoint"))?;
        let exchange = async {
            let reply = self.client.request(request).await.map_err(|_| failed("no connection"))?;
            let status = reply.status();
            let body = reply.into_body().collect().await.map_err(|_| failed("incomplete reply"))?.to_bytes();
            let body: Json = serde_json::from_slice(&body).unwrap_or_default();
            if status.is_success() { Ok(body) } else { Err(request_failure(status.as_u16(), &body)) }
        };
        tokio::time::timeout(REPLY_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(failed("no reply in time")))
    }
}

/// A dummy signature. Some engines require the header, but the supported engines do not check its content.
const DUMMY_SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
                        SignedHeaders=host;x-amz-date;x-amz-target, Signature=0";

#[async_trait]
impl Application for HttpApplication {
    async fn send(&self, operation: &Operation) -> Result<(), RequestFailure> {
        let mut key = self.key(operation);
        let table = &self.table;
        let (name, body) = match operation.kind {
            OperationKind::Get => ("GetItem", json!({ "TableName": table, "Key": key })),
            OperationKind::Put => {
                let payload = "x".repeat(TrafficSpec::payload_bytes(operation.item_bytes));
                key.insert(PAYLOAD.to_owned(), json!({ "S": payload }));
                ("PutItem", json!({ "TableName": table, "Item": key }))
            }
            OperationKind::Update => {
                let body = json!({
                    "TableName": table,
                    "Key": key,
                    "UpdateExpression": "SET #p = :p",
                    "ExpressionAttributeNames": { "#p": PAYLOAD },
                    "ExpressionAttributeValues": {
                        ":p": { "S": "x".repeat(TrafficSpec::payload_bytes(operation.item_bytes)) }
                    },
                });
                ("UpdateItem", body)
            }
        };
        self.call(name, &body).await.map(|_| ())
    }
}

fn request_failure(status: u16, body: &Json) -> RequestFailure {
    let name = body["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default();
    if !matches!(name, "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded") {
        return RequestFailure::Failed(if name.is_empty() { format!("HTTP {status}") } else { name.to_owned() });
    }
    let list = body.get("ThrottlingReasons").or_else(|| body.get("throttlingReasons")).and_then(Json::as_array);
    let reason = |entry: &Json| Some(entry["reason"].as_str()?.to_owned());
    RequestFailure::Throttled(list.map(|list| list.iter().filter_map(reason).collect()).unwrap_or_default())
}

fn failure_text(why: &RequestFailure) -> String {
    match why {
        RequestFailure::Throttled(_) => "it is throttled".to_owned(),
        RequestFailure::Failed(why) => why.clone(),
    }
}
