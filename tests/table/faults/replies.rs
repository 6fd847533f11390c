//! Tests unusable replies: empty, truncated, from a proxy, with a wrong checksum, or without a required part. The tool
//! never treats such a reply as a success, as the end of a segment or as an item's failure. It retries the request up
//! to a limit, and reports the number of unusable replies for each reason.
//!
//! If `BACKFILL_TEST_ENDPOINT` contains a server's address, these tests run on that server.

use super::*;
use backfill::internals::local::Corruption;

const COMMON: [Corruption; 6] = [
    Corruption::NoBody,
    Corruption::Body("{}"),
    Corruption::Body("null"),
    Corruption::Html,
    Corruption::Truncated,
    Corruption::WrongChecksum,
];

/// Returns the ways to corrupt replies of an operation.
fn spoils_of(operation: &str) -> Vec<Corruption> {
    let own: &[Corruption] = match operation {
        "DescribeTable" => &[
            Corruption::MissingMember("/Table"),
            Corruption::MissingMember("/Table/TableName"),
            Corruption::MissingMember("/Table/TableArn"),
            Corruption::MissingMember("/Table/TableStatus"),
            Corruption::MissingMember("/Table/KeySchema"),
            Corruption::MissingMember("/Table/AttributeDefinitions"),
        ],
        "DescribeContinuousBackups" => &[Corruption::Body("{\"ContinuousBackupsDescription\":null}")],
        "DescribeTimeToLive" => &[
            Corruption::MissingMember("/TimeToLiveDescription"),
            Corruption::MissingMember("/TimeToLiveDescription/TimeToLiveStatus"),
        ],
        "Scan" => &[
            Corruption::MissingMember("/Items"),
            Corruption::MissingMember("/Count"),
            Corruption::ChangedMember("/Count", Json::Null),
            Corruption::ChangedMember("/Items", Json::Null),
            Corruption::MissingMember("/ConsumedCapacity"),
        ],
        "GetItem" | "PutItem" | "UpdateItem" => &[Corruption::MissingMember("/ConsumedCapacity")],
        _ => return Vec::new(),
    };
    COMMON.iter().chain(own).cloned().collect()
}

const OPERATIONS: [&str; 7] =
    ["DescribeTable", "DescribeContinuousBackups", "DescribeTimeToLive", "Scan", "GetItem", "PutItem", "UpdateItem"];

/// Corrupts three of four replies of each operation, until each way has been used once.
fn spoil_rule() -> impl Fn(&RequestInfo) -> Fault + Send + Sync {
    let left: Mutex<HashMap<String, (usize, usize)>> = Mutex::default();
    move |request| {
        let mut left = left.lock().unwrap();
        let (seen, corrupted) = left.entry(request.operation.clone()).or_default();
        *seen += 1;
        let next = spoils_of(&request.operation).into_iter().nth(*corrupted).filter(|_| *seen % 4 != 0);
        *corrupted += usize::from(next.is_some());
        next.map_or(Fault::Pass, Fault::Corruption)
    }
}

const FLAG: &str = "[cutover]\nmax_cache_seconds = 1\nsoak = \"0s\"\n";

/// Creates a scene with a second table for the flag. The plan names this table.
async fn with_flag(more: &str) -> Scene {
    let mut scene = Scene::with_harness(Harness::start(), items(90), "", "").await;
    let flags = scene.harness.create_flag_table().await;
    let rest = format!("{MOVE}{SMALL_PAGES}{QUICK}{FLAG}table = \"{flags}\"\n{more}");
    scene.plan = scene.harness.plan("faults", &scene.table, "", &rest);
    scene
}

impl Scene {
    fn command(&self, args: &[&str]) -> ToolOutput {
        tool(&self.harness, &[&[args[0], self.plan(), "--output", "json"], &args[1..]].concat())
    }

    fn corrupted(&self, operation: &str) -> usize {
        self.harness.proxy().tally().operation(operation).corrupted as usize
    }
}

/// Tests every operation that the tool sends to the table, the flag and the lease, with each kind of unusable reply.
#[tokio::test(flavor = "multi_thread")]
async fn each_unusable_reply_is_retried() {
    let scene = with_flag("").await;
    scene.fault(spoil_rule());
    scene.command(&["cutover", "--to", "dual-write", "--yes"]).exits(0);
    let json = scene.command(&["run", "--yes"]).exits(0).json();
    let counted = counts(&json);
    assert_eq!(counted["scanned"], 90);
    let done = counted["applied"].as_u64().unwrap() + counted["already_applied"].as_u64().unwrap();
    assert_eq!((done, failed(&json)), (90, 0), "{counted}");
    let named = json["unusable_replies"].as_object().unwrap();
    for (part, times) in [("Scan: it has no Items", 4), ("Scan: its Count", 2), ("UpdateItem: its checksum", 1)] {
        let found: u64 = named.iter().filter(|(what, _)| what.contains(part)).map(|(_, n)| n.as_u64().unwrap()).sum();
        assert_eq!(found, times, "{part}: {named:?}");
    }
    for _ in 0..12 {
        let verified = scene.command(&["verify", "--all"]).exits(0).json();
        assert_eq!((&verified["compared"], &verified["mismatches"]), (&json!(90), &json!(0)));
        scene.command(&["check", "--accept", "no-pitr"]).exits(0);
        if OPERATIONS.iter().all(|operation| scene.corrupted(operation) == spoils_of(operation).len()) {
            break;
        }
    }
    for operation in OPERATIONS {
        assert_eq!(
            scene.corrupted(operation),
            spoils_of(operation).len(),
            "not every way to spoil {operation} was used"
        );
    }
    scene.assert_table(moved).await;
}

/// If every Scan returns `{}`, `verify --all` compares nothing and proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_reads_nothing_proves_nothing() {
    let scene = with_flag("").await;
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    std::fs::write(&scene.plan, text.replace(QUICK, &format!("{QUICK}give_up_after = \"300ms\"\n"))).unwrap();
    scene.command(&["cutover", "--to", "dual-write", "--yes"]).exits(0);
    scene.command(&["run", "--yes"]).exits(0);
    for fault in [
        Fault::FixedBody("{}"),
        Fault::FixedBody(""),
        Fault::FixedBody("{\"Items\":[]}"),
        Fault::Corruption(Corruption::Truncated),
    ] {
        let what = format!("{fault:?}");
        scene.fault(move |request| if request.operation == "Scan" { fault.clone() } else { Fault::Pass });
        let ran = scene.command(&["verify", "--all"]).exits(6);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.to_lowercase().contains("parity holds"), "{what}: {text}");
        }
        assert!(ran.messages().contains("the reply to Scan could not be used"), "{what}: {}", ran.messages());
    }
    scene.remove_faults();
    scene.command(&["cutover", "--to", "read-new", "--yes"]).exits(3);
    scene.command(&["verify", "--all"]).exits(0);
    scene.command(&["cutover", "--to", "read-new", "--yes"]).exits(0);
}

/// A segment ends only after a valid reply without a next position. If the reply is empty, the request does not count
/// as done.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_answered_by_an_empty_object_is_not_done() {
    const GIVES_UP: &str = "[retry]\nbase = \"2ms\"\ncap = \"20ms\"\ngive_up_after = \"300ms\"\n";
    for operation in ["Scan", "UpdateItem"] {
        let plan = format!("{MOVE}{SMALL_PAGES}{GIVES_UP}");
        let scene = Scene::with_harness(Harness::start(), items(120), "", &plan).await;
        scene.fault(move |request| match request.operation_sequence {
            30.. if request.operation == operation && operation == "UpdateItem" => Fault::FixedBody("{}"),
            6.. if request.operation == operation && operation == "Scan" => Fault::FixedBody("{}"),
            _ => Fault::Pass,
        });
        let ran = scene.run().exits(6);
        let json = ran.json();
        let stopped = json["stopped"].as_str().unwrap();
        assert!(stopped.contains(&format!("the reply to {operation} could not be used")), "{stopped}");
        assert!(stopped.contains("give_up_after"), "{stopped}");
        scene.remove_faults();
        assert_eq!(counts(&json)["scanned"], scene.check_committed().await, "{operation}");
        let after = scene.harness.dump(&scene.table).await;
        let written = after.values().filter(|item| item.contains_key("new")).count() as u64;
        assert!(counts(&json)["applied"].as_u64().unwrap() <= written, "{operation}");
        scene.resumes_correctly().await;
    }
}

/// The tool also works on an engine that never reports consumed capacity.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_never_reports_capacity_is_supported() {
    let scene = with_flag("").await;
    scene.fault(|_| Fault::Corruption(Corruption::MissingMember("/ConsumedCapacity")));
    scene.command(&["cutover", "--to", "dual-write", "--yes"]).exits(0);
    let json = scene.command(&["run", "--yes"]).exits(0).json();
    assert_eq!((&counts(&json)["applied"], &counts(&json)["write_units"]), (&json!(90), &json!(0.0)));
    assert_eq!(json["unusable_replies"], json!({}));
    scene.assert_table(moved).await;
}
