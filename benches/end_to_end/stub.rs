//! A server that answers DynamoDB's requests at once, or after a delay. Its table is generated: replies are composed of
//! prepared bytes, and writes change nothing. So the server needs little CPU time.
//!
//! It runs in a process of its own, with one thread. It supports only the requests of the benchmark's programs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::item::{PREFIX, Shape};

/// The table's name.
pub(crate) const TABLE: &str = "shop";

/// The target of the request that returns the counters and sets them to zero.
pub(crate) const COUNTERS: &str = "Stub.Counters";

/// The maximum size of a page in bytes, as in DynamoDB.
const PAGE_BYTES: usize = 1 << 20;

/// What the stub serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) items: u64,
    pub(crate) shape: Shape,
    /// The time between a request and its reply.
    pub(crate) delay: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    scans: AtomicU64,
    scanned: AtomicU64,
    gets: AtomicU64,
    updates: AtomicU64,
    batches: AtomicU64,
    statements: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    most_open: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    /// The number of writes in each second since the first write.
    seconds: Mutex<(Option<Instant>, Vec<u64>)>,
}

impl Counters {
    fn wrote(&self, writes: u64) {
        let mut seconds = self.seconds.lock().unwrap();
        let second = seconds.0.get_or_insert_with(Instant::now).elapsed().as_secs() as usize;
        if seconds.1.len() <= second {
            seconds.1.resize(second + 1, 0);
        }
        seconds.1[second] += writes;
    }

    /// Returns the counters as JSON, and sets them to zero.
    fn take(&self) -> Vec<u8> {
        let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
        let seconds = std::mem::take(&mut *self.seconds.lock().unwrap()).1;
        json!({
            "scans": take(&self.scans), "scanned": take(&self.scanned), "gets": take(&self.gets),
            "updates": take(&self.updates), "batches": take(&self.batches), "statements": take(&self.statements),
            "connections": take(&self.connections), "most_open": take(&self.most_open),
            "most_in_flight": take(&self.most_in_flight), "writes_by_second": seconds,
        })
        .to_string()
        .into_bytes()
    }
}

/// Serves the table on a free port of 127.0.0.1 until the process ends. Prints the port.
#[expect(clippy::print_stdout, reason = "the benchmark reads the port")]
pub(crate) fn serve(table: Table) {
    // The server lives as long as the process, so leaking its parts is harmless.
    let counters: &'static Counters = Box::leak(Box::default());
    let table: &'static Table = Box::leak(Box::new(table));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            counters.connections.fetch_add(1, Relaxed);
            let open = counters.open.fetch_add(1, Relaxed) + 1;
            counters.most_open.fetch_max(open, Relaxed);
            tokio::spawn(async move {
                // Ignore the error of a failed connection. The client reports it.
                let _ = answer_requests(socket, table, counters).await;
                counters.open.fetch_sub(1, Relaxed);
            });
        }
    });
}

/// Answers the requests of one connection, one after the other.
async fn answer_requests(mut socket: TcpStream, table: &Table, counters: &Counters) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut received = Vec::with_capacity(1 << 14);
    let (mut body, mut reply) = (Vec::new(), Vec::new());
    loop {
        let request = loop {
            if let Some(request) = Request::parse(&received) {
                break request;
            }
            if socket.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let Request { target, head, end } = request;
        let is_counted = target != COUNTERS;
        if is_counted {
            let now = counters.in_flight.fetch_add(1, Relaxed) + 1;
            counters.most_in_flight.fetch_max(now, Relaxed);
            if !table.delay.is_zero() {
                tokio::time::sleep(table.delay).await;
            }
        }
        body.clear();
        let status = match table.answer(&target, &received[head..end], counters, &mut body) {
            true => "200 OK",
            false => "400 Bad Request",
        };
        reply.clear();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\
             Connection: keep-alive\r\nx-amzn-RequestId: 1M0OQ1S8N3T5J7K9\r\n\r\n",
            body.len()
        );
        reply.extend_from_slice(head.as_bytes());
        reply.extend_from_slice(&body);
        if is_counted {
            counters.in_flight.fetch_sub(1, Relaxed);
        }
        received.drain(..end);
        socket.write_all(&reply).await?;
    }
}

/// A complete request at the start of the received bytes.
struct Request {
    /// The operation, without the API version.
    target: String,
    /// Where the body begins.
    head: usize,
    /// Where the request ends.
    end: usize,
}

impl Request {
    fn parse(received: &[u8]) -> Option<Request> {
        let head = find(received, b"\r\n\r\n")?;
        let text = std::str::from_utf8(&received[..head]).unwrap_or_default();
        let field = |wanted: &str| {
            let fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
            fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
        };
        let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let target = field("x-amz-target").unwrap_or_default();
        let target = if target == COUNTERS { target } else { target.rsplit('.').next().unwrap_or_default() };
        let end = head + 4 + length;
        (received.len() >= end).then(|| Request { target: target.to_owned(), head: head + 4, end })
    }
}

impl Table {
    /// Appends the body of the reply. Returns whether the stub supports the request.
    fn answer(&self, target: &str, body: &[u8], counters: &Counters, out: &mut Vec<u8>) -> bool {
        match target {
            "Scan" => self.scan(body, counters, out),
            "UpdateItem" => {
                counters.updates.fetch_add(1, Relaxed);
                counters.wrote(1);
                out.extend_from_slice(match find(body, br#""INDEXES""#) {
                    Some(_) => br#"{"ConsumedCapacity":{"CapacityUnits":1.0,"Table":{"CapacityUnits":1.0},"TableName":"shop"}}"#,
                    None => b"{}",
                });
            }
            "BatchExecuteStatement" => {
                let statements = count(body, br#""Statement":"#);
                counters.batches.fetch_add(1, Relaxed);
                counters.statements.fetch_add(statements, Relaxed);
                counters.wrote(statements);
                out.extend_from_slice(br#"{"Responses":["#);
                for n in 0..statements {
                    out.extend_from_slice(if n == 0 {
                        br#"{"TableName":"shop"}"#
                    } else {
                        br#",{"TableName":"shop"}"#
                    });
                }
                let units = format!(
                    r#"],"ConsumedCapacity":[{{"CapacityUnits":{statements}.0,"Table":{{"CapacityUnits":{statements}.0}},"TableName":"shop"}}]}}"#
                );
                out.extend_from_slice(units.as_bytes());
            }
            "GetItem" => {
                counters.gets.fetch_add(1, Relaxed);
                out.extend_from_slice(br#"{"ConsumedCapacity":{"CapacityUnits":1.0,"TableName":"shop"},"Item":"#);
                self.shape.write(out, number_after(body, PREFIX.as_bytes()).unwrap_or(0));
                out.push(b'}');
            }
            "DescribeTable" => out.extend_from_slice(self.description().to_string().as_bytes()),
            "DescribeTimeToLive" => {
                out.extend_from_slice(br#"{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}"#);
            }
            "DescribeContinuousBackups" => {
                let enabled = json!({"ContinuousBackupsDescription": {
                    "ContinuousBackupsStatus": "ENABLED",
                    "PointInTimeRecoveryDescription": {
                        "PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 35,
                        "EarliestRestorableDateTime": 1_752_364_800, "LatestRestorableDateTime": 1_764_350_000,
                    },
                }});
                out.extend_from_slice(enabled.to_string().as_bytes());
            }
            COUNTERS => out.extend_from_slice(&counters.take()),
            _ => {
                out.extend_from_slice(br#"{"__type":"com.amazonaws.dynamodb.v20120810#UnknownOperationException"}"#);
                return false;
            }
        }
        true
    }

    /// Answers a scan of a segment. A page that reaches the limit or 1 MB returns a position for the next page, even if
    /// the next page is empty.
    fn scan(&self, body: &[u8], counters: &Counters, out: &mut Vec<u8>) {
        let total = number_after(body, br#""TotalSegments":"#).unwrap_or(1);
        let segment = number_after(body, br#""Segment":"#).unwrap_or(0);
        let limit = number_after(body, br#""Limit":"#).unwrap_or(u64::MAX);
        let after = find(body, br#""ExclusiveStartKey""#).and_then(|at| number_after(&body[at..], PREFIX.as_bytes()));
        let from = after.map_or(self.items * segment / total, |n| n + 1);
        let until = self.items * (segment + 1) / total;
        let page = limit.min((PAGE_BYTES / self.shape.bytes()) as u64).max(1);
        let items = until.saturating_sub(from).min(page);
        let keys_only = find(body, br#""ProjectionExpression""#).is_some();
        out.extend_from_slice(br#"{"Items":["#);
        for n in from..from + items {
            if n > from {
                out.push(b',');
            }
            if keys_only { Shape::write_key(out, n) } else { self.shape.write(out, n) }
        }
        let strongly = if find(body, br#""ConsistentRead":true"#).is_some() { 1.0 } else { 0.5 };
        let units = ((items * self.shape.bytes() as u64).div_ceil(4096).max(1)) as f64 * strongly;
        let counts = format!(
            r#"],"Count":{items},"ScannedCount":{items},"ConsumedCapacity":{{"CapacityUnits":{units:.1},"TableName":"shop"}}"#
        );
        out.extend_from_slice(counts.as_bytes());
        if items == page {
            out.extend_from_slice(br#","LastEvaluatedKey":"#);
            Shape::write_key(out, from + items - 1);
        }
        out.push(b'}');
        counters.scans.fetch_add(1, Relaxed);
        counters.scanned.fetch_add(items, Relaxed);
    }

    fn description(&self) -> serde_json::Value {
        let keys = [("pk", "HASH"), ("sk", "RANGE")];
        json!({"Table": {
            "TableName": TABLE, "TableStatus": "ACTIVE", "CreationDateTime": 1_752_364_800,
            "TableArn": format!("arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE}"),
            "TableId": "6d1c5c3e-0000-4000-8000-000000000001",
            "KeySchema": keys.map(|(name, kind)| json!({"AttributeName": name, "KeyType": kind})),
            "AttributeDefinitions": keys.map(|(name, _)| json!({"AttributeName": name, "AttributeType": "S"})),
            "ItemCount": self.items, "TableSizeBytes": self.items * self.shape.bytes() as u64,
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
            "DeletionProtectionEnabled": false,
        }})
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn count(bytes: &[u8], part: &[u8]) -> u64 {
    bytes.windows(part.len()).filter(|window| *window == part).count() as u64
}

/// Returns the number that follows the first occurrence of `part`.
fn number_after(bytes: &[u8], part: &[u8]) -> Option<u64> {
    let rest = &bytes[find(bytes, part)? + part.len()..];
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}
