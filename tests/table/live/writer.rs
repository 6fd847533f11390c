//! Defines a live writer: an application that sends requests for its own items, and logs these requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use backfill::internals::item::{Item, ItemKey, Num, Path, PathStep, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{MARKER, OLD, Scenario, Shape};
use crate::harness::{Harness, client, from_sdk, key_of, to_sdk, value_to_sdk};

/// Kinds of live operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OperationKind {
    /// `UpdateItem` by an application that knows only the old attribute.
    UpdateOld,
    /// `UpdateItem` by an application that knows only the new attribute.
    UpdateNew,
    /// `UpdateItem` by a dual writer.
    UpdateBoth,
    /// `UpdateItem` of attributes that do not appear in the plan. If the target is in a document, one of these
    /// attributes is in the same document.
    UpdateOther,
    /// `UpdateItem` of the attribute that the plan sets to a constant.
    UpdateMarker,
    /// `REMOVE` of the old attribute.
    RemoveOld,
    /// `REMOVE` of the new attribute. If the new attribute is in a document, removes that document.
    RemoveNew,
    /// `DeleteItem`.
    Delete,
    /// `PutItem` of a new item, or of a previously deleted one.
    Insert,
    /// `PutItem` of a stale image with a new value of the old attribute. Half of these operations drop attributes that
    /// the writer does not know.
    PutOld,
    /// `PutItem` of a stale image with a new value of the new attribute.
    PutNew,
    /// `PutItem` of a stale image with a new value of both attributes.
    PutBoth,
}

impl OperationKind {
    /// Every kind of live operation.
    pub(crate) const ALL: [OperationKind; 12] = [
        OperationKind::UpdateOld,
        OperationKind::UpdateNew,
        OperationKind::UpdateBoth,
        OperationKind::UpdateOther,
        OperationKind::UpdateMarker,
        OperationKind::RemoveOld,
        OperationKind::RemoveNew,
        OperationKind::Delete,
        OperationKind::Insert,
        OperationKind::PutOld,
        OperationKind::PutNew,
        OperationKind::PutBoth,
    ];
}

/// One operation, with the item before and after the operation.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) kind: OperationKind,
    /// The item before the operation, as the server returned it (`ALL_OLD`).
    pub(super) before: Option<Item>,
    /// The item after the operation.
    pub(super) after: Option<Item>,
}

/// Returns the writer that owns a partition key, or `None` if no writer does.
pub(super) fn owner(pk: &str) -> Option<u32> {
    pk.strip_prefix('w')?.split('-').next()?.parse().ok()
}

/// Returns the table's items at the start. An item has the old attribute, the new attribute, both (with equal or
/// different values) or neither. Some items have the document. Each item has one more attribute, whose type varies from
/// item to item.
pub(super) fn first_items(scenario: Scenario, rng: &mut fastrand::Rng) -> impl Iterator<Item = Item> {
    (0..scenario.items).map(move |n| {
        let pk = if n % 5 == 0 { format!("u-{n}") } else { format!("w{}-{n}", n % scenario.writers) };
        let who = format!("first-{n}");
        new_item(&pk, scenario.shape, &mut Values { who, next: 0, documents: scenario.documents }, rng)
    })
}

/// Generates unique values of all types in turn.
struct Values {
    who: String,
    next: u64,
    documents: bool,
}

impl Values {
    fn next(&mut self) -> Value {
        self.next += 1;
        let text = format!("{} {}", self.who, self.next);
        match self.next % 8 {
            0 => Value::B(text.into_bytes()),
            1 => Value::S(text),
            2 => Value::Ss(vec![text, "ü".into()]),
            3 if self.documents => Value::L(vec![Value::S(text), Value::Null, Value::Bool(true)]),
            4 if self.documents => {
                Value::M([("text".to_owned(), Value::S(text)), ("none".to_owned(), Value::Null)].into())
            }
            5 => Value::Bs(vec![text.into_bytes(), vec![0, 255]]),
            6 => Value::Ns(vec![self.number(), number("-1.5")]),
            _ => Value::N(self.number()),
        }
    }

    /// A number of 38 digits. It identifies the writer and contains a sequence number.
    fn number(&self) -> Num {
        let who = self.who.bytes().fold(7_u64, |hash, b| (hash * 31 + u64::from(b)) % 1_000_000_000);
        number(&format!("9{who:09}{:012}.1234567890123457", self.next))
    }
}

fn number(text: &str) -> Num {
    Num::parse(text).unwrap()
}

fn new_item(pk: &str, shape: Shape, values: &mut Values, rng: &mut fastrand::Rng) -> Item {
    let mut item: Item = [
        ("pk".to_owned(), Value::S(pk.to_owned())),
        ("sk".to_owned(), Value::S("x".into())),
        ("empty".to_owned(), Value::S(String::new())),
        ("größe".to_owned(), Value::N(number("-12345678901234567890.123456789012345678"))),
        ("bin".to_owned(), Value::B(vec![0, 1, 254, 255])),
        ("flag".to_owned(), Value::Bool(false)),
        ("null".to_owned(), Value::Null),
        ("bs".to_owned(), Value::Bs(vec![vec![1], vec![2, 0]])),
        ("ns".to_owned(), Value::Ns(vec![number("1"), number("2.5")])),
        ("list".to_owned(), Value::L(vec![Value::L(vec![]), Value::M(Item::new()), values.next()])),
    ]
    .into();
    match rng.u8(0..20) {
        0..=11 => drop(item.insert(OLD.into(), values.next())),
        12..=13 => put_new(&mut item, shape, values.next()),
        14..=15 => {
            let value = values.next();
            item.insert(OLD.into(), value.clone());
            put_new(&mut item, shape, value);
        }
        16..=18 => {
            item.insert(OLD.into(), values.next());
            put_new(&mut item, shape, values.next());
        }
        _ => {}
    }
    if shape == Shape::Nested && !item.contains_key("doc") && rng.bool() {
        item.insert("doc".into(), Value::M([("kept".to_owned(), values.next())].into()));
    }
    match rng.u8(0..20) {
        0..=1 => drop(item.insert(MARKER.into(), Value::N(number("2")))),
        2 => drop(item.insert(MARKER.into(), values.next())),
        _ => {}
    }
    item
}

/// Sets the target in an image that the writer is about to put.
fn put_new(item: &mut Item, shape: Shape, value: Value) {
    if shape == Shape::Nested {
        item.entry("doc".into()).or_insert_with(|| Value::M(Item::new()));
    }
    assert!(shape.target().set(item, value));
}

/// One application instance.
pub(super) struct Writer {
    client: Client,
    table: String,
    shape: Shape,
    number: u32,
    rng: fastrand::Rng,
    values: Values,
    hints: mpsc::UnboundedReceiver<String>,
    /// The writer's items by partition key. Each entry is the image after this writer's last operation on the item.
    items: BTreeMap<String, Option<Item>>,
    /// Stale images that the writer will put later: the time of the put, the kind of operation, and the item that was
    /// read.
    reads: VecDeque<(Instant, OperationKind, Item)>,
    log: BTreeMap<String, Vec<Op>>,
    inserted: u32,
}

impl Writer {
    pub(super) fn new(
        harness: &Harness,
        table: &str,
        scenario: Scenario,
        number: u32,
        initial: &BTreeMap<String, Item>,
        hints: mpsc::UnboundedReceiver<String>,
    ) -> Writer {
        let mine = initial.values().filter_map(|item| {
            let pk = pk_of(item);
            (owner(pk) == Some(number)).then(|| (pk.to_owned(), Some(item.clone())))
        });
        Writer {
            client: client(&harness.endpoint()),
            table: table.to_owned(),
            shape: scenario.shape,
            number,
            rng: fastrand::Rng::with_seed(scenario.seed * 1000 + u64::from(number)),
            values: Values { who: format!("w{number}"), next: 0, documents: scenario.documents },
            items: mine.collect(),
            hints,
            reads: VecDeque::new(),
            log: BTreeMap::new(),
            inserted: 0,
        }
    }

    /// Works until the stop signal. At the end, puts all remaining stale images. Returns the log by key.
    pub(super) async fn work(mut self, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> BTreeMap<String, Vec<Op>> {
        while !stop.load(Ordering::Relaxed) {
            done.fetch_add(1, Ordering::Relaxed);
            if let Some((_, kind, image)) = self.reads.pop_front_if(|(due, ..)| *due <= Instant::now()) {
                self.put_back(kind, image).await;
                continue;
            }
            // The writer prefers items that the tool is about to write. The writer uses the newest hint, because the
            // tool can already have written the items of older hints.
            let mut hinted = None;
            while let Ok(pk) = self.hints.try_recv() {
                hinted = Some(pk);
            }
            let pk = match hinted {
                Some(pk) => pk,
                None => {
                    tokio::time::sleep(Duration::from_millis(self.rng.u64(0..5))).await;
                    self.any_item()
                }
            };
            self.operate(pk).await;
        }
        for (_, kind, image) in std::mem::take(&mut self.reads) {
            self.put_back(kind, image).await;
        }
        self.log
    }

    /// Returns the key of one of the writer's items, or of an item that does not exist yet.
    fn any_item(&mut self) -> String {
        if self.rng.u8(0..25) == 0 {
            self.inserted += 1;
            return format!("w{}-new{}", self.number, self.inserted);
        }
        let n = self.rng.usize(0..self.items.len());
        self.items.keys().nth(n).unwrap().clone()
    }

    async fn operate(&mut self, pk: String) {
        let Some(image) = self.items.get(&pk).cloned().flatten() else {
            let item = new_item(&pk, self.shape, &mut self.values, &mut self.rng);
            return self.put(OperationKind::Insert, item).await;
        };
        let kind = match self.rng.u8(0..100) {
            0..=17 => OperationKind::UpdateOld,
            18..=27 => OperationKind::UpdateNew,
            28..=40 => OperationKind::UpdateBoth,
            41..=48 => OperationKind::UpdateOther,
            49..=51 => OperationKind::UpdateMarker,
            52..=58 => OperationKind::RemoveOld,
            59..=65 => OperationKind::RemoveNew,
            66..=77 => OperationKind::Delete,
            78..=87 => OperationKind::PutOld,
            88..=93 => OperationKind::PutNew,
            _ => OperationKind::PutBoth,
        };
        match kind {
            OperationKind::Delete => self.delete(image).await,
            OperationKind::PutOld | OperationKind::PutNew | OperationKind::PutBoth => self.read(kind, &image).await,
            _ => {
                let edits = self.edits(kind, &image);
                self.update(kind, image, edits).await;
            }
        }
    }

    /// Returns the paths that an update sets, with their values, and the paths that it removes.
    fn edits(&mut self, kind: OperationKind, image: &Item) -> Vec<(Path, Option<Value>)> {
        let old = Path::attribute(OLD);
        match kind {
            OperationKind::UpdateOld => vec![(old, Some(self.values.next()))],
            OperationKind::UpdateNew => vec![self.set_new(None)],
            OperationKind::UpdateBoth => {
                let value = self.values.next();
                vec![(old, Some(value.clone())), self.set_new(Some(value))]
            }
            OperationKind::UpdateMarker => vec![(Path::attribute(MARKER), self.rng.bool().then(|| self.values.next()))],
            OperationKind::RemoveOld => vec![(old, None)],
            OperationKind::RemoveNew if self.shape == Shape::Nested => vec![(Path::attribute("doc"), None)],
            OperationKind::RemoveNew => vec![(self.shape.target(), None)],
            _ => {
                let mut edits = vec![(Path::attribute("note"), Some(self.values.next()))];
                // The tool never removes documents, so this document still exists.
                if image.contains_key("doc") {
                    edits.push(("doc.kept".parse().unwrap(), Some(self.values.next())));
                }
                edits
            }
        }
    }

    /// Returns the path and the value with which an update sets the target. If the target is in a document, the update
    /// sets the whole document, because the document can be missing.
    fn set_new(&mut self, value: Option<Value>) -> (Path, Option<Value>) {
        let value = value.unwrap_or_else(|| self.values.next());
        match self.shape {
            Shape::Top => (self.shape.target(), Some(value)),
            Shape::Nested => {
                let document = [("new".to_owned(), value), ("kept".to_owned(), self.values.next())];
                (Path::attribute("doc"), Some(Value::M(document.into())))
            }
        }
    }

    async fn update(&mut self, kind: OperationKind, image: Item, edits: Vec<(Path, Option<Value>)>) {
        let mut request = self.client.update_item().table_name(&self.table).return_values(ReturnValue::AllOld);
        let mut sets = Vec::new();
        let mut removes = Vec::new();
        let mut names = 0;
        for (n, (path, value)) in edits.iter().enumerate() {
            let mut text = Vec::new();
            for step in path.steps() {
                let PathStep::Name(name) = step else { panic!("{path} contains a list index") };
                request = request.expression_attribute_names(format!("#{names}"), name);
                text.push(format!("#{names}"));
                names += 1;
            }
            match value {
                Some(value) => {
                    request = request.expression_attribute_values(format!(":{n}"), value_to_sdk(value));
                    sets.push(format!("{} = :{n}", text.join(".")));
                }
                None => removes.push(text.join(".")),
            }
        }
        let part = |verb: &str, list: Vec<String>| match list.is_empty() {
            true => String::new(),
            false => format!("{verb} {} ", list.join(", ")),
        };
        let expression = part("SET", sets) + &part("REMOVE", removes);
        let key = key_of(&image);
        let reply = request.set_key(Some(to_sdk(key.attributes()))).update_expression(expression).send().await.unwrap();
        let before = from_sdk(reply.attributes.unwrap_or_default());
        // Apply the edits to the image just before the operation. This image includes the tool's changes.
        let mut after = before.clone();
        if before.is_empty() {
            after = key.attributes().clone();
        }
        for (path, value) in edits {
            match value {
                Some(value) => assert!(path.set(&mut after, value)),
                None => drop(path.remove(&mut after)),
            }
        }
        self.note(&key, kind, Some(before), Some(after));
    }

    async fn delete(&mut self, image: Item) {
        let key = key_of(&image);
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(to_sdk(key.attributes())));
        let reply = request.return_values(ReturnValue::AllOld).send().await.unwrap();
        self.note(&key, OperationKind::Delete, reply.attributes.map(from_sdk), None);
    }

    /// Reads an item. The writer will put this image later, when it is stale.
    async fn read(&mut self, kind: OperationKind, image: &Item) {
        let key = to_sdk(key_of(image).attributes());
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let read = request.send().await.unwrap().item;
        let read = from_sdk(read.unwrap_or_else(|| panic!("{} is gone, and only its owner deletes it", pk_of(image))));
        let wait = Duration::from_millis(if self.rng.bool() { self.rng.u64(5..50) } else { self.rng.u64(50..1500) });
        let due = Instant::now() + wait;
        let at = self.reads.partition_point(|(other, ..)| *other <= due);
        self.reads.insert(at, (due, kind, read));
    }

    /// Changes a stale image as this kind of application does, and puts the result.
    async fn put_back(&mut self, kind: OperationKind, mut item: Item) {
        let value = self.values.next();
        match kind {
            OperationKind::PutOld => {
                item.insert(OLD.into(), value);
                if self.rng.bool() {
                    item.remove(if self.shape == Shape::Nested { "doc" } else { "new" });
                    item.remove(MARKER);
                }
            }
            OperationKind::PutNew => put_new(&mut item, self.shape, value),
            _ => {
                item.insert(OLD.into(), value.clone());
                put_new(&mut item, self.shape, value);
            }
        }
        self.put(kind, item).await;
    }

    async fn put(&mut self, kind: OperationKind, item: Item) {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(to_sdk(&item)));
        let reply = request.return_values(ReturnValue::AllOld).send().await.unwrap();
        self.note(&key_of(&item), kind, reply.attributes.map(from_sdk), Some(item));
    }

    fn note(&mut self, key: &ItemKey, kind: OperationKind, before: Option<Item>, after: Option<Item>) {
        let before = before.filter(|item| !item.is_empty());
        self.items.insert(pk_of(key.attributes()).to_owned(), after.clone());
        self.log.entry(key.to_text()).or_default().push(Op { kind, before, after });
    }
}

fn pk_of(item: &Item) -> &str {
    match &item["pk"] {
        Value::S(pk) => pk,
        other => panic!("{other:?}"),
    }
}
