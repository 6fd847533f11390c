//! Runs the real binary while live writers work. An oracle checks the log of the writers.
//!
//! [`play`] runs a plan over a table while writers update, delete, insert and replace items. Then it checks every item
//! against the [`oracle`]. The check is exact. Each item belongs to one writer, every operation returns the item's
//! previous image, and no value is written twice. So the log of an item contains the item's complete history. The test
//! forces races instead of relying on chance. A proxy in front of the server delays some of the tool's writes and
//! notifies the item's writer. This writer then writes before the tool does.

mod oracle;
mod writer;

pub(crate) use writer::OperationKind;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backfill::internals::item::{Item, ItemKey, Path, Value};
use backfill::internals::local::{Fault, RequestInfo};
use backfill::internals::state::sqlite::StateFile;
use backfill::internals::state::{Cursor, ListQuery};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use crate::harness::{Harness, bytes_of, key_of, updated_items};
use oracle::{ItemCheck, Transformation};
use writer::{Op, Writer};

/// The attribute that the plan moves.
const OLD: &str = "old";
/// The attribute that the plan sets to a constant on every item.
const MARKER: &str = "marker";

/// The target to which the plan moves [`OLD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The target is `new`, so DynamoDB copies the value.
    Top,
    /// The target is `doc.new`. Many items have no `doc`, so the tool has to read the value and send it back.
    Nested,
}

impl Shape {
    fn target(self) -> Path {
        match self {
            Shape::Top => "new".parse().unwrap(),
            Shape::Nested => "doc.new".parse().unwrap(),
        }
    }
}

/// The parameters of one scenario: its plan, its table and its seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) strategy: &'static str,
    pub(crate) on_existing: &'static str,
    pub(crate) shape: Shape,
    /// Whether writers also write lists and maps.
    pub(crate) documents: bool,
    pub(crate) seed: u64,
    /// Number of items at the start. A fifth of the items belong to no writer.
    pub(crate) items: u32,
    pub(crate) writers: u32,
    /// The tool's write budget, in units per second. The budget determines the duration of the run, and therefore how
    /// long the writers work.
    pub(crate) write_rate: u32,
}

/// The counts of one or more scenarios.
#[derive(Debug, Default)]
pub(crate) struct LiveFigures {
    /// Number of operations of live writers, by kind.
    pub(crate) operations: BTreeMap<OperationKind, u64>,
    /// Number of the tool's changes that the oracle found, by the kind of the preceding live operation.
    pub(crate) transitions: BTreeMap<OperationKind, u64>,
    /// Number of the tool's changes that the oracle found in items on which no writer had operated before.
    pub(crate) first_transitions: u64,
    /// Number of the tool's writes that failed because the item had changed.
    pub(crate) races: u64,
    /// Number of writes that the tool sent while the writers worked.
    pub(crate) sent: u64,
    /// Number of items that the tool found diverged.
    pub(crate) diverged: u64,
    /// Number of pre-images that were checked.
    pub(crate) pre_images: u64,
}

impl LiveFigures {
    /// Adds the figures of a further scenario.
    pub(crate) fn add(&mut self, other: LiveFigures) {
        for (mine, theirs) in [(&mut self.operations, other.operations), (&mut self.transitions, other.transitions)] {
            for (kind, n) in theirs {
                *mine.entry(kind).or_default() += n;
            }
        }
        self.first_transitions += other.first_transitions;
        self.races += other.races;
        self.sent += other.sent;
        self.diverged += other.diverged;
        self.pre_images += other.pre_images;
    }

    /// Prints the figures to stderr.
    pub(crate) fn print(&self, of: &str) {
        let total: u64 = self.operations.values().sum();
        let seen = self.transitions.values().sum::<u64>() + self.first_transitions;
        let mut text = format!(
            "{of}: {total} live operations; {} writes of the tool, {} of them found a changed item; {seen} changes by the \
             tool seen; {} diverged items; {} pre-images\n",
            self.sent, self.races, self.diverged, self.pre_images
        );
        for (kind, n) in &self.operations {
            let then = self.transitions.get(kind).copied().unwrap_or(0);
            text += &format!("  {kind:?}: {n}, followed by a change of the tool: {then}\n");
        }
        std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
    }
}

/// Plays a scenario and checks everything against the oracle. Panics if a check fails.
pub(crate) async fn play(harness: &Harness, scenario: Scenario) -> LiveFigures {
    let table = harness.create_table().await;
    let rule = Transformation::new(scenario);
    let mut rng = fastrand::Rng::with_seed(scenario.seed);
    harness.load(&table, writer::first_items(scenario, &mut rng)).await;
    let initial = harness.dump(&table).await;
    let name = format!("live-{}-{}-{:?}-{}", scenario.strategy, scenario.on_existing, scenario.shape, scenario.seed);
    let plan = write_plan(harness, &table, &name, scenario);
    let state = harness.dir().join(".backfill").join(format!("{name}.db"));

    // The writers start before the run begins, and stop after it has ended.
    harness.proxy().reset_tally();
    let done = Arc::new(AtomicU64::new(0));
    let (hints, sent) = delay_writes(harness, scenario, &done);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for (number, hints) in hints.into_iter().enumerate() {
        let writer = Writer::new(harness, &table, scenario, number as u32, &initial, hints);
        writers.spawn(writer.work(Arc::clone(&stop), Arc::clone(&done)));
    }
    let run = tool(harness, &plan, "--yes").await;
    let tally = harness.proxy().tally();
    stop.store(true, Ordering::Relaxed);
    let mut log: BTreeMap<String, Vec<Op>> = BTreeMap::new();
    while let Some(done) = writers.join_next().await {
        log.extend(done.unwrap());
    }
    harness.proxy().set_faults(None);
    let after_run = harness.dump(&table).await;

    let histories = check_histories(&rule, &initial, &log, &after_run);
    let races = tally.operation("UpdateItem").errors.get(&(400, "ConditionalCheckFailedException".to_owned())).copied();
    let mut figures =
        LiveFigures { races: races.unwrap_or(0), sent: sent.load(Ordering::Relaxed), ..LiveFigures::default() };
    count(&mut figures, &log, &histories);

    check_run(&run, &histories, &figures);
    check_diverged(&state, &histories);
    // The writers have stopped. A second pass completes the plan's changes, and reports the items that it cannot
    // change.
    let again = tool(harness, &plan, "--again").await;
    let finished = harness.dump(&table).await;
    check_again(&rule, &again, &after_run, &finished, &state);
    figures.pre_images = check_pre_images(&rule, &state, &histories, &after_run, figures.lost(&run)).await;
    check_third_pass(harness, &plan, &table, &finished).await;
    figures
}

impl LiveFigures {
    /// Number of writes for which the tool received no reply. The tool does not count the effects of these writes. With
    /// batches, this number includes failed conditions, because the proxy cannot see them.
    fn lost(&self, run: &Report) -> u64 {
        self.sent - self.races - run.count("applied")
    }
}

/// Delays some of the tool's writes and notifies the item's writer. `done` counts the live operations. If the number of
/// live operations is lower than the number of the tool's writes, the delay is longer. So a slow machine has as many
/// races as a fast one.
fn delay_writes(
    harness: &Harness,
    scenario: Scenario,
    done: &Arc<AtomicU64>,
) -> (Vec<mpsc::UnboundedReceiver<String>>, Arc<AtomicU64>) {
    let done = Arc::clone(done);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..scenario.writers).map(|_| mpsc::unbounded_channel()).unzip();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let hold = move |request: &RequestInfo| {
        // Only the tool's writes have conditions.
        let items = updated_items(request);
        if items.is_empty() {
            return Fault::Pass;
        }
        let n = counter.fetch_add(items.len() as u64, Ordering::Relaxed);
        let owned: Vec<(u32, String)> = items.into_iter().filter_map(|pk| Some((writer::owner(&pk)?, pk))).collect();
        match owned.is_empty() {
            false if !n.is_multiple_of(3) => {
                for (owner, pk) in owned {
                    // The error is ignored, because a writer that has stopped needs no hints.
                    let _ = senders[owner as usize].send(pk);
                }
                let millis = match n.saturating_sub(done.load(Ordering::Relaxed)) {
                    0 => 5 + n % 40,
                    1..=50 => 400,
                    _ => 1200,
                };
                Fault::Delay(Duration::from_millis(millis))
            }
            _ => Fault::Pass,
        }
    };
    harness.proxy().set_faults(Some(Arc::new(hold)));
    (receivers, sent)
}

fn write_plan(harness: &Harness, table: &str, name: &str, scenario: Scenario) -> std::path::PathBuf {
    harness.plan(
        name,
        table,
        &format!("strategy = \"{}\"\non_existing = \"{}\"", scenario.strategy, scenario.on_existing),
        &format!(
            "[[change]]\nmove = \"{OLD}\"\nto = \"{}\"\n[[change]]\nset = \"{MARKER}\"\nvalue = 2\n\
             [scan]\nsegments = 4\npage_limit = 40\nconsistent = true\n[capacity]\nwrite = {}\nread = 2000\n",
            scenario.shape.target(),
            scenario.write_rate
        ),
    )
}

/// The report that `run --output json` prints.
struct Report {
    json: Json,
    text: String,
}

impl Report {
    fn count(&self, outcome: &str) -> u64 {
        self.json["totals"]["counts"][outcome].as_u64().unwrap_or_else(|| panic!("no {outcome} in {}", self.text))
    }
}

async fn tool(harness: &Harness, plan: &FilePath, option: &str) -> Report {
    let mut command = harness.command();
    command.args(["run", "--output", "json", "--yes"]).arg(plan);
    if option != "--yes" {
        command.arg(option);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_default();
    let report = Report { json, text: format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)) };
    // Exit code 5 means that items are diverged.
    assert!(matches!(output.status.code(), Some(0 | 5)), "{option}: {:?}\n{}", output.status, report.text);
    assert_eq!(report.json["stopped"], Json::Null, "{}", report.text);
    assert_eq!(report.count("conflict") + report.count("rejected"), 0, "failures\n{}", report.text);
    report
}

/// Checks the complete history of every item that ever existed.
fn check_histories(
    rule: &Transformation,
    initial: &BTreeMap<String, Item>,
    log: &BTreeMap<String, Vec<Op>>,
    last: &BTreeMap<String, Item>,
) -> BTreeMap<String, ItemCheck> {
    let keys: BTreeSet<&String> = initial.keys().chain(log.keys()).chain(last.keys()).collect();
    let mut wrong = Vec::new();
    let mut histories = BTreeMap::new();
    for key in keys {
        let ops = log.get(key).map_or(&[][..], Vec::as_slice);
        match rule.check(initial.get(key), ops, last.get(key)) {
            Ok(checked) => {
                if !checked.touched && initial.contains_key(key) {
                    let first = &initial[key];
                    let same = last.get(key).is_some_and(|l| bytes_of(l) == bytes_of(&rule.apply(first)));
                    assert!(same, "{key} is not as the plan implies, although no writer touched it");
                }
                histories.insert(key.clone(), checked);
            }
            Err(why) => wrong.push(format!("{key}: {why}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} items are wrong, the first of them:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    histories
}

fn count(figures: &mut LiveFigures, log: &BTreeMap<String, Vec<Op>>, histories: &BTreeMap<String, ItemCheck>) {
    for op in log.values().flatten() {
        *figures.operations.entry(op.kind).or_default() += 1;
    }
    for after in histories.values().flat_map(|h| &h.transitions) {
        match after {
            Some(kind) => *figures.transitions.entry(*kind).or_default() += 1,
            None => figures.first_transitions += 1,
        }
    }
    figures.diverged = histories.values().filter(|h| h.ever_diverged).count() as u64;
}

/// Compares the run's counts with the writes that the oracle found. They must be equal, except that writes without a
/// reply can be missing from the run's counts.
fn check_run(run: &Report, histories: &BTreeMap<String, ItemCheck>, figures: &LiveFigures) {
    let seen = histories.values().map(|h| h.transitions.len() as u64).sum::<u64>();
    let applied = run.count("applied");
    assert!(applied <= seen, "the run counts {applied} writes, but {seen} were seen\n{}", run.text);
    let lost = figures.lost(run);
    assert!(seen <= applied + lost, "{seen} writes were seen, {applied} counted, {lost} without a reply\n{}", run.text);
    let scanned: u64 = backfill::internals::change::Outcome::ALL.iter().map(|o| run.count(o.name())).sum();
    assert_eq!(run.count("scanned"), scanned);
}

/// Checks the reported diverged items. An item that was diverged in every image must be reported. An item that was
/// never diverged must not be reported.
fn check_diverged(state: &FilePath, histories: &BTreeMap<String, ItemCheck>) {
    let reported = diverged(state);
    for (key, history) in histories {
        if history.always_diverged {
            assert!(reported.contains(key), "{key} was always diverged, but is not reported");
        }
        if !history.ever_diverged {
            assert!(!reported.contains(key), "{key} is reported as diverged, but never was");
        }
    }
    assert!(reported.iter().all(|key| histories.contains_key(key)));
}

/// Checks a pass without live writers. Every count must be exact.
fn check_again(
    rule: &Transformation,
    again: &Report,
    before: &BTreeMap<String, Item>,
    after: &BTreeMap<String, Item>,
    state: &FilePath,
) {
    let expected: BTreeMap<&String, Item> = before.iter().map(|(key, item)| (key, rule.apply(item))).collect();
    assert!(before.keys().eq(after.keys()), "the second pass created or removed items");
    for (key, item) in &expected {
        assert_eq!(bytes_of(&after[*key]), bytes_of(item), "{key} after the second pass");
    }
    let open: BTreeSet<String> = before.iter().filter(|(_, i)| rule.diverged(i)).map(|(key, _)| key.clone()).collect();
    assert_eq!(diverged(state), open, "the diverged items of the finished table");
    let changed = before.iter().filter(|(key, item)| bytes_of(item) != bytes_of(&expected[key])).count() as u64;
    assert_eq!(again.count("applied"), changed, "{}", again.text);
    assert_eq!(again.count("diverged"), open.len() as u64, "{}", again.text);
    assert_eq!(again.count("already_applied"), before.len() as u64 - changed - open.len() as u64, "{}", again.text);
    assert_eq!(again.count("scanned"), before.len() as u64, "{}", again.text);
}

/// Keys of the diverged items that the state file lists as open.
fn diverged(state: &FilePath) -> BTreeSet<String> {
    let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit: u32::MAX };
    let file = StateFile::open(state).unwrap();
    assert!(file.failures(query).unwrap().is_empty());
    let rows = file.diverged(query).unwrap();
    let keys: BTreeSet<String> = rows.iter().map(|d| d.key.to_text()).collect();
    assert_eq!(keys.len(), rows.len(), "an item is listed twice");
    keys
}

/// Checks that the journal contains every value that the tool overwrote in either pass, and no other value. There is
/// one exception: if the reply to a write was lost, its pre-image stays in the journal.
async fn check_pre_images(
    rule: &Transformation,
    state: &FilePath,
    histories: &BTreeMap<String, ItemCheck>,
    before_again: &BTreeMap<String, Item>,
    lost: u64,
) -> u64 {
    let summary = StateFile::open(state).unwrap().summary().unwrap();
    let store =
        backfill::internals::state::open(state, &summary.identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
    let mut checked = 0;
    for (key, history) in histories {
        let mut overwritten = history.overwritten.clone();
        overwritten.extend(before_again.get(key).map(|item| rule.overwritten(item)).unwrap_or_default());
        let recorded = store.pre_images(ItemKey::from_text(key).unwrap(), None).await.unwrap();
        let text = |path: &Path, value: &Value| format!("{path} {}", value.to_json());
        let mut recorded: Vec<String> = recorded.iter().map(|r| text(&r.path, r.value.as_ref().unwrap())).collect();
        for (path, value) in &overwritten {
            let found = recorded.iter().position(|r| *r == text(path, value));
            let found =
                found.unwrap_or_else(|| panic!("{key}: `{path}` was overwritten, but its value is not recorded"));
            recorded.swap_remove(found);
            checked += 1;
        }
        assert!(recorded.is_empty() || lost > 0, "{key}: {} pre-images of writes that never happened", recorded.len());
    }
    assert!(summary.pre_images == checked || lost > 0, "{} pre-images, {checked} overwritten", summary.pre_images);
    store.close().await.unwrap();
    checked
}

/// Checks that a pass over the finished table sends no write.
async fn check_third_pass(harness: &Harness, plan: &FilePath, table: &str, finished: &BTreeMap<String, Item>) {
    harness.proxy().reset_tally();
    let third = tool(harness, plan, "--again").await;
    assert_eq!(third.count("applied"), 0, "{}", third.text);
    assert_eq!(harness.proxy().tally().write_units(), 0.0);
    assert_eq!(harness.proxy().tally().operation("UpdateItem").requests, 0);
    let dump = harness.dump(table).await;
    assert!(dump.iter().map(|(k, i)| (k, bytes_of(i))).eq(finished.iter().map(|(k, i)| (k, bytes_of(i)))));
    assert!(dump.values().all(|item| dump.contains_key(&key_of(item).to_text())));
}
